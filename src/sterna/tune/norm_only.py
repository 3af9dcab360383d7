"""Normalisation only: of the pretrained weights the scales and shifts of normalisations move, beside the head.

Paper: Frankle, Schwab and Morcos 2021, "Training BatchNorm and Only BatchNorm: On the Expressive Power of Random
Features in CNNs" (arXiv 2003.00152); with pretrained weights, Mudrakarta et al. 2019, "K for the Price of 1" (arXiv
1810.10703).

BatchNorm, LayerNorm, GroupNorm and RMSNorm count: all parts whose class is called a norm. The statistics of BatchNorm
stay the source's unless `batch_norm` is true.

When not to use: where the low-level pictures are alike and only the classes are new: `probe` is then as good and takes
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class NormOnly:
    """How fast scales and shifts move, and where."""

    rate: float = option(
        30.0,
        "factor on the optimizer's rate for scales and shifts: few weights take larger steps",
        Range(0, low_open=True),
    )
    stages: int = option(0, "in how many of the last stages they move; 0: all, as in the paper", Range(0))
    batch_norm: bool = option(False, "let BatchNorm statistics follow the target data")

    warm_head: bool = option(
        True,
        "start from the optimal head on frozen features; without it a random head learns along: better on 128 "
        "texts and far worse on 100 photos",
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The norms with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up.
        """
        cut = cut_below(parameters, self.stages) if self.stages else 0
        moved = Phase("norms", cut=cut, pace=self.rate, only="norm", batch_norm=self.batch_norm)
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
