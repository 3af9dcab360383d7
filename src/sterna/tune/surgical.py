"""Surgical fine-tuning: every stage moves at a rate that its relative gradient norm sets, anew before each epoch.

Paper: Lee et al. 2023, "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts" (arXiv 2210.11466), section 4
(Auto-RGN); `single` chooses by the same measure what section 3 chooses by trying: one block.

Equation: r_l = mean over batches of |g_l| / |w_l|; stage l learns at r_l / max r times the optimizer's rate, smoothed
over epochs with an exponential mean. g_l is the gradient and w_l the weights of a stage taken together.

The paper measures each tensor; here a stage is the unit, and the head always learns at the full rate, because it is
new. One optimizer goes on from the first step to the last. A pass over `batches` batches before each epoch is what it
costs. The notes of a run and its history say which stages moved.

When not to use: with plenty of labels, where `full` and `lp_ft` find the same without choosing; to save time: every
stage takes part in each step, so `partial` or `early_freezing` are faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Surgical:
    """How the stages are measured, and how they follow."""

    batches: int = option(5, "training batches before each epoch on which gradients are measured", Range(1, 1000))
    memory: float = option(
        0.9,
        "share of earlier epochs' measures that is kept; 0: each epoch anew, as in the paper",
        Range(0, 1, False, True),
    )
    single: bool = option(False, "move one stage alone, the one with the largest measure before the first epoch")
    rate: float = option(
        1.0,
        "factor on the optimizer's rate for the stage with the largest measure, and the head",
        Range(0, low_open=True),
    )
    batch_norm: bool = option(False, "let BatchNorm statistics follow the target data")
    warm_head: bool = option(True, "start from the optimal head on frozen features, whose gradients say more")

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The head first if `warm_head`, then everything. `parameters`: weights of each stage, bottom up."""
        moved = Phase(
            "surgical",
            cut=0,
            rate=self.rate,
            batch_norm=self.batch_norm,
            relative=self.batches,
            memory=self.memory,
            single=self.single,
        )
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
