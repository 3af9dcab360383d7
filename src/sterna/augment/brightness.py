"""Make pictures darker or lighter: every value is multiplied by one random factor and clipped.

The factor is drawn uniformly from [low, high].

When not to use: where brightness is the class or a measurement (densities, thermal images); together with
`color_jitter`, which moves brightness too.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import v2

from sterna.augmenting import interval
from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class Brightness:
    """Between which factors brightness is drawn."""

    factor: tuple[float, ...] = option((0.6, 1.4), "smallest and largest factor; 1 changes nothing", Range(0, 10))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        """Raises `SpecError` where `factor` is not two numbers in order."""
        factor = interval("factor of brightness", self.factor)
        return Augment(pixels=v2.ColorJitter(brightness=factor), written=repr(self))
