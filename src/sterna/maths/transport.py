"""Optimal transport where it has a closed form: between Gaussians, and on a line."""

from __future__ import annotations

import numpy as np


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
