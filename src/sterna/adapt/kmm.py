"""Kernel mean matching: source rows weighted so that their mean in a kernel's space is that of the target.

Paper: Huang, Smola, Gretton, Borgwardt and Schoelkopf 2006, "Correcting Sample Selection Bias by Unlabeled Data"
(NIPS), equation 12.

Equation: minimise b'(K + penalty I)b / 2 - t'b over 0 <= b_i <= bound and |mean b - 1| <= slack, K the Gaussian kernel
of the source rows and t_i = n / m times the sum of k(x_i, z_j) over the target; then b is divided by its mean. The
slack is (sqrt(n) - 1) / sqrt(n), as in the paper; 2 sigma^2 is the median squared distance of rows of both domains.

The paper has no penalty (`penalty=0`). The weights then follow the luck of the draw in all directions that the kernel
hardly sees: with 1,500 rows a side of 10 Gaussian features, the target moved by 0.3 and narrower by a tenth, they
missed the true ratios by 1.6 times their deviation, and by 0.3 with a penalty of 1, which the means hardly feel.

Solved by a quasi-Newton method within bounds; where the mean leaves its slack, the multiplier that brings it back is
found by root finding. Beyond `limit` source rows K is replaced by P P' + diag(1 - |p_i|^2), the Nystroem approximation
from `landmarks` of both domains with the diagonal as it was (Snelson and Ghahramani 2006).

Cost: O(n (n + m) d) time and O(n^2) memory up to the limit; beyond it O((n + m) q d + n q^2) time and O(n q) memory
with q landmarks.

When not to use: with a kernel so narrow that every row is like itself alone, where weights are all the same, or so wide
that the means of the features are all that is matched; where labels mean something else in the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import brentq, minimize

from sterna.contracts import Aligned, Pair
from sterna.maths import ratios
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.kernels import gaussian, squared_distances
from sterna.maths.memory import check
from sterna.maths.samples import blocks, thinned
from sterna.spec import Range, method, option

_BLOCK = 1024
_JITTER = 1e-6  # added to the kernel of the landmarks, which may be alike

Product = Callable[[np.ndarray], np.ndarray]


@method
class KMM:
    """The kernel and the bounds of the weights."""

    width: float | None = option(
        None, "sigma of the kernel; none: by the median distance", Range(0, 1e9, low_open=True)
    )
    bound: float = option(1000.0, "the largest weight before weights are divided by their mean", Range(1, 1e9))
    slack: float | None = option(None, "how far the mean weight may be from 1; none: as in the paper", Range(0, 1e9))
    penalty: float = option(1.0, "of the squared weights, beside a kernel of diagonal 1", Range(0, 1e9))
    limit: int = option(2000, "source rows up to which all pairs are compared", Range(1, 10_000))
    landmarks: int = option(1000, "rows that stand for all beyond the limit", Range(2, 5000))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with weights. Raises `DataError` for what does not fit into memory."""
        n = len(pair.source)
        width = ratios.median_width(pair.source, pair.target, pair.seed) if self.width is None else self.width
        notes: tuple[str, ...] = ()
        if n <= self.limit:
            product, linear = _exact(pair.source, pair.target, width)
        else:
            product, linear, count = _approximate(pair, width, self.landmarks)
            notes = (f"The kernel of {n} source rows is approximated from {count} landmarks.",)
        slack = (np.sqrt(n) - 1) / np.sqrt(n) if self.slack is None else self.slack
        found = _solved(_ridged(product, self.penalty / n), linear, self.bound, float(slack))
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        made, told = ratios.weighted("kmm", found, sides, labels)
        return Aligned(*made, unchanged, (*notes, *told))


def _exact(source: np.ndarray, target: np.ndarray, width: float) -> tuple[Product, np.ndarray]:
    """v -> K v / n, and t / n (n,)."""
    n, m = len(source), len(target)
    check(
        "kmm", f"{n:,} rows and their kernel", n * (n + 2.0 * source.shape[1]), "use a lower limit, or fewer features"
    )
    centre = ratios.middle(source, target)
    rows, kernel, linear = source - centre, np.empty((n, n)), np.zeros(n)
    for part in blocks(n, _BLOCK):
        squares = squared_distances(rows[part], rows)
        squares[np.arange(len(squares)), np.arange(part.start, part.stop)] = 0.0
        kernel[part] = gaussian(squares, width**2) / n
    for part in blocks(m, _BLOCK):
        linear += gaussian(squared_distances(target[part] - centre, rows), width**2).sum(axis=0)
    return kernel.__matmul__, linear / m


def _approximate(pair: Pair, width: float, landmarks: int) -> tuple[Product, np.ndarray, int]:
    """As `_exact` from landmarks of both domains, half of each, and how many there are."""
    n, m = len(pair.source), len(pair.target)
    each = min(landmarks // 2, m)
    rows = [thinned(m, each, pair.seed, "kmm target"), thinned(n, landmarks - each, pair.seed, "kmm source")]
    count = len(rows[0]) + len(rows[1])
    check("kmm", f"{n:,} rows by {count:,} landmarks", n * count / 2 + 4.0 * count * count, "use fewer landmarks")
    centre = ratios.middle(pair.source, pair.target)
    places = np.concatenate([pair.target[rows[0]], pair.source[rows[1]]]) - centre
    kernel = gaussian(squared_distances(places, places), width**2)
    kernel[np.diag_indices_from(kernel)] = 1.0 + _JITTER
    root = cholesky(kernel, lower=True, overwrite_a=True)
    features, rest, target = np.empty((n, count), dtype=np.float32), np.empty(n), np.zeros(count)
    for part in blocks(n, _BLOCK):
        near = gaussian(squared_distances(places, pair.source[part] - centre), width**2)
        made = solve_triangular(root, near, lower=True, overwrite_b=True, check_finite=False)
        rest[part] = np.maximum(1 - (made * made).sum(axis=0), 0.0)
        features[part] = made.T
    for part in blocks(m, _BLOCK):
        target += gaussian(squared_distances(places, pair.target[part] - centre), width**2).sum(axis=1)
    mean = solve_triangular(root, target / m, lower=True)

    def product(weights: np.ndarray) -> np.ndarray:
        reached = weights.astype(np.float32) @ features
        made: np.ndarray = (features @ reached + rest * weights) / n
        return made

    return product, np.asarray(features @ mean.astype(np.float32), dtype=np.float64), count


def _ridged(product: Product, penalty: float) -> Product:
    return lambda weights: product(weights) + penalty * weights


def _solved(product: Product, linear: np.ndarray, bound: float, slack: float) -> np.ndarray:
    """(n,) b that minimises b'(K + penalty I)b / 2n - t'b / n within the bounds, its mean within the slack of 1."""
    n = len(linear)
    state = np.ones(n)

    def within(multiplier: float) -> float:
        nonlocal state
        state = _boxed(product, linear - multiplier, bound, state)
        return float(state.mean())

    mean = within(0.0)
    goal = min(max(mean, 1 - slack), 1 + slack)
    if mean == goal:
        return state
    # The mean falls as the multiplier rises.
    step = float(np.abs(linear).mean()) or 1.0
    end = np.copysign(step, mean - goal)
    while (within(end) - goal) * (mean - goal) > 0 and abs(end) < 1e6 * step:
        end *= 4
    low, high = min(end, 0.0), max(end, 0.0)
    multiplier = brentq(lambda value: within(value) - goal, low, high, xtol=1e-10 * step, rtol=1e-10)
    within(multiplier)
    return state


def _boxed(product: Product, linear: np.ndarray, bound: float, start: np.ndarray) -> np.ndarray:
    """(n,) the minimum of b'Kb / 2n - l'b within the bounds alone."""

    def value(weights: np.ndarray) -> tuple[float, np.ndarray]:
        reached = product(weights)
        return float(weights @ (reached / 2 - linear)), reached - linear

    limits = {"maxiter": 1000, "maxfun": 2000, "ftol": 1e-12, "gtol": 1e-7, "maxcor": 20}
    bounds = np.array([[0.0, bound]]).repeat(len(start), axis=0)
    found = minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds, options=limits)
    return np.asarray(np.clip(found.x, 0.0, bound))
