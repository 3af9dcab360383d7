"""Turn pictures by a random angle about their centre.

The angle is drawn uniformly from [-degrees, degrees]; the size stays, corners that come into view are filled.

When not to use: large angles where up matters (6 and 9, most photos); where the filled corners would give the class
away because only some classes are photographed tilted.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import InterpolationMode, v2

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class Rotate:
    """How far pictures are turned."""

    degrees: float = option(15.0, "largest angle, either way", Range(0, 180))
    fill: int = option(0, "grey value of the corners that come into view (0 black, 255 white)", Range(0, 255))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        turn = v2.RandomRotation(self.degrees, interpolation=InterpolationMode.BILINEAR, fill=self.fill)
        return Augment(pixels=turn, written=repr(self))
