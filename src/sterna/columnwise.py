"""Columns of labels as written -> what is learnt from: one task for all of them, or a task for each.

A task for each is asked for by name, as `several` or as what each column is: `sentiment=classify, stars=regress`. Rows
may then lack the label of one task and carry that of another. Of items of words, columns of tags have one for each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from sterna import labelling
from sterna.errors import DataError
from sterna.labelling import Labelled
from sterna.maths.blocks import BETWEEN, MULTILABEL, TAG, blocks, by_words, named
from sterna.records import Columns, Finding, Labels

SEVERAL = "several"
KINDS = ("classify", "regress", MULTILABEL)  # of labels of whole rows
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

    Returns labels (m, c) float64 with NaN where a row has none for a task, of the rows that have any; the classes are
    the names of the rows of one head (see `maths.blocks`).

    Raises `DataError` for what `labelling.encode` refuses in one column, for a single column, for a task that is not
    classify, regress or multilabel, and for a name that is no label column.
    """
    if not asks(wanted):
        return labelling.encode(columns, names, wanted, called)
    kinds = _kinds(wanted, names, ())
    _check(names)
    each = [
        labelling.encode([column], [name], kinds.get(name, ""), called)
        for column, name in zip(columns, names, strict=True)
    ]
    head, labels, there = _side_by_side(each, names, len(columns[0]))
    kept = np.flatnonzero(there.any(axis=1))
    return Labelled(labels[kept], head, SEVERAL, (*_said(head, kinds), *_gaps(there, names)), kept)


def of_words(
    columns: Sequence[Sequence[str | None]],
    names: Sequence[str],
    tagged: Sequence[Sequence[Sequence[str]]],
    counts: np.ndarray,
    wanted: str = "",
    called: Sequence[str] | None = None,
) -> Labelled:
    """Labels of items of words: a tag for each word, and a task for each column where `wanted` says so.

    Args:
        columns: the cells of columns of whole items; the last of `names` are theirs.
        names: of the columns, those of tags first.
        tagged: of each column of tags, the tags of each item, none where it is not tagged.
        counts: (n,) words of each item.
        wanted: as of `encode`.
        called: as of `encode`.

    Returns the labels of `tag` for one column of tags, named or alone, else those of several tasks whose items are
    words (see `maths.blocks`).

    Raises `DataError` as `encode` and `labelling.tags` do, and for several columns where nobody asks for a task each.
    """
    if not asks(wanted):
        if wanted not in ("", TAG):
            raise DataError(f"words with a tag each are for the task tag, got --task {wanted}; leave it out.")
        if len(names) > 1:
            raise DataError(f"words with labels in {', '.join(names)} are for a task each; type --task several.")
        return labelling.tags(tagged[0])
    kinds = _kinds(wanted, names, names[: len(tagged)])
    if kinds and len(names) == len(tagged) == 1:
        return labelling.tags(tagged[0])
    _check(names)
    each = [_tags(one, name) for one, name in zip(tagged, names, strict=False)]
    for column, name in zip(columns, names[len(tagged) :], strict=True):
        each.append(labelling.encode([column], [name], kinds.get(name, ""), called))
    head, values, there = _side_by_side(each, names, len(counts))
    found = zip(blocks(head), each, strict=True)
    tags = {block.column: _by_item(one, len(counts)) for block, one in found if block.task == TAG}
    kept = np.flatnonzero(there.any(axis=1))
    labels = by_words(values, counts, tags)[kept]
    return Labelled(labels, head, SEVERAL, (*_said(head, kinds), *_gaps(there, names)), kept)


def _tags(tags: Sequence[Sequence[str]], name: str) -> Labelled:
    """The tags of one column, of the items that are tagged."""
    rows = np.array([row for row, one in enumerate(tags) if len(one)], dtype=np.int64)
    try:
        found = labelling.tags([tags[row] for row in rows.tolist()])
    except DataError as error:
        raise DataError(
            f"column '{name}' cannot be learnt: {error} To learn from other columns, type --task 'COLUMN=tag, "
            "COLUMN=tag'."
        ) from error
    return replace(found, rows=rows)


def _by_item(one: Labelled, count: int) -> Labels:
    """(n,) object: the tags of each item, None where it has none."""
    found = np.full(count, None, dtype=object)
    for row, tags in zip(one.rows.tolist(), one.labels, strict=True):
        found[row] = tags
    return found


def _check(names: Sequence[str]) -> None:
    """Raises `DataError` for names of label columns that cannot be told apart in the rows of a head."""
    if len(names) < 2:
        raise DataError(
            f"several tasks need two label columns at least, got {', '.join(names)}; name more with --label."
        )
    odd = next((name for name in names if BETWEEN in name or name != name.strip()), None)
    if odd is not None:
        raise DataError(f"a label column of several may not hold '{BETWEEN}' in its name, got '{odd}'; rename it.")


def _side_by_side(
    each: Sequence[Labelled], names: Sequence[str], count: int
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The names of the rows of one head; labels (n, c) of whole items, NaN in columns of tags; (n, t) who has one."""
    head: list[str] = []
    for name, one in zip(names, each, strict=True):
        head += named(name, one.classes if one.task != "regress" else (), one.task)
    labels, there = np.full((count, blocks(head)[-1].columns.stop), np.nan), np.zeros((count, len(each)), dtype=bool)
    for place, (block, one) in enumerate(zip(blocks(head), each, strict=True)):
        there[one.rows, place] = True
        if block.task != TAG:
            labels[one.rows, block.columns] = one.labels.reshape(len(one.rows), -1)
    return tuple(head), labels, there


def asks(wanted: str) -> bool:
    """Whether a person asked for a task for each label column."""
    return wanted == SEVERAL or "=" in wanted


def of_tasks(columns: Columns) -> Columns:
    """The columns as said, with those that the task names as label columns where no others are."""
    if columns.label or "=" not in columns.task:
        return columns
    return replace(columns, label=tuple(_pairs(columns.task)))


def _kinds(wanted: str, names: Sequence[str], tagged: Collection[str]) -> dict[str, str]:
    """The task of each column that a person named one for; `tagged`: columns of tags."""
    found = {} if wanted == SEVERAL else _pairs(wanted)
    for name, kind in found.items():
        if name in tagged and kind != TAG:
            raise DataError(f"column '{name}' holds a tag for each word, got '{name}={kind}'; type '{name}={TAG}'.")
        if name not in tagged and kind == TAG and name in names:
            raise DataError(
                f"column '{name}' holds no tag for each word, got '{name}={kind}'; a task of several is classify, "
                f"regress or multilabel there, so type {_EXAMPLE}."
            )
        if name not in tagged and kind not in (*KINDS, TAG):
            raise DataError(
                f"a task of several is classify, regress or multilabel, and tag of words, got '{name}={kind}'; type "
                f"{_EXAMPLE}."
            )
        if name not in names:
            raise DataError(
                f"--task speaks of '{name}', which is none of the label columns {', '.join(names)}; name it with "
                "--label too."
            )
    return found


def _pairs(wanted: str) -> dict[str, str]:
    parts = [part.rpartition("=") for part in wanted.split(",") if part.strip()]
    return {name.strip(): kind.strip() for name, _, kind in parts}


def _said(head: Sequence[str], kinds: dict[str, str]) -> list[Finding]:
    """What each column was taken for, where nobody said."""
    every = blocks(head)
    told = [f"{block.name} {block.task} ({block.told})" for block in every]
    guessed = [block for block in every if block.name not in kinds]
    if not guessed:
        return []
    first = next((block for block in guessed if block.task != TAG), None)
    if first is None:
        change = f"--task '{every[0].name}={TAG}, {every[1].name}={TAG}' to learn from some of them alone"
    else:
        change = f"--task '{first.name}={'regress' if first.task == 'classify' else 'classify'}' to change one"
    return [Finding("inferred", f"a task for each label column: {', '.join(told)}; type {change}.")]


def _gaps(there: np.ndarray, names: Sequence[str]) -> list[Finding]:
    """How many rows carry a label for each task, and how many carry none; `there`: (n, t) bool."""
    if there.all():
        return []
    told = ", ".join(f"{name} {count:,}" for name, count in zip(names, there.sum(axis=0).tolist(), strict=True))
    without = int((~there.any(axis=1)).sum())
    end = f"; {without:,} without any are set aside" if without else ""
    sentence = (
        f"of {len(there):,} rows some lack a label: {told} have one{end}; each task learns from those that carry its "
        "label."
    )
    return [Finding("missing labels", sentence)]
