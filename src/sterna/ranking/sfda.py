"""SFDA: discriminant analysis that is made harder where the features already separate the classes, as tuning would.

Paper: Shao, Zhao, Zhang, Wang, Wang, Wang, Ge and Luo 2022, "Not All Models Are Equal: Predicting Model
Transferability in a Self-challenging Fisher Space" (arXiv 2207.03036), equations 3 to 10.

Equation: (1) S the covariance within classes, drawn towards the identity by r = max(exp(-5 l), 1e-10), l its largest
eigenvalue. (2) Probabilities p of linear discriminant analysis with it, and q = softmax(p) at the true class. (3) Each
example moves to q x + (1 - q) times the mean of the other classes' means. (4) The analysis again on the moved
examples, with the same r; the score is the mean probability of the true class.

r depends on the scale of the features: they are scaled to a total variance of 1. On raw ones r is mostly 1e-10, and
the covariance almost singular. The analysis is one solve; the generalised eigenvectors of the published code give the
same.

When not to use: with more features than examples, for the reason given with `etran`; where time counts: for wide
features it is the score whose price for other labels is highest, a product n d^2.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Evidence, Scoring
from sterna.errors import DataError
from sterna.maths.classes import means
from sterna.maths.discriminant import decaying_shrinkage, posteriors, softmax, within
from sterna.maths.spectra import unit_coordinates
from sterna.records import Labels
from sterna.spec import method


@method
class SFDA:
    """There is nothing to choose: the shrinkage follows from the features."""

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """The principal coordinates. The score raises `DataError` for a single class."""
        features = unit_coordinates(evidence.features)
        total = np.diag((features**2).mean(axis=0))
        return lambda labels: challenged(features, labels, total)


def challenged(features: np.ndarray, labels: Labels, total: np.ndarray) -> float:
    """The score of (n, d) features of total variance 1, whose covariance (d, d) is known."""
    rows, count = np.arange(len(labels)), int(labels.max()) + 1
    if count < 2:
        raise DataError("sfda separates classes and needs two of them, got 1; add examples of another class.")
    covariance = within(features, labels, total)
    share = decaying_shrinkage(covariance)
    kept = softmax(posteriors(features, labels, covariance, share))[rows, labels][:, None]
    own, _ = means(features, labels)
    others = (own.sum(axis=0) - own) / (count - 1)
    moved = kept * features + (1 - kept) * others[labels]
    return float(posteriors(moved, labels, within(moved, labels), share)[rows, labels].mean())
