"""Partial fine-tuning: the last stages move, everything under them stays frozen and is computed once.

Paper: Yosinski et al. 2014, "How transferable are features in deep neural networks?" (arXiv 1411.1792).

With `stochastic` the BatchNorm statistics of moving stages follow the target data, and in training each channel is
normalised, at random, by them or by those of its batch: Kou et al. 2020, "Stochastic Normalization" (NeurIPS), where
the probability is 0.5.

When not to use: when the low stages are what has to change (another sensor, grey instead of colour, heavy noise);
`gradual` and `full` reach them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Partial:
    """How many of the last stages move, and how."""

    stages: int = option(2, "how many of the last stages move, norms and poolings not counted", Range(1))
    warm_head: bool = option(True, "start from the optimal head on frozen features, so that no random head shakes them")
    layer_decay: float = option(0.9, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    batch_norm: bool = option(False, "let BatchNorm statistics of moving stages follow the target data")
    stochastic: float = option(
        0.0, "probability that a channel is normalised by its moving statistics (StochNorm); 0: off", Range(0, 1)
    )
    rate: float = option(
        1.0,
        "factor on the optimizer's rate; with ten texts a class three stages under a random head took 3 well",
        Range(0, low_open=True),
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The head first if `warm_head`, then the last stages. `parameters`: weights of each stage, bottom up."""
        cut = cut_below(parameters, self.stages)
        top = Phase(
            "top",
            cut=cut,
            rate=self.rate,
            layer_decay=self.layer_decay,
            batch_norm=self.batch_norm or self.stochastic > 0,
            stochastic=self.stochastic,
        )
        head = Phase("head", cut=len(parameters), solver="logistic")
        return (head, top) if self.warm_head else (top,)
