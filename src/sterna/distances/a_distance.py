"""Proxy A-distance: how well a classifier tells the two samples apart.

Papers: Ben-David, Blitzer, Crammer and Pereira 2006, "Analysis of Representations for Domain Adaptation" (NIPS 19);
Lopez-Paz and Oquab 2017, "Revisiting Classifier Two-Sample Tests" (arXiv 1610.06545).

Equation: 2 (1 - 2 e), with e the balanced error rate of a classifier of the two samples on rows that it has not learnt
from, five folds in turn; kept within 0 and 2.

The classifier is logistic regression on the features (`linear`), on these and 256 random features of Gaussian kernels
(`rbf`; Rahimi and Recht 2007), or both, the one of the larger distance counting: the first does not see that a sample
is wider or turned, the second is weaker where many features shift a little. Penalties are chosen on a fold of their
own. The larger of two estimates is above 0 by chance where nothing differs: by 0.05 or so with 1,000 examples a side.

When not to use: with fewer than about 50 examples a side, where an error rate is too coarse; to compare samples of
other sizes or with another classifier, since the value belongs to both.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Distance, Sides
from sterna.maths import domains
from sterna.maths.samples import check, thin
from sterna.spec import Choice, Range, method, option


@method
class ADistance:
    """Which classifier, on how many examples."""

    classifier: str = option("both", "what tells the samples apart", Choice(("linear", "rbf", "both")))
    limit: int = option(4000, "examples a side that are classified, drawn at random", Range(domains.LEAST, 1_000_000))

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "from 0 for samples that cannot be told apart to 2 for ones that always can"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The larger distance of the classifiers that are asked."""
        check("a_distance", sides.left, sides.right, domains.LEAST)
        left, right, notes = thin(sides.left, sides.right, self.limit, sides.seed)
        asked = ("linear", "rbf") if self.classifier == "both" else (self.classifier,)
        found = []
        for kernel in asked:
            error = domains.errors(*domains.held_out(left, right, kernel, sides.seed))
            found.append(min(max(2 * (1 - 2 * error), 0.0), 2.0))
        if self.classifier == "both":
            notes = (*notes, f"By a linear classifier {found[0]:.3f}, by Gaussian kernels {found[1]:.3f}.")
        return Distance(max(found), None, notes)
