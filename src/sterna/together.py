"""Several labelled data sets with labels of their own -> one data set with a task for each.

An example carries the labels of the data set it comes from and none of the others. Copies that lie in several data sets
stay in one part of a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sterna import mixing
from sterna.errors import DataError
from sterna.maths import phash
from sterna.maths.blocks import BETWEEN, blocks, named
from sterna.mixing import JoinedItems
from sterna.records import Finding, Items, Loaded, Table

SEVERAL = "several"
TASKS = ("classify", "regress", SEVERAL)


def joined(sets: Sequence[Loaded], names: Sequence[str]) -> Loaded:
    """Several data sets as one of several tasks.

    Args:
        sets: their items are of one kind; rows have the same columns.
        names: what the task of each is called, where it has one; a set of several tasks has its own names.

    Raises `DataError` for other kinds of items or labels, for two tasks of one name, and where one data set brings its
    own test or validation part and another does not.
    """
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
        (*(finding for one in sets for finding in one.findings), *copies),
        " + ".join(one.origin for one in sets),
        np.concatenate(domains) if all(len(one) for one in domains) else domains[0][:0],
    )


def called(origin: str) -> str:
    """What a task is called after its data set, where no column names it."""
    return Path(origin).name.split(".")[0].replace(BETWEEN, " ") or origin


def _check(first: Loaded, one: Loaded) -> None:
    table = one.table
    kinds = [(each.items.modality, bool(getattr(each.items, "paired", False))) for each in (first.table, table)]
    if kinds[0] != kinds[1]:
        told = ["pairs of texts" if paired else f"{modality} data" for modality, paired in kinds]
        raise DataError(
            f"data sets that are learnt together hold one kind of items, got {told[0]} ({first.origin}) and {told[1]} "
            f"({one.origin}); leave --beside out."
        )
    if table.task not in TASKS:
        raise DataError(
            f"data sets that are learnt together have labels for classify or regress, got {table.task} ({one.origin}); "
            "leave it out, or say what its labels are with --task."
        )
    for part in ("test", "validation"):
        if (part in first.parts) != (part in one.parts):
            given, other = (first, one) if part in first.parts else (one, first)
            raise DataError(
                f"{given.origin} brings its own {part} part and {other.origin} does not, so one task would have none; "
                "give parts in both, or in neither."
            )


def _labels(tables: Sequence[Table], names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the rows of one head, and the labels (n, t)."""
    rows: list[str] = []
    columns: list[np.ndarray] = []
    for table, name in zip(tables, names, strict=True):
        several = table.task == SEVERAL
        mine = table.labels.reshape(len(table), -1).astype(np.float64)
        if not several and mine.shape[1] > 1:
            raise DataError(
                f"a data set that is learnt with another has one value, or a task for each, got {mine.shape[1]} values "
                f"({name}); type --task several."
            )
        classes = table.classes if table.task == "classify" else ()
        rows += table.classes if several else named(name, classes)
        columns.append(mine)
    heads = [one for table, name in zip(tables, names, strict=True) for one in _heads(table, name)]
    twice = next((name for name in heads if heads.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two tasks are called '{twice}'; rename a column of labels or a file.")
    labels = np.full((sum(map(len, tables)), sum(one.shape[1] for one in columns)), np.nan)
    row = place = 0
    for one in columns:
        labels[row : row + len(one), place : place + one.shape[1]] = one
        row, place = row + len(one), place + one.shape[1]
    return tuple(rows), labels


def _heads(table: Table, name: str) -> list[str]:
    """What the tasks of a data set are called."""
    return [one.name for one in blocks(table.classes)] if table.task == SEVERAL else [name]


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
