"""Early freezing: every weight moves at first, and stages whose gradients have settled stand still, from below.

Paper: Liu, Agarwal and Venkataraman 2021, "AutoFreeze: Automatically Freezing Model Blocks to Accelerate Fine-tuning"
(arXiv 2102.01386), equation 1.

Equation: e_l = | |D'_l| - |D_l| | / |D'_l|, with D_l the sum of a stage's gradients over an epoch and D'_l that over
the epoch before. After each epoch a stage freezes when those below it are frozen and its e_l is below the median of
the moving stages.

What frozen stages give is computed once and held in memory, so that later epochs read neither items nor those stages:
they get cheaper as training goes on. It is never written to the store, since no other run could find it again. With an
augmentation that changes the items in each epoch nothing can be held; frozen stages then save their backward pass
alone, and a note says so.

When not to use: where the lowest stages are what has to change, as with noise or another sensor: they freeze first.
With few epochs, since nothing freezes before the end of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class EarlyFreezing:
    """How eagerly stages freeze, and how they move before."""

    percentile: float = option(
        50.0,
        "of the changes of the moving stages; below it a stage freezes; 50, the median, as in the paper",
        Range(0, 100, low_open=True),
    )
    stages: int = option(0, "how many of the last stages move at first; 0: all, as in the paper", Range(0))
    rate: float = option(
        0.3, "factor on the optimizer's rate: behind a fitted head small steps keep it", Range(0, low_open=True)
    )
    layer_decay: float = option(0.9, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    batch_norm: bool = option(False, "let BatchNorm statistics of moving stages follow the target data")
    warm_head: bool = option(True, "start from the optimal head on frozen features, so that no random head shakes them")

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The head first if `warm_head`, then what freezes. `parameters`: weights of each stage, bottom up."""
        moved = Phase(
            "freezing",
            cut=cut_below(parameters, self.stages) if self.stages else 0,
            rate=self.rate,
            layer_decay=self.layer_decay,
            batch_norm=self.batch_norm,
            freezing=self.percentile,
        )
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
