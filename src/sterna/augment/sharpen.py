"""Sharpen: details are amplified by unsharp masking.

Equation: x' = s + factor (x - s), with s the picture smoothed by a 3 x 3 filter; factor 1 changes nothing.

When not to use: on noisy or strongly compressed pictures, whose artefacts it amplifies.
"""

from __future__ import annotations

from typing import ClassVar

from torchvision.transforms import v2

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class Sharpen:
    """How much details are amplified and how often."""

    factor: float = option(2.0, "amplification of details; 1 changes nothing", Range(1, 10))
    probability: float = option(0.5, "how often a picture is sharpened", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        return Augment(pixels=v2.RandomAdjustSharpness(self.factor, self.probability), written=repr(self))
