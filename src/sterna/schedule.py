"""How long and how fast training goes: epochs, the shape of the rate, early stopping, averaging.

Paper: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts" (arXiv 1608.03983), for the
cosine; Goyal et al. 2017, "Accurate, Large Minibatch SGD" (arXiv 1706.02677), for the warm-up; Smith 2017, "Cyclical
Learning Rates for Training Neural Networks" (arXiv 1506.01186), section 3.3, for finding the rate.

When not to use: `shape=constant` for a final model; the falling rate is worth a point or two at no cost.
"""

from __future__ import annotations

import math

from sterna.spec import Choice, Range, method, option


@method
class Schedule:
    """Options that hold for every phase unless the phase says otherwise."""

    epochs: int = option(20, "most epochs of a phase", Range(1))
    patience: int = option(6, "epochs without a better validation score before a phase stops", Range(1))
    shape: str = option("cosine", "how the rate falls after the warm-up", Choice(("cosine", "linear", "constant")))
    warmup: float = option(0.1, "share of the steps in which the rate climbs from zero", Range(0, 1, high_open=True))
    clip: float = option(1.0, "largest gradient norm of a step; 0: no limit", Range(0))
    average: float = option(
        0.0, "decay of the running average of weights that is kept (EMA); 0: none", Range(0, 1, high_open=True)
    )
    batch: int | None = option(
        None, "examples of a step; none: found from the size of the data and of memory", Range(1)
    )
    find_rate: bool = option(
        False, "find the optimizer's rate for each phase by a range test of 60 batches, whose steps are undone"
    )
    views: int = option(4, "augmented copies of each example kept for frozen stages", Range(1, 64))

    def factor(self, progress: float) -> float:
        """The rate at `progress` in [0, 1] through a phase, as a share of its peak.

        Linear warm-up, then (1 + cos(pi t)) / 2, 1 - t or 1, with t the progress after the warm-up.
        """
        if progress < self.warmup:
            return progress / self.warmup
        if self.shape == "constant":
            return 1.0
        rest = (progress - self.warmup) / (1 - self.warmup)
        return 1 - rest if self.shape == "linear" else (1 + math.cos(math.pi * rest)) / 2
