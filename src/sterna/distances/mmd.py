"""Maximum mean discrepancy: how differently the two samples spread over Gaussian bumps of five widths.

Papers: Gretton, Borgwardt, Rasch, Schölkopf and Smola 2012, "A Kernel Two-Sample Test" (JMLR 13), lemma 6 (unbiased),
equation 5 (biased) and lemma 14 (linear time); Rahimi and Recht 2007, "Random Features for Large-Scale Kernel
Machines"; Schrab et al. 2023, "MMD Aggregated Two-Sample Test" (arXiv 2110.15073), for testing several bandwidths at
once.

Equation: sum over kernels of mean_{i != j} k(x_i, x_j) + mean_{i != j} k(z_i, z_j) - 2 mean k(x_i, z_j) with
k(x, z) = exp(-|x - z|^2 / (2 s^2)), s^2 = s0^2 (1/4, 1/2, 1, 2, 4) and s0^2 half the median squared distance of the
pooled sample. Unbiased, so it is as often below 0 as above where nothing differs.

The test redraws which rows are on which side. Each kernel's statistic is measured in units of its own spread over these
divisions, and the largest is compared with the largest of every division: one p value, without a choice of width.

Up to `limit` rows a side all pairs are used; `exact` draws as many of more. Beyond, `auto` replaces kernels by pairs of
sine and cosine along random directions, which takes time like n: the value is then within about 5 % of the exact one,
and the test is exact for the replaced kernels. `linear` looks at disjoint pairs of rows once and tests by a normal
approximation: for streams and millions of rows, with the power of far fewer.

When not to use: to learn by how much labels will suffer, which distances cannot see; on features of hundreds of
dimensions whose variances are mostly noise, unless they are reduced first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from sterna.contracts import Distance, Sides
from sterna.errors import SpecError
from sterna.maths import kernels, permutation
from sterna.maths.samples import check, thin
from sterna.maths.seeds import derive
from sterna.spec import Choice, Range, method, option


@method
class MMD:
    """Which kernels, and how their means are taken."""

    bandwidths: tuple[float, ...] = option(
        (0.25, 0.5, 1.0, 2.0, 4.0), "squared widths of the kernels, in units of the middle one", Range(0, low_open=True)
    )
    width: float | None = option(
        None, "the middle width itself; none: by the median distance", Range(0, 1e9, low_open=True)
    )
    estimate: str = option(
        "auto",
        "all pairs, random features or pairs once; auto: by size",
        Choice(("auto", "exact", "features", "linear")),
    )
    biased: bool = option(False, "whether an example is compared with itself, which keeps the value from below 0")
    permutations: int = option(499, "divisions that the test draws; 0: no test", Range(0, 100_000))
    limit: int = option(2000, "examples a side of which all pairs are taken", Range(2, 20_000))
    features: int = option(512, "random directions, where kernels are replaced", Range(1, 100_000))

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "squared, 0 for one distribution, at most 2 for each kernel"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The sum over kernels, and the p value of the largest. Raises `SpecError` for no bandwidth at all."""
        if not self.bandwidths:
            raise SpecError("mmd adds up one or more bandwidths, got none; write bandwidths=[1].")
        check("mmd", sides.left, sides.right, 4 if self.estimate == "linear" else 1 if self.biased else 2)
        form = self.estimate
        if form == "auto":
            form = "exact" if max(len(sides.left), len(sides.right)) <= self.limit else "features"
        if form == "exact":
            left, right, notes = thin(sides.left, sides.right, self.limit, sides.seed)
            return replace(self._exact(replace(sides, left=left, right=right)), notes=notes)
        points = kernels.pooled(sides.left, sides.right)
        return self._linear(points, sides) if form == "linear" else self._features(points, sides)

    def _variances(self, middle: float) -> list[float]:
        base = middle / 2 if self.width is None else self.width**2
        return [share * base for share in self.bandwidths]

    def _members(self, sides: Sides) -> np.ndarray:
        draws = self.permutations if sides.tested else 0
        return permutation.memberships(len(sides.left), len(sides.right), draws, sides.seed)

    def _exact(self, sides: Sides) -> Distance:
        points, members = kernels.pooled(sides.left, sides.right), self._members(sides)
        squares, variances = kernels.pairwise(points), self._variances(kernels.median_of(points, sides.seed))
        sums = (permutation.pair_sums(kernels.gaussian(squares, variance), members) for variance in variances)
        return self._tested(list(sums), sides)

    def _features(self, points: np.ndarray, sides: Sides) -> Distance:
        points = points.astype(np.float32, copy=False)
        generator = np.random.default_rng(derive("random features", sides.seed))
        directions = generator.standard_normal((points.shape[1], self.features), dtype=np.float32)
        variances = self._variances(kernels.median_of(points, sides.seed))
        found = self._tested(kernels.feature_sums(points, variances, directions, self._members(sides)), sides)
        note = f"Kernels are replaced by sine and cosine along {self.features} random directions."
        return replace(found, notes=(note,))

    def _tested(self, sums: Sequence[permutation.Sums], sides: Sides) -> Distance:
        diagonal = None if self.biased else 1.0
        found = [permutation.difference(one, len(sides.left), len(sides.right), diagonal) for one in sums]
        statistics = np.stack(found)  # (k, 1 + draws)
        p = permutation.p_value(permutation.strongest(statistics))
        return Distance(float(statistics[:, 0].sum()), p)

    def _linear(self, points: np.ndarray, sides: Sides) -> Distance:
        n, pairs = len(sides.left), min(len(sides.left), len(sides.right)) // 2
        generator = np.random.default_rng(derive("linear time", sides.seed))
        left = points[generator.permutation(n)[: 2 * pairs]]  # files are often sorted, and pairs must not be alike
        right = points[n + generator.permutation(len(points) - n)[: 2 * pairs]]
        variances = self._variances(kernels.median_of(points, sides.seed))
        x, other, z, last = left[:pairs], left[pairs:], right[:pairs], right[pairs:]
        found = np.zeros(pairs)
        for sign, a, b in ((1, x, other), (1, z, last), (-1, x, last), (-1, z, other)):
            squares = ((a - b) ** 2).sum(axis=1, dtype=np.float64)
            found += sign * sum(kernels.gaussian(squares, variance) for variance in variances)
        note = f"Each example is compared once, in {pairs} pairs of pairs; the test is a normal approximation."
        return Distance(float(found.mean()), _normal_p(found) if sides.tested else None, (note,))


def _normal_p(values: np.ndarray) -> float:
    """One-sided, of a mean of 0; kept from 0, which rounding would make it beyond 38 standard errors."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if error == 0:
        return 1.0 if values.mean() <= 0 else float(np.finfo(float).tiny)
    return max(math.erfc(float(values.mean()) / error / math.sqrt(2)) / 2, float(np.finfo(float).tiny))
