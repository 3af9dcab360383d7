"""Earlier results of the same candidates on other data sets, as a prior for the next one.

On large zoos of models the mean figure on other sets says more about a new set than any score of its features, and
both together more than either (see docs/ranking.md).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sterna.errors import DataError

SHRINKAGE = 2  # data sets: what one lucky result may not decide
COLUMNS = ("candidate", "data", "figure")

History = Mapping[str, Mapping[str, float]]  # data set -> candidate -> figure, higher is better


def read(place: str | Path) -> History:
    """A history: JSON of the form {data set: {candidate: figure}}, or a CSV with the columns candidate, data, figure.

    Raises `DataError` for a file that is neither.
    """
    path = Path(place)
    if not path.is_file():
        raise DataError(f"there is no file {path}; give --history a JSON or CSV file of earlier results.")
    try:
        found = _from_csv(path) if path.suffix == ".csv" else json.loads(path.read_text(encoding="utf-8"))
        return {str(data): {str(name): float(figure) for name, figure in row.items()} for data, row in found.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no history; write JSON as {{data set: {{candidate: figure}}}}, or a CSV with the columns "
            f"{', '.join(COLUMNS)}."
        ) from error


def _from_csv(path: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            found.setdefault(row["data"], {})[row["candidate"]] = float(row["figure"])
    return found


def prior(history: History, candidates: Sequence[str], leave_out: str = "") -> np.ndarray:
    """(m,) sum of z-scored figures over the other data sets / (their number + 2); 0 for a candidate without any.

    Each data set is standardised over the candidates that it knows, so that easy sets count no more than hard ones.

    Args:
        history: as `read` gives it.
        candidates: references; one matches by its whole name or by what follows the last colon or slash.
        leave_out: the data set that is to be predicted; its own results are not looked at.
    """
    totals, counts = np.zeros(len(candidates)), np.zeros(len(candidates))
    for data, figures in history.items():
        if data.casefold() == leave_out.casefold() or len(figures) < 2:
            continue
        values = np.array(list(figures.values()))
        spread = values.std() or 1.0
        scored = {_plain(name): (figure - values.mean()) / spread for name, figure in figures.items()}
        for place, name in enumerate(candidates):
            if _plain(name) in scored:
                totals[place] += scored[_plain(name)]
                counts[place] += 1
    return totals / (counts + SHRINKAGE)


def _plain(name: str) -> str:
    return name.rstrip("/").replace(":", "/").rsplit("/", 1)[-1].casefold()
