"""Subspace alignment: principal directions of the source turned into those of the target by one matrix.

Paper: Fernando, Habrard, Sebban and Tuytelaars 2013, "Unsupervised Visual Domain Adaptation Using Subspace Alignment"
(ICCV), equations 1 to 4 and algorithm 1.

Equation: z = S S'T (x - mean_S) for the source and T'(x - mean_T) for the target, S and T the leading principal
directions of each. S'T minimises |S M - T|_F over M.

Each domain is taken around its own mean, as features standardised by domain are, so shifts of means are taken off: a
change of the shares of classes is too, and must not be.

Cost: O(n d^2 + d^3) time, O(d^2) memory; O(n^2 d + n^3) where n < d.

Office-Caltech10 SURF, mean accuracy of one nearest neighbour over the 12 tasks: 45.1 with 80 components, 43.8 with 20.

When not to use: with fewer rows of a domain than some times the components, whose directions are then noise; where
classes are not found in directions of large variance.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths.subspaces import principal, projected
from sterna.maths.transfer_components import together
from sterna.spec import Range, method, option


@method
class SubspaceAlignment:
    """How many directions the subspaces have."""

    components: int = option(80, "principal directions of each domain; fewer where it has fewer", Range(1, 100_000))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows in the directions of the target. Raises `DataError` for fewer than two rows of a domain."""
        if min(len(pair.source), len(pair.target)) < 2:
            raise DataError(
                f"subspace_alignment needs at least 2 rows of each domain, got {len(pair.source)} and "
                f"{len(pair.target)}; add examples."
            )
        source, target = (
            principal("subspace_alignment", [side], self.components) for side in (pair.source, pair.target)
        )
        moved = projected(pair.source, source.mean, source.basis @ (source.basis.T @ target.basis))
        sides = (moved, target.coordinates(pair.target[pair.known]))
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), target.coordinates)
