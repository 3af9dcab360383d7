"""H-score: how much of the labels a linear map of the features explains, with a shrunken covariance.

Papers: Bao, Li, Huang, Zhang, Zheng, Zamir and Guibas 2019, "An Information-Theoretic Approach to Transferability in
Task Transfer Learning", definition 2; Ibrahim, Ponomareva and Mazumder 2021, "Newer is not always better: Rethinking
transferability metrics" (arXiv 2110.06893), equation 6; Ledoit and Wolf 2004 for the shrinkage.

Equation: H = tr(S^-1 B), with S the covariance of the features and B that of the class means, each class with its
share of the examples. It is the sum of the squared canonical correlations of features and labels, at most
min(classes - 1, rank). With shrinkage a, H_a = (1 - a) tr(S_a^-1 B) and S_a = (1 - a) S + a tr(S)/d I. For values in
place of classes, B = S_fy S_yy^-1 S_yf, which is the same sum of correlations. All covariances are divided by n.

In the thin singular value decomposition of the centred features everything is diagonal, so that other labels cost one
product. Under random labels H is (classes - 1) rank / (n - 1) on average: with as many features as examples it is
classes - 1 whatever the labels. H does not change under any invertible affine map of the features, H_a under
rotations, shifts and a common factor.

When not to use: without shrinkage where the rank of the features exceeds a fifth of the examples; it is then refused
unless `force` is set. To compare samples, or label sets of different numbers of classes.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Evidence, Scoring
from sterna.errors import SpecError
from sterna.maths.classes import columns
from sterna.maths.spectra import ledoit_wolf, spectrum
from sterna.records import Labels
from sterna.spec import Choice, method, option


@method
class HScore:
    """Which covariance is used."""

    shrinkage: str = option(
        "ledoit_wolf", "how the covariance is drawn towards a multiple of the identity", Choice(("ledoit_wolf", "none"))
    )
    force: bool = option(False, "compute it without shrinkage even where there are too few examples")

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def prepare(self, evidence: Evidence) -> Scoring:
        """The decomposition and the shrinkage. Raises `SpecError` where the score would be saturated."""
        n, width = evidence.features.shape
        found = spectrum(evidence.features, centre=True)
        rank = len(found.values)
        if self.shrinkage == "none" and rank > n / 5 and not self.force:
            raise SpecError(
                f"hscore(shrinkage=none) needs 5 examples for each dimension of the features, got {n} examples of "
                f"{rank} dimensions; type hscore, or hscore(shrinkage=none, force=true)."
            )
        share = ledoit_wolf(found, width) if self.shrinkage == "ledoit_wolf" else 0.0
        variances = found.squares / n
        kept = (1 - share) * variances
        weights = kept / (kept + share * variances.sum() / width)

        def score(labels: Labels) -> float:
            return float(((found.left.T @ _orthonormal(labels)) ** 2).sum(axis=1) @ weights)

        return score


def _orthonormal(labels: Labels) -> np.ndarray:
    """(n, r) orthonormal columns that span the classes, or the centred values."""
    wanted = columns(labels)
    if labels.ndim == 1:
        found: np.ndarray = wanted / np.sqrt(wanted.sum(axis=0))
        return found
    return spectrum(wanted, centre=True).left
