"""DoRA: low-rank updates of the direction of frozen weights, and a magnitude of its own for each output.

Paper: Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation" (arXiv 2402.09353), equation 5.

Equation: W' = m (W + (alpha / rank) B A) / |W + (alpha / rank) B A|, with the norm of each output's row and m its value
at the start; as in section 4.3, no gradient goes through the norm.

As with `lora`, what was learnt is merged at the end, and is kept alone beside the model.

When not to use: where seconds count: the norms make a step up to twice as long as that of `lora`, which is often as
good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.adapters import LowRank
from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Dora:
    """How large the updates are, and where."""

    rank: int = option(8, "rank of each update (r); the paper gains most over lora at 4 to 16", Range(1, 4096))
    alpha: float = option(
        16.0, "the update is scaled by alpha / rank; twice the rank is usual", Range(0, low_open=True)
    )
    dropout: float = option(0.0, "share of the inputs of the updates that is dropped", Range(0, 1, high_open=True))
    rate: float = option(
        10.0, "factor on the optimizer's rate for the updates: few weights take larger steps", Range(0, low_open=True)
    )
    stages: int = option(0, "how many of the last stages are adapted; 0: all, as in the paper", Range(0))
    targets: tuple[str, ...] = option(
        (),
        "ends of the names of the layers to adapt, such as [query, value]; empty: all linear and convolutional ones",
    )
    warm_head: bool = option(
        True,
        "start from the optimal head on frozen features; without it a random head learns along: better on 128 "
        "texts and far worse on 100 photos",
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The updates with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up.
        """
        cut = cut_below(parameters, self.stages) if self.stages else 0
        added = LowRank(self.rank, self.alpha, self.dropout, self.targets, magnitude=True)
        moved = Phase("dora", cut=cut, pace=self.rate, adapter=added)
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
