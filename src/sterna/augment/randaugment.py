"""RandAugment: a few random changes of geometry and colour, all of one strength.

Paper: Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search space"
(arXiv 1909.13719). Each picture gets `count` operations out of 14 (shears, shifts, rotation, brightness, colour,
contrast, sharpness, posterise, solarise, autocontrast, equalise, none), drawn with replacement.

When not to use: where one of its operations changes the class (solarise inverts, shifts push things out of view), or
where training is too short to profit.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import InterpolationMode, v2

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class RandAugment:
    """How many operations and how strong."""

    count: int = option(2, "operations for each picture (the paper's N)", Range(0, 14))
    magnitude: int = option(9, "strength of all of them (the paper's M)", Range(0, 30))
    fill: int = option(128, "grey value of what comes into view at the rim (0 black, 255 white)", Range(0, 255))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        change = v2.RandAugment(self.count, self.magnitude, interpolation=InterpolationMode.BILINEAR, fill=self.fill)
        return Augment(pixels=change, written=repr(self))
