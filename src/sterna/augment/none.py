"""Preset: no augmentation; examples are used as the encoder prepares them.

When not to use: for training many weights on few photos, where `light` costs little and often gains.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.records import Augment
from sterna.spec import method


@method
class Nothing:
    """No options."""

    places: ClassVar[tuple[str, ...]] = ()

    def build(self) -> Augment:
        return Augment(written=repr(self))
