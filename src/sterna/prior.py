"""Earlier results of the same candidates on other data sets, as a prior for the next one.

On large zoos of models the mean figure on other sets says more about a new set than any score of its features, and
both together more than either (see docs/ranking.md).

Equation: prior_m = (sum over data sets d of z_md) / (n_m + 2), with z_md the figure of candidate m on d in standard
deviations of all candidates known there, and n_m the number of data sets that know m. The 2 draws a candidate of few
results towards 0, the mean.

When not to use: with figures that were not made alike (other recipes, other splits) inside one data set; where the new
data are of another kind than all the old ones.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sterna.errors import DataError

SHRINKAGE = 2  # data sets: what one lucky result may not decide
COLUMNS = ("candidate", "data", "figure")
NAMES = {  # other headings under which the columns are known, in small letters
    "candidate": ("candidate", "model", "encoder"),
    "data": ("data", "data set", "dataset", "target"),
    "figure": ("figure", "accuracy", "acc", "finetuned acc"),
}

History = Mapping[str, Mapping[str, float]]  # data set -> candidate -> figure, higher is better


def read(place: str | Path) -> History:
    """A history of earlier results: data set -> candidate -> figure, higher is better.

    JSON may be {data set: {candidate: figure}}, a list of records with candidate, data and figure, or several tables of
    either kind by name; there a data set is called `table/data set`, because figures of different tables were made
    differently and are never put on one scale. In place of a figure there may be a record with one. Tables without any
    figure (of scores alone) are passed over. A CSV has the columns candidate, data and figure.

    Raises `DataError` for a file that is none of these.
    """
    path = Path(place)
    if not path.is_file():
        raise DataError(f"there is no file {path}; give --history a JSON or CSV file of earlier results.")
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            entries = list(_records(_rows(path)))
        else:
            entries = list(_entries(json.loads(path.read_text(encoding="utf-8"))))
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise _unreadable(path) from error
    found: dict[str, dict[str, float]] = {}
    for data, candidate, figure in entries:
        found.setdefault(data, {})[candidate] = figure
    if not found:
        raise _unreadable(path)
    return found


def prior(history: History, candidates: Sequence[str], leave_out: str | Sequence[str] = "") -> np.ndarray:
    """(m,) sum of z-scored figures over the other data sets / (their number + 2); 0 for a candidate without any.

    Each data set is standardised over the candidates that it knows, so that easy sets count no more than hard ones.

    Args:
        history: as `read` gives it.
        candidates: references; one matches by its whole name or else by what follows the last colon or slash. Case,
            spaces and punctuation do not count.
        leave_out: the data set that is to be predicted, or all names it goes by; its own results are not looked at.
    """
    totals, counts = _sums(history, candidates, leave_out)
    made: np.ndarray = totals / (counts + SHRINKAGE)
    return made


def known(history: History, candidates: Sequence[str], leave_out: str | Sequence[str] = "") -> np.ndarray:
    """(m,) on how many other data sets there are results of each candidate."""
    return _sums(history, candidates, leave_out)[1].astype(np.int64)


def _sums(history: History, candidates: Sequence[str], leave_out: str | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    own = {_last(name) for name in ([leave_out] if isinstance(leave_out, str) else leave_out) if name}
    totals, counts = np.zeros(len(candidates)), np.zeros(len(candidates))
    for data, figures in history.items():
        if _last(data) in own or len(figures) < 2:
            continue
        values = np.array(list(figures.values()))
        scores = (values - values.mean()) / (values.std() or 1.0)
        whole = {_plain(name): float(score) for name, score in zip(figures, scores, strict=True)}
        short = {_last(name): float(score) for name, score in zip(figures, scores, strict=True)}
        for place, name in enumerate(candidates):
            score = whole.get(_plain(name), short.get(_last(name)))
            if score is not None:
                totals[place] += score
                counts[place] += 1
    return totals, counts


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as text:
        return list(csv.DictReader(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))


def _entries(found: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[str, str, float]]:
    """Every (data set, candidate, figure) of a document; `way` are the names above. Texts, such as notes, are none."""
    if isinstance(found, list):
        yield from _records(found, way)
    elif isinstance(found, dict):
        own = {str(key).casefold(): value for key, value in found.items()}
        named = [own[name] for name in NAMES["figure"] if name in own and not isinstance(own[name], dict)]
        inner = [(way, named[0])] if named and way[1:] else [((*way, str(key)), one) for key, one in found.items()]
        for path, one in inner:
            yield from _entries(one, path)
    elif isinstance(found, (int, float)):
        if not way[1:]:
            raise ValueError("a figure needs a data set and a candidate")
        yield "/".join(way[:-1]), way[-1], _finite(found)


def _records(rows: Sequence[Mapping[str, Any]], way: tuple[str, ...] = ()) -> Iterator[tuple[str, str, float]]:
    """Records under any of the usual headings; of a table without figures among others, nothing."""
    for row in rows:
        columns = {key.strip().casefold(): value for key, value in row.items()}
        got = [next((columns[name] for name in NAMES[one] if name in columns), None) for one in COLUMNS]
        if None not in got:
            yield "/".join((*way, str(got[1]))), str(got[0]), _finite(got[2])
        elif not way:
            raise KeyError("a column is missing")


def _finite(figure: Any) -> float:
    value = float(figure)
    if not np.isfinite(value):
        raise ValueError("a figure is not a number")
    return value


def _unreadable(path: Path) -> DataError:
    return DataError(
        f"{path} is no history; write JSON as {{data set: {{candidate: figure}}}}, or a CSV with the columns "
        f"{', '.join(COLUMNS)}."
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _last(name: str) -> str:
    return _plain(name.rstrip("/").replace(":", "/").replace("\\", "/").rsplit("/", 1)[-1])
