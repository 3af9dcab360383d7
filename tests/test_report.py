"""The page of a run: made from what the run left, with every string as text and nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import html.parser
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.datasets import load_digits
from sklearn.metrics import multilabel_confusion_matrix
from typer.testing import CliRunner

import sterna
from sterna import cli, command, portrait, report
from sterna.errors import DataError
from sterna.gallery import ROOM
from sterna.records import Columns
from sterna.report import answer, curves, material, numbers, reliability, several, tagged, values
from sterna.settings import Settings

pytestmark = pytest.mark.usefixtures("few_resamples")

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on real digits."""
    place = tmp_path_factory.mktemp("runs") / "digits"
    digits = load_digits()
    np.savez(place.parent / "digits.npz", images=digits.images[:500], labels=digits.target[:500])
    settings = "shots=4, floors=classical, mitigate=false"
    sterna.fit(place.parent / "digits.npz", encoder="builtin:glyphs", tune="probe", settings=settings, out=place)
    return place


class Tags(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def loads(page: str) -> list[str]:
    """Addresses that the page would fetch."""
    named = [value or "" for _, found in Tags(page).found for key, value in found.items() if key in ("src", "href")]
    return [one for one in named if not one.startswith(("data:", "#"))]


def test_the_verdict_stands_on_top_and_nothing_is_loaded(run: Path) -> None:
    page = report.write(run).read_text(encoding="utf-8")
    result = json.loads((run / "result.json").read_text())
    assert page.count("<h1") == 1
    first = page[page.index("<h1") :]
    assert first.index("held-out examples") < first.index("Routes compared")
    assert result["verdict"]["route"] in page
    assert loads(page) == []
    assert len(page) < 3_000_000
    assert "default-src 'none'" in html.unescape(page)
    for heading in ("Routes compared", "What is confused with what", "Where the examples lie", "Can its probabilities"):
        assert heading in page, heading


def renamed(value: Any) -> Any:
    """The same with the digit 3 under an evil name."""
    if isinstance(value, dict):
        return {renamed(key): renamed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [renamed(one) for one in value]
    return EVIL if value == "3" else value


def test_a_class_name_that_is_markup_stays_text(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "evil"
    shutil.copytree(run, place)
    for name in ("result.json", "evidence.json"):
        (place / name).write_text(json.dumps(renamed(json.loads((place / name).read_text()))))
    page = report.render(place)
    assert EVIL not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert not any("onerror" in found for _, found in Tags(page).found)
    assert loads(page) == []


def test_a_run_without_evidence_has_a_page_all_the_same(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "old"
    shutil.copytree(run, place)
    (place / "evidence.json").unlink()
    page = report.render(place)
    assert "Routes compared" in page
    assert len(page) < len(report.render(run))


def test_the_command_writes_it_and_refuses_what_is_no_run(run: Path, tmp_path: Path) -> None:
    (run / report.PAGE).unlink(missing_ok=True)
    done = CliRunner().invoke(cli.app, ["report", str(run)])
    assert done.exit_code == 0
    assert (run / report.PAGE).is_file()
    with pytest.raises(DataError, match="holds no finished run"):
        report.render(tmp_path)


def words(page: str) -> str:
    """What a person reads, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs on rows of two domains: numbers to predict, and several labels."""
    place = tmp_path_factory.mktemp("tables")
    generator = np.random.default_rng(0)
    numbers_ = generator.normal(size=(240, 3))
    domains = np.where(np.arange(240) % 2, "here", "there")
    value = 40 * numbers_[:, 0] + 5 * generator.normal(size=240) + 1000
    both = (numbers_[:, :2] + 0.7 * generator.normal(size=(240, 2)) > 0.4).astype(int)
    found = {}
    for name, label, columns in (("regress", ("price",), value[:, None]), ("multilabel", ("red", "round"), both)):
        with (place / f"{name}.csv").open("w", newline="") as text:
            csv.writer(text).writerow(["a", "b", "c", "place", *label])
            csv.writer(text).writerows(
                [*map("{:.3f}".format, row), domain, *labels]
                for row, domain, labels in zip(numbers_, domains, columns.tolist(), strict=True)
            )
        given = Columns(label=label, domain="place", task=name)
        wanted = "domain=here, test=0.4, curve=[0.5]" if name == "regress" else "domain=here, test=0.4"
        sterna.fit(place / f"{name}.csv", columns=given, settings=wanted, out=place / name)
        found[name] = place / name
    return found


def lines(place: Path) -> list[dict[str, str]]:
    with (place / "predictions.csv").open(newline="") as text:
        return list(csv.DictReader(text))


def test_predicted_numbers_are_drawn_against_true_ones(tables: dict[str, Path]) -> None:
    place = tables["regress"]
    read = [(float(one["truth price"]), float(one["prediction price"])) for one in lines(place)]
    errors = np.abs(np.subtract(*np.array(read).T))
    page = report.render(place)
    told = words(page)
    assert "How far predictions are off" in told
    assert f"Half of the predictions of price are within {np.median(errors):.2f} of the truth" in told
    largest = read[int(errors.argmax())]
    assert f"predicted {largest[1]:.5g} , off by {errors.max():.1f} truth {largest[0]:.5g}" in told
    dots = re.findall(r'<path class="points" d="([^"]*)"', page)
    assert [one.count("M") for one in dots] == [len(read), len(read)]
    assert "What is confused with what" not in told
    assert "No label contradicts" not in told


def test_points_lie_on_the_diagonal_where_prediction_and_truth_agree(tables: dict[str, Path]) -> None:
    chart = values._against("price", [(1.0, 1.0), (2.0, 2.0), (5.0, 5.0)])
    diagonal, dots = chart.marks[0], re.findall(r"M([\d.]+) ([\d.]+)h0", chart.marks[1].text)
    x1, y1, x2, y2 = diagonal.numbers
    for x, y in dots:
        assert (float(y) - y1) * (x2 - x1) == pytest.approx((float(x) - x1) * (y2 - y1), abs=60)
    left = values._left_over("price", [(1.0, 3.0), (4.0, 2.0)])  # two too high, two too low
    heights = [float(y) for _, y in re.findall(r"M([\d.]+) ([\d.]+)h0", left.marks[1].text)]
    zero = left.marks[0].numbers[1]
    assert heights[0] - zero == pytest.approx(zero - heights[1], abs=0.2)
    assert heights[0] < zero, "above the line: predicted too high"


def test_several_labels_are_counted_one_by_one(tables: dict[str, Path]) -> None:
    place = tables["multilabel"]
    read = lines(place)
    held = [[[name in one[key].split(" | ") for name in ("red", "round")] for one in read] for key in
            ("truth", "prediction")]  # fmt: skip
    found = several.tallied(material.read(place))
    for name, ((_, false), (missed, both)) in zip(("red", "round"), multilabel_confusion_matrix(*held), strict=True):
        assert dataclasses.astuple(found[name]) == (both, missed, false)
    told = words(report.render(place))
    assert "Label by label" in told
    assert "missed:" in told
    assert "What is confused with what" not in told


@pytest.mark.parametrize("letters", ["BIO", "IO", "BIOES"])
def test_entities_are_those_of_the_reference(letters: str) -> None:
    generator = np.random.default_rng(len(letters))
    kinds = [f"{letter}-{kind}" for letter in letters.replace("O", "") for kind in ("person", "place")]
    for _ in range(400):
        tags = generator.choice([*kinds, "O"], size=generator.integers(0, 9)).tolist()
        wanted = {(first, last + 1, kind) for kind, first, last in get_entities(tags)}
        assert tagged.spans(tags) == wanted, tags


def test_tags_are_read_sentence_by_sentence(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "tags"
    shutil.copytree(run, place)
    (place / "evidence.json").unlink()
    result = json.loads((place / "result.json").read_text())
    (place / "result.json").write_text(json.dumps({**result, "task": "tag"}))
    rows = [("s 1", "Ann", "B-person", "B-person"), ("s 1", "Lee", "I-person", "O"), ("s 1", "ran", "O", "O"),
            ("s 2", "Rome", "B-place", "B-place"), ("s 2", EVIL, "O", "B-place")]  # fmt: skip
    with (place / "predictions.csv").open("w", newline="") as text:
        csv.writer(text).writerow(["item", "place", "word", "truth", "prediction", "probability"])
        places = {"s 1": iter(range(9)), "s 2": iter(range(9))}
        csv.writer(text).writerows((item, next(places[item]), *rest, "0.9") for item, *rest in rows)
    page = report.render(place)
    told = words(page)
    assert "Of 2 entities in the held-out sentences 1 were missed, and 2 were given" in told
    assert "person 1 0 1 1 0.0 % 0.0 % 0.0 %" in told
    assert "place 1 1 0 1 50.0 % 100.0 % 66.7 %" in told
    assert told.index("Lee O I-person") < told.index("Rome B-place")
    assert EVIL not in page


def test_phases_end_with_the_fit_on_all_labels() -> None:
    epochs = [{"phase": "head"}, {"phase": "top"}, {"phase": "top"}, {"phase": "head", "last": True},
              {"phase": "top", "last": True}]  # fmt: skip
    assert curves.phases(epochs) == [("head", 1, 1), ("top", 2, 3), ("refit", 4, 5)]


def test_shares_have_wilsons_interval() -> None:
    assert reliability.wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert reliability.wilson(1.0, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)


def test_numbers_are_written_for_people() -> None:
    assert [numbers.rough(one) for one in (0, 0.21345, 3.14159, 93.98, 1234.5, float("nan"))] == [
        "0", "0.213", "3.14", "94.0", "1,230", "-"]  # fmt: skip
    assert [numbers.compact(one) for one in (0.25, 1e-5, 1200, 2.5e7)] == ["0.25", "1e-5", "1,200", "2.5e7"]
    assert [numbers.seconds(one) for one in (0.03, 0.7, 43, 60, 125, 3600, 4320)] == [
        "0.03 s", "0.7 s", "43 s", "1 min", "2 min 05 s", "1 h", "1 h 12 min"]  # fmt: skip


def test_a_loss_that_is_higher_has_its_interval_the_same_way_round(run: Path) -> None:
    verdict = material.read(run).result.verdict
    worse = dataclasses.replace(verdict, route="a", loss_gain=-0.5, loss_low=-0.75, loss_high=-0.25)
    assert answer.loss(worse) == "The loss of a is 0.500 higher (95 % interval 0.250 to 0.750)."
    better = dataclasses.replace(verdict, route="a", loss_gain=0.5, loss_low=0.25, loss_high=0.75)
    assert answer.loss(better) == "The loss of a is 0.500 lower (95 % interval 0.250 to 0.750)."


def test_fewer_labels_have_a_section_where_they_were_asked_for(run: Path, tables: dict[str, Path]) -> None:
    assert "With fewer labels" not in words(report.render(run))
    told = words(report.render(tables["regress"]))
    result = json.loads((tables["regress"] / "result.json").read_text())
    assert "With fewer labels" in told
    for one in result["curve"]:
        assert f"{one['labels']} {100 * one['share']:.0f} % {one['route']:.3f} {one['floor']:.3f}" in told
    route = next(one for one in result["routes"] if one["name"] == result["verdict"]["route"])
    assert result["curve"][-1]["route"] == pytest.approx(route["metrics"]["r2"]["value"]), "all labels: the run itself"


def test_a_choice_among_source_examples_is_told_beside_the_floors(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "chosen"
    shutil.copytree(run, place)
    result = json.loads((place / "result.json").read_text())
    result["choosing"] = {**result["verdict"], "sentence": f"Choosing helps: {EVIL}."}
    (place / "result.json").write_text(json.dumps(result))
    page = report.render(place)
    assert f"Choosing helps: {EVIL}." in words(page)
    assert EVIL not in page


def test_the_page_says_what_was_not_looked_at(run: Path, tables: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "blind"
    shutil.copytree(run, place)
    evidence = json.loads((place / "evidence.json").read_text())
    for key in ("map", "suspects", "duplicates", "attention", "stages"):
        evidence.pop(key, None)
    evidence["notes"] = [{"about": "places", "sentence": "There is no map today."}]
    (place / "evidence.json").write_text(json.dumps(evidence))
    told = words(report.render(place))
    assert "There is no map today." in told
    assert "No label contradicts" not in told
    assert "No two examples are nearly the same" not in told
    assert "Labels and duplicates" in words(report.render(tables["multilabel"])), "the columns are features too"


def test_the_command_on_the_page_asks_for_the_same_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = html.unescape(report.render(run))
    line = next(one for one in re.findall(r"<code>([^<]*)</code>", told) if one.startswith("sterna fit"))
    asked: list[Any] = []
    monkeypatch.setattr(cli, "_fit", lambda *given: asked.append(given))
    assert CliRunner().invoke(cli.app, shlex.split(line)[1:]).exit_code == 0
    data, given, _, settings, columns = asked[0]
    assert (data, given["source"], columns) == (str(run.parent / "digits.npz"), None, Columns())
    assert settings == Settings(shots=4, floors="classical", mitigate=False)  # type: ignore[call-arg]
    assert (given["encoder"], given["tune"], given["optimizer"]) == ("builtin:glyphs", "probe", "adamw")


def test_every_option_survives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(  # type: ignore[call-arg]
        *(2, None, 0.25, 0.2, 5, "scratch", "va", 0.5, "", "pooled", "snd", 0.0123456, 300, "90s", False),
        *(False, (0.1, 0.3), False),
    )
    columns = Columns(("one", "other"), ("a b", "c"), "film", "hospital", "multilabel")
    given = {"encoder": ["hf:x", "local:y z"], "tune": "probe, full", "method": "", "loss": "cross_entropy(weight=1)",
             "augment": "flip + mixup", "optimizer": "sgd(rate=0.1)", "schedule": "epochs=3", "source": "other.csv",
             "target": "tar get", "labels": "few.csv", "unlabelled": "more", "beside": "else.csv:x",
             "teacher": "runs/big/model"}  # fmt: skip
    line = command.written("it's data.csv", given, columns, settings)
    asked: list[Any] = []
    monkeypatch.setattr(cli, "_fit", lambda *found: asked.append(found))
    done = CliRunner().invoke(cli.app, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    assert asked == [("it's data.csv", {**given, "encoder": "hf:x, local:y z"}, None, settings, columns)]


RANK = {
    "candidates": [
        {
            "reference": EVIL,
            "scores": {"logme": {"value": -0.5, "z": 23.0}},
            "mean_rank": 1.0,
            "best": 0.9,
            "weights": 700000,
        },
        {"reference": "b", "scores": {"logme": {"reason": "no classes"}}, "mean_rank": 2.0, "best": 0.1, "weights": 5},
    ],
    "sentences": ["Fine-tune this."],
    "sources": [],
}
DISTANCE = {
    "left": "amazon", "right": "dslr",
    "metrics": [{"name": "mmd", "scale": "squared", "value": 0.125, "p": 0.004, "times": 7.5, "seconds": 0.2},
                {"name": "otdd", "value": None, "p": None, "times": None, "seconds": 0, "reason": "too many."}],
    "classes": [{"name": "bike", "left": 80, "right": 20, "moved": 0.3, "times": 2.0, "p": 0.5}],
    "sentences": ["They differ."], "notes": [],
}  # fmt: skip


def test_a_ranking_and_distances_are_shown_from_a_folder_beside_the_run(run: Path, tmp_path: Path) -> None:
    for name, found in (("rank", RANK), ("distance", DISTANCE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(json.dumps(found))
    page = report.render(run, [tmp_path / "rank", tmp_path / "distance"])
    told = words(page)
    assert "Ranking and distances" in told
    assert "Ranking and distances" not in words(report.render(run))
    assert f"{EVIL} -0.500 23 1.000 90 % 700,000" in told
    assert EVIL not in page
    assert "mmd 0.125 0.004 7.500 0.2 s squared" in told
    assert "bike 80 20 2.000 0.500 0.300" in told
    assert "otdd is left out: too many." in told
    (run / "distance.json").write_text(json.dumps(DISTANCE))
    try:
        assert "They differ." in words(report.render(run)), "in the folder of the run it needs no option"
    finally:
        (run / "distance.json").unlink()


def test_a_ranking_of_another_shape_becomes_tables(run: Path, tmp_path: Path) -> None:
    (tmp_path / "rank.json").write_text(json.dumps({"verdict": "take b", "order": [{"name": "b", "score": 1.5}]}))
    told = words(report.render(run, [tmp_path]))
    assert "take b" in told
    assert "b 1.500" in told


def test_a_folder_beside_the_run_must_hold_something(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither rank.json nor distance.json; give the --out folder of sterna rank"):
        report.render(run, [tmp_path])
    done = CliRunner().invoke(cli.app, ["report", str(run), "--with", str(tmp_path)])
    assert isinstance(done.exception, DataError)


def test_ten_thousand_examples_with_all_the_pictures_there_can_be_stay_small(run: Path, tmp_path: Path) -> None:
    """Every bound of the evidence reached at once: points, pictures up to the last byte, texts, names, predictions."""
    place = tmp_path / "large"
    shutil.copytree(run, place)
    evidence = json.loads((place / "evidence.json").read_text())
    classes = [f"class number {number:03}" for number in range(200)]
    generator = np.random.default_rng(0)
    picture = "data:image/jpeg;base64," + base64.b64encode(generator.bytes(1050)).decode()
    many = range(portrait.POINTS + 200)
    shown = ROOM // len(picture)
    items = [
        {"name": f"folder/{number:05}-{'n' * 60}.jpg", "label": number % 200, "part": "test", "kind": "image",
         "text": None if number < shown else "word " * 24, "picture": picture if number < shown else None}
        for number in many
    ]  # fmt: skip
    points = generator.normal(size=(portrait.POINTS, 2)).round(4).tolist()
    labels = [number % 200 for number in range(portrait.POINTS)]
    drawn = {"method": "t-SNE", "before": points, "after": points, "items": list(many)[200:], "labels": labels,
             "parts": ["test"] * portrait.POINTS}  # fmt: skip
    wrong = [{"item": number, "truth": 1, "prediction": 2, "probability": 0.9} for number in range(24)]
    matrix = generator.integers(0, 9, (200, 200)).tolist()
    evidence |= {"items": items, "map": drawn, "wrong": wrong, "classes": classes, "confusion": matrix}
    (place / "evidence.json").write_text(json.dumps(evidence))
    with (place / "predictions.csv").open("w", newline="") as text:
        csv.writer(text).writerow(["item", "truth", "prediction", "probability"])
        csv.writer(text).writerows(
            (one, classes[one % 200], classes[one * 7 % 200], f"{generator.random():.6f}") for one in range(10_000)
        )
    page = report.render(place)
    assert page.count(picture) * len(picture) > 0.8 * ROOM
    assert len(page.encode()) < 3_000_000
