"""How well the adapted head does on held-out source examples, as if both domains were one.

Paper: Stone 1974, "Cross-Validatory Choice and Assessment of Statistical Predictions" (Journal of the Royal Statistical
Society B 36), of one held-out part.

Equation: -mean_i loss(f(x_i), y_i) over the held-out source.

The only criterion here that is no estimate of anything on the target. It rewards methods that leave the source as it
is, and sees those that have ruined it. For values the loss is the squared error in variances.

When not to use: alone, to choose how strongly domains are brought together: what the target gains by it costs the
source accuracy. Where the source is separable: all methods then look alike.
"""

from __future__ import annotations

from sterna.contracts import Adapted
from sterna.maths.criteria import losses
from sterna.spec import Choice, method, option


@method
class SourceRisk:
    """The risk on the source, negated."""

    loss: str = option(
        "error", "of one example: a wrong class, or the log loss of the shares", Choice(("error", "log"))
    )

    def judge(self, adapted: Adapted) -> float:
        """0 at best; at least -1 for errors."""
        return -float(losses(adapted.source_answers, adapted.labels, self.loss).mean())
