"""ETran's classification score: the mean probability that linear discriminant analysis gives the true class.

Paper: Gholami, Akbari, Wang, Kamranian and Zhang 2023, "ETran: Energy-Based Transferability Estimation" (arXiv
2308.02027), section 3.2.

Equation: mean_i softmax_c(m_c' A x_i - m_c' A m_c / 2 + ln p_c)[y_i], with m_c the class means, p_c their shares of
the examples and A the inverse of (1 - r) S + r tr(S)/d I, S the covariance within classes. r is max(exp(-5 l), 1e-10)
with l the largest eigenvalue of S, as in `sfda`, on features scaled to a total variance of 1; or given.

The paper adds an energy (the log of the summed exponentials of the source classifier's logits), after stretching both
parts to [0, 1] over the candidates at hand. That makes each value depend on who else is ranked, and logits are not
among the evidence, so this is the part that stands for one candidate alone. The published code calls a symmetric
solver on a matrix that is not, which leaves the nearest class mean; here it is the analysis that the paper describes.

When not to use: with more features than examples, where the probabilities of the examples that the means were taken
from are too good; `probe` judges on held-out examples.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Evidence, Scoring
from sterna.maths.discriminant import decaying_shrinkage, posteriors, within
from sterna.maths.spectra import unit_coordinates
from sterna.records import Labels
from sterna.spec import Range, method, option


@method
class ETran:
    """How far the covariance is drawn towards the identity."""

    shrinkage: float | None = option(
        None, "r, the share of the identity; none: by the largest eigenvalue", Range(0, 1, low_open=True)
    )

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """The principal coordinates and the total covariance."""
        features = unit_coordinates(evidence.features)
        total = np.diag((features**2).mean(axis=0))

        def score(labels: Labels) -> float:
            covariance = within(features, labels, total)
            share = self.shrinkage or decaying_shrinkage(covariance)
            found = posteriors(features, labels, covariance, share)
            return float(found[np.arange(len(labels)), labels].mean())

        return score
