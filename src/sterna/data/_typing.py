"""What the columns of a table are, told from their cells: numbers, dates, categories, or nothing to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sterna import checks
from sterna.maths import parsing
from sterna.records import Column, Finding, Labels
from sterna.rows import Cells, Words, date_columns, words

STRAY = 0.01  # share of cells that may be no number in a column of numbers; they count as missing
STRAY_ROWS = 100  # cells from which that holds
NAMING = 0.9  # share of different words from which a column names rows instead of describing them
FEWEST = 10  # rows below which nothing is said of a column from how its values are spread


@dataclass(frozen=True)
class Typed:
    """A column as read."""

    name: str
    what: str  # "number", "date", "category", or why it is left out: "constant", "empty", "name", "counter"
    columns: tuple[Column, ...]  # one; those of its parts for dates; none where it is left out
    values: tuple[Cells, ...]
    codes: np.ndarray  # (n,) the same for the same cell; -1 where missing
    marks: tuple[str, ...] = ()  # what stands for missing cells, as written
    stray: tuple[str, ...] = ()  # cells of a column of numbers that are none


def typed(name: str, texts: Sequence[str | None], files: np.ndarray, identifying: bool) -> Typed:
    """Reads a column.

    Args:
        name: of the column.
        texts: its cells.
        files: (n,) the number of the file a row comes from, ascending.
        identifying: whether columns of this name usually number rows: `id`, `passenger_id`.
    """
    held = words(texts)
    marks = _marks(texts, held)
    if not held.levels or (len(held.levels) == 1 and (held.codes >= 0).all()):
        return Typed(name, "constant" if held.levels else "empty", (), (), held.codes, marks)
    numbers = parsing.numbers(held.levels)
    stray = _stray(held, numbers)
    if stray is not None:
        values = np.append(numbers, np.nan)[held.codes]
        if _counts_rows(values, files) or (identifying and len(held.levels) == len(texts)):
            return Typed(name, "counter", (), (), held.codes)
        missing = np.where(np.isnan(values), -1, held.codes)
        return Typed(name, "number", (Column(name, "numeric"),), (values,), missing, marks, stray)
    dates = parsing.dates(held.levels)
    if not np.isnan(dates).any():
        parts = np.vstack([dates, np.full(dates.shape[1], np.nan)])[held.codes]
        columns = tuple(Column(part, "numeric") for part in date_columns(name))
        return Typed(name, "date", columns, tuple(np.ascontiguousarray(part) for part in parts.T), held.codes, marks)
    there = int((held.codes >= 0).sum())
    if there >= FEWEST and len(held.levels) >= NAMING * there:
        return Typed(name, "name", (), (), held.codes)
    return Typed(name, "category", (Column(name, "category"),), (held,), held.codes, marks)


def findings(columns: Sequence[Typed], labels: Labels, task: str) -> list[Finding]:
    """What was read as what, what is left out, missing and amiss."""
    return [
        *_kinds(columns),
        *_left_out(columns),
        *_missing(columns),
        *_strays(columns),
        *_tells(columns, labels, task),
    ]


def _marks(texts: Sequence[str | None], held: Words) -> tuple[str, ...]:
    empty = np.flatnonzero(held.codes < 0).tolist()
    return tuple(sorted({(texts[place] or "").strip() for place in empty}))


def _stray(held: Words, numbers: np.ndarray) -> tuple[str, ...] | None:
    """The cells that are no numbers where a column is one of numbers; None where it is not."""
    odd = np.flatnonzero(np.isnan(numbers)).tolist()
    if len(odd) == len(held.levels) or any(parsing.code(held.levels[place]) for place in odd):
        return None
    known = [place for place in odd if held.levels[place].casefold() in parsing.ALSO_MISSING]
    rest = [place for place in odd if place not in set(known) and not parsing.infinite(held.levels[place])]
    counts = np.bincount(held.codes[held.codes >= 0], minlength=len(held.levels))
    few = counts[rest].sum() <= STRAY * counts.sum() and counts.sum() >= STRAY_ROWS
    return tuple(held.levels[place] for place in odd) if few or not rest else None


def _counts_rows(values: np.ndarray, files: np.ndarray) -> bool:
    """Whether a column counts the rows of each file: 1, 2, 3 and on, or the same from another start."""
    inner = np.diff(files) == 0
    return len(values) >= FEWEST and bool(inner.any()) and bool((np.diff(values)[inner] == 1).all())


def _named(columns: Sequence[Typed], *what: str) -> list[str]:
    return [column.name for column in columns if column.what in what]


def _kinds(columns: Sequence[Typed]) -> list[Finding]:
    told = [
        f"{checks.some(names, 6)} as {kind}"
        for kind, names in (
            ("numbers" if len(_named(columns, "number")) > 1 else "a number", _named(columns, "number")),
            ("categories" if len(_named(columns, "category")) > 1 else "a category", _named(columns, "category")),
            (f"dates ({', '.join(parsing.DATE_PARTS)})", _named(columns, "date")),
        )
        if names
    ]
    if not told:
        return []
    sentence = f"columns are read by what is in them: {'; '.join(told)}"
    return [Finding("inferred", f"{sentence}; put a letter before numbers that are codes of categories.")]


def _left_out(columns: Sequence[Typed]) -> list[Finding]:
    told = (
        ("constant column", "constant", "the same everywhere", "so nothing can be learnt from it"),
        ("constant column", "empty", "empty", "so nothing can be learnt from it"),
        ("identifying column", "counter", "a number of the row", "which new rows would not share"),
        (
            "identifying column",
            "name",
            "different in nearly every row",
            "so it names rows; name it as a text column if",
        ),
    )
    found = []
    for kind, what, is_, why in told:
        names = _named(columns, what)
        if names:
            end = f"{why} it is one" if what == "name" else why
            which = f"column {names[0]} is" if len(names) == 1 else f"columns {checks.some(names, 6)} are each"
            found.append(Finding(kind, f"{which} {is_} and left out, {end}.", tuple(names)))
    return found


def _missing(columns: Sequence[Typed]) -> list[Finding]:
    gaps = []
    for column in columns:
        count = int((column.codes < 0).sum())
        if column.columns and count:
            marks = " or ".join("empty" if not mark else f"'{mark}'" for mark in column.marks[:4])
            share = 100 * count / len(column.codes)
            gaps.append((share, f"{column.name} {max(share, 1):.0f} %{f' ({marks})' if marks else ''}", column.name))
    if not gaps:
        return []
    gaps.sort(key=lambda gap: -gap[0])
    sentence = (
        f"cells are missing: {checks.some((told for _, told, _ in gaps), 8)}; that a cell is missing is learnt from, "
        "and numbers are filled with the median of the training rows; fill them in where the values are known."
    )
    return [Finding("missing cells", sentence, tuple(name for _, _, name in gaps))]


def _strays(columns: Sequence[Typed]) -> list[Finding]:
    return [
        Finding(
            "stray cells",
            f"column {column.name} holds numbers except for {checks.some(map(repr, column.stray))}, read as missing; "
            "mend those cells, or put a letter before every value if they are categories.",
            (column.name,),
        )
        for column in columns
        if column.columns and column.stray
    ]


def _tells(columns: Sequence[Typed], labels: Labels, task: str) -> list[Finding]:
    told = [column.name for column in columns if column.columns and _copies(column, labels, task)]
    if not told:
        return []
    which = f"column {told[0]} gives" if len(told) == 1 else f"columns {checks.some(told)} each give"
    sentence = (
        f"{which} the label away: the one follows from the other in every row; delete "
        f"{'it' if len(told) == 1 else 'them'} unless the value is known before the label is."
    )
    return [Finding("label given away", sentence, tuple(told))]


def _copies(column: Typed, labels: Labels, task: str) -> bool:
    """Whether the labels follow from a column: from each of its values, or by a straight line."""
    there = column.codes >= 0
    if there.sum() < FEWEST or task not in ("classify", "regress"):
        return False
    if task == "regress":
        return len(column.values) == 1 and any(_line(column.values[0], side) for side in labels.T)
    pairs = np.unique(np.stack([column.codes[there], labels[there]]), axis=1)
    values = len(np.unique(pairs[0]))
    repeated = values <= max(len(np.unique(labels)), there.sum() / FEWEST)
    return bool(there.all()) and repeated and pairs.shape[1] == values


def _line(values: Cells, wanted: np.ndarray) -> bool:
    if isinstance(values, Words) or np.isnan(values).any() or not values.std() or not wanted.std():
        return False
    return bool(abs(np.corrcoef(values, wanted)[0, 1]) > 1 - 1e-12)
