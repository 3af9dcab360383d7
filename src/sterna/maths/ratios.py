"""Ratios of the densities of two samples at the rows of one of them, and weights made of them.

Kernel models of a ratio are sums of Gaussian kernels around centres drawn from the target; the least-squares ones have
a closed form, and so has their leave-one-out score (Kanamori, Hido and Sugiyama 2009, JMLR 10, section 4; Yamada,
Suzuki, Kanamori, Hachiya and Sugiyama 2011, NIPS, section 2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve

from sterna.errors import DataError
from sterna.maths.kernels import gaussian, median_of, squared_distances
from sterna.maths.memory import check
from sterna.maths.samples import blocks, thinned
from sterna.maths.seeds import derive
from sterna.records import Labels

FEWEST = 30  # effective rows below which weights speak of a few rows only
FACTORS = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 5.0)  # of the median width, among which data choose
PENALTIES = tuple(10.0 ** (half / 2) for half in range(-10, 3))  # kernels are at most 1, so these have no unit
_PAIRS = 2000  # rows a side that are left out in turn; the score's error is that of a mean over them
_MEDIAN_OF = 1000  # rows a side whose distances fix the median width
_BLOCK, _SMALL = 2048, 512


def effective_size(weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2: how many rows of equal weight tell as much (Kong 1992); 0 for weights of 0."""
    largest = float(weights.max(initial=0.0))
    scaled = weights / largest if largest > 0 else weights
    squares = float((scaled**2).sum())
    return float(scaled.sum()) ** 2 / squares if squares > 0 else 0.0


def weighted(
    method: str, ratio: np.ndarray, sides: tuple[np.ndarray, np.ndarray], labels: tuple[Labels, Labels]
) -> tuple[tuple[np.ndarray, Labels, np.ndarray], tuple[str, ...]]:
    """Features, labels and weights of what is learnt from, and how far the weights reach, in sentences.

    Args:
        method: for the message.
        ratio: (n,) >= 0, of the source rows; their mean becomes 1.
        sides: (n, d) the source rows and (l, d) the target rows whose labels are known, which count 1 each.
        labels: (n,) and (l,) theirs.

    Raises `DataError` for ratios that are all 0 or not finite.
    """
    mean = float(ratio.mean())
    if not (np.isfinite(mean) and mean > 0):
        raise DataError(
            f"{method} needs source rows that could be target rows, got a density ratio of 0 for all {len(ratio)}; "
            "use a larger width, or a method that moves the source."
        )
    weights, joined = np.concatenate([ratio / mean, np.ones(len(labels[1]))]), np.concatenate(labels)
    features = np.concatenate(sides) if len(sides[1]) else sides[0]
    effective = effective_size(ratio)
    notes = [f"The weights tell as much as {effective:.1f} of {len(ratio)} source rows of equal weight."]
    if effective < FEWEST:
        notes.append(
            f"Warning: that is fewer than {FEWEST}, so source and target hardly overlap, and what is learnt depends on "
            "a few rows."
        )
    return (features, joined, weights), tuple(notes)


def middle(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(d,) the mean of both samples pooled."""
    made: np.ndarray = (source.sum(axis=0) + target.sum(axis=0)) / (len(source) + len(target))
    return made


def median_width(source: np.ndarray, target: np.ndarray, seed: int) -> float:
    """sigma of a Gaussian kernel whose 2 sigma^2 is the median squared distance, over at most 1,000 rows a side."""
    some = [side[thinned(len(side), _MEDIAN_OF, seed, "width")] for side in (source, target)]
    points = np.concatenate(some)
    return float(np.sqrt(median_of(points - points.mean(axis=0), seed) / 2))


@dataclass(frozen=True)
class Compared:
    """The squared distances of all rows to centres drawn from the target."""

    source: np.ndarray  # (n, b)
    target: np.ndarray  # (m, b)
    centres: np.ndarray  # (b,) their rows in the target, ascending
    median: float  # `median_width`


def compared(method: str, source: np.ndarray, target: np.ndarray, count: int, seed: int) -> Compared:
    """Distances to `count` centres, at most half of the target; raises `DataError` beyond memory.

    The other half is there to judge: a kernel around a judged row speaks for any width that is narrow.
    """
    n, m = len(source), len(target)
    b = min(count, max(1, m // 2))
    check(method, f"two matrices of {n + m:,} x {b:,}", 2.0 * (n + m) * b, "use fewer centres")
    centre = middle(source, target)
    chosen = thinned(m, b, seed, "centres")
    places = target[chosen] - centre
    found = [np.empty((len(side), b)) for side in (source, target)]
    for side, squares in zip((source, target), found, strict=True):
        for part in blocks(len(side), _SMALL):
            squared_distances(side[part] - centre, places, squares[part])
    return Compared(found[0], found[1], chosen, median_width(source, target, seed))


def widths(median: float, width: float | None) -> tuple[float, ...]:
    """The widths that data choose from: one that is given, or multiples of the median one."""
    return (width,) if width is not None else tuple(factor * median for factor in FACTORS)


def means(squares: np.ndarray, width: float) -> np.ndarray:
    """(b,) the mean kernel of rows with each centre."""
    factor, total = -0.5 / width**2, np.zeros(squares.shape[1])
    # Blocks that stay in a core's own memory, in one space, whose sums are products with ones.
    space, ones = np.empty((min(_SMALL, len(squares)), squares.shape[1])), np.ones(_SMALL)
    for part in blocks(len(squares), _SMALL):
        kernel = np.multiply(squares[part], factor, out=space[: part.stop - part.start])
        total += ones[: len(kernel)] @ np.exp(kernel, out=kernel)
    made: np.ndarray = total / len(squares)
    return made


def values(squares: np.ndarray, width: float, coefficients: np.ndarray) -> np.ndarray:
    """(n,) the model at rows: sum_l coefficient_l k(x, c_l)."""
    found = np.empty(len(squares))
    for part, kernel in _kernels(squares, width):
        found[part] = kernel @ coefficients
    return found


def _kernels(squares: np.ndarray, width: float) -> Iterator[tuple[slice, np.ndarray]]:
    return ((part, gaussian(squares[part], width**2)) for part in blocks(len(squares), _BLOCK))


def _second(squares: np.ndarray, width: float) -> np.ndarray:
    """(b, b) the mean of k k' over rows."""
    made: np.ndarray = sum(kernel.T @ kernel for _, kernel in _kernels(squares, width)) / len(squares)
    return made


@dataclass(frozen=True)
class Moments:
    """What a least-squares ratio is made of."""

    source: np.ndarray  # (b, b) the mean of k k' over the source
    target: np.ndarray  # (b, b) over the target
    mean: np.ndarray  # (b,) the mean of k over the target
    counts: tuple[int, int]  # n and m rows

    def coefficients(self, alpha: float, penalty: float) -> np.ndarray:
        """(b,) max(0, (H + penalty I)^-1 h), H = alpha H_T + (1 - alpha) H_S."""
        square = alpha * self.target + (1 - alpha) * self.source
        square[np.diag_indices_from(square)] += penalty
        return np.maximum(solve(square, self.mean, assume_a="pos"), 0.0)


def moments(given: Compared, width: float, alpha: float) -> Moments:
    """Of both samples; the target's second moments are left 0 where alpha does not ask for them."""
    b = len(given.centres)
    target = _second(given.target, width) if alpha > 0 else np.zeros((b, b))
    counts = len(given.source), len(given.target)
    return Moments(_second(given.source, width), target, means(given.target, width), counts)


def left_out(
    found: Moments, first: np.ndarray, second: np.ndarray, alpha: float, penalties: tuple[float, ...]
) -> np.ndarray:
    """The leave-one-out score at each penalty, lower is better: mean of ((1-alpha) w(x)^2 + alpha w(z)^2)/2 - w(z).

    Each pair (x_i, z_i) is left out of the model that judges it. Leaving it out changes H by two products of vectors,
    so that the inverse follows by the formula of Woodbury, and one eigendecomposition serves all penalties.

    Args:
        found: of all rows, two or more a side.
        first: (b, q) kernels of source rows with the centres.
        second: (b, q) kernels of target rows.
        alpha: in [0, 1).
        penalties: > 0.
    """
    n, m = found.counts
    square = (1 - alpha) * n / (n - 1) * found.source + alpha * m / (m - 1) * found.target
    eigenvalues, basis = np.linalg.eigh(square)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    x = np.sqrt((1 - alpha) / (n - 1)) * (basis.T @ first)
    y = np.sqrt(alpha / (m - 1)) * (basis.T @ second)
    right = (m * (basis.T @ found.mean)[:, None] - basis.T @ second) / (m - 1)
    scores = []
    for penalty in penalties:
        inverse = (1 / (eigenvalues + penalty))[:, None]
        u, v, g = inverse * x, inverse * y, inverse * right
        xx, xy, yy = 1 - (x * u).sum(axis=0), -(x * v).sum(axis=0), 1 - (y * v).sum(axis=0)
        xg, yg, size = (x * g).sum(axis=0), (y * g).sum(axis=0), xx * yy - xy * xy
        g += u * ((yy * xg - xy * yg) / size) + v * ((xx * yg - xy * xg) / size)
        coefficients = np.maximum(basis @ g, 0.0)
        at_source, at_target = (first * coefficients).sum(axis=0), (second * coefficients).sum(axis=0)
        scores.append(np.mean(((1 - alpha) * at_source**2 + alpha * at_target**2) / 2 - at_target))
    return np.array(scores)


def least_squares(
    given: Compared, alpha: float, width: float | None, penalty: float | None, seed: int
) -> tuple[np.ndarray, float, float]:
    """(n,) the ratio p_T / (alpha p_T + (1 - alpha) p_S) at the source rows, its width and its penalty.

    Width and penalty are those of the smallest leave-one-out score where they are not given, over at most 2,000 pairs
    of rows, those of the target no centres; with a single row on a side they are the median width and 0.1.
    """
    n, m = len(given.source), len(given.target)
    grid = widths(given.median, width)
    penalties = (penalty,) if penalty is not None else PENALTIES
    draw = np.random.default_rng(derive("left out", seed))
    first = draw.permutation(n)
    second = draw.permutation(np.setdiff1d(np.arange(m), given.centres))
    count = min(len(first), len(second), _PAIRS)
    if min(n, m) < 2 or len(grid) * len(penalties) == 1:
        best = (width or given.median, penalty or 0.1)
    else:
        scores = np.array([_scored(given, one, alpha, penalties, (first[:count], second[:count])) for one in grid])
        place = np.unravel_index(int(scores.argmin()), scores.shape)
        best = (grid[place[0]], penalties[place[1]])
    coefficients = moments(given, best[0], alpha).coefficients(alpha, best[1])
    return values(given.source, best[0], coefficients), *best


def _scored(
    given: Compared, width: float, alpha: float, penalties: tuple[float, ...], rows: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    first, second = (
        gaussian(side[row], width**2).T for side, row in zip((given.source, given.target), rows, strict=True)
    )
    return left_out(moments(given, width, alpha), first, second, alpha, penalties)
