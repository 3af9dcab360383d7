"""The rows of one linear head that several tasks share: which row is whose, told by the names of the rows.

A task that tells classes apart has a row for each of them, named `column: class`; a task of one number has one row,
named `column`. Names of columns hold no `: `, so the names of the rows say all, wherever a model is opened.

Labels of several tasks are (n, t) float64, one column a task: class numbers or values, NaN where an example has no
label for a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from sterna.records import Labels

BETWEEN = ": "  # stands between a task and one of its classes
FEW = 5  # examples of a kind, below which a split looks at less of what they are
VALUES = 20  # different numbers, up to which each is a kind of its own


@dataclass(frozen=True)
class Block:
    """The rows of one task."""

    name: str
    start: int
    stop: int
    classes: tuple[str, ...] = ()  # none for a task of one number

    @property
    def task(self) -> str:
        """The file of `tasks/` that says what its labels are."""
        return "classify" if self.classes else "regress"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, or of the number."""
        return self.classes or (self.name,)

    @property
    def rows(self) -> slice:
        """Where they lie in the head."""
        return slice(self.start, self.stop)


def named(name: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the rows of a task; without classes it is one number."""
    return tuple(f"{name}{BETWEEN}{one}" for one in classes) or (name,)


def blocks(rows: Sequence[str]) -> tuple[Block, ...]:
    """The tasks of a head, from the names of its rows."""
    found: list[Block] = []
    for name, mine in groupby(rows, key=lambda row: row.partition(BETWEEN)[0]):
        parts = [row.partition(BETWEEN) for row in mine]
        start = found[-1].stop if found else 0
        classes = tuple(part[2] for part in parts if part[1])
        found.append(Block(name, start, start + len(parts), classes))
    return tuple(found)


def told(rows: Sequence[str]) -> str:
    """The tasks of a head in words."""
    found = blocks(rows)
    each = [f"{one.name} ({f'{len(one.classes)} classes' if one.classes else 'a number'})" for one in found]
    return f"{len(found)} tasks: {', '.join(each)}"


def labelled(labels: Labels) -> np.ndarray:
    """(n, t) bool: which examples carry a label for which task."""
    there: np.ndarray = ~np.isnan(labels)
    return there


def own(labels: Labels, place: int, block: Block) -> tuple[np.ndarray, Labels]:
    """The positions of the examples that one task has labels for, and these as the task alone would have them.

    Returns (m,) int64, and (m,) int64 class numbers or (m, 1) float64 values.
    """
    rows = np.flatnonzero(~np.isnan(labels[:, place])) if len(labels) else np.zeros(0, dtype=np.int64)
    kept = labels[rows, place] if len(rows) else np.zeros(0)
    return rows, kept.astype(np.int64) if block.classes else kept[:, None]


def scale(labels: Labels, rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (t,) of the values of each task over the examples that have one; 0 and 1 for classes."""
    mean, spread = np.zeros(labels.shape[1]), np.ones(labels.shape[1])
    for place, block in enumerate(blocks(rows)):
        values = labels[:, place][~np.isnan(labels[:, place])]
        if not block.classes and len(values):
            mean[place], spread[place] = values.mean(), values.std() or 1.0
    return mean, spread


def by_row(values: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """(t,) one value a task -> (k,) one a row of the head."""
    return np.repeat(values, [block.stop - block.start for block in blocks(rows)])


def counts(labels: Labels, rows: Sequence[str]) -> np.ndarray:
    """(k,) int64: examples of each class, and for a number those that have one."""
    found = []
    for place, block in enumerate(blocks(rows)):
        mine = own(labels, place, block)[1]
        found.append(np.bincount(mine, minlength=len(block.classes)) if block.classes else np.array([len(mine)]))
    return np.concatenate(found).astype(np.int64)


def strata(labels: Labels) -> np.ndarray:
    """(n,) int64: equal for examples that carry labels for the same tasks and, where there are enough, alike ones.

    Numbers of many different values are taken in quarters. Kinds of fewer than `FEW` examples are told apart by the
    tasks they are labelled for, and by the first of their labels.
    """
    binned = np.full(labels.shape, -1, dtype=np.int64)
    for place, column in enumerate(labels.T):
        there = ~np.isnan(column)
        values = np.unique(column[there])
        edges = values if len(values) <= VALUES else np.quantile(column[there], (0.25, 0.5, 0.75))
        binned[there, place] = np.searchsorted(edges, column[there], side="left")
    fine = _numbered(binned)
    first = binned[np.arange(len(binned)), (binned >= 0).argmax(axis=1)] if binned.size else np.zeros(0, dtype=np.int64)
    coarse = _numbered(np.column_stack([binned >= 0, first]))
    rare = np.bincount(fine, minlength=1)[fine] < FEW
    return _numbered(np.column_stack([rare, np.where(rare, coarse, fine)]))


def _numbered(rows: np.ndarray) -> np.ndarray:
    """(n,) int64, equal where the rows are."""
    found: np.ndarray = np.unique(rows.astype(np.int64), axis=0, return_inverse=True)[1].ravel()
    return found.astype(np.int64)
