"""Distances between examples, Gaussian kernels on them, and their features at random.

Papers: Gretton, Borgwardt, Rasch, Schölkopf and Smola 2012, "A Kernel Two-Sample Test" (JMLR 13), for the median
heuristic; Rahimi and Recht 2007, "Random Features for Large-Scale Kernel Machines", in the form of Sutherland and
Schneider 2015 (arXiv 1506.02785): pairs of sine and cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sterna.maths.permutation import Sums
from sterna.maths.samples import blocks, thinned

_EXACT = 1000  # rows up to which kernels are kept in float64; beyond, sums of float32 are exact enough and half as big
_MEDIAN_OF = 2000  # rows whose distances fix a bandwidth, to a few per cent for samples of very unlike spread
_BLOCK, _ROWS = 2048, 256
_MANY, _SOME = 2**17, 2**14  # values from which on a median is surrounded first, and of how many
_FLAT = 1e-13  # of the largest feature: variation below is rounding of a constant


def squared_distances(first: np.ndarray, second: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """(n, m) squared Euclidean distances of rows, >= 0, in the type of the rows; written to `out` where given.

    Rows should lie around the origin: |a|^2 + |b|^2 - 2 ab loses the digits that the lengths share.
    """
    found: np.ndarray = np.matmul(first, second.T, out=out)
    found *= -2
    found += (first * first).sum(axis=1)[:, None]
    found += (second * second).sum(axis=1)
    return np.maximum(found, 0, out=found)


def pooled(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n + m, d) both samples around their common mean, float64 for few rows and float32 for many."""
    count = len(left) + len(right)
    centre = (left.sum(axis=0) + right.sum(axis=0)) / count
    found = np.empty((count, left.shape[1]), dtype=np.float64 if count <= _EXACT else np.float32)
    for side, start in ((left, 0), (right, len(left))):
        for part in blocks(len(side), _BLOCK):
            found[start + part.start : start + part.stop] = side[part] - centre
    return found


def pairwise(points: np.ndarray) -> np.ndarray:
    """(N, N) squared distances with a diagonal that is exactly 0."""
    found = squared_distances(points, points)
    np.fill_diagonal(found, 0)
    return found


def median_of(points: np.ndarray, seed: int) -> float:
    """The median squared distance of points (N, d) over pairs i < j; where more than half are 0, the mean; never 0.

    At most 2,000 points are looked at, drawn from all: the first ones would be those of one sample.
    """
    above = _above(points[thinned(len(points), _MEDIAN_OF, seed, "median")])
    return _middle(above) or float(above.mean(dtype=np.float64) if len(above) else 0.0) or 1.0


def _above(points: np.ndarray) -> np.ndarray:
    """(N (N - 1) / 2,) squared distances of pairs i < j, in an order of its own, a block of rows at a time."""
    count, place = len(points), 0
    found = np.empty(count * (count - 1) // 2, dtype=points.dtype)
    for part in blocks(count, _ROWS):
        squares = squared_distances(points[part], points[part.start :])
        high = len(squares)
        for made in (squares[:, :high][np.triu_indices(high, 1)], squares[:, high:]):
            found[place : place + made.size].reshape(made.shape)[...] = made
            place += made.size
    return found


def _middle(values: np.ndarray) -> float:
    """The median of values (n,), 0 of none: only those between two that surround it are put in order."""
    count, place = len(values), (len(values) - 1) // 2
    if count < _MANY:
        return float(np.median(values)) if count else 0.0
    some = np.sort(values[:: count // _SOME])
    aside = int(2 * np.sqrt(len(some)))  # four times the error of a median of so many
    low, high = some[len(some) // 2 - aside], some[len(some) // 2 + aside]
    place -= int(np.count_nonzero(values < low))
    inside = values[(values >= low) & (values <= high)]
    last = place + 1 - count % 2
    if place < 0 or last >= len(inside):
        return float(np.median(values))
    return float(np.partition(inside, [place, last])[place : last + 1].mean())


def gaussian(squares: np.ndarray, variance: float) -> np.ndarray:
    """exp(-squares / (2 variance)), a new array of the same type."""
    found: np.ndarray = squares * squares.dtype.type(-0.5 / variance)
    return np.exp(found, out=found)


def feature_sums(
    points: np.ndarray, variances: Sequence[float], directions: np.ndarray, members: np.ndarray
) -> list[Sums]:
    """Pair sums of Gaussian kernels, approximated by random features, without a kernel ever being made.

    cos and sin of (w'x) over R directions have squared length 1 and inner product near exp(-|x - z|^2 / (2 s^2)) for
    w ~ N(0, I / s^2); the bandwidths share their directions, so the features are projected once.

    Args:
        points: (N, d) float32.
        variances: s^2 of each kernel.
        directions: (d, R) float32 draws of N(0, I).
        members: (N, 1 + draws) as `permutation.memberships` gives them.

    Returns:
        For each kernel the sums over ordered pairs, diagonal included.
    """
    count = directions.shape[1]
    shape = (len(variances), 2 * count, members.shape[1])
    left, totals = np.zeros(shape), np.zeros(shape[:2])
    for part in blocks(len(points), _BLOCK):
        projected = points[part] @ directions
        chosen = members[part].astype(np.float32)
        for place, variance in enumerate(variances):
            angles = projected * np.float32(variance**-0.5)
            waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * np.float32(count**-0.5)
            left[place] += waves.T @ chosen
            totals[place] += waves.sum(axis=0, dtype=np.float64)
    right = totals[:, :, None] - left
    return [
        Sums((a * a).sum(axis=0), (b * b).sum(axis=0), (a * b).sum(axis=0)) for a, b in zip(left, right, strict=True)
    ]


def alignment(left: np.ndarray, right: np.ndarray, debiased: bool = True) -> float:
    """Linear centred kernel alignment (CKA) of paired rows (n, d) and (n, e): 1 for the same up to rotation and scale.

    Papers: Kornblith, Norouzi, Lee and Hinton 2019, "Similarity of Neural Network Representations Revisited" (arXiv
    1905.00414), section 3; the unbiased estimate of the criterion is that of Song, Smola, Gretton, Bedo and Borgwardt
    2012, "Feature Selection via Dependence Maximization" (JMLR 13), theorem 2.

    Features are never made into (n, n) kernels, so the time goes like n d e. NaN where a side does not vary, and
    where the debiased estimate has fewer than 4 rows or finds no variation on one side beyond its noise.
    """
    if len(left) < (4 if debiased else 2):
        return float("nan")
    first, second = left - left.mean(axis=0), right - right.mean(axis=0)
    if any(np.abs(moved).max() <= _FLAT * np.abs(side).max() for moved, side in ((first, left), (second, right))):
        return float("nan")
    criterion = _unbiased if debiased else _biased
    own, other = criterion(first, first), criterion(second, second)
    if min(own, other) <= 0:
        return float("nan")
    return criterion(first, second) / float(np.sqrt(own) * np.sqrt(other))


def _biased(first: np.ndarray, second: np.ndarray) -> float:
    return float(((first.T @ second) ** 2).sum())


def _unbiased(first: np.ndarray, second: np.ndarray) -> float:
    """n (n - 3) times the unbiased independence criterion of two linear kernels whose rows add up to zero."""
    n = len(first)
    lengths, others = (first * first).sum(axis=1), (second * second).sum(axis=1)
    # The row sums of such a kernel without its diagonal are minus its diagonal.
    product = float(((first.T @ second) ** 2).sum() - lengths @ others)
    totals = float(lengths.sum() * others.sum()) / ((n - 1) * (n - 2))
    return product + totals - 2 * float(lengths @ others) / (n - 2)
