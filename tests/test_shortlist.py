"""Ranking on real digits: an encoder of printed glyphs against copies of it that never learnt or were scrambled."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from sterna import appraisal, opening, ranked, shortlist, sources, splitting, study
from sterna.encoders import builtin
from sterna.errors import DataError, EncoderError, SpecError
from sterna.maths.compressed import compressed
from sterna.maths.orders import agreement, ranks
from sterna.ranked import Candidate, among_first
from sterna.settings import Settings
from sterna.sizes import Sizes
from sterna.store import Store

pytestmark = pytest.mark.usefixtures("few_resamples")

FEW = Sizes(permutations=8, draws=8)


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


def arrays(place: Path, kinds, count: int, first: int = 0, seed: int | None = None, **more) -> str:
    """So many real digits of each kind, as an .npz; with a seed, under labels in random order."""
    found = load_digits()
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    rows = np.concatenate([np.flatnonzero(found.target == one)[first : first + count] for one in kinds])
    images = np.rint(found.images[rows] * (255 / 16)).astype(np.uint8)[..., None].repeat(3, axis=-1)
    labels = names[found.target[rows]]
    if seed is not None:
        labels = np.random.default_rng(seed).permutation(labels)
    np.savez(place, x=images, **{"y": labels, **more})
    return str(place)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Forty real digits of each of five kinds, as arrays."""
    place = tmp_path_factory.mktemp("digits")
    arrays(place / "luck.npz", range(5), 40, seed=0)
    return place, arrays(place / "digits.npz", range(5), 40)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Shared, so that features of the same network and digits are computed once for all tests."""
    return Store(tmp_path_factory.mktemp("cache"))


def test_what_was_learnt_comes_first_and_is_read_back(zoo, digits, store, tmp_path, monkeypatch) -> None:
    got = shortlist.rank(digits[1], encoder=f"zoo:{zoo}", out=tmp_path / "rank", store=store)
    assert [Path(one.reference).name for one in got.candidates] == ["glyphs", "noisy", "shuffled"]
    first, last = got.candidates[0], got.candidates[-1]
    assert first.top == pytest.approx(1.0)
    assert first.best > 0.5 > last.best
    assert sum(one.best for one in got.candidates) == pytest.approx(1.0)
    assert set(first.scores) == set(shortlist.DEFAULT)
    assert all(entry["z"] > 5 for entry in first.scores.values())
    assert got.sentences[0].startswith("Fine-tune these and compare: local:")
    state = load_file(zoo / "glyphs" / "model.safetensors")
    moving = [value for key, value in state.items() if value.is_floating_point() and "running" not in key]
    head = sum(value.numel() for key, value in state.items() if key.startswith(("fc.", "head.", "classifier.")))
    assert first.weights == last.weights == sum(value.numel() for value in moving) - head
    assert any(sentence.startswith("All candidates have the same number of weights") for sentence in got.sentences)
    assert json.loads((tmp_path / "rank" / shortlist.RECORD).read_text()) == got.as_json()
    assert ranked.load(tmp_path / "rank") == got
    assert str(got).splitlines()[1].split()[0] == first.reference
    monkeypatch.setattr(appraisal, "examined", lambda *_: pytest.fail("a second call computes nothing"))
    assert shortlist.rank(digits[1], encoder=f"zoo:{zoo}", out=tmp_path / "rank", store=store) == got


def test_an_interrupted_ranking_goes_on_where_it_was(zoo, digits, store, tmp_path, monkeypatch) -> None:
    examined, seen = appraisal.examined, []

    def interrupted(name, *more):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(Path(name).name)
        return examined(name, *more)

    monkeypatch.setattr(appraisal, "examined", interrupted)
    asking = {"encoder": f"zoo:{zoo}", "out": tmp_path / "rank", "store": store, "sizes": FEW}
    with pytest.raises(KeyboardInterrupt):
        shortlist.rank(digits[1], **asking)
    assert seen == ["glyphs", "noisy"]
    seen.clear()
    got = shortlist.rank(digits[1], **asking)
    assert seen == ["shuffled"]
    seen.clear()
    monkeypatch.setattr(appraisal, "examined", lambda name, *more: seen.append(name) or examined(name, *more))
    alone = shortlist.rank(digits[1], **{**asking, "out": tmp_path / "alone"})
    timeless = [{**dataclasses.asdict(one), "seconds": 0, "scoring": 0} for one in (*got.candidates, *alone.candidates)]
    for one in timeless:
        for entry in one["scores"].values():
            entry["seconds"] = 0
    assert timeless[:3] == timeless[3:]  # the same bits as without the interruption
    seen.clear()
    shortlist.rank(digits[1], **{**asking, "sizes": Sizes(permutations=8, draws=9)})
    assert len(seen) == 3  # another question is asked anew


def test_labels_without_meaning_are_said_to_have_none(zoo, digits, store, tmp_path) -> None:
    both = f"local:{zoo}/glyphs, local:{zoo}/noisy"
    got = shortlist.rank(digits[0] / "luck.npz", encoder=both, score="knn", out=tmp_path, store=store)
    assert any(sentence.startswith("Nothing is learnt from the labels: no score") for sentence in got.sentences)
    zs = [entry["z"] for one in got.candidates for entry in one.scores.values()]
    assert abs(np.mean(zs)) < 1.5
    assert max(map(abs, zs)) < 4


def test_held_out_examples_are_not_looked_at(zoo, tmp_path, monkeypatch) -> None:
    """Reading one of the test part raises; neither the checks nor the cache have read it before."""
    data = arrays(tmp_path / "own.npz", range(5), 20, first=60)
    loaded = opening.open_data(data)
    held = set(splitting.split(loaded, seed=0, test=0.5).test.tolist())
    assert len(held) == 50
    kind = type(loaded.table.items)
    read, seen = kind.read, set()

    def guarded(self, index, hint):
        assert index not in held, "a held-out example was read"
        seen.add(index)
        return read(self, index, hint)

    monkeypatch.setattr(shortlist.intake, "opened", lambda *_: (loaded, None))
    monkeypatch.setattr(kind, "read", guarded)
    got = shortlist.rank(
        data, encoder=f"zoo:{zoo}", settings="test=0.5", sizes=FEW, out=tmp_path / "r", store=Store(tmp_path / "c")
    )
    assert seen == set(range(100)) - held
    assert got.n == 50


def test_a_sample_keeps_every_class_and_is_no_larger_than_asked() -> None:
    numbers = np.repeat([0, 1, 2], [900, 90, 2])
    rows = appraisal.stratified(numbers, 100, 3)
    assert np.bincount(numbers[rows]).tolist() == [91, 9, 2]
    assert np.array_equal(rows, appraisal.stratified(numbers, 100, 3))
    assert not np.array_equal(rows, appraisal.stratified(numbers, 100, 4))
    assert appraisal.stratified(numbers, 992, 0).tolist() == list(range(992))


def test_a_score_that_does_not_apply_says_why_and_a_history_counts(zoo, digits, store, tmp_path) -> None:
    (tmp_path / "h.json").write_text(
        json.dumps({"letters": {"noisy": 1.0, "glyphs": 0.0, "shuffled": 0.4}, "digits": {"glyphs": 9.0, "noisy": 0.0}})
    )
    asking = {"encoder": f"zoo:{zoo}", "store": store, "sizes": FEW}
    got = shortlist.rank(
        digits[1], **asking, score="leep, knn(k=3)", history=tmp_path / "h.json", out=tmp_path / "rank"
    )
    by_name = {Path(one.reference).name: one for one in got.candidates}
    assert by_name["noisy"].prior > by_name["shuffled"].prior > by_name["glyphs"].prior
    assert by_name["glyphs"].mean_rank >= 1.5  # the history speaks against it: a last place among four
    assert {"leep", "knn(k=3)"} < set(by_name["glyphs"].scores)
    assert any("knows 3 of 3 candidates, from up to 1 other data sets" in one for one in got.sentences)
    other = {**asking, "history": f"{tmp_path / 'h.json'}@letters", "out": tmp_path / "named"}
    left = shortlist.rank(digits[1], **other)
    assert any(one.startswith("The history says nothing of these candidates") for one in left.sentences)


def test_scores_for_classes_are_left_out_for_numbers(zoo, digits, tmp_path, store, monkeypatch) -> None:
    loaded = opening.open_data(digits[1])
    order = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4}
    values = np.array([order[loaded.table.classes[label]] for label in loaded.table.labels], dtype=np.float64)
    table = dataclasses.replace(loaded.table, labels=values[:, None], classes=("digit",), task="regress")
    monkeypatch.setattr(shortlist.intake, "opened", lambda *_: (dataclasses.replace(loaded, table=table), None))
    got = shortlist.rank(
        digits[1], encoder=f"zoo:{zoo}", score="parc, leep", sizes=FEW, out=tmp_path / "r", store=store
    )
    assert Path(got.candidates[0].reference).name == "glyphs"
    assert set(got.candidates[0].scores["parc"]) == {"reason"}
    assert any(one.endswith(": parc does not apply, because it serves classify, not regress.") for one in got.sentences)
    with pytest.raises(DataError, match="its labels are for regress; leave --source out"):
        shortlist.rank(digits[1], encoder=f"zoo:{zoo}", source="sklearn:iris", out=tmp_path / "s", store=store)


def test_features_made_by_hand_may_stand_among_the_candidates_and_have_no_classes(digits, zoo, store, tmp_path) -> None:
    got = shortlist.rank(
        digits[1], encoder=f"local:{zoo}/glyphs,classical:hog_colour", score="nce", sizes=FEW, out=tmp_path, store=store
    )
    hand = next(one for one in got.candidates if one.weights == 0)
    assert not hand.pretrained
    assert any("order by number of weights alone" in sentence for sentence in got.sentences)
    assert got.static[-1] == "classical:hog_colour"
    assert hand.scores["nce"]["reason"] == "nce does not apply, because this candidate has no classifier of its own"
    assert f"classical:hog_colour: {hand.scores['nce']['reason']}." in got.sentences
    assert not any("are too high" in one for one in got.sentences)  # 32 examples of each class


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


def test_what_is_typed_wrongly_is_said_before_anything_runs(digits, tmp_path) -> None:
    with pytest.raises(SpecError, match="Did you mean 'logme'"):
        shortlist.rank(digits[1], encoder="a:b,c:d", score="logmee")
    with pytest.raises(SpecError, match="--score takes methods separated by commas"):
        shortlist.rank(digits[1], encoder="a:b,c:d", score="knn + leep")
    with pytest.raises(DataError, match="holds no ranking: it has no rank"):
        ranked.load(tmp_path)


def test_what_a_zoo_holds_besides_is_left_out_and_what_is_named_is_not(zoo, digits, store, tmp_path) -> None:
    more = tmp_path / "more"
    shutil.copytree(zoo, more)
    (more / "broken").mkdir()
    (more / "broken" / "config.json").write_text("{")
    (more / "words").mkdir()
    (more / "words" / "config.json").write_text('{"model_type": "nothing known"}')
    assert [one.partition(":")[0] for one in shortlist.references(f"zoo:{more}")] == ["local"] * 4 + ["hf"]
    got = shortlist.rank(digits[1], encoder=f"zoo:{more}", sizes=FEW, out=tmp_path / "r", store=store)
    assert len(got.candidates) == 3
    assert sum("is left out:" in one for one in got.sentences) == 2
    with pytest.raises(EncoderError, match="is not JSON"):
        shortlist.rank(
            digits[1], encoder=[f"local:{more}/broken", f"local:{zoo}/glyphs"], out=tmp_path / "q", store=store
        )
    for name in ("glyphs", "noisy", "shuffled"):
        shutil.rmtree(more / name)
    with pytest.raises(EncoderError, match="no candidate can be ranked"):
        shortlist.rank(digits[1], encoder=f"zoo:{more}", sizes=FEW, out=tmp_path / "s", store=store)


def test_tags_and_several_labels_are_refused(tmp_path) -> None:
    (tmp_path / "words.conll").write_text("\n\n".join(f"in O\nRome{number} B-LOC" for number in range(8)))
    with pytest.raises(DataError, match="needs labels for classify or regress, got tag"):
        shortlist.rank(tmp_path / "words.conll", encoder="hf:a,hf:b")


def test_brief_fine_tuning_halves_the_shortlist_and_says_what_it_changed(zoo, store, tmp_path) -> None:
    both = [f"local:{zoo}/shuffled", f"local:{zoo}/glyphs"]
    few = arrays(tmp_path / "few.npz", range(4), 25)
    asking = {"encoder": both, "out": tmp_path / "r", "store": store, "sizes": FEW, "confirm": True}
    got = shortlist.rank(few, **asking)
    assert got.picked == both[1]
    assert [one.epochs for one in got.rounds] == [1]
    assert set(got.rounds[0].figures) == set(both)
    assert got.sentences[-1].startswith("Brief fine-tuning (1 epochs of partial, half of the candidates going on) conf")
    assert ranked.load(tmp_path / "r") == got
    assert len(list((tmp_path / "r" / "confirm").glob("*/result.json"))) == 2
    began = study.Study.run
    try:
        study.Study.run = None  # finished runs are read back
        assert shortlist.rank(few, **asking) == got
    finally:
        study.Study.run = began


def test_halving_keeps_the_better_half_and_trains_it_longer() -> None:
    asked = []

    def figure(name: str, epochs: int) -> float:
        asked.append((name, epochs))
        return {"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.7, "e": 0.1}[name] + (0.3 if (name, epochs) == ("c", 4) else 0)

    rounds = shortlist.halved("abcde", figure)
    assert asked == [*((one, 1) for one in "abcde"), *((one, 2) for one in "bcd"), ("b", 4), ("c", 4)]
    assert rounds[-1].figures == {"b": 0.9, "c": 1.0}
    assert [one.epochs for one in shortlist.halved("ab", figure)] == [1]
    assert [one.epochs for one in shortlist.halved("abc", figure)] == [1, 2]


def test_nothing_to_fine_tune_is_said(digits, zoo, store, tmp_path) -> None:
    got = shortlist.rank(
        digits[1],
        encoder=f"local:{zoo}/glyphs,classical:hog_colour",
        sizes=FEW,
        out=tmp_path,
        store=store,
        confirm=True,
    )
    assert got.rounds == ()
    assert got.sentences[-1].startswith("There are fewer than two candidates to fine-tune")


def test_sources_are_ranked_and_shuffled_labels_tell_nothing(zoo, digits, store, tmp_path, monkeypatch) -> None:
    related = arrays(tmp_path / "related.npz", range(5), 40, first=60)
    others = arrays(tmp_path / "others.npz", [5, 6, 7, 8, 9], 40)
    luck = arrays(tmp_path / "luck.npz", range(5), 40, first=60, seed=1)
    asking = {"encoder": f"local:{zoo}/glyphs", "source": f"{luck},{others}, {related}", "out": tmp_path / "r"}
    got = shortlist.rank(digits[1], **asking, store=store, sizes=FEW)
    names = [Path(one.name).stem for one in got.sources]
    assert names == ["related", "others", "luck"]
    by_name = dict(zip(names, got.sources, strict=True))
    assert by_name["related"].cross > 0.9
    assert by_name["related"].shared == by_name["luck"].shared == 5
    assert by_name["luck"].cross < 0.5
    assert by_name["others"].cross is None
    assert by_name["related"].leep_z > 20
    assert by_name["luck"].leep == pytest.approx(-np.log(5), abs=0.2)  # no knowledge: minus the entropy of the labels
    assert by_name["related"].n == 200
    assert any("tells most of the target's labels" in one and "related.npz" in one for one in got.sentences)
    monkeypatch.setattr(sources, "judged", lambda *_: pytest.fail("what was judged is kept"))
    assert shortlist.rank(digits[1], **asking, store=store, sizes=FEW) == got
    assert str(got).count("\n") > 4


def test_sources_of_another_kind_are_refused(zoo, digits, tmp_path) -> None:
    with pytest.raises(DataError, match="holds vector data for classify, and the target image"):
        shortlist.rank(digits[1], encoder=f"local:{zoo}/glyphs", source="sklearn:iris", out=tmp_path)
    with pytest.raises(SpecError, match="at least one candidate, got none"):
        shortlist.rank(digits[1], encoder="", source="sklearn:iris", out=tmp_path)


def test_sources_that_tell_nothing_are_said_to() -> None:
    one = ranked.SourceSet("a", 10, 2, -0.7, 0.5, -0.7, -0.7, 0, None)
    labels = np.array([0, 0, 1, 1])
    assert sources.said([one], "x:y", labels) == ("No source tells anything of the target's labels, as x:y sees them.",)
    told = sources.said([dataclasses.replace(one, name="b", leep_z=9.0), one], "x:y", labels)
    assert "b tells most of the target's labels (LEEP -0.70; -0.69 is no knowledge, 0 is all)" in told[0]
    assert told[1] == "Nothing of them is told by a."


def kept(reference: str, weights: int, **values) -> dict:
    """What is written down of a candidate; each value with two draws of the same."""
    scores = {name: {"value": value, "z": 9.0, "seconds": 0.0} for name, value in values.items()}
    draws = {name: [value, value] for name, value in values.items()}
    facts = {"weights": weights, "width": 2, "pretrained": True, "seconds": 0.0, "scoring": 0.0}
    return {"reference": reference, **facts, "scores": scores, "draws": draws}


def test_order_and_probabilities_by_hand() -> None:
    given = [kept("a", 3, s=1.0, t=5.0), kept("b", 2, s=2.0, t=9.0), kept("c", 9, s=3.0, t=1.0)]
    given[0]["draws"]["s"] = [4.0, 1.0]
    rows = ranked.ordered(given, ("s", "t", "absent"))
    assert [(one.reference, one.mean_rank) for one in rows] == [("b", 1.5), ("c", 2.0), ("a", 2.5)]
    # In the first draw a has ranks 1 and 2, b 3 and 1, c 2 and 3; in the second the scores are those of all examples.
    assert {one.reference: one.best for one in rows} == {"a": 0.5, "b": 0.5, "c": 0.0}
    rows = ranked.ordered(given, ("s", "t"), np.array([0.0, 0.0, 1.0]))
    assert [(one.reference, one.prior) for one in rows] == [("c", 1.0), ("b", 0.0), ("a", 0.0)]
    assert [one.mean_rank for one in rows] == pytest.approx([5 / 3, 5.5 / 3, 7.5 / 3])
    assert ranked.static(rows) == ("c", "a", "b")
    assert ranked.together(rows) == pytest.approx(-1 / 3)
    dull = [kept("a", 1, s=1.0, t=2.0), kept("b", 2, s=1.0, t=2.0)]
    assert ranked.together(ranked.ordered(dull, ("s", "t"))) is None  # no score tells them apart
    assert "tau-b with the order above 0.00" in ranked.said(ranked.ordered(dull, ("s",)), Sizes())[1]
    with pytest.raises(DataError, match="no score of the recommendation applies to every candidate"):
        ranked.ordered([{**given[0], "scores": {"s": {"reason": "it is small"}}}], ("s",))


def line(reference: str, top: float, **more) -> Candidate:
    return Candidate(reference, 1, 1, 0.0, {}, 1.0, 0.0, top, **more)


def test_the_shortlist_has_the_likely_ones_at_least_three_and_at_most_five() -> None:
    rows = [line(name, top) for name, top in zip("abcdefg", (0.9, 0.1, 0.8, 0.0, 0.0, 0.0, 0.0), strict=True)]
    assert ranked.shortlisted(rows, Sizes()) == ("a", "b", "c")
    rows = [line(name, 0.35 + 0.01 * place) for place, name in enumerate("abcdefg")]
    assert ranked.shortlisted(rows, Sizes()) == ("c", "d", "e", "f", "g")
    assert ranked.shortlisted(rows[:2], Sizes()) == ("a", "b")
    assert ranked.shortlisted(rows, Sizes(fewest=1, most=1)) == ("g",)


def test_a_saturated_score_and_too_few_examples_are_said() -> None:
    scores = {"hscore": {"value": 4.0, "z": 0.3, "seconds": 0}, "leep": {"value": -1.0, "z": 7.0, "seconds": 0}}
    told = ranked.said([dataclasses.replace(line("a", 1.0), scores=scores)], Sizes(), smallest=7)
    assert told[0].startswith(
        "Scores that are saturated, or blind, cannot tell the labels from permuted ones (z below 2)"
    )
    assert told[0].endswith("there: hscore for a.")
    several = [
        dataclasses.replace(line(name, 1.0), scores=scores, weights=9 - place) for place, name in enumerate("abcdef")
    ]
    told = ranked.said([dataclasses.replace(one, mean_rank=float(one.weights)) for one in several], Sizes())
    assert told[-1].endswith("there: hscore for 6 candidates.")
    assert told[1].endswith("would be a, b, c, d, e, ... (Kendall tau-b with the order above -1.00).")


def test_a_z_of_rounding_is_zero() -> None:
    assert appraisal.z_of(3.0, np.array([1.0, 2.0, 3.0])) == pytest.approx(1.0)
    assert appraisal.z_of(1.0 + 1e-15, np.ones(20)) == 0.0
    assert appraisal.z_of(2.0, np.ones(20)) == 1000


def test_compressed_features_keep_products_and_give_every_column_one_size() -> None:
    draw = np.random.default_rng(0)
    low = draw.normal(size=(300, 8)) * np.arange(1, 9)
    features = low @ draw.normal(size=(8, 60))
    for rows in (features, np.ascontiguousarray(features[:40])):  # more examples than features, and fewer
        got = compressed(rows, 16)
        assert got.shape == (len(rows), 16)
        np.testing.assert_allclose(got @ got.T, rows @ rows.T, atol=1e-8 * np.abs(rows @ rows.T).max())
        np.testing.assert_allclose((got**2).sum(axis=0), (rows**2).sum() / 16)
    assert compressed(low, 16) is low
    # The largest directions are those that are kept: the best approximation of that rank.
    values = np.linalg.svd(features + 0.1, compute_uv=False)
    assert (compressed(features + 0.1, 4) ** 2).sum() == pytest.approx((values[:4] ** 2).sum())


def test_ranks_and_agreement_by_hand() -> None:
    assert ranks(np.array([0.1, 0.3, 0.3, np.nan])).tolist() == [3, 1.5, 1.5, 4]
    assert agreement(np.array([[1, 1], [2, 3], [3, 2]])) == pytest.approx(1 / 3)
    assert agreement(np.array([[1, 1, 3], [2, 2, 2], [3, 3, 1]])) == pytest.approx((1 - 1 - 1) / 3)
    assert np.isnan(agreement(np.ones((3, 1))))


def test_places_that_are_tied_are_shared() -> None:
    drawn = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 2.0]])
    assert among_first(drawn, 1).tolist() == [0.75, 0.25, 0, 0]
    assert among_first(drawn, 3).tolist() == [1, 1, 0.75, 0.25]
    assert among_first(np.array([[0.1 + 0.2, 0.3]]), 1).tolist() == [0.5, 0.5]


def test_settings_of_the_split_are_those_of_fit() -> None:
    loaded = opening.open_data("sklearn:digits")
    got = appraisal.asked(loaded, Settings(test=0.5), Sizes(examples=300, draws=3), {})
    split = splitting.split(loaded, seed=0, test=0.5)
    assert set(got.table.rows) <= set(np.union1d(split.train, split.validation))
    assert 295 <= len(got.table) <= 305
    assert [len(one) for one in got.draws] == pytest.approx([150] * 3, abs=5)
    assert all(len(np.unique(got.labels[rows])) == 10 for rows in got.draws)
    assert len(got.orders) == 20
