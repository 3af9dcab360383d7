"""Geodesic flow kernel: rows seen from all subspaces on the shortest way from the source's to the target's.

Paper: Gong, Shi, Sha and Grauman 2012, "Geodesic Flow Kernel for Unsupervised Domain Adaptation" (CVPR), equations 4 to
8, and section 3.4 for the number of dimensions.

Equation: x'G z = integral over t from 0 to 1 of (Phi(t)'x)'(Phi(t)'z), Phi the geodesic with Phi(0) and Phi(1) the
principal directions of source and target; in closed form by the principal angles. G has rank 2 k at most: rows become
2 k features whose inner product it is, so any head can follow. Each domain is taken around its own mean.

The dimension may be found by the subspace disagreement measure: the smallest k at which the k-th principal angles of
both domains to the two pooled are at their largest.

Cost: O(n d^2 + d^3) time, O(d^2) memory; O(n^2 d + n^3) where n < d. G itself, (d, d), is never made.

Office-Caltech10 SURF, mean accuracy of one nearest neighbour over the 12 tasks: 44.7 with 20 components.

When not to use: where the source is better described by labels than by directions of large variance; with domains
whose shares of classes differ, since means are taken off.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths.subspaces import bases, flow, projected
from sterna.maths.transfer_components import together
from sterna.spec import Range, method, option


@method
class GFK:
    """How many directions the subspaces have."""

    components: int | None = option(
        None, "principal directions of each domain; none: by their disagreement", Range(1, 100_000)
    )

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Rows as features of the kernel. Raises `DataError` for domains of fewer than two different rows."""
        source, target = bases("gfk", pair.source, pair.target, self.components)
        if not source.basis.shape[1]:
            raise DataError("gfk needs rows that vary in both domains, got one where all are the same; add examples.")
        factor = flow(source.basis, target.basis)
        view = partial(projected, mean=target.mean, factor=factor)
        sides = (projected(pair.source, source.mean, factor), view(pair.target[pair.known]))
        notes = () if self.components else (f"The subspaces have {source.basis.shape[1]} dimensions.",)
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), view, notes)
