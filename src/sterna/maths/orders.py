"""Ranks of candidates, and how far several rankings agree."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.stats import kendalltau, rankdata


def ranks(values: np.ndarray) -> np.ndarray:
    """(m,) 1 for the highest value; equal values share the mean of their ranks, what is not a number comes last."""
    return np.asarray(rankdata(-np.where(np.isnan(values), -np.inf, values)))


def agreement(columns: np.ndarray) -> float:
    """The mean of Kendall's tau-b (Kendall 1945) over all pairs of columns of (m, s); NaN for one column.

    1: all columns order the candidates alike; 0: they have nothing in common.
    """
    pairs = combinations(range(columns.shape[1]), 2)
    taus = [float(kendalltau(columns[:, a], columns[:, b]).statistic) for a, b in pairs]
    return float(np.nanmean(taus)) if taus else np.nan
