"""Methods on several data sets: Friedman's test by permutation, and the signed ranks of Wilcoxon's."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
from scipy.stats import rankdata

_BLOCK = 1 << 20  # ranks held at once while permuting: 8 MB


def statistic(ranks: np.ndarray) -> float:
    """Friedman's chi-squared of k methods on n data sets, in the form that allows ties (Conover 1999, section 5.8).

    (k - 1) sum_j (R_j - n (k + 1) / 2)^2 / sum_ij (r_ij - (k + 1) / 2)^2 with R_j the sum of method j's ranks. Without
    ties it is 12 / (n k (k + 1)) sum_j R_j^2 - 3 n (k + 1) (Friedman 1937). 0 where no data set tells any two apart.

    Args:
        ranks: (n, k); each row adds up to k (k + 1) / 2, as ranks and means of ranks do.
    """
    centred = np.asarray(ranks, dtype=float) - (ranks.shape[1] + 1) / 2
    spread = float((centred**2).sum())
    return (ranks.shape[1] - 1) * float((centred.sum(axis=0) ** 2).sum()) / spread if spread else 0.0


def permuted(ranks: np.ndarray, generator: np.random.Generator, draws: int = 10_000) -> float:
    """The p value of Friedman's statistic: where all methods are alike, each row's ranks could stand in any order.

    Of all (k!)^n arrangements where these are no more than the draws, else of random ones, the observed one counted
    with them. The chi-squared distribution is a poor stand-in for few data sets (Iman and Davenport 1980), and knows
    nothing of ranks that are means over seeds.

    Args:
        ranks: (n, k).
        generator: source of randomness.
        draws: random arrangements; 10,000 give a p value of 0.05 to about 0.002.
    """
    n, k = ranks.shape
    # The denominator is the same in every arrangement, so the sums of squares alone are compared.
    observed = _spread(ranks[None])[0] * (1 - 1e-9)  # equal sums must not differ by rounding
    if math.factorial(k) ** n <= draws:
        orders = [np.array(list(permutations(row))) for row in ranks]
        chosen = np.array(list(product(range(math.factorial(k)), repeat=n)))
        every = np.stack([one[chosen[:, place]] for place, one in enumerate(orders)], axis=1)
        return float((_spread(every) >= observed).mean())
    extreme, size = 1, max(1, _BLOCK // (n * k))
    for start in range(0, draws, size):
        block = np.broadcast_to(ranks, (min(size, draws - start), n, k))
        extreme += int((_spread(generator.permuted(block, axis=2)) >= observed).sum())
    return extreme / (draws + 1)


def _spread(ranks: np.ndarray) -> np.ndarray:
    """(b,) sum of squares of the methods' rank sums about their mean, of b arrangements (b, n, k)."""
    sums = ranks.sum(axis=1)
    return np.asarray(((sums - sums.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))


def signed_ranks(differences: np.ndarray) -> np.ndarray:
    """(m,) ranks of the sizes of the differences that are not 0, with the signs of these (Wilcoxon 1945).

    Equal sizes share the mean of their ranks. Flipping the signs at random makes Wilcoxon's signed-rank test of them.
    """
    moved = differences[differences != 0]
    return np.asarray(np.sign(moved) * rankdata(np.abs(moved)))
