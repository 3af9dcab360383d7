"""Move recordings forwards or backwards in time; silence comes in at one end, and what leaves at the other is lost.

Paper: Piczak 2015, "Environmental sound classification with convolutional neural networks" (MLSP).

Equation: x'(t) = x(t - d), 0 where that is outside, d ~ U(-share, share) times the length.

When not to use: where recordings fill their whole length, so that the shift cuts off what they are known by; and where
the encoder's preparation cuts off silence, which then sees little difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from sterna.records import Augment, Sound
from sterna.spec import Range, method, option


@method
class TimeShift:
    """How far recordings may move."""

    share: float = option(0.1, "largest shift either way, as a share of the length", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("sound",)

    def build(self) -> Augment:
        return Augment(sound=_Moved(self.share), written=repr(self))


@dataclass(frozen=True)
class _Moved:
    share: float

    def __call__(self, sound: Sound) -> Sound:
        samples = sound.samples
        by = round(self.share * len(samples) * (2 * float(torch.rand(())) - 1))
        made = np.zeros_like(samples)
        made[max(by, 0) : len(samples) + min(by, 0)] = samples[max(-by, 0) : len(samples) - max(by, 0)]
        return replace(sound, samples=made)
