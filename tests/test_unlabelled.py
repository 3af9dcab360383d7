"""Examples without labels, from what a person types to the page: what is read, left out, compared and said."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import standins_text
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

import sterna
from sterna import estimators, folder, intake, opening, report, semi_supervised, targeting
from sterna.contracts import Examples, Given
from sterna.errors import DataError, SpecError
from sterna.intake import Sides
from sterna.maths import spreading
from sterna.plan import Subject, Words, routes
from sterna.records import Columns, Loaded
from sterna.result import Result
from sterna.settings import Settings
from sterna.shallow.label_propagation import LabelPropagation
from sterna.watching import Watch

pytestmark = pytest.mark.usefixtures("few_resamples")

HUES = ("daisy", "rose", "tulip")
STRONG = "cross_entropy + fixmatch(threshold=0.4, ratio=2, strong='flip + noise')"


def photo(place: Path, hue: int, number: int, seed: int = 0) -> None:
    generator = np.random.default_rng([seed, hue, number])
    picture = generator.integers(0, 200, (24, 30, 3)) * 0.7 + generator.integers(0, 60)
    picture[..., hue] += 25
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(place)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled photos of three classes, and others in a folder beside them."""
    place = tmp_path_factory.mktemp("photos")
    for hue, name in enumerate(HUES):
        for number in range(12):
            photo(place / "labelled" / name / f"{number}.png", hue, number)
        for number in range(5):
            photo(place / "more" / f"{hue}{number}.png", hue, number, seed=1)
    return place


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=4)
    save_file(model.state_dict(), str(place / "model.safetensors"))
    cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.9}
    text = {"architecture": "test_resnet", "num_classes": 4, "pretrained_cfg": cfg | {"interpolation": "bilinear"}}
    (place / "config.json").write_text(json.dumps(text))
    return f"local:{place}"


def table(place: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with place.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows([header, *rows])
    return place


def taken(sides: Sides, columns: Columns | None = None) -> tuple[Loaded, list[str]]:
    said: list[str] = []
    return intake.opened(sides, columns or Columns(), Settings(), Watch(said.append))[0], said


def answers(out: Path, name: str) -> dict[str, np.ndarray]:
    (found,) = (one for one in (out / "routes").iterdir() if re.fullmatch(name, one.name))
    with np.load(found / "predictions.npz") as kept:
        return dict(kept)


# Photos, from end to end


@pytest.fixture(scope="module")
def run(photos: Path, encoder: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("run") / "run"
    result = sterna.fit(
        photos / "labelled",
        encoder=encoder,
        loss=STRONG,
        method="label_propagation(neighbours=3)",
        unlabelled=photos / "more",
        schedule="epochs=2, batch=8",
        tune="partial, probe",
        settings="test=0.3, mitigate=false",
        out=out,
    )
    report.write(out)
    return result, out


def test_every_objective_is_run_without_its_unlabelled_part_too(run: tuple[Result, Path]) -> None:
    names = {one.name: one.floor for one in run[0].routes}
    views = 'fixmatch(threshold=0.4, ratio=2, strong="flip + noise")'
    assert names == {
        f"partial / cross_entropy + {views}": False,
        "partial / cross_entropy": False,
        "probe / cross_entropy": False,
        "label_propagation(neighbours=3)": False,
        "label_propagation(neighbours=3, spread=false)": False,
        "scratch": True,
        "hog_colour": True,
    }
    assert run[0].data["unlabelled"] == 15


def test_floors_and_the_routes_to_compare_with_never_see_them(
    run: tuple[Result, Path], photos: Path, encoder: str, tmp_path: Path
) -> None:
    """Bit for bit the same beside other examples without labels; floors as without any."""
    for number in range(9):
        photo(tmp_path / f"others/{number}.png", number % 3, number, seed=2)
    common: dict[str, Any] = {"encoder": encoder, "schedule": "epochs=2, batch=8", "tune": "partial, probe"}
    common["settings"] = "test=0.3, page=false, mitigate=false"
    data = photos / "labelled"
    sterna.fit(data, loss=STRONG, unlabelled=tmp_path / "others", out=tmp_path / "beside", **common)
    sterna.fit(data, out=tmp_path / "without", **common)
    same = {"scratch-0": "scratch-0", "hog_colour-0": "hog_colour-0", "probe-0": "probe-cross_entropy-\\w{6}-0"}
    alone, with_them = "partial-cross_entropy-\\w{6}-0", "partial-cross_entropy-fixmatch.*"
    for key in ("test", "validation"):
        for here, there in same.items():
            assert np.array_equal(answers(tmp_path / "without", here)[key], answers(run[1], there)[key]), here
        for name in (*same.values(), alone):
            assert np.array_equal(answers(tmp_path / "beside", name)[key], answers(run[1], name)[key]), name
    assert not np.array_equal(answers(tmp_path / "beside", with_them)["test"], answers(run[1], with_them)["test"])
    assert not np.array_equal(answers(run[1], alone)["test"], answers(run[1], with_them)["test"])


def test_with_few_labels_a_route_and_the_one_it_is_compared_with_both_end_on_their_last_weights(
    run: tuple[Result, Path],
) -> None:
    for name in ("partial-cross_entropy-fixmatch.*", "partial-cross_entropy-\\w{6}-0"):
        (found,) = (one for one in (run[1] / "routes").iterdir() if re.fullmatch(name, one.name))
        epochs = [one for one in json.loads((found / "history.json").read_text()) if one["phase"] == "top"]
        assert [one["epoch"] for one in epochs] == [1, 2, 1, 2]  # and once more on all labels
        assert not any("accuracy" in one for one in epochs)


def test_the_page_and_the_verdict_say_whether_they_helped(run: tuple[Result, Path]) -> None:
    result, out = run
    page = (out / "report.html").read_text()
    assert result.choosing is not None
    assert "earning from examples without labels" in result.choosing.sentence
    assert result.choosing.sentence in str(result)
    assert "15 more, learnt from where a route says so" in page


def test_the_propagated_model_answers_new_photos_without_running_code(
    photos: Path, encoder: str, tmp_path: Path
) -> None:
    sterna.fit(
        photos / "labelled",
        encoder=encoder,
        method="label_propagation(neighbours=3)",
        unlabelled=photos / "more",
        settings="test=0.3, floors=scratch, mitigate=false",
        schedule="epochs=1",
        out=tmp_path / "run",
    )
    kept = tmp_path / "run/model/model.skops"
    if kept.exists():  # else its floor ships
        assert len(sterna.predict(tmp_path / "run/model", photos / "more").labels) == 15


# What is read, and what is left out


def test_copies_of_labelled_examples_are_left_out(photos: Path, tmp_path: Path) -> None:
    photo(tmp_path / "more/new.png", 0, 99)
    for number in (0, 1):
        copy = (photos / f"labelled/rose/{number}.png").read_bytes()
        (tmp_path / f"more/{number}.png").write_bytes(copy)
    (tmp_path / "more/broken.png").write_bytes(b"no picture")
    found, said = taken(Sides(str(photos / "labelled"), unlabelled=str(tmp_path / "more")))
    assert found.unlabelled is not None
    assert len(found.unlabelled) == 1
    assert not len(found.unlabelled.labels)
    assert found.unlabelled.items.name(int(found.unlabelled.rows[0])).endswith("new.png")
    assert any("1 examples without labels; 1 cannot be read and are left out." in one for one in said)
    assert any("2 examples without labels that are copies of labelled ones are left out." in one for one in said)
    (tmp_path / "more/new.png").unlink()
    (tmp_path / "more/broken.png").unlink()
    with pytest.raises(DataError, match=r"all examples of .* are copies of labelled ones"):
        taken(Sides(str(photos / "labelled"), unlabelled=str(tmp_path / "more")))


def reviews(place: Path) -> Path:
    rows = [(f"a text of number {n} that is {'good' if n % 2 else 'bad'}", "yn"[n % 2], "x") for n in range(20)]
    return table(place, ("body", "kind", "other"), rows)


def test_texts_of_a_table_by_the_column_that_is_named(tmp_path: Path) -> None:
    data = reviews(tmp_path / "data.csv")
    more = table(
        tmp_path / "more.csv", ("other", "body"), [(f"note {n} is long", f"new text {n} here") for n in range(6)]
    )
    found, _ = taken(Sides(str(data), unlabelled=str(more)), Columns(text=("body",), label=("kind",)))
    assert found.unlabelled is not None
    items = found.unlabelled.items
    assert [items.read(int(row), 0) for row in found.unlabelled.rows] == [f"new text {n} here" for n in range(6)]
    bad = table(tmp_path / "bad.csv", ("words", "other"), [("some long text here", "x")])
    with pytest.raises(DataError, match="has no column 'body'"):
        taken(Sides(str(data), unlabelled=str(bad)), Columns(text=("body",), label=("kind",)))


def test_a_folder_of_texts_and_a_file_of_lines(tmp_path: Path) -> None:
    data = reviews(tmp_path / "data.csv")
    (tmp_path / "loose").mkdir()
    for number in range(3):
        (tmp_path / f"loose/{number}.txt").write_text(f"text number {number}")
    (tmp_path / "lines.txt").write_text("one line\nanother line\n")
    for place, count in (("loose", 3), ("lines.txt", 2)):
        found, _ = taken(Sides(str(data), unlabelled=str(tmp_path / place)), Columns(label=("kind",)))
        assert found.unlabelled is not None
        assert len(found.unlabelled) == count


def test_rows_whose_label_is_empty_can_be_learnt_from(tmp_path: Path) -> None:
    made = np.random.default_rng(0)
    rows = [(f"{made.normal():.3f}", n % 3, "ab"[n % 2] if n < 12 else "") for n in range(30)]
    data = table(tmp_path / "data.csv", ("x", "y", "label"), rows)
    found, said = taken(Sides(str(data)))
    assert found.unlabelled is None
    assert any(f"type --unlabelled {data} with --loss" in one for one in said)
    assert intake.spare(found) == f"--unlabelled {data}"
    found, said = taken(Sides(str(data), unlabelled=str(data)))
    assert found.unlabelled is not None
    assert len(found.unlabelled) == 18
    assert any("12 examples without labels that are copies of labelled ones" in one for one in said)


def test_a_folder_of_unlabelled_examples_inside_the_data_is_named(tmp_path: Path) -> None:
    for part, names in (("train", ("neg", "pos", "unsup")), ("test", ("neg", "pos"))):
        for kind in names:
            for number in range(4):
                place = tmp_path / "my films" / part / kind / f"{number}.txt"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(f"{part} {kind} {number}")
    root = str(tmp_path / "my films")
    found, said = taken(Sides(root))
    typed = f"--unlabelled '{root}/train/unsup'"
    assert intake.spare(found) == typed
    assert any(typed in one for one in said)
    found, _ = taken(Sides(root, unlabelled=f"{root}/train/unsup"))
    assert found.unlabelled is not None
    assert len(found.unlabelled) == 4


def test_vectors_and_arrays_of_pictures(tmp_path: Path) -> None:
    made = np.random.default_rng(0)
    vectors, pictures = made.normal(size=(30, 5)).astype(np.float32), made.integers(0, 255, (30, 8, 8), dtype=np.uint8)
    for name, values in (("v", vectors), ("p", pictures)):
        np.savez(tmp_path / f"{name}.npz", X=values[:20], y=np.arange(20) % 2)
        np.savez(tmp_path / f"{name}more.npz", X=values[15:], y=np.array([object()] * 15, dtype=object))
        found, _ = taken(Sides(str(tmp_path / f"{name}.npz"), unlabelled=str(tmp_path / f"{name}more.npz")))
        assert found.unlabelled is not None
        assert len(found.unlabelled) == 10  # and what stands in place of labels, which could run code, is not opened
    np.savez(tmp_path / "short.npz", X=vectors[:, :4])
    with pytest.raises(DataError, match="vectors of one length, got 5 and 4 numbers"):
        taken(Sides(str(tmp_path / "v.npz"), unlabelled=str(tmp_path / "short.npz")))
    with pytest.raises(DataError, match=r"hold examples of shape .* vector data of one shape are wanted"):
        taken(Sides(str(tmp_path / "v.npz"), unlabelled=str(tmp_path / "p.npz")))


def test_pairs_stay_pairs_and_are_not_mixed_with_texts(tmp_path: Path) -> None:
    pairs = [(f"first text {n} is this", f"second text {n} is that", "yn"[n % 2]) for n in range(12)]
    data = table(tmp_path / "data.csv", ("sentence1", "sentence2", "label"), pairs)
    more = table(
        tmp_path / "more.csv", ("sentence1", "sentence2"), [(f"one more {n}", f"other one {n}") for n in range(4)]
    )
    found, _ = taken(Sides(str(data), unlabelled=str(more)))
    assert found.table.items.paired  # type: ignore[attr-defined]
    single = table(tmp_path / "single.csv", ("text", "x"), [(f"a single text {n}", "x") for n in range(4)])
    with pytest.raises(DataError, match="one data set holds texts and the other pairs of texts"):
        taken(Sides(str(data), unlabelled=str(single)))


def test_what_is_not_there_is_no_text(tmp_path: Path) -> None:
    data = reviews(tmp_path / "data.csv")
    with pytest.raises(DataError, match="there is no file or folder"):
        taken(Sides(str(data), unlabelled=str(tmp_path / "not there at all")), Columns(label=("kind",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"nothing to read in .* as text data"):
        taken(Sides(str(data), unlabelled=str(tmp_path / "empty")), Columns(label=("kind",)))


# Which routes there are


def planned(there: bool = True, modality: str = "image", spare: str = "", **words: str) -> list[str]:
    given = {"encoder": "builtin:glyphs", "tune": "partial", "loss": "", "method": ""} | words
    made = Words(**given, augment="none", optimizer="adamw", schedule="")
    return [
        one.name
        for one in routes(made, Settings(), Subject(modality, "classify", False, there, spare))
        if not one.floor
    ]


def test_the_supervised_part_is_there_once() -> None:
    found = planned(loss="cross_entropy + fixmatch, cross_entropy + mcc, cross_entropy, cross_entropy + l2sp + uda")
    assert found == [
        f"partial / {loss}"
        for loss in (
            "cross_entropy + fixmatch",
            "cross_entropy + mcc",
            "cross_entropy",
            "cross_entropy + l2sp + uda",
            "cross_entropy + l2sp",
        )
    ]


def test_a_probe_asks_the_labels_alone() -> None:
    assert planned(tune="probe, partial", loss="cross_entropy + fixmatch") == [
        "probe / cross_entropy",
        "partial / cross_entropy + fixmatch",
        "partial / cross_entropy",
    ]
    with pytest.raises(SpecError, match=r"probe takes no step of descent.*type --tune partial"):
        planned(tune="probe", loss="cross_entropy + fixmatch")


def test_what_is_not_asked_for_is_refused() -> None:
    with pytest.raises(SpecError, match="nothing in this run looks at the examples of --unlabelled"):
        planned()
    with pytest.raises(SpecError, match="nothing in this run looks at the examples of --unlabelled"):
        planned(method="prototypes", tune="")
    with pytest.raises(
        SpecError, match=r"fixmatch looks at examples without labels, got none; give more of these data"
    ):
        planned(False, loss="cross_entropy + fixmatch")
    with pytest.raises(SpecError, match="got none; type --unlabelled d/train/unsup, or give"):
        planned(False, loss="cross_entropy + fixmatch", spare="--unlabelled d/train/unsup")
    with pytest.raises(SpecError, match="label_propagation looks at examples without labels, got none"):
        planned(False, method="label_propagation")
    assert planned(False, method="label_propagation(spread=false)", tune="") == ["label_propagation(spread=false)"]


def test_strong_views_are_checked_before_any_work() -> None:
    with pytest.raises(SpecError, match="rotat"):
        planned(loss="cross_entropy + fixmatch(strong=rotat)")
    with pytest.raises(SpecError, match="an objective has one strong view, got 'flip' and 'noise'"):
        planned(loss="cross_entropy + fixmatch(strong=flip) + uda(strong=noise)")
    with pytest.raises(SpecError, match="vector data have no augmentation"):
        planned(loss="cross_entropy + fixmatch", modality="vector")
    for modality, written in semi_supervised.STRONG.items():
        assert folder.resolve("augment", written), modality


def test_rows_alone_are_told_what_to_do() -> None:
    with pytest.raises(SpecError, match="--unlabelled with --method label_propagation"):
        planned(False, modality="row", encoder="", tune="")


# Rows, vectors, texts and sounds, to the end


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    made = np.random.default_rng(seed)
    kind = np.arange(count) % 2
    angle = made.uniform(0, np.pi, count)
    moons = np.stack([np.cos(angle) + kind, np.sin(angle) * (1 - 2 * kind) + 0.5 * kind], axis=1)
    return (moons + 0.08 * made.standard_normal(moons.shape)).astype(np.float32), kind


def test_rows_of_a_table(tmp_path: Path) -> None:
    (few, kinds), (many, _), (held, truth) = blobs(12, 0), blobs(300, 1), blobs(60, 2)
    rows = [(*map(float, one), "ab"[k], "train") for one, k in zip(few, kinds, strict=True)]
    rows += [(*map(float, one), "ab"[k], "test") for one, k in zip(held, truth, strict=True)]
    data = table(tmp_path / "data.csv", ("x", "y", "label", "split"), rows)
    more = table(tmp_path / "more.csv", ("y", "x"), [(float(y), float(x)) for x, y in many])
    result = sterna.fit(data, method="label_propagation", unlabelled=more, out=tmp_path / "run", settings="refit=0")
    figures = {one.name: one.metrics["accuracy"].value for one in result.routes}
    assert figures["label_propagation"] >= 0.95  # two moons, which no line divides
    assert {name for name, one in figures.items()} == {
        "label_propagation",
        "label_propagation(spread=false)",
        "boosting",
        "linear",
    }
    assert report.write(tmp_path / "run").exists()
    if result.shipped == "label_propagation":
        new = table(tmp_path / "new.csv", ("x", "y"), [(0.0, 1.0), (1.0, -0.5)])
        assert sterna.predict(tmp_path / "run/model", new).labels == ("a", "b")


def test_vectors(tmp_path: Path) -> None:
    (few, kinds), (many, _), (held, truth) = blobs(16, 3), blobs(200, 4), blobs(60, 5)
    split = np.array(["train"] * 16 + ["test"] * 60)
    np.savez(tmp_path / "data.npz", X=np.concatenate([few, held]), y=np.concatenate([kinds, truth]), split=split)
    np.savez(tmp_path / "more.npz", X=many)
    result = sterna.fit(
        tmp_path / "data.npz", method="label_propagation", unlabelled=tmp_path / "more.npz", out=tmp_path / "run"
    )
    assert {one.name for one in result.routes if one.floor} == {"linear"}
    assert result.shipped == "label_propagation"
    found = sterna.predict(tmp_path / "run/model", tmp_path / "data.npz")
    assert np.mean([int(one) for one in found.labels] == np.concatenate([kinds, truth])) >= 0.9


def test_texts(tmp_path: Path) -> None:
    place = standins_text.folder(tmp_path / "bert", "bert")
    settings = transformers.BertConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(settings).save_pretrained(place)
    made = np.random.default_rng(0)

    def text(kind: int) -> str:
        marks = (("delight", "actors"), ("dull", "nobody"))[kind]
        return " ".join(made.permutation(["the", "first", "story", "of", "two", str(made.integers(99)), *marks]))

    data = table(tmp_path / "data.csv", ("body", "kind"), [(text(n % 2), "yn"[n % 2]) for n in range(24)])
    more = table(tmp_path / "more.csv", ("body", "kind"), [(text(n % 2), "") for n in range(30)])
    result = sterna.fit(
        data,
        encoder=f"hf:{place}",
        loss="cross_entropy + mean_teacher(ratio=2)",
        tune="partial",
        columns=Columns(text=("body",), label=("kind",)),
        unlabelled=more,
        schedule="epochs=2",
        settings="floors=classical, test=0.3, mitigate=false",
        out=tmp_path / "run",
    )
    assert len([one for one in result.routes if not one.floor]) == 2
    assert result.data["unlabelled"] == 30


def test_sounds(tmp_path: Path) -> None:
    made = np.random.default_rng(5)

    def tone(place: Path, pitch: float) -> None:
        time = np.arange(1600) / 8000
        place.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.02 * made.standard_normal(len(time))
        soundfile.write(place, samples.astype(np.float32), 8000)

    for number in range(8):
        tone(tmp_path / f"tones/low/{number}.wav", made.uniform(200, 300))
        tone(tmp_path / f"tones/high/{number}.wav", made.uniform(1200, 1500))
        tone(tmp_path / f"more/{number}.wav", made.uniform(200, 1500))
    settings = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16),
        conv_kernel=(10, 3),
        conv_stride=(5, 4),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    place = tmp_path / "listener"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Wav2Vec2Model(settings).save_pretrained(place)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(place)
    result = sterna.fit(
        tmp_path / "tones",
        encoder=f"hf:{place}",
        loss="cross_entropy + uda(ratio=1, threshold=0.3)",
        tune="partial",
        unlabelled=tmp_path / "more",
        schedule="epochs=1",
        settings="floors=classical, test=0.3, page=false",
        out=tmp_path / "run",
    )
    assert result.data["unlabelled"] == 8


# Label propagation by itself


def points(count: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3))


def test_spreading_by_a_dense_inverse() -> None:
    nodes, alpha = points(), 0.9
    near, width = spreading.graph(nodes, 5)
    dense = near.toarray()
    squares = ((nodes[:, None] - nodes) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    chosen = np.argsort(squares, axis=1)[:, :5]
    assert width == pytest.approx(np.sqrt(np.median(np.take_along_axis(squares, chosen, axis=1))))
    wanted = np.zeros((40, 40))
    for place, row in enumerate(chosen):
        wanted[place, row] = np.exp(-squares[place, row] / (2 * width**2))
    wanted = np.maximum(wanted, wanted.T)
    assert np.allclose(dense, wanted)
    labels = np.zeros((40, 2))
    labels[0, 0] = labels[1, 1] = 1
    root = np.diag(1 / np.sqrt(wanted.sum(axis=1)))
    exact = (1 - alpha) * np.linalg.inv(np.eye(40) - alpha * root @ wanted @ root) @ labels
    assert np.allclose(spreading.spread(near, labels, alpha), exact, atol=1e-7)
    assert np.allclose(spreading.spread(near, labels, 0.0), labels)


def test_new_points_are_answered_by_their_nearest_nodes() -> None:
    nodes, shares = points(), np.random.default_rng(1).dirichlet(np.ones(3), 40)
    asked = points(7, 2)
    found = spreading.induced(asked, nodes, shares, 4, 0.8)
    for one, answer in zip(asked, found, strict=True):
        squares = ((nodes - one) ** 2).sum(axis=1)
        near = np.argsort(squares)[:4]
        weights = np.exp(-squares[near] / (2 * 0.8**2))
        assert np.allclose(answer, weights @ shares[near] / weights.sum())
    far = spreading.induced(1e3 * asked, nodes, shares, 4, 0.8)
    assert np.allclose(far.sum(axis=1), 1)


def given(labelled: np.ndarray, labels: np.ndarray, more: np.ndarray | None, classes: int = 2) -> Given:
    ones = np.ones(len(labels), dtype=np.float32)
    empty = Examples(labelled[:0], labels[:0], ones[:0])
    names = tuple("abcd"[:classes])
    return Given(Examples(labelled, labels, ones), empty, names, "classify", 0, unlabelled=more, encoded=False)


def test_labels_reach_what_is_tied_to_them(tmp_path: Path) -> None:
    many, truth = blobs(400, 0)
    labelled = np.array([0, 1, 2, 3])
    learnt = given(many[labelled], truth[labelled], many[4:])
    model = LabelPropagation().fit(learnt)  # type: ignore[call-arg]
    asked, wanted = blobs(200, 1)
    assert (model.predict(asked) == wanted).mean() >= 0.95
    alone = LabelPropagation(spread=False).fit(learnt)  # type: ignore[call-arg]
    assert len(alone.nodes) == 4
    assert (alone.predict(asked) == wanted).mean() < 0.95
    shares = model.predict_proba(asked)
    assert np.allclose(shares.sum(axis=1), 1)
    assert (shares > 0).all()
    estimators.save(model, tmp_path / "model.skops")
    assert np.array_equal(estimators.load(tmp_path / "model.skops").predict_proba(asked), shares)


def test_classes_keep_their_shares_and_an_absent_one_is_rare() -> None:
    many, truth = blobs(200, 0)
    learnt = given(many[:6], truth[:6], many[6:], classes=3)
    shares = LabelPropagation(neighbours=5).fit(learnt).predict_proba(many)  # type: ignore[call-arg]
    assert 0 < shares[:, 2].max() < 0.1
    assert shares[:, :2].mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.1)


def test_validation_examples_choose_how_sure_answers_are_and_a_second_fit_keeps_it() -> None:
    many, truth = blobs(300, 0)
    learnt = given(many[:6], truth[:6], many[6:250])
    held = Examples(many[250:], truth[250:], np.ones(50, dtype=np.float32))
    method = LabelPropagation()  # type: ignore[call-arg]
    model = method.fit(replace(learnt, validation=held))
    asked, wanted = blobs(100, 1)
    plain = method.fit(learnt)
    assert plain.sharpness == 1
    assert model.sharpness > 1
    assert method.settled(model).fit(learnt).sharpness == model.sharpness
    losses = [-np.log(one.predict_proba(asked)[np.arange(100), wanted]).mean() for one in (model, plain)]
    assert losses[0] < losses[1]
    assert np.array_equal(model.predict(asked), plain.predict(asked))


def test_most_unlabelled_examples_are_drawn_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterna.shallow.label_propagation.MOST", 50)
    many, truth = blobs(200, 0)
    model = LabelPropagation().fit(given(many[:6], truth[:6], many[6:]))  # type: ignore[call-arg]
    assert len(model.nodes) == 56
    assert model.notes == ("Of 194 examples without labels 50 were drawn, which a graph can take.",)


def test_an_island_without_labels_is_answered_by_the_shares_of_the_classes() -> None:
    labelled, island = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), 1e3 + points(20)[:, :2]
    model = LabelPropagation(neighbours=2).fit(given(labelled, np.array([0, 1, 0, 1]), island))  # type: ignore[call-arg]
    found = model.predict_proba(island[:3])
    assert np.isfinite(found).all()
    assert np.allclose(found, 0.5, atol=1e-6)


def test_digits_with_four_labels_a_class() -> None:
    """Real data: spreading over their neighbours beats the nearest labelled pixels by far."""
    loaded = opening.open_data("sklearn:digits")
    pixels = np.stack([np.asarray(loaded.table.items.read(row, 0).convert("L"), float).ravel() for row in range(1200)])
    truth = loaded.table.labels[:1200]
    first = np.concatenate([np.flatnonzero(truth[:800] == kind)[:4] for kind in range(10)])
    rest = np.setdiff1d(np.arange(800), first)
    learnt = given(pixels[first], truth[first], pixels[rest], classes=10)
    learnt = replace(learnt, encoded=True, classes=tuple("0123456789"))
    figures = [
        (LabelPropagation(spread=spread).fit(learnt).predict(pixels[800:]) == truth[800:]).mean()  # type: ignore[call-arg]
        for spread in (True, False)
    ]
    assert figures[0] > figures[1] + 0.05
    assert figures[0] > 0.85


def test_plain_items_are_a_data_set_without_labels(photos: Path) -> None:
    items, _ = opening.gather([str(photos / "more")], "image")
    assert not len(targeting.plain(items, "more").table.labels)
