"""Deep embedded validation: the importance weighted risk with a control variate that takes out variance.

Paper: You, Wang, Long and Jordan 2019, "Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation" (ICML,
PMLR 97), algorithm 1.

Equation: with l_i = w_i loss(f(x_i), y_i) over held-out source examples and w_i the density ratio of target and source
in the features of the adapted model,  -(mean l + eta mean w - eta),  eta = -cov(l, w) / var(w).

The mean of w is 1 but for chance, so that eta (mean w - 1) adds nothing but what chance has added to mean l. Where all
ratios are alike eta is 0.

When not to use: few held-out examples, or domains that are easily told apart: mean w is then far from 1 for another
reason than chance, and collapsed models have been seen to look good (in skada-bench it picked ones of 2-5 % accuracy).
Where labels mean something else in the target.
"""

from __future__ import annotations

import numpy as np

from sterna.contracts import Adapted
from sterna.maths.criteria import losses, ratios
from sterna.spec import Choice, Range, method, option


@method
class DEV:
    """The risk with its control variate, negated."""

    loss: str = option(
        "error", "of one example: a wrong class, or the log loss of the shares", Choice(("error", "log"))
    )
    components: int = option(20, "principal components in which the domains are told apart", Range(1, 1000))

    def judge(self, adapted: Adapted) -> float:
        """The estimate may leave the range of the loss. Raises `DataError` for fewer than 5 examples on a side."""
        weights = ratios("dev", adapted.source, adapted.target, self.components, adapted.seed)
        weighted = weights * losses(adapted.source_answers, adapted.labels, self.loss)
        spread = float(np.var(weights))
        moved = weights - weights.mean()
        eta = -float(moved @ weighted) / len(weights) / spread if spread > 1e-12 else 0.0
        return -(float(weighted.mean()) + eta * float(weights.mean()) - eta)
