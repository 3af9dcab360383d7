"""Two data sets read as one: related source examples in the training part of a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sterna.errors import DataError
from sterna.records import Finding, Items, Table


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


def mapped_labels(source: Table, target: Sequence[str]) -> np.ndarray:
    """For each source example the target class of the same name, or -1; case and outer spaces do not count."""
    places = {name.strip().casefold(): number for number, name in enumerate(target)}
    by_class = np.array([places.get(name.strip().casefold(), -1) for name in source.classes], dtype=np.int64)
    return by_class[source.labels]


def join(target: Table, source: Table, weight: float) -> tuple[Table, np.ndarray, Finding]:
    """The target's training part with the source examples of the same classes behind it.

    Returns the joined table, a weight for each of its examples (1 for target, `weight` for source) and what was done,
    in a sentence. Raises `DataError` when no class name agrees.
    """
    labels = mapped_labels(source, target.classes)
    fitting = np.flatnonzero(labels >= 0)
    if not len(fitting):
        raise DataError(
            f"the source has none of the target's classes: it has {', '.join(source.classes[:5])}; "
            f"rename its class folders to some of {', '.join(target.classes[:5])}."
        )
    items = JoinedItems((target.items, source.items))
    rows = np.concatenate([target.rows, source.rows[fitting] + len(target.items)])
    joined = Table(items, rows, np.concatenate([target.labels, labels[fitting]]), target.classes)
    weights = np.concatenate([np.ones(len(target)), np.full(len(fitting), weight)]).astype(np.float32)
    left = len(labels) - len(fitting)
    sentence = f"{len(fitting)} source examples join the training part at weight {weight:g}"
    sentence += f"; {left} of classes the target lacks are left out." if left else "."
    return joined, weights, Finding("source", sentence)
