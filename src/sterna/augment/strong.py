"""Preset for photos: random crop of 35 to 100 %, mirror image, RandAugment (2 operations, magnitude 9), mixup (0.2).

For long training of many weights: tens of epochs of `partial`, `gradual` or `full`.

When not to use: with `probe` or few epochs, which it only slows down; on digits, letters, glyphs or pictures with text
in them, which a mirror turns into something else; where colour is the class.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import InterpolationMode, v2

from sterna.records import Augment
from sterna.spec import method
from sterna.transforms import Blend, RandomCrop


@method
class Strong:
    """No options: write the sum of augmentations to choose them one by one."""

    places: ClassVar[tuple[str, ...]] = ("crop", "pixels", "mix")

    def build(self) -> Augment:
        pixels = v2.Compose(
            [v2.RandomHorizontalFlip(0.5), v2.RandAugment(2, 9, interpolation=InterpolationMode.BILINEAR, fill=128)]
        )
        return Augment(crop=RandomCrop((0.35, 1.0), (0.75, 1.3333)), pixels=pixels, mix=Blend(0.2), written=repr(self))
