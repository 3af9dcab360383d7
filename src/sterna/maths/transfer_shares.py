"""Scores as shares."""

from __future__ import annotations

import numpy as np


def nearest_shares(scores: np.ndarray) -> np.ndarray:
    """(n, k) the points of the simplex that lie nearest to the rows of scores; their order stays.

    Paper: Duchi, Shalev-Shwartz, Singer and Chandra 2008, "Efficient projections onto the l1-ball for learning in high
    dimensions" (ICML), figure 1: max(s - t, 0) with the t that makes the sum 1.
    """
    falling = -np.sort(-scores, axis=1)
    levels = (np.cumsum(falling, axis=1) - 1) / np.arange(1, scores.shape[1] + 1)
    last = (falling > levels).sum(axis=1, keepdims=True) - 1
    found: np.ndarray = np.maximum(scores - np.take_along_axis(levels, np.maximum(last, 0), axis=1), 0.0)
    return found / found.sum(axis=1, keepdims=True)
