"""The printed table and the saved record say the same."""

import json

import pytest

from sterna import result
from sterna.errors import DataError
from sterna.records import Outcome, Score, Verdict
from sterna.result import Result
from sterna.score import METRICS


def outcome(name, seed, accuracy, floor=False):
    metrics = {metric: Score(accuracy, accuracy - 0.1, accuracy + 0.1) for metric in METRICS}
    validation = {"accuracy": accuracy, "log_loss": 1.0}
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


def test_a_saved_result_reads_back(made):
    made.save()
    again = result.load(result.Path(made.folder))
    assert again == made
    assert json.loads((result.Path(made.folder) / "result.json").read_text())["verdict"]["answer"] == "helps"


def test_a_folder_without_a_result_is_said(tmp_path):
    with pytest.raises(DataError, match=r"holds no finished run: it has no result\.json; run sterna fit"):
        result.load(tmp_path)
