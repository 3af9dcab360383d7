"""Linear transport: the cheapest map that gives the source the mean and the covariance of the target.

Papers: Knott and Smith 1984, "On the Optimal Mapping of Distributions"; Flamary, Lounici and Ferrari 2019,
"Concentration Bounds for Linear Monge Mapping Estimation and Optimal Transport Domain Adaptation" (arXiv 1905.10155),
equation 3; Mroueh 2020, "Wasserstein Style Transfer" (arXiv 1905.12828).

Equation: z = (x - mean_S) A + mean_T with A = C_T^1/2 (C_T^1/2 C_S C_T^1/2)^-1/2 C_T^1/2, symmetric and without
negative eigenvalues, covariances divided by n - 1: the optimal transport between two Gaussian distributions, and of all
linear maps that match both moments the one that moves rows least. The target stays as it is.

Both covariances get `regularization` times the mean variance of the domains on their diagonals, which for the default
changes nothing but directions that have next to no variance; without any, directions in which the source does not vary
are left out.

Cost: O(n d^2 + d^3) time, O(d^2) memory; nothing is drawn or iterated.

When not to use: with fewer rows of a domain than features, unless `regularization` is raised to about 0.1; where
domains differ in their shares of classes, since moments should then differ; where what moved is no linear map.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.memory import check
from sterna.maths.samples import moments
from sterna.maths.subspaces import projected
from sterna.maths.transfer_components import together
from sterna.maths.transport import root
from sterna.spec import Range, method, option

_LOST = 1e-12  # of the largest eigenvalue: below is rounding


def _map(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A for two covariances."""
    half = root(target)
    values, vectors = np.linalg.eigh(half @ source @ half)
    kept = values > _LOST * max(float(values[-1]), 1e-300)
    inner = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
    found: np.ndarray = half @ inner @ half
    return found


@method
class LinearTransport:
    """How much the covariances are regularised."""

    regularization: float = option(1e-6, "added to the variances, in units of their mean", Range(0, 1e9))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with the moments of the target. Raises `DataError` for fewer than two rows of a domain."""
        d = pair.source.shape[1]
        if min(len(pair.source), len(pair.target)) < 2:
            raise DataError(
                "linear_transport needs at least 2 rows of each domain, got "
                f"{len(pair.source)} and {len(pair.target)}; add examples."
            )
        check("linear_transport", f"eight matrices of {d:,} x {d:,}", 8.0 * d * d, "use principal components")
        (mean, own), (centre, other) = moments(pair.source), moments(pair.target)
        extra = self.regularization * float(np.trace(own) + np.trace(other)) / (2 * d) * np.eye(d)
        moved = projected(pair.source, mean, _map(own + extra, other + extra), centre)
        sides = (moved, pair.target[pair.known])
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), unchanged)
