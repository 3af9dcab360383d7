"""Correlation alignment: source rows are whitened and given the covariance, and the mean, of the target.

Paper: Sun, Feng and Saenko 2016, "Return of Frustratingly Easy Domain Adaptation" (AAAI, arXiv 1511.05547),
algorithm 1.

Equation: z = (x - mean_S) (C_S + r I)^-1/2 (C_T + r I)^1/2 + mean_T, covariances divided by n - 1. The target stays as
it is. With r to 0 the source's covariance becomes the target's.

The paper's r is 1 for features of variance 1; here it is `regularization` times the mean variance of both domains, so
that the result does not depend on units. The paper takes features standardised by domain, whose means are 0; the means
are aligned here too, without which the map would move them anywhere.

Roots are those of symmetric matrices through their eigenvectors, so nothing becomes complex.

Cost: O(n d^2 + d^3) time, O(d^2) memory; O(n^2 d + n^3) where n < d. Up to 2,048 features and with as many source rows
as features, the map is one (d, d) matrix, and all of it takes two products of covariances and one of rows.

Office-Caltech10 SURF, mean accuracy over the 12 tasks: 35.7 with one nearest neighbour; linear support vector machines
gain or lose by it with their penalty.

When not to use: before a nearest neighbour, which loses much of what whitening leaves; with domains whose shares of
classes differ, since means and covariances then should.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.memory import check
from sterna.maths.subspaces import Principal, pieces, principal, projected
from sterna.maths.transfer_components import together
from sterna.spec import Range, method, option

_WIDEST = 2048  # features up to which the map is one matrix


def _powered(found: Principal, rows: np.ndarray, extra: float, power: float) -> np.ndarray:
    """Rows times (C + extra I)^power; with nothing extra, directions without variance become 0."""
    rest = extra**power if extra > 0 else 0.0
    scaled = (rows @ found.basis) * ((found.variances + extra) ** power - rest)
    return np.asarray(scaled @ found.basis.T + rest * rows)


def _moved(rows: np.ndarray, source: Principal, target: Principal, extra: float) -> np.ndarray:
    """(n, d) rows of the source with the moments of the target."""
    d = rows.shape[1]
    if d <= min(len(rows), _WIDEST):
        whole = _powered(target, _powered(source, np.eye(d), extra, -0.5), extra, 0.5)
        return projected(rows, source.mean, whole, target.mean)
    moved = np.empty_like(rows)
    for part in pieces(*moved.shape):
        whitened = _powered(source, rows[part] - source.mean, extra, -0.5)
        moved[part] = _powered(target, whitened, extra, 0.5) + target.mean
    return moved


@method
class Coral:
    """How much the covariances are regularised."""

    regularization: float = option(1.0, "added to the variances, in units of their mean", Range(0, 1e9))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with the second moments of the target. Raises `DataError` for fewer than two rows of a domain."""
        if min(len(pair.source), len(pair.target)) < 2:
            raise DataError(
                f"coral needs at least 2 rows of each domain, got {len(pair.source)} and {len(pair.target)}; "
                "add examples."
            )
        d = pair.source.shape[1]
        check("coral", f"{len(pair.source):,} x {d:,} rows moved", 1.5 * pair.source.size, "use fewer features or rows")
        source, target = (principal("coral", [side], d) for side in (pair.source, pair.target))
        extra = self.regularization * float(source.variances.sum() + target.variances.sum()) / (2 * d)
        moved = _moved(pair.source, source, target, extra)
        sides = (moved, pair.target[pair.known])
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), unchanged)
