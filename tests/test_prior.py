"""What earlier results say of candidates on a new data set."""

import json

import numpy as np
import pytest

from sterna import prior
from sterna.errors import DataError

HISTORY = {"a": {"x": 0.9, "y": 0.7}, "b": {"hf:org/x": 0.5, "y": 0.3, "z": 0.4}, "target": {"x": 0.0, "y": 1.0}}


def test_the_prior_is_the_shrunken_mean_of_standardised_figures():
    got = prior.prior(HISTORY, ["local:/zoo/x", "y", "new"], leave_out="Target")
    spread = np.std([0.5, 0.3, 0.4])
    assert got == pytest.approx([(1 + 0.1 / spread) / 4, (-1 - 0.1 / spread) / 4, 0])
    # With its own results the target would speak against x.
    assert prior.prior(HISTORY, ["x"])[0] < got[0]


def test_a_table_and_a_document_say_the_same(tmp_path):
    (tmp_path / "h.json").write_text(json.dumps(HISTORY))
    lines = [f"{name},{data},{figure}" for data, row in HISTORY.items() for name, figure in row.items()]
    (tmp_path / "h.csv").write_text("candidate,data,figure\n" + "\n".join(lines))
    assert prior.read(tmp_path / "h.json") == prior.read(tmp_path / "h.csv") == HISTORY


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"a": {"x": "good"}}', '{"a": 3}'])
def test_what_is_no_history_is_refused(tmp_path, text):
    (tmp_path / "h.json").write_text(text)
    with pytest.raises(DataError, match="is no history; write JSON as"):
        prior.read(tmp_path / "h.json")


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        prior.read(tmp_path / "absent.json")
