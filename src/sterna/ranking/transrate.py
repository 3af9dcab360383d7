"""TransRate: how many fewer bits the features of one class take than those of all, at a fixed distortion.

Paper: Huang, Huang, Rong, Yang and Wei 2022, "Frustratingly Easy Transferability Estimation" (arXiv 2106.09362),
equations 3 and 4.

Equation: R(Z) - sum_c p_c R(Z_c), with R(Z) = ln det(I + Z'Z / (n e)) / 2 of n rows Z, centred by the mean of all, and
p_c the share of class c. The published lines of code weigh classes alike; that is right for classes of equal size
only.

Features are scaled to a mean square of 1 for each dimension, since the rate grows with the scale and would measure it
instead. Most of the value is a constant that permuted labels have too: compare candidates by their permutation z
rather than by the value itself. The smaller of Z'Z and ZZ' is used.

When not to use: with fewer examples a class than about a tenth of the features' width, where rates are dominated by
how many examples there are.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Evidence, Scoring
from sterna.records import Labels
from sterna.spec import Range, method, option


@method
class TransRate:
    """The distortion."""

    distortion: float = option(1e-4, "e, the squared error allowed for each row", Range(0, 1e3, low_open=True))

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """Centred and scaled features, and the rate of all of them."""
        features = evidence.features - evidence.features.mean(axis=0)
        size = np.sqrt((features**2).mean())
        features /= size or 1.0
        whole = rate(features, self.distortion)

        def score(labels: Labels) -> float:
            order = np.argsort(labels, kind="stable")
            parts = np.split(order, np.cumsum(np.bincount(labels))[:-1])
            return whole - sum(len(part) / len(labels) * rate(features[part], self.distortion) for part in parts)

        return score


def rate(rows: np.ndarray, distortion: float) -> float:
    """R of (n, d) rows, in nats."""
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    gram /= len(rows) * distortion
    gram[np.diag_indices_from(gram)] += 1.0
    return float(np.log(np.diagonal(np.linalg.cholesky(gram))).sum())
