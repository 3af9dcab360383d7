"""Permutation tests of two samples: which side an example is on is drawn anew, and everything else stays.

Paper: Gretton, Borgwardt, Rasch, Schölkopf and Smola 2012, "A Kernel Two-Sample Test" (JMLR 13), section 5; the value
(1 + #) / (1 + B) is that of Phipson and Smyth 2010, "Permutation p-values should never be zero".

The first column is always the division that was observed, the others are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sterna.maths.seeds import derive

_TIE = 1e-9  # of the spread: the same division, summed in another order


def memberships(left: int, right: int, draws: int, seed: int) -> np.ndarray:
    """(left + right, 1 + draws) bool: which rows are on the left side, the observed division first."""
    generator = np.random.default_rng(derive("permutation", seed))
    found = np.zeros((1 + draws, left + right), dtype=bool)
    found[0, :left] = True
    for row in found[1:]:
        row[generator.permutation(left + right)[:left]] = True
    return found.T


@dataclass(frozen=True)
class Sums:
    """Sums of a kernel over ordered pairs of examples, each (1 + draws,) float64; the diagonal is included."""

    left: np.ndarray  # both on the left
    right: np.ndarray
    across: np.ndarray  # the first on the left, the second on the right


def pair_sums(kernel: np.ndarray, members: np.ndarray) -> Sums:
    """Sums of a symmetric kernel (N, N) for every division (N, 1 + draws), by one product of matrices."""
    chosen = members.astype(kernel.dtype)
    left = np.einsum("ib,ib->b", chosen, kernel @ chosen, dtype=np.float64)
    rows = kernel.sum(axis=1, dtype=np.float64)
    from_left = rows @ members
    across = from_left - left
    return Sums(left, rows.sum() - from_left - across, across)


def difference(sums: Sums, left: int, right: int, diagonal: float | None = None) -> np.ndarray:
    """(1 + draws,) mean within the left + mean within the right - 2 mean across.

    Args:
        sums: of a kernel.
        left: n.
        right: m.
        diagonal: the kernel of an example with itself, to be left out of the means within a side (the unbiased
            estimate); None keeps it (the biased one).
    """
    across = sums.across / (left * right)
    if diagonal is None:
        return np.asarray(sums.left / left**2 + sums.right / right**2 - 2 * across)
    first = (sums.left - left * diagonal) / (left * (left - 1))
    return np.asarray(first + (sums.right - right * diagonal) / (right * (right - 1)) - 2 * across)


def strongest(statistics: np.ndarray) -> np.ndarray:
    """(1 + draws,) the largest of k statistics (k, 1 + draws), each in units of its own spread over the divisions.

    The observed division counts in the spread like any other, so that all are treated alike and the test is exact.
    """
    spread = statistics.std(axis=1, keepdims=True)
    centred = statistics - statistics.mean(axis=1, keepdims=True)
    return np.asarray((centred / np.where(spread > 0, spread, 1.0)).max(axis=0))


def p_value(statistic: np.ndarray) -> float | None:
    """The share of divisions whose statistic is as large as the first, itself included; None without draws."""
    if len(statistic) < 2:
        return None
    room = _TIE * float(statistic.max() - statistic.min())
    return float((statistic >= statistic[0] - room).mean())
