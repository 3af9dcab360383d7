"""Source risk in which held-out examples count as much as they look like the target.

Paper: Sugiyama, Krauledat and Mueller 2007, "Covariate Shift Adaptation by Importance Weighted Cross Validation" (JMLR
8).

Equation: -sum_i w_i loss(f(x_i), y_i) / sum_i w_i over held-out source examples, w_i = p_target(x_i) / p_source(x_i).

The ratio comes from a classifier of the two domains on the features that the head reads, after principal components,
each row judged by one that has not seen it. The paper divides by n in place of sum w; that is `normalised=false`. Where
the domains lie far apart all ratios are near 0, and with n the risk of any method is near 0 as well: the better the
domains are told apart, the better the method looks.

When not to use: where labels mean something else in the target (only the features' distribution may differ), and where
no source example looks like the target: the sum then hangs on a few of them. Where domains are brought together all
ratios are 1 and this is the source risk.
"""

from __future__ import annotations

from sterna.contracts import Adapted
from sterna.maths.criteria import losses, ratios
from sterna.spec import Choice, Range, method, option


@method
class ImportanceWeighted:
    """The weighted risk, negated."""

    loss: str = option(
        "error", "of one example: a wrong class, or the log loss of the shares", Choice(("error", "log"))
    )
    components: int = option(20, "principal components in which the domains are told apart", Range(1, 1000))
    normalised: bool = option(True, "whether the sum is divided by that of the weights, not by the number of examples")

    def judge(self, adapted: Adapted) -> float:
        """0 at best. Raises `DataError` for fewer than 5 examples on a side."""
        weights = ratios("importance_weighted", adapted.source, adapted.target, self.components, adapted.seed)
        found = weights @ losses(adapted.source_answers, adapted.labels, self.loss)
        return -float(found / (weights.sum() if self.normalised else len(weights)))
