"""Gaussian noise, drawn independently for each pixel and channel, clipped to the range of pixel values.

Equation: x' = x + e, e ~ N(0, sigma^2), with x in [0, 1].

When not to use: where fine texture is the class; on pictures that come clean in training and in use, where it only
costs accuracy.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torchvision.transforms import v2

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class Noise:
    """How strong the noise is."""

    sigma: float = option(0.03, "standard deviation, as a share of the range of pixel values", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("pixels",)

    def build(self) -> Augment:
        # In floats: on whole pixel values torchvision cuts the noise towards zero, which loses weak noise.
        steps = [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.GaussianNoise(sigma=self.sigma),
            v2.ToDtype(torch.uint8, scale=True),
            v2.ToPILImage(),
        ]
        return Augment(pixels=v2.Compose(steps), written=repr(self))
