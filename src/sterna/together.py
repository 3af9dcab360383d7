"""Several labelled data sets with labels of their own -> one data set with a task for each.

An example carries the labels of the data set it comes from and none of the others. Copies that lie in several data sets
stay in one part of a split. Beside tagged words, texts become words too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from sterna import mixing
from sterna.errors import DataError
from sterna.maths import phash
from sterna.maths.blocks import BETWEEN, blocks, by_words, named
from sterna.mixing import JoinedItems
from sterna.records import Finding, Items, Labels, Loaded, Table

SEVERAL = "several"
WORDS = "words"


@dataclass(frozen=True)
class Divided:
    """Texts as words, divided at white space. Satisfies `records.Items`."""

    texts: Items

    @property
    def modality(self) -> str:
        return WORDS

    @property
    def in_memory(self) -> bool:
        return self.texts.in_memory

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) words of each."""
        return np.array([len(self.read(index, 0)) for index in range(len(self))], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, index: int, hint: int) -> tuple[str, ...]:
        """The words; `hint` is not used."""
        return tuple(self.texts.read(index, hint).split())

    def digest(self, index: int) -> str:
        """That of the same words in a file of words, so that copies are found."""
        made = hashlib.blake2b(WORDS.encode(), digest_size=16)
        raw = "\n".join(self.read(index, 0)).encode()
        made.update(b"%d:" % len(raw))
        made.update(raw)
        return made.hexdigest()

    def name(self, index: int) -> str:
        return self.texts.name(index)


def joined(sets: Sequence[Loaded], names: Sequence[str]) -> Loaded:
    """Several data sets as one of several tasks.

    Args:
        sets: their items are of one kind; rows have the same columns.
        names: what the task of each is called, where it has one; a set of several tasks has its own names.

    Raises `DataError` for other kinds of items or labels, for two tasks of one name, and where one data set brings its
    own test or validation part and another does not.
    """
    sets, divided = _as_words(sets)
    first = sets[0]
    for one in sets:
        _check(first, one)
    tables = [first.table, *(mixing.aligned(one.table, first.table) for one in sets[1:])]
    rows, labels = _labels(tables, names)
    items, places = _items(tables)
    table = Table(items, np.concatenate(places), labels, rows, SEVERAL)
    groups, start = [], 0
    for one in sets:
        groups.append(phash.by_appearance(one.groups) + start)
        start += len(one.groups)
    same, copies = _copies(table, [len(one.table) for one in sets])
    domains = [one.domains for one in sets]
    return Loaded(
        table,
        phash.merged(same, np.concatenate(groups)),
        np.concatenate([one.parts for one in sets]),
        (*(finding for one in sets for finding in one.findings), *divided, *copies),
        " + ".join(one.origin for one in sets),
        np.concatenate(domains) if all(len(one) for one in domains) else domains[0][:0],
    )


def called(origin: str) -> str:
    """What a task is called after its data set, where no column names it."""
    return Path(origin).name.split(".")[0].replace(BETWEEN, " ") or origin


def _as_words(sets: Sequence[Loaded]) -> tuple[list[Loaded], list[Finding]]:
    """The data sets with texts as words where others hold words, and what is said of it."""
    if not any(one.table.by_word for one in sets):
        return list(sets), []
    found, said = [], []
    for one in sets:
        items = one.table.items
        if items.modality == "text" and not getattr(items, "paired", False):
            sentence = (
                f"the texts of {one.origin} are divided at white space into words, which they are learnt as beside "
                "tagged words; give words as lists to have them divided otherwise."
            )
            said.append(Finding("inferred", sentence))
            one = replace(one, table=replace(one.table, items=Divided(items)))
        found.append(one)
    return found, said


def _check(first: Loaded, one: Loaded) -> None:
    table = one.table
    kinds = [(each.items.modality, bool(getattr(each.items, "paired", False))) for each in (first.table, table)]
    if kinds[0] != kinds[1]:
        told = ["pairs of texts" if paired else f"{modality} data" for modality, paired in kinds]
        raise DataError(
            f"data sets that are learnt together hold one kind of items, got {told[0]} ({first.origin}) and {told[1]} "
            f"({one.origin}); leave --beside out."
        )
    for part in ("test", "validation"):
        if (part in first.parts) != (part in one.parts):
            given, other = (first, one) if part in first.parts else (one, first)
            raise DataError(
                f"{given.origin} brings its own {part} part and {other.origin} does not, so one task would have none; "
                "give parts in both, or in neither."
            )


def _labels(tables: Sequence[Table], names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the rows of one head, and the labels, (n, c), or (n,) object of words."""
    heads: list[tuple[str, ...]] = []
    for table, name in zip(tables, names, strict=True):
        if table.task == "regress" and table.labels[0].size > 1:
            raise DataError(
                f"a data set that is learnt with another has one value, or a task for each, got {table.labels[0].size} "
                f"values ({name}); type --task several."
            )
        classes = table.classes if table.task != "regress" else ()
        heads.append(table.classes if table.task == SEVERAL else named(name, classes, table.task))
    called = [block.name for head in heads for block in blocks(head)]
    twice = next((name for name in called if called.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two tasks are called '{twice}'; rename a column of labels or a file.")
    widths = [blocks(head)[-1].columns.stop for head in heads]
    lay = _laid_on_words if tables[0].by_word else _laid
    return tuple(row for head in heads for row in head), lay(tables, widths)


def _laid(tables: Sequence[Table], widths: Sequence[int]) -> np.ndarray:
    """(n, c): each data set's labels in its own rows and columns."""
    labels = np.full((sum(map(len, tables)), sum(widths)), np.nan)
    row = place = 0
    for table, width in zip(tables, widths, strict=True):
        labels[row : row + len(table), place : place + width] = table.labels.reshape(len(table), -1)
        row, place = row + len(table), place + width
    return labels


def _laid_on_words(tables: Sequence[Table], widths: Sequence[int]) -> Labels:
    """(n,) object: the same of items of words."""
    labels = np.empty(sum(map(len, tables)), dtype=object)
    row = place = 0
    for table, width in zip(tables, widths, strict=True):
        for one in _of_words(table, width):
            labels[row] = np.full((len(one), sum(widths)), np.nan)
            labels[row][:, place : place + width] = one
            row += 1
        place += width
    return labels


def _of_words(table: Table, width: int) -> Labels:
    """The labels of a table of words as one of several tasks has them, (m,) object."""
    if table.labels.dtype == object and table.task == SEVERAL:
        return table.labels
    lengths = table.items.lengths
    assert lengths is not None
    values = np.full((len(table), width), np.nan)
    if table.task == "tag":
        return by_words(values, lengths[table.rows], {0: table.labels})
    values[:] = table.labels.reshape(len(table), -1)
    return by_words(values, lengths[table.rows], {})


def _items(tables: Sequence[Table]) -> tuple[Items, list[np.ndarray]]:
    starts = np.cumsum([0, *(len(table.items) for table in tables)])
    places = [table.rows + start for table, start in zip(tables, starts[:-1].tolist(), strict=True)]
    return JoinedItems(tuple(table.items for table in tables)), places


def _copies(table: Table, sizes: Sequence[int]) -> tuple[np.ndarray, list[Finding]]:
    """(n,) numbers, equal for items of the same bytes; and what is said of those in several data sets."""
    digests = [table.items.digest(row) for row in table.rows.tolist()]
    same = np.array(
        [int.from_bytes(hashlib.blake2b(one.encode(), digest_size=7).digest(), "big") for one in digests], np.int64
    )
    owner = np.repeat(np.arange(len(sizes)), sizes)
    pairs = np.unique(np.stack([same, owner]), axis=1)
    shared = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    if not shared:
        return same, []
    sentence = f"{shared:,} examples lie in more than one of the data sets; their copies stay in one part of the split."
    return same, [Finding("duplicate", sentence)]
