"""Ranking on real digits: an encoder of printed glyphs against copies of it that never learnt or were scrambled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from sterna import candidates, shortlist
from sterna.encoders import builtin
from sterna.errors import DataError, SpecError
from sterna.maths.orders import agreement, ranks
from sterna.store import Store


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The glyphs, the same with noise in its weights, and the same with weights in random order."""
    place = tmp_path_factory.mktemp("zoo")
    shutil.copytree(builtin.WEIGHTS / "glyphs", place / "glyphs")
    generator = torch.Generator().manual_seed(0)
    state = load_file(place / "glyphs" / "model.safetensors")
    for name, share in (("noisy", 0.5), ("shuffled", None)):
        shutil.copytree(place / "glyphs", place / name)
        made = {}
        for key, value in state.items():
            if not value.is_floating_point() or value.ndim < 2:
                made[key] = value
            elif share is None:
                made[key] = value.flatten()[torch.randperm(value.numel(), generator=generator)].reshape(value.shape)
            else:
                made[key] = value + share * value.std() * torch.randn(value.shape, generator=generator)
        save_file(made, str(place / name / "model.safetensors"))
    (place / "notes").mkdir()
    return place


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Forty real digits of each of five kinds, as arrays."""
    found = load_digits()
    rows = np.concatenate([np.flatnonzero(found.target == one)[:40] for one in range(5)])
    images = np.rint(found.images[rows] * (255 / 16)).astype(np.uint8)
    place = tmp_path_factory.mktemp("digits")
    names = np.array(["zero", "one", "two", "three", "four"])
    np.savez(place / "digits.npz", x=images[..., None].repeat(3, axis=-1), y=names[found.target[rows]])
    generator = np.random.default_rng(0)
    np.savez(
        place / "luck.npz", x=images[..., None].repeat(3, axis=-1), y=names[generator.permutation(found.target[rows])]
    )
    return place, str(place / "digits.npz")


def test_what_was_learnt_comes_first_and_is_read_back(zoo, digits, tmp_path, monkeypatch) -> None:
    store = Store(tmp_path / "cache")
    got = shortlist.rank(digits[1], encoder=f"zoo:{zoo}", out=tmp_path / "rank", store=store)
    assert [Path(one.reference).name for one in got.candidates] == ["glyphs", "noisy", "shuffled"]
    first, last = got.candidates[0], got.candidates[-1]
    assert first.top == pytest.approx(1.0)
    assert first.best > 0.5 > last.best
    assert set(first.scores) == set(shortlist.DEFAULT)
    assert all(entry["z"] > 5 for entry in first.scores.values())
    assert got.sentences[0].startswith("Fine-tune these and compare: local:")
    assert json.loads((tmp_path / "rank" / shortlist.RECORD).read_text()) == got.as_json()
    monkeypatch.setattr(candidates, "examined", None)  # a second call computes nothing
    assert shortlist.rank(digits[1], encoder=f"zoo:{zoo}", out=tmp_path / "rank", store=store) == got


def test_labels_without_meaning_are_said_to_have_none(zoo, digits, tmp_path) -> None:
    got = shortlist.rank(
        digits[0] / "luck.npz",
        encoder=f"local:{zoo}/glyphs, local:{zoo}/noisy",
        out=tmp_path,
        store=Store(tmp_path / "c"),
    )
    assert any(sentence.startswith("Nothing is learnt from the labels") for sentence in got.sentences)
    assert max(abs(entry["z"]) for one in got.candidates for entry in one.scores.values()) < 5


def test_held_out_examples_are_not_looked_at(zoo, digits, tmp_path, monkeypatch) -> None:
    asked = []
    examined = candidates.examined
    monkeypatch.setattr(
        candidates, "examined", lambda name, given, *more: asked.append(given) or examined(name, given, *more)
    )
    shortlist.rank(digits[1], encoder=f"zoo:{zoo}", settings="test=0.5", out=tmp_path, store=Store(tmp_path / "c"))
    assert len(asked[0].table) == 100
    assert len(np.unique(np.concatenate([one.table.rows for one in asked]))) == 100


def test_a_score_that_does_not_apply_says_why_and_a_history_counts(zoo, digits, tmp_path) -> None:
    (tmp_path / "h.json").write_text(json.dumps({"letters": {"noisy": 1.0, "glyphs": 0.0, "shuffled": 0.4}}))
    got = shortlist.rank(
        digits[1],
        encoder=f"zoo:{zoo}",
        score="leep, knn",
        history=tmp_path / "h.json",
        out=tmp_path / "rank",
        store=Store(tmp_path / "c"),
    )
    by_name = {Path(one.reference).name: one for one in got.candidates}
    assert by_name["noisy"].prior > by_name["shuffled"].prior > by_name["glyphs"].prior
    assert by_name["glyphs"].mean_rank > 1  # the history speaks against it
    assert any(name.startswith("leep") for name in by_name["glyphs"].scores)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "at least two candidates, got none"),
        ("builtin:glyphs", "at least two candidates, got builtin:glyphs"),
        ("zoo:/nowhere", "holds no model folders"),
    ],
)
def test_too_few_candidates(written: str, said: str, digits) -> None:
    with pytest.raises(SpecError, match=said):
        shortlist.rank(digits[1], encoder=written)


def test_tags_and_several_labels_are_refused(tmp_path) -> None:
    (tmp_path / "words.conll").write_text("\n\n".join(f"in O\nRome{number} B-LOC" for number in range(8)))
    with pytest.raises(DataError, match="needs labels for classify or regress, got tag"):
        shortlist.rank(tmp_path / "words.conll", encoder="hf:a,hf:b")


def test_ranks_and_agreement_by_hand() -> None:
    assert ranks(np.array([0.1, 0.3, 0.3, np.nan])).tolist() == [3, 1.5, 1.5, 4]
    assert agreement(np.array([[1, 1], [2, 3], [3, 2]])) == pytest.approx(1 / 3)
    assert agreement(np.array([[1, 1, 3], [2, 2, 2], [3, 3, 1]])) == pytest.approx((1 - 1 - 1) / 3)
    assert np.isnan(agreement(np.ones((3, 1))))
