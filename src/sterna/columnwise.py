"""Columns of labels as written -> what is learnt from: one task for all of them, or a task for each.

A task for each is asked for by name, as `several` or as what each column is: `sentiment=classify, stars=regress`. Rows
may then lack the label of one task and carry that of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sterna import labelling
from sterna.errors import DataError
from sterna.labelling import Labelled
from sterna.maths.blocks import BETWEEN, named
from sterna.records import Columns, Finding

SEVERAL = "several"
KINDS = ("classify", "regress")
_EXAMPLE = "--task several, or what each column is, as --task 'topic=classify, stars=regress'"


def encode(
    columns: Sequence[Sequence[str | None]], names: Sequence[str], wanted: str = "", called: Sequence[str] | None = None
) -> Labelled:
    """Labels from one or several columns; as `labelling.encode`, and a task for each column where `wanted` says so.

    Args:
        columns: the cells, None where there is none.
        names: of the columns.
        wanted: the task a person named, `several`, or the task of each column; those it does not name are told from
            their cells.
        called: what a person calls the rows; None calls them row 1, row 2, and on.

    Returns labels (m, t) float64 with NaN where a row has none for a task, of the rows that have any; the classes are
    the names of the rows of one head (see `maths.blocks`).

    Raises `DataError` for what `labelling.encode` refuses in one column, for a single column, for a task that is not
    classify or regress, and for a name that is no label column.
    """
    if not asks(wanted):
        return labelling.encode(columns, names, wanted, called)
    kinds = _kinds(wanted, names)
    if len(names) < 2:
        raise DataError(
            f"several tasks need two label columns at least, got {', '.join(names)}; name more with --label."
        )
    odd = next((name for name in names if BETWEEN in name), None)
    if odd is not None:
        raise DataError(f"a label column of several may not hold '{BETWEEN}' in its name, got '{odd}'; rename it.")
    each = [_one(column, name, kinds.get(name, ""), called) for column, name in zip(columns, names, strict=True)]
    labels = np.full((len(columns[0]), len(names)), np.nan)
    rows: list[str] = []
    for place, (name, one) in enumerate(zip(names, each, strict=True)):
        labels[one.rows, place] = one.labels.reshape(-1)
        rows += named(name, one.classes if one.task == "classify" else ())
    kept = np.flatnonzero(~np.isnan(labels).all(axis=1))
    return Labelled(labels[kept], tuple(rows), SEVERAL, (*_said(each, names, kinds), *_gaps(labels, names)), kept)


def asks(wanted: str) -> bool:
    """Whether a person asked for a task for each label column."""
    return wanted == SEVERAL or "=" in wanted


def of_tasks(columns: Columns) -> Columns:
    """The columns as said, with those that the task names as label columns where no others are."""
    if columns.label or "=" not in columns.task:
        return columns
    return replace(columns, label=tuple(_pairs(columns.task)))


def _kinds(wanted: str, names: Sequence[str]) -> dict[str, str]:
    """The task of each column that a person named one for."""
    found = {} if wanted == SEVERAL else _pairs(wanted)
    for name, kind in found.items():
        if kind not in KINDS:
            raise DataError(f"a task of several is classify or regress, got '{name}={kind}'; type {_EXAMPLE}.")
        if name not in names:
            raise DataError(
                f"--task speaks of '{name}', which is none of the label columns {', '.join(names)}; name it with "
                "--label too."
            )
    return found


def _pairs(wanted: str) -> dict[str, str]:
    parts = [part.rpartition("=") for part in wanted.split(",") if part.strip()]
    return {name.strip(): kind.strip() for name, _, kind in parts}


def _one(column: Sequence[str | None], name: str, kind: str, called: Sequence[str] | None) -> Labelled:
    found = labelling.encode([column], [name], kind, called)
    if found.task not in KINDS:
        raise DataError(
            f"column '{name}' lists several labels in a cell, and a task of several is classify or regress; type "
            f"--task '{name}=classify' to have each combination be a class, or fit the column alone."
        )
    return found


def _said(each: Sequence[Labelled], names: Sequence[str], kinds: dict[str, str]) -> list[Finding]:
    """What each column was taken for, where nobody said."""
    told = [
        f"{name} {one.task} ({f'{len(one.classes)} classes' if one.task == 'classify' else 'a number'})"
        for name, one in zip(names, each, strict=True)
    ]
    guessed = [name for name in names if name not in kinds]
    if not guessed:
        return []
    other = {"classify": "regress", "regress": "classify"}[each[list(names).index(guessed[0])].task]
    sentence = f"a task for each label column: {', '.join(told)}; type --task '{guessed[0]}={other}' to change one."
    return [Finding("inferred", sentence)]


def _gaps(labels: np.ndarray, names: Sequence[str]) -> list[Finding]:
    """How many rows carry a label for each task, and how many carry none."""
    there = ~np.isnan(labels)
    if there.all():
        return []
    told = ", ".join(f"{name} {count:,}" for name, count in zip(names, there.sum(axis=0).tolist(), strict=True))
    without = int((~there.any(axis=1)).sum())
    end = f"; {without:,} without any are set aside" if without else ""
    sentence = (
        f"of {len(labels):,} rows some lack a label: {told} have one{end}; each task learns from those that carry its "
        "label."
    )
    return [Finding("missing labels", sentence)]
