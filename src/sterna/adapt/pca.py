"""Principal components of both domains together: fewer dimensions without a word about domains, a floor for the others.

Paper: Pearson 1901, "On lines and planes of closest fit to systems of points in space"; as a floor of domain
adaptation in Long, Wang, Ding, Sun and Yu 2013, "Transfer Feature Learning with Joint Distribution Adaptation" (ICCV).

Equation: z = P'(x - mean), P the leading eigenvectors of the covariance of source and target rows pooled.

Cost: O(N d^2 + d^3) time for N rows of both domains, O(d^2) memory; O(N^2 d + N^3) where N < d.

Office-Caltech10 SURF, mean accuracy of one nearest neighbour over the 12 tasks: 44.08 with 20 components and 39.79
with 100, the published figure.

When not to use: where the domains differ in a direction of large variance, which it keeps first of all.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.maths.subspaces import principal
from sterna.maths.transfer_components import together
from sterna.spec import Range, method, option


@method
class PCA:
    """How many directions are kept."""

    components: int = option(20, "directions kept; fewer where the rows vary in fewer", Range(1, 100_000))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Coordinates in the common principal directions. Raises `DataError` for features that do not fit."""
        found = principal("pca", (pair.source, pair.target), self.components)
        sides = (found.coordinates(pair.source), found.coordinates(pair.target[pair.known]))
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), found.coordinates)
