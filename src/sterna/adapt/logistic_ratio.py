"""Density ratio by a classifier of domains: source rows weighted by their odds of being target rows.

Papers: Bickel, Brueckner and Scheffer 2009, "Discriminative Learning Under Covariate Shift" (JMLR 10), section 4;
Kong 1992 for the effective number of rows.

Equation: w(x) = p(T | x) / p(S | x), both domains weighing the same in the fit, at most `clip`, divided by its mean.

Each row is judged by a logistic regression that has not learnt from it: three folds in five are learnt from, one
chooses the penalty, one is judged. In many dimensions a classifier tells the rows it has seen apart whatever the
densities are, and its odds say nothing.

Cost: O((n + m) d^2) time, O((n + m) d) memory; `rbf` adds 256 random features to the d.

When not to use: where a classifier tells the domains apart without fail, since few source rows then carry all of the
weight (the notes say how many); where labels mean something else in the target.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths import domains, ratios
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.memory import check
from sterna.spec import Choice, Range, method, option


@method
class LogisticRatio:
    """Which classifier, and the largest ratio."""

    classifier: str = option(
        "linear",
        "what tells domains apart: the features, these and random features of Gaussian kernels, or the better one",
        Choice(("linear", "rbf", "both")),
    )
    clip: float = option(10.0, "the largest ratio that is believed", Range(1, 1e9))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with weights. Raises `DataError` for fewer than 5 rows of a domain, and beyond memory."""
        n, m, d = len(pair.source), len(pair.target), pair.source.shape[1]
        if min(n, m) < domains.LEAST:
            raise DataError(
                f"logistic_ratio needs at least {domains.LEAST} rows of each domain, got {n} and {m}; add examples."
            )
        asked = ("linear", "rbf") if self.classifier == "both" else (self.classifier,)
        copies = 3.0 * (n + m) * (d if asked == ("linear",) else d + 2 * domains.WAVES)
        check(
            "logistic_ratio", f"{n + m:,} rows three times", copies, "use fewer rows, or principal components of them"
        )
        found = [domains.held_out(pair.source, pair.target, kernel, pair.seed) for kernel in asked]
        odds, _ = min(found, key=lambda one: domains.losses(*one))
        ratio = np.exp(np.minimum(odds, np.log(self.clip)))
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        made, notes = ratios.weighted("logistic_ratio", ratio, sides, labels)
        clipped = int((odds > np.log(self.clip)).sum())
        told = (f"Ratios of {clipped} source rows above {self.clip:g} were set to it.",) if clipped else ()
        return Aligned(*made, unchanged, (*told, *notes))
