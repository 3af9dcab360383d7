"""From the data to answers for new items, once for each kind of data: what is learnt on one holds on the others."""

from __future__ import annotations

import ast
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
import terminal
import torch
import transformers
from conftest import ROOT

import sterna
from sterna import folder, keeping, opening, splitting
from sterna.contracts import Examples, Given
from sterna.records import Columns
from sterna.result import Result
from sterna.settings import Settings

pytestmark = pytest.mark.usefixtures("few_resamples")

GOOD = ("delight", "actors", "scene", "theatre")
BAD = ("dull", "nobody", "awake", "boycott")
FILLER = ("the", "first", "story", "of", "two", "sea", "shells", "by", "French", "capital", "note", "last")
RATE = 8000


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of two layers with random weights, and the tokenizer of a few sentences."""
    return standins_text.small_bert(tmp_path_factory.mktemp("bert"), layers=2, width=64)


def sentence(generator: np.random.Generator, *marks: str) -> str:
    """Filler with these words somewhere in it."""
    words = [*generator.choice(FILLER, size=6), *marks]
    return " ".join(generator.permutation(words).tolist())


def write(place: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with place.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows([header, *rows])
    return place


def lines(place: Path) -> list[dict[str, str]]:
    with place.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def fit(data: Path, out: Path, **given: Any) -> Result:
    common: dict[str, Any] = {"schedule": "epochs=2", "tune": "probe", "settings": "floors=scratch, test=0.3"}
    return sterna.fit(data, out=out, **(common | given))


def figure(result: Result, name: str = "probe") -> float:
    """The primary held-out figure of a route."""
    found = [one.metrics[result.verdict.figure].value for one in result.routes if one.name == name]
    return float(np.mean(found))


def recorded(out: Path) -> dict[str, Any]:
    """`result.json`, which names the same task as its data."""
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    assert found["task"] == found["data"]["task"]
    return found


def shipped_probe(out: Path) -> dict[str, Any]:
    """The result of a run whose network ships rather than its floor, or the test would look at something else."""
    found = recorded(out)
    assert found["shipped"] == "probe", found["verdict"]
    return found


def test_what_ships_has_learnt_from_the_validation_part_too(tmp_path: Path, bert: str) -> None:
    made = np.random.default_rng(1)
    rows = [(sentence(made, *made.choice(words, 1)), label) for label, words in [("good", GOOD), ("bad", BAD)] * 20]
    table = write(tmp_path / "reviews.csv", ("review", "sentiment"), rows)
    settings = "floors=classical, test=0.3, validation=0.3"
    fit(table, tmp_path / "run", encoder=bert, settings=settings)
    loaded = opening.open_data(str(table))
    split = splitting.from_json(json.loads((tmp_path / "run" / "splits" / "seed0.json").read_text()), loaded)
    with np.load(tmp_path / "run" / "routes" / "tfidf-0" / "predictions.npz") as kept:
        answers = {"test": kept["test"], "validation": kept["validation"]}

    def by_hand(learnt: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
        """The answers of each penalty."""
        target, empty = (loaded.table.take(part) for part in (learnt, learnt[:0]))
        examples = [
            Examples([part.items.read(int(row), 0) for row in part.rows], part.labels, np.ones(len(part), np.float32))
            for part in (target, empty)
        ]
        given = Given(examples[0], examples[1], loaded.table.classes, "classify", 0)
        texts = [loaded.table.items.read(int(row), 0) for row in loaded.table.take(asked).rows]
        (method,) = folder.resolve("shallow", "tfidf")
        fits = [replace(method, inverse_penalties=(penalty,)).fit(given) for penalty in method.inverse_penalties]
        return [model.predict_proba(texts) for model in fits]

    def among(found: np.ndarray, candidates: list[np.ndarray]) -> bool:
        return any(np.allclose(found, one, atol=2e-3) for one in candidates)

    both = np.union1d(split.train, split.validation)
    assert among(answers["test"], by_hand(both, split.test))
    assert not among(answers["test"], by_hand(split.train, split.test))
    assert among(answers["validation"], by_hand(split.train, split.validation))
    assert recorded(tmp_path / "run")["data"]["refit"] is True
    fit(table, tmp_path / "never", encoder=bert, settings=f"{settings}, refit=0")
    with np.load(tmp_path / "never" / "routes" / "tfidf-0" / "predictions.npz") as kept:
        assert among(kept["test"], by_hand(split.train, split.test))


# Texts of one class each


@pytest.fixture(scope="module")
def reviews(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted run on a table of texts and classes."""
    place = tmp_path_factory.mktemp("reviews")
    made = np.random.default_rng(0)
    marks = [("good", GOOD), ("bad", BAD)] * 30
    rows = [(sentence(made, *made.choice(words, 3)), label) for label, words in marks]
    fit(write(place / "reviews.csv", ("review", "sentiment"), rows), place / "run", encoder=bert)
    return place / "run"


NEW = ["the first scene was a delight of the actors", "nobody stayed awake , the story was dull"]


def test_texts_are_classified(reviews: Path) -> None:
    found = recorded(reviews)
    assert (found["task"], found["data"]["classes"]) == ("classify", ["bad", "good"])
    by_name = {one["name"]: one for one in found["routes"]}
    assert {name: one["floor"] for name, one in by_name.items()} == {"probe": False, "scratch": True}
    assert by_name["probe"]["metrics"]["accuracy"]["value"] >= 0.85
    assert sterna.predict(reviews / "model", NEW).labels == ("good", "bad")
    held = lines(reviews / "predictions.csv")
    assert list(held[0]) == ["item", "truth", "prediction", "probability", "bad", "good"]
    assert len(held) == found["data"]["sizes"]["test"] == 18
    assert all(float(line["bad"]) + float(line["good"]) == pytest.approx(1, abs=1e-5) for line in held)


def test_a_model_of_texts_opens_without_sterna(reviews: Path) -> None:
    shipped_probe(reviews)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(reviews / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(reviews / "model")
    assert model.config.id2label == {0: "bad", 1: "good"}
    with torch.no_grad():
        logits = model(**tokenizer(NEW, padding=True, return_tensors="pt")).logits
    answered = sterna.predict(reviews / "model", NEW).probabilities
    np.testing.assert_allclose(logits.softmax(dim=-1).numpy(), answered, atol=1e-5)


def test_a_table_of_new_texts_is_predicted_from_the_command_line(reviews: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "new.csv", ("review",), [(text,) for text in NEW])
    words = ("predict", str(reviews / "model"), str(table), "--out", str(tmp_path / "answers.csv"))
    done = terminal.sterna(*words)
    assert done.returncode == 0, done.stderr
    assert [line["prediction"] for line in lines(tmp_path / "answers.csv")] == ["good", "bad"]


def test_words_alone_tell_these_texts_apart(reviews: Path, bert: str, tmp_path: Path) -> None:
    """A floor that wins is what ships, and it predicts like any other model."""
    given: dict[str, Any] = {"tune": "", "method": "zero_shot", "settings": "floors=classical, test=0.3"}
    result = fit(reviews.parent / "reviews.csv", tmp_path / "run", encoder=bert, **given)
    assert {one.name: one.floor for one in result.routes} == {"zero_shot": False, "tfidf": True}
    assert figure(result, "tfidf") >= 0.95
    assert result.shipped == "tfidf"
    assert sterna.predict(tmp_path / "run/model", NEW).labels == ("good", "bad")


# Pairs of texts with a number, texts with several labels


def test_pairs_of_texts_get_a_number(bert: str, tmp_path: Path) -> None:
    made = np.random.default_rng(1)

    def pair() -> tuple[str, str, str]:
        many = made.integers(0, 4, size=2)
        both = [sentence(made, *["delight"] * count, *["dull"] * (3 - count)) for count in many]
        return both[0], both[1], f"{many.sum() + 0.01 * made.standard_normal():.3f}"

    data = write(tmp_path / "pairs.csv", ("sentence1", "sentence2", "score"), [pair() for _ in range(60)])
    result = fit(data, tmp_path / "run", encoder=bert)
    found = shipped_probe(tmp_path / "run")
    assert (found["task"], found["data"]["classes"], found["verdict"]["figure"]) == ("regress", ["score"], "r2")
    assert figure(result) > 0.5
    assert list(lines(tmp_path / "run/predictions.csv")[0]) == ["item", "truth score", "prediction score"]
    good, poor = ("delight by the sea delight delight", "dull by the sea dull dull")
    answers = sterna.predict(tmp_path / "run/model", [f"{good}\t{good}", f"{poor}\t{poor}"]).answers
    assert answers.shape == (2, 1)
    assert answers[0, 0] > 4 > 2 > answers[1, 0]


def test_texts_have_several_labels(bert: str, tmp_path: Path) -> None:
    made = np.random.default_rng(2)
    words = {"praise": "delight", "stage": "theatre", "sleep": "awake"}

    def row() -> tuple[str, str]:
        chosen = [name for name in words if made.random() < 0.5] or ["praise"]
        return sentence(made, *(words[name] for name in chosen for _ in range(2))), "|".join(chosen)

    data = write(tmp_path / "topics.csv", ("text", "topics"), [row() for _ in range(120)])
    result = fit(data, tmp_path / "run", encoder=bert)
    found = shipped_probe(tmp_path / "run")
    assert (found["task"], found["data"]["classes"]) == ("multilabel", ["praise", "sleep", "stage"])
    assert figure(result) > 0.8
    assert list(lines(tmp_path / "run/predictions.csv")[0])[:3] == ["item", "truth", "prediction"]
    new = [sentence(made, words[name], words[name]) for name in ("praise", "sleep", "stage")]
    answers = sterna.predict(tmp_path / "run/model", new).answers
    assert answers.argmax(axis=1).tolist() == [0, 1, 2]


# Words with a tag each


def test_words_are_tagged(bert: str, tmp_path: Path) -> None:
    made = np.random.default_rng(3)
    tags = {"actors": "B-PER", "theatre": "B-LOC"}
    sentences = [sentence(made, *made.choice(list(tags), 2)).split() for _ in range(40)]
    written = ["\n".join(f"{word} {tags.get(word, 'O')}" for word in words) for words in sentences]
    data = tmp_path / "words.conll"
    data.write_text("\n\n".join(written) + "\n")
    result = fit(data, tmp_path / "run", encoder=bert)
    found = shipped_probe(tmp_path / "run")
    assert (found["task"], found["data"]["classes"]) == ("tag", ["O", "B-LOC", "B-PER"])
    assert figure(result) > 0.8
    held = lines(tmp_path / "run/predictions.csv")
    assert list(held[0]) == ["item", "place", "word", "truth", "prediction", "probability"]
    answers = sterna.predict(tmp_path / "run/model", "the actors by the sea theatre")
    assert answers.labels == ("O", "B-PER", "O", "O", "O", "B-LOC")
    model = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "run/model")
    assert model.config.id2label == {0: "O", 1: "B-LOC", 2: "B-PER"}


# Rows of a table, of two hospitals


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table in which illness follows from age and pain, alike in both hospitals."""
    made = np.random.default_rng(4)
    rows = []
    for number in range(130):
        age, pain = made.normal(55, 9), made.choice(["none", "typical"])
        ill = (age - 55) / 9 + 2 * (pain == "typical") - 1 + 0.2 * made.standard_normal() > 0
        rows.append(("north" if number < 80 else "south", f"{age:.1f}", pain, "ill" if ill else "well"))
    place = tmp_path_factory.mktemp("patients")
    return write(place / "patients.csv", ("hospital", "age", "pain", "disease"), rows)


def test_a_hospital_learns_from_another(patients: Path, tmp_path: Path) -> None:
    settings = Settings(domain="south", test=0.4)  # type: ignore[call-arg]
    columns = Columns(label=("disease",), domain="hospital")
    sterna.fit(patients, columns=columns, settings=settings, out=tmp_path / "run")
    found = recorded(tmp_path / "run")
    assert (found["task"], found["data"]["classes"], found["data"]["n"]) == ("classify", ["ill", "well"], 50)
    by_name = {one["name"]: one for one in found["routes"]}
    assert {name: one["floor"] for name, one in by_name.items()} == {
        "boosting with the source": False,
        "linear with the source": False,
        "boosting": True,
        "linear": True,
    }
    assert by_name["linear with the source"]["metrics"]["accuracy"]["value"] >= 0.8
    held = lines(tmp_path / "run/predictions.csv")
    assert list(held[0]) == ["item", "truth", "prediction", "probability", "ill", "well"]
    # A new row needs neither the hospital nor the order of the columns.
    new = write(tmp_path / "new.csv", ("pain", "age"), [("typical", 75), ("none", 35)])
    assert sterna.predict(tmp_path / "run/model", new).labels == ("ill", "well")


def test_the_same_hospital_from_the_command_line(patients: Path, tmp_path: Path) -> None:
    words = ("fit", str(patients), "--label", "disease", "--domain", "hospital", "--target-domain", "south")
    more = ("--test", "0.4", "--out", str(tmp_path / "run"))
    done = terminal.sterna(*words, *more)
    assert done.returncode == 0, done.stderr
    assert "50 examples of the domain south, 80 of all others." in done.stdout
    assert recorded(tmp_path / "run")["verdict"]["sentence"] in done.stdout


# Recordings


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A wav2vec 2.0 of two layers with random weights."""
    place = tmp_path_factory.mktemp("listener")
    settings = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 3, 2),
        conv_stride=(5, 4, 4),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Wav2Vec2Model(settings).save_pretrained(place)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(place)
    return f"hf:{place}"


def tone(place: Path, pitch: float, seconds: float, made: np.random.Generator) -> Path:
    """A tone of this pitch in noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * pitch * time + made.uniform(0, 6)) + 0.02 * made.standard_normal(len(time))
    place.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(place, samples.astype(np.float32), RATE)
    return place


def test_recordings_are_classified(listener: str, tmp_path: Path) -> None:
    made = np.random.default_rng(5)
    for number in range(24):
        tone(tmp_path / f"tones/low/{number}.wav", made.uniform(200, 300), made.uniform(0.2, 0.4), made)
        tone(tmp_path / f"tones/high/{number}.wav", made.uniform(1200, 1500), made.uniform(0.2, 0.4), made)
    result = fit(tmp_path / "tones", tmp_path / "run", encoder=listener, settings="floors=all, test=0.3")
    found = recorded(tmp_path / "run")
    assert (found["task"], found["data"]["classes"]) == ("classify", ["high", "low"])
    assert {one.name for one in result.routes} == {"probe", "scratch", "log_mel"}
    assert figure(result, "log_mel") >= 0.9
    assert figure(result) >= 0.85
    assert list(lines(tmp_path / "run/predictions.csv")[0])[:4] == ["item", "truth", "prediction", "probability"]
    new = [tone(tmp_path / f"new/{name}.wav", pitch, 0.3, made) for name, pitch in (("a", 1300), ("b", 250))]
    assert sterna.predict(tmp_path / "run/model", new).labels == ("high", "low")


# What the checks may say is on one page


def test_every_finding_is_on_the_page() -> None:
    source = ROOT / "src" / "sterna"
    calls = [
        call.args[0]
        for file in source.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding"
    ]
    written = {str(one.value) for one in calls if isinstance(one, ast.Constant)}
    # Of kinds that the code puts together, which stand in a loop or an argument beside it.
    assert {ast.unparse(one) for one in calls if not isinstance(one, ast.Constant)} == {"kind"}
    written |= {"duplicate", "near duplicate", "hidden files", "loose images", "constant column", "identifying column"}
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").partition("## Everything the checks may say")[2]
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {kind for cell in cells for kind in re.findall("`(.*?)`", cell)}
    assert listed == written


def test_a_source_that_calls_the_ill_well_is_left_out(patients: Path, tmp_path: Path) -> None:
    """The gate: a hospital alike is learnt from, and the same one with its labels turned around is not."""
    weights = {}
    for name, swap in (("alike", {}), ("turned", {"ill": "well", "well": "ill"})):
        rows = [
            [
                row["hospital"],
                row["age"],
                row["pain"],
                swap.get(row["disease"], row["disease"]) if north else row["disease"],
            ]
            for row in lines(patients)
            for north in [row["hospital"] == "north"]
        ]
        table = write(tmp_path / f"{name}.csv", ("hospital", "age", "pain", "disease"), rows)
        settings = Settings(domain="south", test=0.4, page=False, mitigate=False)  # type: ignore[call-arg]
        columns = Columns(label=("disease",), domain="hospital")
        result = sterna.fit(table, columns=columns, out=tmp_path / name, settings=settings)
        (said,) = [one for one in result.warnings if one.startswith("seed 0: ")]
        found = {}
        for route in ("linear with the source", "linear"):
            with np.load(keeping.folder(tmp_path / name, route, 0) / "predictions.npz") as kept:
                found[route] = kept["test"]
        weights[name] = not np.allclose(*found.values())
    assert weights == {"alike": True, "turned": False}, said
