"""Two data sets read as one: related source examples in the training part of a target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sterna import spec
from sterna.errors import DataError
from sterna.records import Column, Finding, Items, Loaded, Table

LISTED = 12  # domains that a message names


@dataclass(frozen=True)
class JoinedItems:
    """The items of several data sets, one after the other."""

    parts: tuple[Items, ...]

    @property
    def modality(self) -> str:
        return self.parts[0].modality

    @property
    def in_memory(self) -> bool:
        return all(part.in_memory for part in self.parts)

    @property
    def lengths(self) -> np.ndarray | None:
        known = [part.lengths for part in self.parts]
        return np.concatenate([one for one in known if one is not None]) if known[0] is not None else None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of rows: those of the first part, whose columns the others share."""
        found: tuple[Column, ...] = self.parts[0].columns  # type: ignore[attr-defined]
        return found

    @property
    def paired(self) -> bool:
        """Of texts: whether an item is a pair of them."""
        return bool(getattr(self.parts[0], "paired", False))

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def read(self, index: int, hint: int) -> Any:
        part, place = self._find(index)
        return part.read(place, hint)

    def digest(self, index: int) -> str:
        part, place = self._find(index)
        return part.digest(place)

    def name(self, index: int) -> str:
        part, place = self._find(index)
        return part.name(place)

    def _find(self, index: int) -> tuple[Items, int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)


def by_domain(loaded: Loaded, target: str) -> tuple[Loaded, Loaded]:
    """The examples of one domain, and those of all others as its source.

    Raises `DataError` when the data have no domains, only one, or none of this name.
    """
    names = sorted(set(loaded.domains.tolist()))
    if not names:
        raise DataError(f"{loaded.origin} has no domains to choose from; name the column that holds them: --domain.")
    if target not in names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        raise DataError(
            f"{loaded.origin} has no domain '{target}'.{spec.did_you_mean(target, names)} Its domains are "
            f"{', '.join(names[:LISTED])}{more}."
        )
    if len(names) < 2:
        raise DataError(
            f"{target} is the only domain of {loaded.origin}, so there is no other to learn from; name another column "
            "by --domain, or give other data as the source."
        )
    inside = loaded.domains == target
    return _selected(loaded, inside), _selected(loaded, ~inside)


def _selected(loaded: Loaded, which: np.ndarray) -> Loaded:
    rows = np.flatnonzero(which)
    return replace(
        loaded,
        table=loaded.table.take(rows),
        groups=loaded.groups[rows],
        parts=loaded.parts[rows],
        domains=loaded.domains[rows],
    )


def join(target: Table, source: Table, weight: float | np.ndarray) -> tuple[Table, np.ndarray, Finding]:
    """The target's training part with the source examples of the same classes behind it.

    Returns the joined table, a weight for each of its examples (1 for target) and what was done, in a sentence. Source
    examples of weight 0 are left out; where that is all of them, the table is the target's own.

    Args:
        target, source: of the same kind of items and labels.
        weight: of a source example against a target example; one number, or (n,) one for each source example.

    Raises `DataError` when the two hold other kinds of items or labels, and when no class name agrees.
    """
    kept, labels = usable(source, target)
    each = np.broadcast_to(np.asarray(weight, dtype=np.float32), (len(source),))[kept]
    kept, labels, each, known = kept[each > 0], labels[each > 0], each[each > 0], len(kept)
    if not len(kept):
        return (
            target,
            np.ones(len(target), dtype=np.float32),
            Finding("source", "The source stays out: its weight is 0."),
        )
    if source.items is target.items:
        items, rows = target.items, np.concatenate([target.rows, source.rows[kept]])
    else:
        items = JoinedItems((target.items, aligned(source, target).items))
        rows = np.concatenate([target.rows, source.rows[kept] + len(target.items)])
    joined = replace(target, items=items, rows=rows, labels=np.concatenate([target.labels, labels]))
    weights = np.concatenate([np.ones(len(target), dtype=np.float32), each])
    return joined, weights, Finding("source", _sentence(each, known - len(kept), len(source) - known))


def usable(source: Table, target: Table) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the source examples of the target's classes, and their labels in the target's numbers.

    Raises `DataError` as `join`.
    """
    _check_alike(target, source)
    kept, labels = _mapped(source, target)
    if not len(kept):
        raise DataError(
            f"the source has none of the target's classes: it has {', '.join(source.classes[:5])}; "
            f"rename its classes to some of {', '.join(target.classes[:5])}."
        )
    return kept, labels


def _sentence(each: np.ndarray, without: int, unknown: int) -> str:
    low, high = float(each.min()), float(each.max())
    weight = f"weight {low:.3g}" if low == high else f"weights {low:.3g} to {high:.3g}"
    left = [f"{without} of weight 0"] if without else []
    left += [f"{unknown} of classes the target lacks"] if unknown else []
    told = f"{len(each)} source examples join the training part at {weight}"
    return f"{told}; {' and '.join(left)} are left out." if left else f"{told}."


def aligned(source: Table, target: Table) -> Table:
    """The source as the target is read: rows with their columns in the target's order and of its kinds."""
    if source.items is target.items or not hasattr(source.items, "aligned"):
        return source
    return replace(source, items=source.items.aligned(target.items.columns))  # type: ignore[attr-defined]


def _check_alike(target: Table, source: Table) -> None:
    if target.task == "several":
        raise DataError(
            "a source is mixed in class by class, and these data have several tasks; leave --source and "
            "--target-domain out, or fit one task with --label NAME."
        )
    for what, one, other in (
        ("items", target.items.modality, source.items.modality),
        ("labels", target.task, source.task),
    ):
        if one != other:
            raise DataError(f"source and target must hold the same {what}, got {other} and {one}; give another source.")


def _mapped(source: Table, target: Table) -> tuple[np.ndarray, np.ndarray]:
    """The source examples that can be used, and their labels in the target's numbers.

    Classes go by name; case and outer spaces do not count. What a source item does not say of a target label is no. An
    item with words of an unknown tag is left out.
    """
    places = {name.strip().casefold(): number for number, name in enumerate(target.classes)}
    by_class = np.array([places.get(name.strip().casefold(), -1) for name in source.classes], dtype=np.int64)
    known = np.flatnonzero(by_class >= 0)
    everything = np.arange(len(source))
    if source.task in ("multilabel", "regress"):
        if not len(known) or (source.task == "regress" and len(known) < len(target.classes)):
            return everything[:0], source.labels[:0]
        labels = np.zeros((len(source), len(target.classes)), dtype=source.labels.dtype)
        labels[:, by_class[known]] = source.labels[:, known]
        return everything, labels
    if source.task == "tag":
        found = np.empty(len(source), dtype=object)
        found[:] = [by_class[one] for one in source.labels]
        kept = np.array([place for place, one in enumerate(found) if (one >= 0).all()], dtype=np.int64)
        return kept, found[kept]
    labels = by_class[source.labels]
    kept = np.flatnonzero(labels >= 0)
    return kept, labels[kept]
