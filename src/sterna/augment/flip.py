"""Mirror pictures, left to right or top to bottom.

Each direction is drawn on its own for each example.

When not to use: where mirrored things are other things (digits, letters, text in pictures, road signs, left and
right hands, medical images with a side); vertical flips suit pictures without an up, such as aerial or microscope
images, and seldom photos.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import v2

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class Flip:
    """How often pictures are mirrored."""

    horizontal: float = option(0.5, "probability of a left-to-right mirror image", Range(0, 1))
    vertical: float = option(0.0, "probability of a top-to-bottom mirror image", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        flips = v2.Compose([v2.RandomHorizontalFlip(self.horizontal), v2.RandomVerticalFlip(self.vertical)])
        return Augment(pixels=flips, written=repr(self))
