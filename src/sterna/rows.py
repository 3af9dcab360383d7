"""Rows of a table: how they are held, brought to the columns a model knows, and turned into numbers.

A column is numeric or of categories. What turns rows into numbers learns from training rows alone and can be written
as JSON, so a saved model needs nothing but its config.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sterna.errors import DataError, EncoderError
from sterna.maths import parsing
from sterna.records import Augment, Column

if TYPE_CHECKING:
    from torch import Tensor

Row = tuple[Any, ...]  # a float, a str or None for each column

SEEN = 2  # training rows in which a category must occur to get a number of its own
MOST = 100  # categories of a column that get one; the most frequent do
FAR = 5.0  # standard deviations beyond which a number counts as this far: one broken cell must not decide
CODES = 254  # categories that histogram gradient boosting can tell apart, and one for what is missing


@dataclass(frozen=True)
class Words:
    """A column of categories, each kept once."""

    codes: np.ndarray  # (n,) int32 positions in `levels`; -1 is missing
    levels: tuple[str, ...]

    def __getitem__(self, places: Any) -> Words:
        return Words(self.codes[places], self.levels)


def words(texts: Sequence[str | None]) -> Words:
    """The cells of a column as categories; blanks around them do not count, and empty marks are missing."""
    numbers: dict[str, int] = {}
    codes = np.empty(len(texts), dtype=np.int32)
    known: dict[str | None, int] = {None: -1}
    for place, text in enumerate(texts):
        code = known.get(text)
        if code is None:
            code = -1 if parsing.missing(text) else numbers.setdefault(str(text).strip(), len(numbers))
            known[text] = code
        codes[place] = code
    return Words(codes, tuple(numbers))


Cells = np.ndarray | Words  # (n,) float64 with NaN for what is missing, or categories


class RowItems:
    """A table held by columns. Satisfies `records.Items`.

    Args:
        columns: name and kind of each.
        values: the cells of each.
        names: what a person calls the rows: their numbers in the file, from 1, after `prefixes`.
        prefixes: of each row, such as the name of its file.
        spare: columns that say nothing here, such as one that never changes; another table may have learnt from them.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        values: Sequence[Cells],
        names: np.ndarray,
        prefixes: Words | None = None,
        spare: Mapping[str, Cells] | None = None,
    ) -> None:
        self.modality: str = "row"
        self.in_memory: bool = True
        self.lengths: np.ndarray | None = None
        self.columns = tuple(columns)
        self.values = tuple(values)
        self._names, self._prefixes, self._spare = names, prefixes, dict(spare or {})

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int, hint: int = 0) -> Row:
        """A float, a str or None (missing) for each of `columns`."""
        return tuple(_cell(one, index) for one in self.values)

    def digest(self, index: int) -> str:
        return hashlib.blake2b(f"{self._kinds}{self.read(index)!r}".encode(), digest_size=16).hexdigest()

    def name(self, index: int) -> str:
        before = "" if self._prefixes is None else f"{self._prefixes.levels[self._prefixes.codes[index]]} "
        return f"{before}row {self._names[index]}"

    @cached_property
    def _kinds(self) -> str:
        return repr([(column.name, column.kind) for column in self.columns])

    def aligned(self, wanted: Sequence[Column]) -> RowItems:
        """The same rows with the columns a model was trained on, in their order and of their kinds.

        Columns beyond those are left out. Raises `DataError` when one is not there.
        """
        held = self._spare | dict(zip((column.name for column in self.columns), self.values, strict=True))
        sources = {column.name: _source(column.name, held) for column in wanted}
        lacking = [name for name, source in sources.items() if not source]
        if lacking:
            shown = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
            raise DataError(
                f"the table lacks {'column' if len(lacking) == 1 else 'columns'} {shown}, on which the model was "
                f"trained; add them, with empty cells where nothing is known (it has {', '.join(list(held)[:8])})."
            )
        values = [_as_kind(held[sources[column.name]], column, sources[column.name]) for column in wanted]
        return RowItems(wanted, values, self._names, self._prefixes)


def date_columns(name: str) -> tuple[str, ...]:
    """The names of the columns of numbers that a column of dates becomes."""
    return tuple(f"{name}.{part}" for part in parsing.DATE_PARTS)


def _source(name: str, held: Mapping[str, Cells]) -> str:
    """The column that `name` is made from: itself, or the dates of which it is a part; empty where there is none."""
    base, _, part = name.rpartition(".")
    return name if name in held else base if part in parsing.DATE_PARTS and base in held else ""


def _cell(column: Cells, index: int) -> float | str | None:
    if isinstance(column, Words):
        code = int(column.codes[index])
        return None if code < 0 else column.levels[code]
    value = float(column[index])
    return value if value == value else None


def _as_kind(column: Cells, wanted: Column, source: str) -> Cells:
    """Cells read as numbers where the model knows numbers, and as words where it knows words."""
    if isinstance(column, Words) and wanted.kind == "numeric":
        part = wanted.name.removeprefix(f"{source}.")
        levels = (
            parsing.numbers(column.levels)
            if source == wanted.name
            else parsing.dates(column.levels)[:, parsing.DATE_PARTS.index(part)]
        )
        return np.append(levels, np.nan)[column.codes]
    if not isinstance(column, Words) and wanted.kind == "category":
        return words([None if value != value else format(value, ".15g") for value in column.tolist()])
    return column


@dataclass(frozen=True)
class Numeric:
    """A column of numbers and its statistics on the training rows."""

    name: str
    median: float  # takes the place of what is missing
    mean: float
    deviation: float  # 0 where all are alike: then the column gives 0
    gaps: bool  # whether some are missing: then a second number says which
    kind: str = "numeric"

    @property
    def width(self) -> int:
        return 1 + self.gaps


@dataclass(frozen=True)
class Category:
    """A column of categories as the training rows know it."""

    name: str
    levels: tuple[str, ...]  # each has a number of its own; all others share the one behind them
    gaps: bool  # whether some are missing: then the last number says which
    kind: str = "category"

    @property
    def width(self) -> int:
        return len(self.levels) + 1 + self.gaps


@dataclass(frozen=True)
class RowPreparation:
    """Rows -> standardised numbers and indicators of categories. Satisfies `records.Preparation`."""

    statistics: tuple[Numeric | Category, ...]
    modality: str = "row"
    ragged: bool = False
    hint: int = 0

    @property
    def width(self) -> int:
        """How many numbers a row becomes."""
        return sum(one.width for one in self.statistics)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that a row must have, in their order."""
        return tuple(Column(one.name, one.kind) for one in self.statistics)  # type: ignore[arg-type]

    @cached_property
    def _places(self) -> tuple[dict[str, int], ...]:
        return tuple(
            {level: place for place, level in enumerate(one.levels)} if isinstance(one, Category) else {}
            for one in self.statistics
        )

    def frame(self, item: Row, augment: Augment | None = None) -> np.ndarray:
        """A row -> (d,) float32.

        An augmentation of rows is handed the numbers standardised, so that its strength has one meaning for all
        columns.
        """
        row = tuple(_standard(value, one) for value, one in zip(item, self.statistics, strict=True))
        if augment is not None and augment.row is not None:
            row = augment.row(row)
        made = np.zeros(self.width, dtype=np.float32)
        start = 0
        for value, one, places in zip(row, self.statistics, self._places, strict=True):
            if isinstance(one, Category):
                other = len(one.levels)
                made[start + (other + one.gaps if value is None else places.get(value, other))] = 1
            else:
                made[start] = _standard(one.median, one) if value is None else value
                if one.gaps and value is None:
                    made[start + 1] = 1
            start += one.width
        return made

    def frames(self, rows: Sequence[Row]) -> np.ndarray:
        """(n, d) float32."""
        return np.stack([self.frame(row) for row in rows]) if len(rows) else np.zeros((0, self.width), np.float32)

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, d) float32, as it is."""
        return frames.float()


def learnt(rows: Sequence[Row], columns: Sequence[Column]) -> RowPreparation:
    """The statistics of training rows.

    Numbers: median, mean and standard deviation of those that are there. Categories: those in at least `SEEN` rows, the
    most frequent `MOST` of them; the rest share one number, which so is learnt before unseen categories need it.
    """
    return RowPreparation(
        tuple(
            _numeric(column.name, [row[place] for row in rows])
            if column.kind == "numeric"
            else _category(column.name, [row[place] for row in rows])
            for place, column in enumerate(columns)
        )
    )


def to_config(preparation: RowPreparation) -> list[dict[str, Any]]:
    """What `from_config` reads, as JSON holds it."""
    return [asdict(one) for one in preparation.statistics]


def from_config(statistics: Sequence[Mapping[str, Any]]) -> RowPreparation:
    """The preparation that `to_config` wrote. Raises `EncoderError` for anything else."""
    try:
        return RowPreparation(tuple(_from_config(one) for one in statistics))
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"the statistics of columns in the model's config are damaged ({error!r}); save the model again."
        ) from error


def _from_config(one: Mapping[str, Any]) -> Numeric | Category:
    if one["kind"] == "category":
        return Category(str(one["name"]), tuple(str(level) for level in one["levels"]), bool(one["gaps"]))
    median, mean, deviation = (float(one[key]) for key in ("median", "mean", "deviation"))
    return Numeric(str(one["name"]), median, mean, deviation, bool(one["gaps"]))


def _numeric(name: str, values: Sequence[float | None]) -> Numeric:
    there = np.array([value for value in values if value is not None], dtype=np.float64)
    gaps = len(there) < len(values)
    if not len(there):
        return Numeric(name, 0.0, 0.0, 0.0, False)
    mean, deviation = float(there.mean()), float(there.std())
    # Below this, what is left of a number after the mean is rounding.
    flat = deviation <= 1e-9 * abs(mean)
    return Numeric(name, float(np.median(there)), mean, 0.0 if flat else deviation, gaps)


def _category(name: str, values: Sequence[str | None]) -> Category:
    counts = Counter(value for value in values if value is not None)
    often = sorted((-count, level) for level, count in counts.items() if count >= SEEN)[:MOST]
    return Category(name, tuple(sorted(level for _, level in often)), None in values)


def _standard(value: Any, one: Numeric | Category) -> Any:
    if value is None or isinstance(one, Category):
        return value
    return min(max((value - one.mean) / one.deviation, -FAR), FAR) if one.deviation else 0.0


class Standardised(TransformerMixin, BaseEstimator):
    """`learnt` and `RowPreparation` as a step of a scikit-learn pipeline: rows -> (n, d) float64."""

    def __init__(self, columns: tuple[Column, ...] = ()) -> None:
        self.columns = columns

    def fit(self, rows: Sequence[Row], labels: Any = None) -> Standardised:
        """Takes the statistics of `rows`."""
        self.preparation_ = learnt(rows, self.columns)
        return self

    def transform(self, rows: Sequence[Row]) -> np.ndarray:
        """(n, d) float64."""
        return self.preparation_.frames(rows).astype(np.float64)


class Coded(TransformerMixin, BaseEstimator):
    """Rows -> (n, c) float64, one number a column: a number as it is, a category as its place, NaN for what is missing.

    Categories are numbered by how often training rows have them; those beyond `CODES`, and unseen ones, are missing. A
    column with nothing in it in training is 0 throughout: gradient boosting cannot bin what is all missing.
    """

    def __init__(self, columns: tuple[Column, ...] = ()) -> None:
        self.columns = columns

    def fit(self, rows: Sequence[Row], labels: Any = None) -> Coded:
        """Numbers the categories of `rows`."""
        self.levels_: list[list[str]] = []
        self.empty_ = [all(row[place] is None for row in rows) for place in range(len(self.columns))]
        for place, column in enumerate(self.columns):
            counts = Counter(row[place] for row in rows if row[place] is not None) if column.kind == "category" else {}
            often = sorted((-count, level) for level, count in counts.items())[:CODES]
            self.levels_.append([level for _, level in often])
        return self

    def transform(self, rows: Sequence[Row]) -> np.ndarray:
        """(n, c) float64."""
        made = np.full((len(rows), len(self.columns)), np.nan)
        for place, (column, levels) in enumerate(zip(self.columns, self.levels_, strict=True)):
            if self.empty_[place]:
                made[:, place] = 0
                continue
            known = {level: float(number) for number, level in enumerate(levels)}
            for number, row in enumerate(rows):
                value = row[place]
                if value is not None:
                    made[number, place] = value if column.kind == "numeric" else known.get(value, np.nan)
        return made
