"""Nearest neighbours: how often an example's neighbours come from its own sample.

Papers: Schilling 1986, "Multivariate two-sample tests based on nearest neighbors" (JASA 81); Henze 1988,
"A multivariate two-sample test based on the number of nearest neighbor type coincidences" (Annals of Statistics 16).

Equation: (T - E) / (1 - E), with T the share of the k nearest neighbours of all N = n + m examples that are on the same
side, and E = (n (n - 1) + m (m - 1)) / (N (N - 1)) what it is on average where nothing differs: 0 then, and 1 where the
samples lie apart. The test redraws which rows are on which side, neighbours staying as they are.

It sees differences of any form at the smallest scale there is, and near duplicates between the samples pull it below 0.
Which of equally near examples count is drawn at random, whatever their side.

When not to use: where both samples are small and of many dimensions, since neighbours then say little; with sizes that
differ tenfold, where the larger side is everybody's neighbour.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Distance, Sides
from sterna.maths import kernels, permutation
from sterna.maths.samples import blocks, check, thin
from sterna.maths.seeds import derive
from sterna.spec import Range, method, option

_BLOCK = 1024


@method
class Nearest:
    """How many neighbours count, among how many examples."""

    neighbours: int = option(5, "neighbours of each example", Range(1, 1000))
    permutations: int = option(499, "divisions that the test draws; 0: no test", Range(0, 100_000))
    limit: int = option(4000, "examples a side that are compared, drawn at random", Range(2, 50_000))

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "from 0 for one distribution to 1 for samples that lie apart"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The share beyond chance, and its p value."""
        check("nearest", sides.left, sides.right)
        left, right, notes = thin(sides.left, sides.right, self.limit, sides.seed)
        order = np.random.default_rng(derive("ties", sides.seed)).permutation(len(left) + len(right))
        # Ties go by place, which must not tell the sides apart: else duplicates all have neighbours on the left.
        near = _neighbours(kernels.pooled(left, right)[order], self.neighbours)
        draws = self.permutations if sides.tested else 0
        members = permutation.memberships(len(left), len(right), draws, sides.seed)[order]
        total = len(members)
        same = np.array([(column[near] == column[:, None]).mean() for column in np.ascontiguousarray(members.T)])
        chance = sum(part * (part - 1) for part in (len(left), len(right))) / (total * (total - 1))
        return Distance(float((same[0] - chance) / (1 - chance)), permutation.p_value(same), notes)


def _neighbours(points: np.ndarray, count: int) -> np.ndarray:
    """(N, k) rows nearest to each row, itself left out; at most N - 1 of them."""
    count = min(count, len(points) - 1)
    found = np.empty((len(points), count), dtype=np.int64)
    for part in blocks(len(points), _BLOCK):
        squares = kernels.squared_distances(points[part], points)
        squares[np.arange(len(squares)), np.arange(part.start, part.stop)] = np.inf
        found[part] = np.argpartition(squares, count - 1, axis=1)[:, :count]
    return found
