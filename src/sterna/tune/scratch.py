"""From scratch: the same architecture with random weights. A floor: what the data give without transfer.

Paper: He, Girshick and Dollar 2019, "Rethinking ImageNet Pre-training" (arXiv 1811.08883).

When not to use: as a route of its own on a small data set. It is here to be beaten, and it is shipped when it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Scratch:
    """How much faster than fine-tuning the random network learns."""

    rate: float = option(
        3.0,
        "factor on the optimizer's rate: random weights have nothing to lose by large steps",
        Range(0, low_open=True),
    )

    pretrained: ClassVar[bool] = False

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """One phase with BatchNorm learning. `parameters`: number of weights of each stage, bottom up."""
        return (Phase("all", cut=0, rate=self.rate, batch_norm=True),)
