"""A labelled source and a target whose labels are not learnt from, as one data set.

Its training and validation parts are the source's, and the target is held out whole: nothing that trains or chooses can
reach a label of it. What may be looked at, the target's items, is handed on without labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sterna import mixing
from sterna.errors import DataError
from sterna.mixing import JoinedItems
from sterna.records import Finding, Fitted, Items, Loaded, Split, Table

TASKS = ("classify", "regress")
TARGET = "target"  # the domain of its examples, where the data name none


def plain(items: Items, origin: str) -> Loaded:
    """Items without labels, as a data set."""
    count = len(items)
    table = Table(items, np.arange(count), np.zeros(0, dtype=np.int64), ())
    return Loaded(table, np.arange(count), np.full(count, ""), (), origin)


def joined(source: Loaded, target: Loaded, few: Loaded | None = None) -> Loaded:
    """The source to learn from, and the target held out.

    Target examples of classes that the source lacks can be adapted to and not answered; they are not held out. Source
    examples that are copies of target examples are left out: their labels would be the target's.

    Args:
        source: labelled, for classify or regress.
        target: of the same kind of items; with or without labels.
        few: labelled examples of the target. Those that are copies of held-out ones are learnt from instead.

    Raises `DataError` for other kinds of items or labels, and where no class is shared.
    """
    if source.table.task not in TASKS:
        raise DataError(
            f"adaptation is for the tasks {' and '.join(TASKS)}, and the labels of {source.origin} are for "
            f"{source.table.task}; give other labels."
        )
    blind = not len(target.table.labels)
    for one in (target, few) if few is not None else (target,):
        _check_items(source.table, one.table)
    # Rows are the same rows only where they are read alike.
    target = replace(target, table=mixing.aligned(target.table, source.table))
    few = few and replace(few, table=mixing.aligned(few.table, source.table))
    there, labels = _known(source, target, blind)
    known = _digests(few) if few is not None else set()
    digests = np.array([target.table.items.digest(int(row)) for row in target.table.rows], dtype=object)
    held = np.array([place for place in there if digests[place] not in known], dtype=np.int64)
    labels = labels[np.isin(there, held)]
    kept = _own(source, set(digests.tolist()))
    parts = [source.table, target.table, *([few.table] if few is not None else [])]
    items, rows = _placed(parts)
    learnt, sides = [rows[0][kept]], [source.table.labels[kept]]
    if few is not None:
        chosen, named = mixing.usable(few.table, source.table)
        learnt.append(_same_rows(few, chosen, digests, rows))
        sides.append(named)
    table = replace(
        source.table,
        items=items,
        rows=np.concatenate([*learnt, rows[1][held]]),
        labels=np.concatenate([*sides, labels]),
    )
    counts = [len(kept), sum(map(len, learnt)) - len(kept), len(held)]
    return Loaded(
        table,
        _groups(source, kept, len(table)),
        np.repeat(["", "train", "test"], counts),
        (*source.findings, *_findings(source, target, (kept, held, blind))),
        f"{source.origin} -> {target.origin}",
        np.concatenate([_domains(source)[kept], np.full(len(table) - len(kept), _called(target))]),
        Table(items, rows[1], np.zeros(0, dtype=np.int64), source.table.classes, source.table.task),
        crossed=True,
        blind=blind,
    )


@dataclass(frozen=True)
class NoItems:
    """The items of a source of which nothing is at hand but the model that it made."""

    modality: str
    in_memory: bool = True
    lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return 0

    def read(self, index: int, hint: int) -> Any:
        raise IndexError(index)

    def digest(self, index: int) -> str:
        raise IndexError(index)

    def name(self, index: int) -> str:
        raise IndexError(index)


def behind(model: Fitted) -> Loaded:
    """The source of a saved model: its classes, and none of its examples."""
    none = np.zeros(0, dtype=np.int64)
    table = Table(NoItems(model.encoder.preparation.modality), none, none, model.classes, model.task)
    return Loaded(table, none, np.zeros(0, dtype="<U5"), (), model.encoder.reference, model=model.encoder)


def alone(source: Loaded, target: Loaded, judging: Loaded | None = None) -> Loaded:
    """A target to which a saved model is adapted without an example of its source.

    Args:
        source: as `behind` makes it.
        target: with or without labels, which judge at the end.
        judging: labelled examples of the target that judge in place of it; they are not adapted to.

    Raises `DataError` as `joined`.
    """
    if judging is None:
        return replace(joined(source, target), model=source.model)
    held, more = joined(source, judging), plain(target.table.items, target.origin)
    items, rows = _placed([held.table, replace(more.table, rows=target.table.rows)])
    unlabelled = replace(held.table, items=items, rows=rows[1], labels=np.zeros(0, dtype=np.int64))
    origin = f"{source.origin} -> {target.origin}"
    table = replace(held.table, items=items, rows=rows[0])
    return replace(held, table=table, origin=origin, unlabelled=unlabelled, model=source.model)


def held(loaded: Loaded, seed: int) -> Split:
    """The split of a saved model's target: everything that is labelled is held out."""
    none = np.zeros(0, dtype=np.int64)
    return Split(none, none, np.arange(len(loaded.table)), seed)


def beside(loaded: Loaded, more: Loaded) -> Loaded:
    """The data and, without labels, more items of their kind.

    Copies of labelled examples are left out: those of the training part add nothing, and a model that had looked at
    those of the held-out part would be held out less than it seems.

    Raises `DataError` for other kinds of items, and where nothing is left.
    """
    _check_items(loaded.table, more.table)
    aligned = mixing.aligned(more.table, loaded.table)
    there = _digests(loaded)
    kept = [place for place, row in enumerate(aligned.rows) if aligned.items.digest(int(row)) not in there]
    if not kept:
        raise DataError(f"all examples of {more.origin} are copies of labelled ones; give others, or leave them out.")
    items, rows = _placed([loaded.table, aligned])
    none = np.zeros(0, dtype=np.int64)
    told = f"{len(aligned.rows) - len(kept)} examples without labels that are copies of labelled ones are left out."
    findings = [Finding("duplicate", told)] if len(kept) < len(aligned.rows) else []
    return replace(
        loaded,
        table=replace(loaded.table, items=items, rows=rows[0]),
        findings=(*loaded.findings, *findings),
        unlabelled=Table(items, rows[1][kept], none, loaded.table.classes, loaded.table.task),
    )


def stacked(sources: Sequence[Loaded]) -> Loaded:
    """Several labelled sources as one, each a domain; classes are those of the first and go by name.

    Raises `DataError` for a source of other items or labels, or without a class of the first.
    """
    first = sources[0]
    tables = [first.table, *(mixing.aligned(one.table, first.table) for one in sources[1:])]
    kept, labels = [np.arange(len(first.table))], [first.table.labels]
    for table in tables[1:]:
        positions, named = mixing.usable(table, first.table)
        kept.append(positions)
        labels.append(named)
    items, rows = _placed(tables)
    starts = np.cumsum([0, *(int(one.groups.max(initial=-1)) + 1 for one in sources)])
    parts = list(zip(sources, kept, strict=True))
    return replace(
        first,
        table=replace(
            first.table,
            items=items,
            rows=np.concatenate([one[some] for one, some in zip(rows, kept, strict=True)]),
            labels=np.concatenate(labels),
        ),
        groups=np.concatenate([one.groups[some] + start for (one, some), start in zip(parts, starts, strict=False)]),
        parts=np.concatenate([np.full(len(some), "") for _, some in parts]),
        findings=tuple(finding for one in sources for finding in one.findings),
        origin=", ".join(one.origin for one in sources),
        domains=np.concatenate([_domains(one)[some] for one, some in parts]),
    )


def owners(loaded: Loaded) -> np.ndarray:
    """(number of items,) int64: the number of the source that an item is labelled by, -1 for items of the target."""
    found = np.full(len(loaded.table.items), -1, dtype=np.int64)
    source = loaded.parts == ""
    found[loaded.table.rows[source]] = np.unique(loaded.domains[source], return_inverse=True)[1]
    return found


def settled(split: Split, loaded: Loaded) -> Split:
    """The split with all labelled target examples in its training part: with so few, none is spared to judge."""
    known = split.validation[loaded.parts[split.validation] == "train"]
    return replace(
        split,
        train=np.sort(np.concatenate([split.train, known])),
        validation=np.setdiff1d(split.validation, known),
    )


def _known(source: Loaded, target: Loaded, blind: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the target examples that can be held out, and their labels in the source's numbers."""
    if blind:
        shape = (len(target.table), *source.table.labels.shape[1:])
        return np.arange(len(target.table)), np.zeros(shape, dtype=source.table.labels.dtype)
    return mixing.usable(target.table, source.table)


def _check_items(source: Table, target: Table) -> None:
    if source.items.modality != target.items.modality:
        raise DataError(
            f"both data sets must hold the same items, got {source.items.modality} and {target.items.modality}; give "
            "others."
        )
    if source.items.modality == "vector" and source.items.columns != target.items.columns:  # type: ignore[attr-defined]
        raise DataError(
            f"both data sets must hold vectors of one length, got {len(source.items.columns)} and "  # type: ignore[attr-defined]
            f"{len(target.items.columns)} numbers; give others."  # type: ignore[attr-defined]
        )
    if getattr(source.items, "paired", False) != getattr(target.items, "paired", False):
        raise DataError(
            "one data set holds texts and the other pairs of texts; name columns by --text, or give others."
        )


def _digests(loaded: Loaded) -> set[str]:
    return {loaded.table.items.digest(int(row)) for row in loaded.table.rows}


def _own(source: Loaded, digests: set[str]) -> np.ndarray:
    """Positions of the source examples that are no copies of target examples."""
    found = [source.table.items.digest(int(row)) not in digests for row in source.table.rows]
    return np.flatnonzero(found)


def _placed(parts: Sequence[Table]) -> tuple[Items, list[np.ndarray]]:
    """One list of items, and where the rows of each table lie in it."""
    found = [part.items for part in parts]
    there = [one for one in found if len(one)] or found
    if all(one is there[0] for one in there):
        return there[0], [part.rows for part in parts]
    starts = np.cumsum([0, *(len(one) for one in found[:-1])])
    return JoinedItems(tuple(found)), [part.rows + start for part, start in zip(parts, starts, strict=True)]


def _same_rows(few: Loaded, chosen: np.ndarray, digests: np.ndarray, rows: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of labelled target examples: those of the target's own copy where there is one."""
    places = {digest: int(row) for digest, row in zip(digests[::-1], rows[1][::-1], strict=True)}
    own = [few.table.items.digest(int(few.table.rows[one])) for one in chosen]
    return np.array(
        [places.get(digest, int(rows[2][one])) for digest, one in zip(own, chosen, strict=True)], dtype=np.int64
    )


def _groups(source: Loaded, kept: np.ndarray, count: int) -> np.ndarray:
    """Groups of the source stay; every other example is its own."""
    start = int(source.groups.max(initial=-1)) + 1
    return np.concatenate([source.groups[kept], start + np.arange(count - len(kept))])


def _domains(loaded: Loaded) -> np.ndarray:
    return loaded.domains if len(loaded.domains) else np.full(len(loaded.table), loaded.origin)


def _called(target: Loaded) -> str:
    names = set(target.domains.tolist())
    return names.pop() if len(names) == 1 else TARGET


def _findings(source: Loaded, target: Loaded, what: tuple[np.ndarray, np.ndarray, bool]) -> list[Finding]:
    kept, held, blind = what
    found = []
    copies = len(source.table) - len(kept)
    if copies:
        told = (
            f"{copies} source examples that are copies of target examples are left out: their labels are the target's."
        )
        found.append(Finding("duplicate", told))
    if blind:
        told = f"{len(target.table)} target examples have no label, so nothing can be measured on them."
        found.append(Finding("unlabelled", told))
        return found
    told = f"{len(held)} target examples have labels, which are looked at once, at the end."
    unknown = len(target.table) - len(held)
    if unknown:
        told += f" {unknown} more are labelled otherwise, or learnt from; they are adapted to and not measured."
    return [*found, Finding("target", told)]
