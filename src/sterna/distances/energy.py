"""Energy distance: how much further apart examples of two samples are than examples of one.

Paper: Székely and Rizzo 2013, "Energy statistics: A class of statistics based on distances" (Journal of Statistical
Planning and Inference 143), for two samples; the same as a maximum mean discrepancy with kernel -|x - z| (Sejdinovic et
al. 2013, arXiv 1207.6076).

Equation: 2 mean |x_i - z_j| - mean |x_i - x_j| - mean |z_i - z_j| over all pairs, an example with itself included, so
it is never below 0, and above it by about E|x - x'| (1/n + 1/m) where nothing differs. SciPy's function of one
dimension returns its square root.

It has no width to choose and sees every difference given enough examples; most of all those of location. The test
redraws which rows are on which side.

When not to use: on features whose scales differ by orders, where the largest one is all that counts: standardise first.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Distance, Sides
from sterna.maths import kernels, permutation
from sterna.maths.samples import check, thin
from sterna.spec import Range, method, option


@method
class Energy:
    """How many examples are compared, and how often the test divides them anew."""

    permutations: int = option(499, "divisions that the test draws; 0: no test", Range(0, 100_000))
    limit: int = option(2000, "examples a side that are compared, drawn at random", Range(2, 20_000))

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "in units of the features, 0 for the same sample"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The distance, not its root, and its p value."""
        check("energy", sides.left, sides.right, 1)
        left, right, notes = thin(sides.left, sides.right, self.limit, sides.seed)
        lengths = np.sqrt(kernels.pairwise(kernels.pooled(left, right)))
        draws = self.permutations if sides.tested else 0
        sums = permutation.pair_sums(lengths, permutation.memberships(len(left), len(right), draws, sides.seed))
        found = -permutation.difference(sums, len(left), len(right))
        return Distance(max(float(found[0]), 0.0), permutation.p_value(found), notes)
