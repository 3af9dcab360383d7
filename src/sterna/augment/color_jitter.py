"""Random brightness, contrast, saturation and hue, in random order.

A factor is drawn uniformly from [1 - amount, 1 + amount] for the first three; hue turns by up to `hue` of the colour
circle.

When not to use: where colour is the class (ripeness, flowers told apart by hue: keep hue at 0), or where brightness is
a measurement.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import v2

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class ColorJitter:
    """How far each property of colour moves; 0 leaves it alone."""

    brightness: float = option(0.3, "largest relative change of brightness", Range(0, 1))
    contrast: float = option(0.3, "largest relative change of contrast", Range(0, 1))
    saturation: float = option(0.3, "largest relative change of saturation", Range(0, 1))
    hue: float = option(0.0, "largest turn of the colour circle, 0.5 = half of it", Range(0, 0.5))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        jitter = v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)
        return Augment(pixels=jitter, written=repr(self))
