"""Kernels weighed so that the mean logarithm of their sum is largest: a convex problem with few answers that are not 0.

Papers: Kim, Carbonetto, Stephens and Anitescu 2020, "A Fast Algorithm for Maximum Likelihood Estimation of Mixture
Proportions Using Sequential Quadratic Programming" (Journal of Computational and Graphical Statistics 29, arXiv
1806.01412), for the way; Portugal, Júdice and Vicente 1994, "A Comparison of Block Pivoting and Interior-Point
Algorithms for Linear Least Squares Problems with Nonnegative Variables" (Mathematics of Computation 63), for the
quadratic programme of each step; Cover 1984, "An Algorithm for Maximizing Expected Log Investment Return" (IEEE
Transactions on Information Theory 30), for the first steps and the bound on what is missing.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv

from sterna.maths.samples import blocks

SMALLEST = 1e-10  # added to sums, so that no single row decides by its logarithm
_ROUNDS = 200
_FAR, _EXPECTATIONS = 0.03, 5  # what is missing beyond which, and how often, steps of expectation and maximisation help
_RIDGE = 1e-8  # of the diagonal: kernels that are next to equal make it singular
_EXCHANGES = 12  # of many variables at once
_LEVEL = 1e-12  # of the largest number in a programme: below is rounding
_TRIES = 3  # to let a variable in: one that has to leave each time gains by rounding alone
_HALVINGS = 40
_BLOCK = 2048


def likeliest(kernel: np.ndarray, weights: np.ndarray, start: np.ndarray, stop: float) -> np.ndarray:
    """(b,) p >= 0 of sum 1 at which sum_i w_i ln(p'k_i + 1e-10) - sum_l p_l is largest, to within `stop`.

    Newton's method: each step solves the quadratic programme in those p_l that are not 0 or would gain, O(m f^2 + f^3)
    for f of them. What is missing at p is at most max(0, max_l g_l - 1) + sum_l p_l (1 - g_l), g_l = sum_i w_i k_li /
    (p'k_i), so the end is no guess.

    Args:
        kernel: (b, m) >= 0, no row all 0.
        weights: (m,) >= 0 of sum 1.
        start: (b,) >= 0, such as the answer to nearly the same question; what is 0 there may come back.
        stop: in units of the mean logarithm.
    """
    shares, early = start, 0
    for _ in range(_ROUNDS):
        ratio = shares @ kernel + SMALLEST
        gain = kernel @ (weights / ratio)
        if max(float(gain.max()) - 1, 0.0) + float(shares @ (1 - gain)) <= stop:
            break
        far = early < _EXPECTATIONS and float(gain.max()) > 1 + _FAR
        moved = None if far else _newton(kernel, weights, (shares, ratio, gain))
        if moved is None:
            moved, early = shares * gain, early + 1
        shares = moved
    made: np.ndarray = shares / shares.sum()
    return made


def _newton(
    kernel: np.ndarray, weights: np.ndarray, at: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray | None:
    """(b,) the shares after a step that gains, from shares, sums of kernels and gains; None where none is found."""
    shares, ratio, gain = at
    free = np.flatnonzero((shares > 0) | (gain > 1))
    curvature = _curvature(kernel, free, np.sqrt(weights) / ratio)
    curvature[np.diag_indices_from(curvature)] *= 1 + _RIDGE
    aim = np.zeros_like(shares)
    aim[free] = nonnegative(curvature, curvature @ shares[free] + gain[free] - 1, shares[free] > 0)
    step = aim - shares
    along, slope = step[free] @ kernel[free], float((gain - 1) @ step)
    value, rise, part = float(weights @ np.log(ratio)), float(step.sum()), 1.0
    for _ in range(_HALVINGS):
        reached = ratio + part * along
        if reached.min() > 0 and weights @ np.log(reached) - part * rise >= value + 1e-4 * part * slope:
            return (1 - part) * shares + part * aim
        part /= 2
    return None


def _curvature(kernel: np.ndarray, free: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(f, f) the second derivatives in the free variables."""
    found = np.zeros((len(free), len(free)))
    for part in blocks(kernel.shape[1], _BLOCK):
        block = kernel[free, part] * scale[part]
        found += block @ block.T
    return found


def nonnegative(square: np.ndarray, right: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(n,) y >= 0 at which y'Hy / 2 - c'y is smallest.

    First all variables that have the wrong sign change sides at once, which mostly ends after a few exchanges; where
    it does not, as with an H that is next to singular, they come in one by one (Lawson and Hanson 1974).

    Args:
        square: (n, n) H, positive definite.
        right: (n,) c.
        free: (n,) boolean, a guess at which y are not 0.
    """
    free, level = free.copy(), _LEVEL * float(np.abs(right).max(initial=0.0))
    for _ in range(_EXCHANGES):
        found = _solved(square, right, free)
        if found is None:
            break
        # Signs of what is rounding do not count; exchanges for their sake would never end.
        wrong = np.where(free, found < 0, square @ found - right < -level)
        if not wrong.any():
            return found
        free ^= wrong
    return _one_by_one(square, right, level)


def _solved(square: np.ndarray, right: np.ndarray, free: np.ndarray) -> np.ndarray | None:
    """(n,) the y that is 0 where it is not free and elsewhere the smallest; None where rounding has no answer."""
    found, places = np.zeros(len(right)), np.flatnonzero(free)
    if not len(places):
        return found
    _, found[places], failed = dposv(square[np.ix_(places, places)], right[places])
    return None if failed else found


def _one_by_one(square: np.ndarray, right: np.ndarray, level: float) -> np.ndarray:
    """As `nonnegative`, from 0: the variable that would gain most becomes free, those that would turn negative stop."""
    found, free = np.zeros(len(right)), np.zeros(len(right), dtype=bool)
    tried = np.zeros(len(right), dtype=int)
    while True:
        gain = np.where(free | (tried == _TRIES), -np.inf, right - square @ found)
        newest = int(gain.argmax())
        if gain[newest] <= level:
            return found
        tried[newest] += 1
        free[newest] = True
        aim = _solved(square, right, free)
        while aim is not None and (below := free & (aim <= 0)).any():
            parts = found[below] / (found[below] - aim[below])
            found += parts.min() * (aim - found)
            free[np.flatnonzero(below)[parts <= parts.min()]] = False
            found[~free] = 0.0
            aim = _solved(square, right, free)
        if aim is None:  # what came in last says nothing that the others do not
            return np.maximum(found, 0.0)
        found = aim
