"""How much of its source a route learns from: which examples, and at what weight."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import sterna
from sterna import opening, plan, result, weighing
from sterna.errors import SpecError, TrainingError
from sterna.plan import Subject, Words
from sterna.settings import Settings
from sterna.store import Store
from sterna.valuing import Selection
from sterna.weighing import Wanted

pytestmark = pytest.mark.usefixtures("few_resamples")

WRONG = 0.5  # share of the source's labels


def rows(count: int, seed: int, wrong: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes apart along three of six columns; and which labels were turned."""
    made = np.random.default_rng(seed)
    labels = made.integers(0, 2, count)
    values = made.normal(size=(count, 6)) + 1.1 * np.outer(2 * labels - 1, [1, 1, 1, 0, 0, 0])
    turned = made.random(count) < wrong
    return values, np.where(turned, 1 - labels, labels), turned


def table(place: Path, values: np.ndarray, labels: np.ndarray) -> Path:
    with place.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow([*"abcdef", "ill"])
        writer.writerows(
            [*(f"{one:.5f}" for one in row), "yes" if label else "no"]
            for row, label in zip(values, labels, strict=True)
        )
    return place


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """A target, a source half of whose labels are wrong, and which those are."""
    place = tmp_path_factory.mktemp("domains")
    values, labels, turned = rows(300, 1, WRONG)
    target = rows(300, 0)
    return table(place / "target.csv", *target[:2]), table(place / "source.csv", values, labels), turned


def test_the_best_half_is_weighed_and_the_rest_left_out(domains, tmp_path):
    target, source = (opening.open_data(str(place)).table for place in domains[:2])
    seen = (None, Store(tmp_path))
    half = weighing.weighed(target, source, seen, 0, Wanted(0.7, Selection(0.5)))
    assert sorted(set(half.weights.tolist())) == [0.0, pytest.approx(0.7)]
    assert (half.weights > 0).sum() == pytest.approx(len(source) / 2, abs=1)
    assert domains[2][half.weights > 0].mean() < 0.25 < WRONG < 0.75 < domains[2][half.weights == 0].mean()
    assert "the best 50 % of each class by gradient" in half.told[0]
    # The gate lets in what it kept out while half of it was wrong.
    gated = weighing.weighed(target.take(np.arange(30)), source, seen, 0, Wanted())
    chosen = weighing.weighed(target.take(np.arange(30)), source, seen, 0, Wanted(None, Selection(0.5)))
    assert gated.weights.max() == 0.0
    assert chosen.told[-1].startswith("The source")
    assert weighing.weighed(target, source, seen, 0, Wanted(0.25)).weights.tolist() == [0.25] * len(source)


def test_weights_that_speak_of_few_examples_leave_the_route_out(domains, tmp_path):
    target = opening.open_data(str(domains[0])).table
    values, labels, _ = rows(60, 3)
    far = opening.open_data(
        str(table(tmp_path / "far.csv", values + np.outer(np.arange(60) % 12 > 0, 6 * np.ones(6)), labels))
    )
    with pytest.raises(TrainingError, match="30 effective source examples"):
        weighing.weighed(target, far.table, (None, Store(tmp_path)), 0, Wanted(1.0, Selection(0.5, "importance")))


def test_a_run_says_if_choosing_helped(domains, tmp_path):
    target, source, _ = domains
    chosen = {"shots": 15, "source_weight": 1.0, "source_select": "best:0.5", "seeds": 2}
    settings = Settings(**chosen, mitigate=False, page=False, refit=0)
    places = {"source": str(source), "out": tmp_path / "run", "store": Store(tmp_path)}
    found = sterna.fit(str(target), settings=settings, **places)
    whole, best = "linear with the source", "linear with the source from best:0.5:gradient"
    accuracy = {one.name: one.metrics["accuracy"].value for one in found.routes if one.seed == 0}
    assert accuracy[best] > accuracy[whole] + 0.05
    choosing = found.choosing
    assert choosing is not None
    pair = {choosing.route, choosing.floor}
    assert pair in ({best, whole}, {name.replace("linear", "boosting") for name in (best, whole)})
    assert choosing.route.endswith("best:0.5:gradient")
    assert choosing.answer == "helps"
    assert choosing.sentence.startswith("Choosing among the source's examples helps: ")
    assert not choosing.sentence.endswith("ships.")
    assert choosing.sentence in str(found)
    assert result.load(tmp_path / "run").choosing == choosing


@pytest.mark.parametrize(
    ("select", "subject", "weight", "sentence"),
    [
        ("best:0.5", Subject("row", "classify"), None, "give --source, or leave it out"),
        ("best:0.5", Subject("row", "classify", True), 0.0, "give --source, or leave it out"),
        ("best:0.5", Subject("row", "regress", True), None, "type best:0.5:similarity"),
        ("best:0.5:similarity", Subject("words", "tag", True), None, "values whole items"),
        ("worst:0.5", Subject("row", "classify", True), None, "must be best:SHARE or best:SHARE:METHOD"),
    ],
)
def test_what_cannot_be_chosen_is_said(select, subject, weight, sentence):
    words = Words(
        "hf:some" if subject.modality != "row" else "",
        "probe" if subject.modality != "row" else "",
        "",
        "none",
        "adamw",
        "",
    )
    with pytest.raises(SpecError, match=sentence):
        plan.routes(words, Settings(source_select=select, source_weight=weight), subject)


def test_a_losing_source_is_tried_by_its_better_half_too():
    subject = Subject("row", "classify", True)
    routes = plan.routes(Words("", "", "", "none", "adamw", ""), Settings(), subject)
    losing = next(one for one in routes if not one.floor)
    assert [one.name for one in plan.mitigations(routes, losing, subject)] == [f"{losing.name} from best:0.5:gradient"]
    asked = plan.routes(Words("", "", "", "none", "adamw", ""), Settings(source_select="best:0.5"), subject)
    assert plan.mitigations(asked, losing, subject) == ()
    assert plan.mitigations(routes, losing, Subject("row", "regress", True)) == ()


def test_a_column_that_only_one_side_varies_in_is_no_obstacle(domains, tmp_path):
    values, labels, _ = rows(120, 5)
    flat = np.where(np.arange(6) == 4, 1.0, values)
    target = opening.open_data(str(table(tmp_path / "target.csv", *rows(60, 6)[:2]))).table
    source = opening.open_data(str(table(tmp_path / "source.csv", flat, labels))).table
    assert [len(one.items.columns) for one in (target, source)] == [6, 5]
    found = weighing.weighed(target, source, (None, Store(tmp_path)), 0, Wanted())
    assert len(found.weights) == 120
    assert found.weights.max() > 0
    swapped = weighing.weighed(source, target, (None, Store(tmp_path)), 0, Wanted())
    assert len(swapped.weights) == 60
