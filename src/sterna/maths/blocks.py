"""The rows of one linear head that several tasks share: which row is whose, told by the names of the rows.

A task that tells classes apart has a row for each of them, named `column: class`; a task of one number has one row,
named `column`; a task of tags has rows `column [word] : tag`, and one of several labels `column [any] : label`. Names
of columns hold no `: ` and end in no space, so the names of the rows say all, wherever a model is opened.

Labels of several tasks are (n, c) float64, NaN where an example has no label for a task: one column a task, the class
number or the value, and for a task of several labels a column of 0 and 1 for each of them. Where the items are words,
they are (n,) object, of each item a float64 array (words, c): a task of tags has the tag number of each word, NaN
everywhere where the item is not tagged for it; a task of whole items has its labels in the first row, NaN below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from sterna.maths import answers
from sterna.records import Labels

BETWEEN = ": "  # stands between a task and one of its classes
TAG, MULTILABEL = "tag", "multilabel"
# Ends in a space: no reader leaves one at the end of a column's name, so no column of classes is taken for one of tags.
MARKS = {TAG: " [word] ", MULTILABEL: " [any] "}
FEW = 5  # examples of a kind, below which a split looks at less of what they are
VALUES = 20  # different numbers, up to which each is a kind of its own


@dataclass(frozen=True)
class Block:
    """The rows of one task."""

    name: str
    start: int
    stop: int
    classes: tuple[str, ...] = ()  # or labels, or tags; none for a task of one number
    task: str = "regress"  # the file of `tasks/` that says what its labels are
    column: int = 0  # its first among the columns of labels

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, or of the number."""
        return self.classes or (self.name,)

    @property
    def rows(self) -> slice:
        """Where they lie in the head."""
        return slice(self.start, self.stop)

    @property
    def columns(self) -> slice:
        """Where its labels lie among the columns of labels."""
        return slice(self.column, self.column + (len(self.classes) if self.task == MULTILABEL else 1))

    @property
    def told(self) -> str:
        """What its labels are, in words."""
        nouns = {TAG: "tags", MULTILABEL: "labels"}
        return f"{len(self.classes)} {nouns.get(self.task, 'classes')}" if self.classes else "a number"


def named(name: str, classes: Sequence[str], task: str = "classify") -> tuple[str, ...]:
    """The names of the rows of a task; without classes it is one number."""
    return tuple(f"{name}{MARKS.get(task, '')}{BETWEEN}{one}" for one in classes) or (name,)


def blocks(rows: Sequence[str]) -> tuple[Block, ...]:
    """The tasks of a head, from the names of its rows."""
    found: list[Block] = []
    for written, mine in groupby(rows, key=lambda row: row.partition(BETWEEN)[0]):
        parts = [row.partition(BETWEEN) for row in mine]
        start, column = (found[-1].stop, found[-1].columns.stop) if found else (0, 0)
        classes = tuple(part[2] for part in parts if part[1])
        marked = next((task for task, mark in MARKS.items() if written.endswith(mark)), "classify")
        task = marked if classes else "regress"
        name = written.removesuffix(MARKS.get(task, ""))
        found.append(Block(name, start, start + len(parts), classes, task, column))
    return tuple(found)


def told(rows: Sequence[str]) -> str:
    """The tasks of a head in words."""
    found = blocks(rows)
    return f"{len(found)} tasks: {', '.join(f'{one.name} ({one.told})' for one in found)}"


def first(labels: Labels) -> np.ndarray:
    """(n, c) float64: the labels of whole items, and the tag of the first word of each."""
    if labels.dtype != object:
        return labels
    found: np.ndarray = np.stack([one[0] for one in labels]) if len(labels) else np.zeros((0, 0))
    return found


def lengths(labels: Labels) -> np.ndarray | None:
    """(n,) int64 words of each item; None where items have one answer each."""
    return np.array([len(one) for one in labels], dtype=np.int64) if labels.dtype == object else None


def own(labels: Labels, block: Block) -> tuple[np.ndarray, Labels]:
    """The positions of the examples that one task has labels for, and these as the task alone would have them.

    Returns (m,) int64, and (m,) int64 class numbers, (m, 1) float64 values, (m, k) uint8 labels, or for tags (m,)
    object, of each item an int64 array. Of words that are examples of their own, (words, c), tags are (m,) int64.
    """
    by_item = labels.dtype == object
    there = first(labels) if len(labels) else np.zeros((0, block.columns.stop))
    rows = np.flatnonzero(~np.isnan(there[:, block.column]))
    if block.task == TAG and by_item:
        kept = np.empty(len(rows), dtype=object)
        kept[:] = [labels[row][:, block.column].astype(np.int64) for row in rows.tolist()]
        return rows, kept
    if block.task == MULTILABEL:
        return rows, there[rows, block.columns].astype(np.uint8)
    mine = there[rows, block.column]
    return rows, mine.astype(np.int64) if block.classes else mine[:, None]


def by_words(values: np.ndarray, counts: np.ndarray, tags: Mapping[int, Labels]) -> Labels:
    """Labels of items of words, (n,) object.

    Args:
        values: (n, c) those of whole items, NaN where there is none and in columns of tags.
        counts: (n,) words of each item.
        tags: column -> (n,) object, of each item its tag numbers, or None where it is not tagged.
    """
    found = np.empty(len(values), dtype=object)
    for row, (own_values, count) in enumerate(zip(values, counts.tolist(), strict=True)):
        made = np.full((count, values.shape[1]), np.nan)
        made[0] = own_values
        for column, each in tags.items():
            if each[row] is not None:
                made[:, column] = each[row]
        found[row] = made
    return found


def picked(found: np.ndarray, counts: np.ndarray | None, rows: np.ndarray, block: Block) -> np.ndarray:
    """The answers of one task to some of the items.

    Args:
        found: (n, k) of all items, or of all their words one after another.
        counts: (n,) words of each item; None where items have one answer each.
        rows: (m,) positions of items.
        block: the task.

    Returns (m, its rows), and of tags (all words of the m items, its rows).
    """
    if counts is None:
        return found[rows, block.rows]
    starts = np.cumsum(counts) - counts
    if block.task != TAG:
        return found[starts[rows], block.rows]
    places = [np.arange(starts[row], starts[row] + counts[row]) for row in rows.tolist()]
    return found[np.concatenate([*places, np.zeros(0, dtype=np.int64)]).astype(np.int64), block.rows]


def whole(logits: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """Logits (w, k) of one item's words -> the same, those of tasks of whole items their mean over the words.

    The head is linear, so that this is what it makes of the mean of the words' features.
    """
    found = np.array(logits, dtype=np.float64)
    for block in blocks(rows) if len(found) else ():
        if block.task != TAG:
            found[:, block.rows] = found[:, block.rows].mean(axis=0)
    return found


def outside(rows: Sequence[str]) -> np.ndarray:
    """(k,) what is answered for a word that was never looked at; NaN where that is the answer for the whole item."""
    found = np.full(len(rows), np.nan)
    for block in blocks(rows):
        if block.task == TAG:
            found[block.rows] = answers.outside(block.classes)
    return found


def scale(labels: Labels, rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (c,) of each column of labels that are numbers, over the examples that have one; else 0 and 1."""
    there = first(labels)
    mean, spread = np.zeros(there.shape[1]), np.ones(there.shape[1])
    for block in blocks(rows):
        values = there[:, block.column][~np.isnan(there[:, block.column])]
        if not block.classes and len(values):
            mean[block.column], spread[block.column] = values.mean(), values.std() or 1.0
    return mean, spread


def scaled(labels: Labels, mean: np.ndarray, spread: np.ndarray) -> Labels:
    """Labels less a mean (c,) and over a spread (c,)."""
    if labels.dtype != object:
        return (labels - mean) / spread
    found = np.empty(len(labels), dtype=object)
    found[:] = [(one - mean) / spread for one in labels]
    return found


def by_row(values: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """(c,) one value a column of labels -> (k,) one a row of the head; a task's are alike."""
    found = blocks(rows)
    return np.repeat(values[[block.column for block in found]], [block.stop - block.start for block in found])


def counts(labels: Labels, rows: Sequence[str]) -> np.ndarray:
    """(k,) int64: examples of each class or label, words of each tag, and for a number the examples that have one."""
    found = []
    for block in blocks(rows):
        mine = own(labels, block)[1]
        if block.task == MULTILABEL:
            found.append(mine.sum(axis=0))
        elif block.classes:
            mine = np.concatenate([np.zeros(0, dtype=np.int64), *mine]) if mine.dtype == object else mine
            found.append(np.bincount(mine, minlength=len(block.classes)))
        else:
            found.append(np.array([len(mine)]))
    return np.concatenate(found).astype(np.int64)


def kinds(labels: Labels, rows: Sequence[str]) -> np.ndarray:
    """(n, t) float64, one number a task, NaN where there is no label: the class, the value, the rarest tag or label."""
    found = np.full((len(labels), len(blocks(rows))), np.nan)
    for place, block in enumerate(blocks(rows)):
        mine, kept = own(labels, block)
        if block.task in MARKS:
            held = kept > 0 if block.task == MULTILABEL else _held(kept, len(block.classes))
            found[mine, place] = _rarest(held)
        else:
            found[mine, place] = kept.reshape(-1)
    return found


def _held(tags: Labels, classes: int) -> np.ndarray:
    """(m, k) bool: which tags each item holds."""
    found = np.zeros((len(tags), classes), dtype=bool)
    for row, one in enumerate(tags):
        found[row, one] = True
    return found


def _rarest(held: np.ndarray) -> np.ndarray:
    """(m,) which label of each item the fewest items hold; k for an item without any."""
    rarity = np.where(held, held.sum(axis=0), len(held) + 1)
    found: np.ndarray = np.where(held.any(axis=1), rarity.argmin(axis=1), held.shape[1])
    return found


def strata(labels: np.ndarray) -> np.ndarray:
    """(n,) int64: equal for examples that carry labels for the same tasks and, where there are enough, alike ones.

    `labels`: (n, t), one number a task, as `kinds` gives them. Numbers of many different values are taken in quarters.
    Kinds of fewer than `FEW` examples are told apart by the tasks they are labelled for, and by the first of their
    labels.
    """
    binned = np.full(labels.shape, -1, dtype=np.int64)
    for place, column in enumerate(labels.T):
        there = ~np.isnan(column)
        values = np.unique(column[there])
        edges = values if len(values) <= VALUES else np.quantile(column[there], (0.25, 0.5, 0.75))
        binned[there, place] = np.searchsorted(edges, column[there], side="left")
    fine = _numbered(binned)
    first_label = (binned >= 0).argmax(axis=1) if binned.size else np.zeros(0, dtype=np.int64)
    of_first = binned[np.arange(len(binned)), first_label] if binned.size else np.zeros(0, dtype=np.int64)
    coarse = _numbered(np.column_stack([binned >= 0, of_first]))
    rare = np.bincount(fine, minlength=1)[fine] < FEW
    return _numbered(np.column_stack([rare, np.where(rare, coarse, fine)]))


def _numbered(rows: np.ndarray) -> np.ndarray:
    """(n,) int64, equal where the rows are."""
    found: np.ndarray = np.unique(rows.astype(np.int64), axis=0, return_inverse=True)[1].ravel()
    return found.astype(np.int64)
