"""Jensen-Shannon divergence, bounded from below by how well a classifier tells the two samples apart.

Papers: Lin 1991, "Divergence Measures Based on the Shannon Entropy" (IEEE Transactions on Information Theory 37);
Goodfellow et al. 2014, "Generative Adversarial Networks" (arXiv 1406.2661), theorem 1, for the bound.

Equation: ln 2 - CE, with CE the balanced log loss in nats of a classifier of the two samples on rows that it has not
learnt from, five folds in turn; equal to the divergence for the best classifier there is, below it for any other, and
kept within 0 and ln 2.

The classifier is logistic regression on the features (`linear`), on these and 256 random features of Gaussian kernels
(`rbf`; Rahimi and Recht 2007), or both, the one of the smaller loss counting. Penalties are chosen on a fold
of their own, which also keeps probabilities calibrated.

When not to use: as an exact figure, since it is a bound that a weak classifier makes small; with fewer than about 50
examples a side.
"""

from __future__ import annotations

import math
from typing import ClassVar

from sterna.contracts import Distance, Sides
from sterna.maths import domains
from sterna.maths.samples import check, thin
from sterna.spec import Choice, Range, method, option


@method
class JensenShannon:
    """Which classifier, on how many examples."""

    classifier: str = option("both", "what tells the samples apart", Choice(("linear", "rbf", "both")))
    limit: int = option(4000, "examples a side that are classified, drawn at random", Range(domains.LEAST, 1_000_000))

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "nats, a lower bound, from 0 for one distribution to 0.693 for samples that lie apart"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The bound of the better of the classifiers that are asked."""
        check("jensen_shannon", sides.left, sides.right, domains.LEAST)
        left, right, notes = thin(sides.left, sides.right, self.limit, sides.seed)
        asked = ("linear", "rbf") if self.classifier == "both" else (self.classifier,)
        loss = min(domains.losses(*domains.held_out(left, right, kernel, sides.seed)) for kernel in asked)
        return Distance(min(max(math.log(2) - loss, 0.0), math.log(2)), None, notes)
