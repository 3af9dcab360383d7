"""The examples that the page shows: each picture is in the file once, whatever the number of places that show it.

A picture is drawn by reference (SVG `use`), so one that is among the mistakes and on the map costs its bytes once, and
needs no script. Those that come late find the budget spent and are shown by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sterna.report.numbers import NAME, short

PICTURES = 1_600_000  # bytes of all pictures; with everything else a page stays under 3 MB
TEXT = 300  # characters of a text
PARTS = {"train": "training", "validation": "validation", "test": "held out", "source": "source"}
DOMAINS = {"train": "training", "validation": "validation (source)", "test": "target", "source": "source"}
ANY_PICTURE = re.compile(r"data:image/(?:jpeg|png|webp|gif);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Shown:
    """One example as the page shows it."""

    number: int  # in `items` of the evidence; -1 for one that is not there
    name: str
    part: str
    text: str
    picture: str  # the id by which it is drawn; "" without
    label: int | None = None
    where: str = ""  # its part of the split, as the page names it


class Shelf:
    """Hands out examples by their index and remembers which pictures the page has to hold."""

    def __init__(
        self, items: Sequence[Mapping[str, Any]], budget: int = PICTURES, parts: Mapping[str, str] = PARTS
    ) -> None:
        self.items = items
        self.parts = parts
        self.left = budget
        self.pictures: dict[str, str] = {}  # id -> data URI

    def __contains__(self, number: Any) -> bool:
        return isinstance(number, int) and 0 <= number < len(self.items)

    def take(self, number: int) -> Shown:
        """The example at an index; its picture goes into the page if there is room."""
        item = self.items[number]
        picture = self.keep(f"p{number}", item.get("picture"))
        label = item.get("label")
        name, part, text = (str(item.get(key) or "") for key in ("name", "part", "text"))
        return Shown(number, short(name, NAME), part, _cut(text, TEXT), picture, label, self.parts.get(part, part))

    def keep(self, name: str, uri: Any) -> str:
        """Put a picture into the page under a name, and return the name; "" for no picture, or no room for it."""
        if name in self.pictures:
            return name
        if not isinstance(uri, str) or len(uri) > self.left or not ANY_PICTURE.fullmatch(uri):
            return ""
        self.left -= len(uri)
        self.pictures[name] = uri
        return name


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
