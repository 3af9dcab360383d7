"""How alike two representations of the same items are, whatever their rotation and scale.

Papers: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited" (arXiv 1905.00414), for CKA;
Song et al. 2012, "Feature Selection via Dependence Maximization" (JMLR 13), equation 5, for the unbiased HSIC in it.
"""

from __future__ import annotations

import numpy as np

FEWEST = 4  # items below which the unbiased estimate does not exist


def debiased_cka(left: np.ndarray, right: np.ndarray) -> float:
    """Linear centred kernel alignment, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = X X', L = Z Z'.

    HSIC is Song's unbiased estimate, so independent representations give about 0 whatever their width; the plain one
    gives 0.9 for 50 items and 500 features. 1 for rotations, scalings and shifts of the same features. NaN where one
    side does not vary, or where its estimate is not positive.

    Args:
        left: (n, d), n >= 4.
        right: (n, e) of the same items.

    Raises `ValueError` for fewer items or other lengths.

    When not to use: beyond some thousand items, for the n x n kernels; average the three HSIC over batches there.
    """
    n = len(left)
    if n != len(right) or n < FEWEST:
        raise ValueError(f"CKA needs the same items on both sides, {FEWEST} at least, got {n} and {len(right)}")
    kernels = [_kernel(one) for one in (left, right)]
    own = [_hsic(one, one) for one in kernels]
    if min(own) <= 0:
        return float("nan")
    return _hsic(*kernels) / float(np.sqrt(own[0] * own[1]))


def _kernel(features: np.ndarray) -> np.ndarray:
    """(n, n) products without the diagonal; the shift changes nothing but the rounding, and size is divided out."""
    moved = features.astype(np.float64)
    moved -= moved.mean(axis=0)
    size = np.abs(moved).max(initial=0.0)
    moved /= size if size > 0 else 1.0
    found: np.ndarray = moved @ moved.T
    np.fill_diagonal(found, 0.0)
    return found


def _hsic(left: np.ndarray, right: np.ndarray) -> float:
    """The unbiased estimate from kernels (n, n) whose diagonals are zero."""
    n = len(left)
    rows, columns = left.sum(axis=0), right.sum(axis=0)
    total = float((left * right).sum())
    total += float(rows.sum() * columns.sum()) / ((n - 1) * (n - 2)) - 2 * float(rows @ columns) / (n - 2)
    return total / (n * (n - 3))
