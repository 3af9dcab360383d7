"""Small encoders that come with sterna, for demonstrations and tests without a connection.

`builtin:glyphs` has learned printed letters and digits at low resolution, bright ink on a dark ground; docs/glyphs.md
says how. Its head has rows for the digits, so classes named 0 to 9 start from them. When not to use: for photos, or
for dark ink on a light ground before it is inverted.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sterna import folder
from sterna.errors import EncoderError
from sterna.records import Encoder

WEIGHTS = Path(__file__).parents[1] / "weights"


def names() -> tuple[str, ...]:
    """The encoders that come with sterna, sorted."""
    return tuple(sorted(place.parent.name for place in WEIGHTS.glob("*/config.json")))


def load(name: str) -> Encoder:
    """The built-in encoder `name`: a model folder inside the package, opened as any other model folder.

    Raises `EncoderError` for a name that does not exist.
    """
    if name not in names():
        raise EncoderError(folder.unknown("built-in encoder", name, names()))
    opened: Encoder = folder.module("encoders", "local").load(str(WEIGHTS / name))
    return dataclasses.replace(opened, reference=f"builtin:{name}")
