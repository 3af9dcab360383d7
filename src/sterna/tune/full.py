"""Full fine-tuning: every weight moves from the first step, under a new head.

Paper: Girshick et al. 2014, "Rich feature hierarchies for accurate object detection and semantic segmentation"
(arXiv 1311.2524), section 2.3: replace the classification layer, continue with a smaller rate.

With `stochastic` the BatchNorm statistics of moving stages follow the target data, and in training each channel is
normalised, at random, by them or by those of its batch: Kou et al. 2020, "Stochastic Normalization" (NeurIPS), where
the probability is 0.5.

When not to use: with few pictures or sounds; the random head bends the features before it is any good. `lp_ft` costs
the same and fits the head first. Few texts are another matter: a fitted head leaves them nothing to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Full:
    """How the weights below the head follow."""

    layer_decay: float = option(0.9, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    batch_norm: bool = option(False, "let BatchNorm statistics follow the target data")
    stochastic: float = option(
        0.0, "probability that a channel is normalised by its moving statistics (StochNorm); 0: off", Range(0, 1)
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """One phase from the input up. `parameters`: number of weights of each stage, bottom up."""
        return (
            Phase(
                "all",
                cut=0,
                layer_decay=self.layer_decay,
                batch_norm=self.batch_norm or self.stochastic > 0,
                stochastic=self.stochastic,
            ),
        )
