"""Gaussian blur of random width.

The standard deviation of the filter is drawn uniformly from [low, high] pixels of the framed picture.

When not to use: where fine detail is the class (fabrics, small print, low-resolution pictures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchvision.transforms import v2

from sterna.augmenting import interval
from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class Blur:
    """How wide the filter is and how often it is used."""

    sigma: tuple[float, ...] = option(
        (0.1, 2.0), "smallest and largest standard deviation in pixels", Range(0, 20, low_open=True)
    )
    probability: float = option(0.5, "how often a picture is blurred", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        """Raises `SpecError` where `sigma` is not two numbers in order."""
        blurred = Blurred(interval("sigma of blur", self.sigma))
        return Augment(pixels=v2.RandomApply([blurred], p=self.probability), written=repr(self))


@dataclass(frozen=True)
class Blurred:
    """The filter, cut at two of the largest standard deviations, or earlier on a picture too small for that."""

    sigma: tuple[float, float]

    def __call__(self, picture: Any) -> Any:
        reach = min(math.ceil(2 * self.sigma[1]), min(picture.size) - 1)
        return v2.GaussianBlur(2 * reach + 1, self.sigma)(picture)
