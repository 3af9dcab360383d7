"""Preset for photos: a random crop of 70 to 100 % of the area and a mirror image half the time.

Safe on most photos and for short training.

When not to use: on digits, letters, glyphs, pictures with text in them or anything else that a mirror turns into
another class; write `crop(scale=[0.7, 1])` there.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import v2

from sterna.records import Augment
from sterna.spec import method
from sterna.transforms import RandomCrop


@method
class Light:
    """No options: write the sum of augmentations to choose them one by one."""

    places: ClassVar[tuple[str, ...]] = ("crop", "pixels")

    def build(self) -> Augment:
        return Augment(
            crop=RandomCrop((0.7, 1.0), (0.75, 1.3333)), pixels=v2.RandomHorizontalFlip(0.5), written=repr(self)
        )
