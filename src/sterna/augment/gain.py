"""Make recordings louder or softer, by an amount drawn anew for each.

Paper: Peddinti et al. 2015, "A time delay neural network architecture for efficient modeling of long temporal
contexts" (Interspeech), where the factor is uniform in [1/8, 2]; here its logarithm is uniform.

Equation: x' = 10^(g / 20) x, g ~ U(-decibels, decibels); what leaves [-1, 1] is cut off there.

When not to use: where loudness is the label; and where the encoder's preparation levels recordings out (many speech
networks, and the statistics of a spectrogram), which then sees no difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from sterna.records import Augment, Sound
from sterna.spec import Range, method, option


@method
class Gain:
    """How far the level may change."""

    decibels: float = option(
        6.0, "largest change of level either way; 6 dB is half or twice the amplitude", Range(0, 60)
    )

    places: ClassVar[tuple[str, ...]] = ("sound",)

    def build(self) -> Augment:
        return Augment(sound=_Scaled(self.decibels), written=repr(self))


@dataclass(frozen=True)
class _Scaled:
    decibels: float

    def __call__(self, sound: Sound) -> Sound:
        drawn = self.decibels * (2 * float(torch.rand(())) - 1)
        return replace(sound, samples=(sound.samples * 10 ** (drawn / 20)).clip(-1, 1).astype("float32", copy=False))
