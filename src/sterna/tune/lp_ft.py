"""Linear probing, then full fine-tuning: the head is at its optimum before anything under it moves.

Paper: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution"
(arXiv 2202.10054): a random head sends large gradients down and bends good features; a fitted head does not.

With `stochastic` the BatchNorm statistics of moving stages follow the target data, and in training each channel is
normalised, at random, by them or by those of its batch: Kou et al. 2020, "Stochastic Normalization" (NeurIPS), where
the probability is 0.5.

When not to use: when the frozen features are so poor that the probe is no better than chance; `full` then loses
nothing by starting from a random head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class LpFt:
    """How gently the whole network moves once the head is fitted."""

    rate: float = option(
        0.3, "factor on the optimizer's rate: the head is good already, small steps keep it", Range(0, low_open=True)
    )
    layer_decay: float = option(0.9, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    batch_norm: bool = option(False, "let BatchNorm statistics follow the target data")
    stochastic: float = option(
        0.0, "probability that a channel is normalised by its moving statistics (StochNorm); 0: off", Range(0, 1)
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The head, then everything. `parameters`: number of weights of each stage, bottom up."""
        return (
            Phase("head", cut=len(parameters), solver="logistic"),
            Phase(
                "all",
                cut=0,
                rate=self.rate,
                layer_decay=self.layer_decay,
                batch_norm=self.batch_norm or self.stochastic > 0,
                stochastic=self.stochastic,
            ),
        )
