"""What earlier results say of candidates on a new data set."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from sterna import prior
from sterna.errors import DataError
from sterna.maths.orders import ranks

HISTORY = {"a": {"x": 0.9, "y": 0.7}, "b": {"hf:org/x": 0.5, "y": 0.3, "z": 0.4}, "target": {"x": 0.0, "y": 1.0}}


@pytest.fixture(scope="session")
def history_file() -> Path:
    """Published figures and scores of fine-tuned networks, as recorded by several projects."""
    root = Path(__file__).resolve().parents[1]
    default = root.parent / "shared" / "docs" / "transferability_data.json"
    place = Path(os.environ.get("STERNA_HISTORY", default))
    if not place.is_file():
        pytest.skip(f"no recorded history at {place}; set STERNA_HISTORY to the file")
    return place


def test_the_prior_is_the_shrunken_mean_of_standardised_figures() -> None:
    got = prior.prior(HISTORY, ["local:/zoo/x", "y", "new"], leave_out="Target")
    spread = np.std([0.5, 0.3, 0.4])
    assert got == pytest.approx([(1 + 0.1 / spread) / 4, (-1 - 0.1 / spread) / 4, 0])
    # With its own results the target would speak against x.
    assert prior.prior(HISTORY, ["x"])[0] < got[0]
    assert prior.known(HISTORY, ["x", "z", "new"], ["", "target"]).tolist() == [2, 1, 0]


def test_the_scale_of_a_data_set_does_not_matter_and_the_only_candidate_of_one_tells_nothing() -> None:
    scaled = {"a": {name: 100 * value + 7 for name, value in HISTORY["a"].items()}, "b": HISTORY["b"]}
    other = {"a": HISTORY["a"], "b": HISTORY["b"], "alone": {"x": 5.0}, "equal": {"z": 1.0, "w": 1.0}}
    names = ["x", "y"]
    np.testing.assert_allclose(prior.prior(scaled, names), prior.prior(HISTORY, names, "target"))
    np.testing.assert_allclose(prior.prior(other, names), prior.prior(HISTORY, names, "target"))


def test_a_whole_name_goes_before_its_last_part() -> None:
    history = {"a": {"local:/one/x": 1.0, "local:/two/x": 0.0, "Y 1.0": 0.5}}
    got = prior.prior(history, ["local:/one/x", "local:/two/x", "timm:y_1.0"])
    assert got == pytest.approx([np.sqrt(1.5) / 3, -np.sqrt(1.5) / 3, 0])
    assert prior.known(history, ["hf:org/y10", "other"]).tolist() == [1, 0]


def test_a_table_and_a_document_say_the_same(tmp_path) -> None:
    (tmp_path / "h.json").write_text(json.dumps(HISTORY))
    entries = [(name, data, figure) for data, row in HISTORY.items() for name, figure in row.items()]
    lines = [f"{name},{data},{figure}" for name, data, figure in entries]
    (tmp_path / "h.csv").write_text("candidate,data,figure\n" + "\n".join(lines))
    (tmp_path / "h.tsv").write_text("Model\tDataset\tAccuracy\n" + "\n".join(lines).replace(",", "\t"))
    records = [{"encoder": name, "data set": data, "figure": figure} for name, data, figure in entries]
    (tmp_path / "records.json").write_text(json.dumps(records))
    for name in ("h.json", "h.csv", "h.tsv", "records.json"):
        assert prior.read(tmp_path / name) == HISTORY


def test_tables_by_name_are_kept_apart_and_a_record_gives_its_figure(tmp_path) -> None:
    document = {
        "first": {"cars": {"x": 1.0, "y": 2.0}},
        "second": {"Cars": {"x": {"Finetuned Acc": 9.0, "LogME": 3.0}, "Tau": {"Finetuned Acc": None, "LogME": 0.5}}},
        "third": [{"Model": "x", "Dataset": "cars", "LogME": 0.2}, {"Model": "x", "Dataset": "dogs", "acc": "7.5"}],
        "sources": {"first": "a paper"},
    }
    (tmp_path / "h.json").write_text(json.dumps(document))
    got = prior.read(tmp_path / "h.json")
    assert got == {"first/cars": {"x": 1.0, "y": 2.0}, "second/Cars": {"x": 9.0}, "third/dogs": {"x": 7.5}}
    assert prior.known(got, ["x"]).tolist() == [1]  # a data set with one candidate tells nothing
    assert prior.known(got, ["x"], "cars").tolist() == [0]


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "{", '{"a": {"x": "good"}}', '{"a": 3}', "{}", "[]", '[{"model": "x", "acc": 1}]', '{"a": {"x": NaN}}'],
)
def test_what_is_no_history_is_refused(tmp_path, text) -> None:
    (tmp_path / "h.json").write_text(text)
    with pytest.raises(DataError, match="is no history; write JSON as"):
        prior.read(tmp_path / "h.json")


@pytest.mark.parametrize("text", ["", "a,b\n1,2", "candidate,data,figure\nx,cars,good"])
def test_what_is_no_table_of_results_is_refused(tmp_path, text) -> None:
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(DataError, match="a CSV with the columns candidate, data, figure"):
        prior.read(tmp_path / "h.csv")


def test_what_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        prior.read(tmp_path / "absent.json")


def test_with_the_recorded_history_the_pick_loses_little(history_file, tmp_path) -> None:
    """Eight image sets, ten networks, recorded LogME: the mean rank of it and of the prior from the other seven sets.

    A pick by LogME, or by the prior, alone is judged beside it; a network taken at random loses 2.3 points.
    """
    recorded = json.loads(history_file.read_text("utf-8"))["tllib_readme_scores"]
    (tmp_path / "history.json").write_text(json.dumps(recorded))
    history = prior.read(tmp_path / "history.json")
    assert len(history) == 8
    lost = {"both": [], "random": []}
    for data, figures in history.items():
        names = list(figures)
        assert len(names) == 10
        truth = np.array(list(figures.values()))
        logme = np.array([recorded[data][name]["LogME"] for name in names])
        expected = ranks(prior.prior(history, names, leave_out=data)) + ranks(logme)
        lost["both"].append(truth.max() - truth[expected.argmin()])
        lost["random"].append(truth.max() - truth.mean())
    assert np.mean(lost["both"]) <= 1.5
    assert np.mean(lost["both"]) < np.mean(lost["random"]) / 3


def test_the_whole_record_is_read(history_file) -> None:
    history = prior.read(history_file)
    assert history["sfda_group1_cnn_finetune_acc/aircraft"]["resnet34"] == 84.06
    assert history["tllib_readme_scores/Aircraft"]["GoogleNet"] == 82.7
    assert not any("Tau" in name or "HScore" in name for figures in history.values() for name in figures)
    assert prior.known(history, ["timm:resnet50"], "aircraft")[0] == 10 + 7  # its own set is left out of both tables
