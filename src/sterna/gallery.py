"""The examples that a page shows: each once, with its name, its text and, while there is room, its picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sterna import thumbnails
from sterna.errors import SternaError
from sterna.records import Items

TEXT = 300  # letters of a text
BRIEF = 120  # letters of a text that only a point on the map shows
NAME = 200
ROOM = 1_500_000  # bytes of all pictures together
SMALL = 48  # pixels of a picture that only a point on the map shows
_LEAST = 600  # bytes of the smallest picture; with less room none is read any more
KINDS = {"image": "image", "text": "text", "words": "text", "audio": "audio"}


@dataclass(frozen=True)
class Part:
    """Some items of one data set."""

    name: str  # train, validation, test or source
    items: Items
    rows: np.ndarray  # (n,) positions in `items`
    labels: np.ndarray  # (n,) int64 class numbers, -1 where an item has none


@dataclass
class Gallery:
    """Numbers for examples in the order in which they are asked for."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    places: list[tuple[Part, int]] = field(default_factory=list)
    spent: int = 0  # bytes
    known: dict[tuple[str, int], int] = field(default_factory=dict)

    def number(self, part: Part, place: int) -> int:
        """The number of an example, entered by name where it is new."""
        row = int(part.rows[place])
        key = ("source" if part.name == "source" else "", row)
        if key not in self.known:
            label = int(part.labels[place])
            self.known[key] = len(self.entries)
            self.places.append((part, place))
            entry = {"name": _cut(part.items.name(row), NAME), "label": label if label >= 0 else None}
            kind = KINDS.get(part.items.modality, "row")
            self.entries.append({**entry, "part": part.name, "kind": kind, "text": None, "picture": None})
        return self.known[key]

    def pay(self, picture: str) -> bool:
        """Whether there is room for a picture, which is then spent."""
        if self.spent + len(picture) > ROOM:
            return False
        self.spent += len(picture)
        return True

    def fill(self, numbers: Iterable[int], brief: bool = False) -> None:
        """Show these examples: their text, or their picture while there is room.

        Args:
            numbers: those that matter most first.
            brief: with little of each, for the points of a map; items that would have to be read from files as text are
                then left to their names.
        """
        for number in dict.fromkeys(numbers):
            entry, (part, place) = self.entries[number], self.places[number]
            if entry["text"] is not None or entry["picture"] is not None:
                continue
            image = entry["kind"] == "image"
            if entry["kind"] == "audio" or (brief and not image and not part.items.in_memory):
                continue
            if image and self.spent + _LEAST > ROOM:
                continue
            raw = _read(part, place, SMALL if brief else thumbnails.SIDE)
            if image and raw is not None:
                picture = thumbnails.uri(raw, SMALL if brief else thumbnails.SIDE)
                entry["picture"] = picture if self.pay(picture) else None
            elif raw is not None:
                entry["text"] = _cut(told(raw, part.items), BRIEF if brief else TEXT)


def told(raw: Any, items: Items) -> str:
    """An item that is no picture, in words."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, np.ndarray):
        return ", ".join(f"{value:.4g}" for value in raw[:40])
    columns = getattr(items, "columns", ())
    if items.modality == "row":
        named = zip((column.name for column in columns), raw, strict=False)
        return ", ".join(f"{name} = {_value(value)}" for name, value in named if value is not None)
    return (" " if items.modality == "words" else " | ").join(map(str, raw))


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _read(part: Part, place: int, hint: int) -> Any:
    """An item as it lies in its data, or None where its file has gone since."""
    try:
        return part.items.read(int(part.rows[place]), hint)
    except (OSError, SternaError):
        return None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
