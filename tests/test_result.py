"""The printed table and the saved record say the same."""

import json
import re
from dataclasses import replace

import pytest

from sterna import folder, result
from sterna.errors import DataError
from sterna.outcomes import Outcome, Score, Verdict
from sterna.result import Result

METRICS = ("accuracy", "macro_f1", "log_loss", "calibration_error")


def outcome(name, seed, accuracy, floor=False):
    metrics = {metric: Score(accuracy, accuracy - 0.1, accuracy + 0.1) for metric in METRICS}
    validation = {"accuracy": accuracy, "loss": 1.0}
    return Outcome(name, "builtin:glyphs", name, "cross_entropy", seed, 50, 2.0 + seed, metrics, validation, floor)


@pytest.fixture
def made(tmp_path):
    routes = (
        outcome("probe", 0, 0.8),
        outcome("scratch", 0, 0.5, floor=True),
        outcome("probe", 1, 0.9),
        outcome("scratch", 1, 0.4, floor=True),
    )
    verdict = Verdict("helps", "probe", "scratch", 0.4, 0.3, 0.5, 50, None, 0.001, "Transfer helps.")
    other = Verdict("undecided", "probe", "other", 0.01, -0.02, 0.04, 50, 900, 0.6, "Cannot tell.")
    return Result(routes, "probe", verdict, (other,), {"n": 100}, {"torch": "2"}, ("a warning",), str(tmp_path / "run"))


def test_the_table_gives_means_over_seeds_and_ends_with_the_verdict(made):
    lines = str(made).splitlines()
    assert lines[1].split()[:3] == ["probe", "85.0", "%"]
    assert lines[1].endswith("ships")
    assert lines[2].split()[:3] == ["scratch", "45.0", "%"]
    assert lines[2].endswith("floor")
    assert "75.0 to 95.0" in lines[1]
    assert lines[-2] == "Beside it, against other: +1.0 points (95 % interval -2.0 to 4.0)."
    assert lines[-1] == "Transfer helps."


def test_the_spread_over_seeds_is_told_where_there_are_several(made):
    lines = str(made).splitlines()
    head = ["route", "accuracy", "95 % interval", "sd of 2 seeds", "macro F1", "log loss", "calibration", "seconds"]
    assert re.split(r"\s{2,}", lines[0]) == head
    assert lines[1].split()[6] == "7.1"  # of 80 and 90 %, by n - 1
    alone = str(replace(made, routes=made.routes[:2])).splitlines()
    assert "sd of" not in alone[0]


@pytest.mark.parametrize(
    ("task", "figure", "head"),
    [
        ("multilabel", "example_f1", ["example F1", "macro F1", "average precision", "log loss"]),
        ("regress", "r2", ["R2", "RMSE", "MAE", "Spearman"]),
        ("tag", "entity_f1", ["entity F1", "entity precision", "entity recall", "token accuracy", "log loss"]),
        ("tag", "token_accuracy", ["token accuracy", "log loss"]),
    ],
)
def test_each_task_has_its_own_columns(made, task, figure, head):
    names = folder.load("tasks", task).metrics
    names = names[3:] if figure == "token_accuracy" else names
    figures = {name: Score(1234.56 if name == "rmse" else 0.5, 0.4, 0.6) for name in names}
    routes = tuple(replace(one, metrics=figures) for one in made.routes[:2])
    shown = replace(made, routes=routes, task=task, verdict=replace(made.verdict, figure=figure))
    lines = str(shown).splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["route", head[0], "95 % interval", *head[1:], "seconds"]
    assert re.split(r"\s{2,}", lines[1])[:3] == ["probe", "50.0 %", "40.0 to 60.0"]
    assert ("1235" in lines[1]) == (task == "regress")
    shown.save()
    assert result.load(result.Path(shown.folder)) == shown


def test_a_figure_that_one_seed_leaves_undefined_is_left_out(made):
    first, *rest = made.routes
    less = {name: score for name, score in first.metrics.items() if name != "macro_f1"}
    changed = replace(made, routes=(replace(first, metrics=less), *rest))
    (probe, scratch) = result.summaries(changed.routes)
    assert "macro_f1" not in probe.metrics
    assert "macro_f1" in scratch.metrics
    assert "macro F1" not in str(changed)


def test_a_saved_result_reads_back(made):
    made.save()
    again = result.load(result.Path(made.folder))
    assert again == made
    assert json.loads((result.Path(made.folder) / "result.json").read_text())["verdict"]["answer"] == "helps"


def test_a_folder_without_a_result_is_said(tmp_path):
    with pytest.raises(DataError, match=r"holds no finished run: it has no result\.json; run sterna fit"):
        result.load(tmp_path)
