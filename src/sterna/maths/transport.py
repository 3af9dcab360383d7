"""Optimal transport where it has a closed form, between Gaussians and on a line, and smoothed by entropy."""

from __future__ import annotations

import math

import numpy as np

_SMALLEST = 1e-250  # of sums that are divided by: below, factors are taken into the potentials


def root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of symmetric matrices (..., d, d) without negative eigenvalues beyond rounding."""
    values, vectors = np.linalg.eigh(matrix)
    scaled = vectors * np.sqrt(np.maximum(values, 0))[..., None, :]
    found: np.ndarray = scaled @ np.swapaxes(vectors, -1, -2)
    return found


def bures(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2 for a covariance A (d, d) and several B (..., d, d): squared distances.

    Papers: Bures 1969; Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions".
    The product under the root is symmetric, so its eigenvalues are real and no imaginary part is dropped.
    """
    half = root(first)
    values = np.linalg.eigvalsh(half @ second @ half)
    shared = np.sqrt(np.maximum(values, 0)).sum(axis=-1)
    apart = np.trace(first) + np.trace(second, axis1=-2, axis2=-1) - 2 * shared
    return np.asarray(np.maximum(apart, 0))


def on_a_line(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(p,) squared 2-Wasserstein distances of p pairs of samples on a line, the integral of (F^-1 - G^-1)^2.

    Args:
        left: (p, n) values, ascending along the rows.
        right: (p, m).
    """
    n, m = left.shape[1], right.shape[1]
    if n == m:
        return np.asarray(((left - right) ** 2).mean(axis=1, dtype=np.float64))
    # In units of 1 / (n m), where both step functions step at whole numbers.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(ends, prepend=0) / (n * m)
    apart = left[:, (ends - 1) // m] - right[:, (ends - 1) // n]
    return np.asarray((apart.astype(np.float64) ** 2) @ widths)


def smoothed(cost: np.ndarray, weight: float, rounds: int, stop: float) -> tuple[float, float]:
    """min over plans P of <P, cost> + weight KL(P | uniform), and by how much the plan found misses its margins.

    Papers: Cuturi 2013, "Sinkhorn Distances" (arXiv 1306.0895), for the iteration; Schmitzer 2019, "Stabilized Sparse
    Scaling Algorithms for Entropy Regularized Transport Problems" (arXiv 1610.06519), section 3.1, for absorption.

    The value is that of the dual problem, which misses the optimum by the square of what the margins are missed by.

    Args:
        cost: (n, m) >= 0; rows and columns weigh 1 / n and 1 / m.
        weight: of the relative entropy to the independent plan, in units of the cost.
        rounds: at most.
        stop: margins that are missed by less, in mass summed over the columns, are good enough.
    """
    n, m = cost.shape
    potential, other = np.zeros(n), np.zeros(m)
    missed, left = math.inf, rounds
    while left > 0:
        # In logarithms, once: no row or column of the kernel is lost to underflow, however far the potentials are off.
        other = -weight * _log_mean_exp((potential[:, None] - cost) / weight, 0)
        potential = -weight * _log_mean_exp((other - cost) / weight, 1)
        kernel = np.exp((potential[:, None] + other - cost) / weight)
        rows, columns, missed, left = _scaled(kernel, left - 1, stop)
        potential = potential + weight * np.log(rows)
        other = other + weight * np.log(columns)
        if missed <= stop:
            break
    return float(potential.mean() + other.mean()), missed


def _scaled(kernel: np.ndarray, left: int, stop: float) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Factors of the rows and of the columns, what is missed, and the rounds that are left.

    They end on rows, whose margins are then exact, or where they leave what floats hold, with the last that were held.
    """
    n, m = kernel.shape
    rows, columns, missed = np.ones(n), np.ones(m), math.inf
    while left > 0:
        left -= 1
        across = rows @ kernel
        missed = float(np.abs(columns * across / n - 1).mean())
        if missed <= stop or across.min() < _SMALLEST:
            break
        next_columns = n / across
        down = kernel @ next_columns
        if down.min() < _SMALLEST:
            break
        rows, columns = m / down, next_columns
    return rows, columns, missed, left


def _log_mean_exp(exponents: np.ndarray, axis: int) -> np.ndarray:
    top = exponents.max(axis=axis, keepdims=True)
    exponents -= top
    np.exp(exponents, out=exponents)
    return np.asarray(np.log(exponents.mean(axis=axis)) + np.squeeze(top, axis=axis))
