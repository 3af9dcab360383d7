"""LogME: the largest evidence of a Bayesian linear regression from features to labels, an example and a column.

Papers: You, Liu, Wang and Long 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning" (arXiv
2102.11005), equations 2 to 4; MacKay 1992, "Bayesian Interpolation".

Equation: ln p(y | F, a, b) / n, maximised over a and b, for y = F w + e, w ~ N(0, I/a), e ~ N(0, I/b), averaged over
the columns of y. With the thin singular value decomposition F = U diag(s) V', x_i = (u_i' y)^2, r = y'y - sum x_i,
t = a/b and o_i = t / (t + s_i^2), the best b for a given t is known, and what is left has one unknown:

    L(t) = (1 / 2n) [sum_i ln o_i - n ln((r + sum_i x_i o_i) / n) - n (1 + ln 2 pi)]

Its maximum is found on a grid of ln t from 1e-9 to 1e9 times the largest s_i^2 and refined by golden sections. The
fixed point that is usually iterated instead stops too early, and its common form leaves (d - r)/2 ln a out of the
evidence where examples are fewer than features: for 60 examples of 200 features it gives +6.3 where -0.55 is right.

Columns are the 0/1 indicators of the classes, or standardised values. The features are neither centred nor scaled by
column, as published: a shift changes the score, a rotation, a common factor, and zero or repeated columns (up to that
factor) do not. It is a log density, so it may be positive, and it compares candidates on one sample, not samples.

When not to use: as the only judge of a large zoo, where its first place is often wrong; read it beside `hscore` and
`probe`. Where the candidates differ in more than a linear map could tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from sterna.contracts import Evidence, Scoring
from sterna.maths.classes import columns
from sterna.maths.spectra import spectrum
from sterna.records import Labels
from sterna.spec import method

SPAN = np.log(1e9)
STEPS = 161
SECTIONS = 32  # of an interval of two steps: ln t to 1e-7, the value to rounding
GOLDEN = (np.sqrt(5.0) - 1) / 2


@method
class LogME:
    """There is nothing to choose: both of its parameters are those that fit best."""

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def prepare(self, evidence: Evidence) -> Scoring:
        """The singular value decomposition, done once."""
        found = spectrum(evidence.features, centre=False)
        # Features that are all zero explain nothing: one direction without any share says so.
        squares = found.squares if len(found.values) else np.ones(1)

        def score(labels: Labels) -> float:
            wanted = columns(labels)
            shares = np.zeros((wanted.shape[1], len(squares)))
            shares[:, : len(found.values)] = (found.left.T @ wanted).T ** 2
            return float(evidences(squares, shares, (wanted**2).sum(axis=0), len(labels)).mean())

        return score


def evidences(squares: np.ndarray, shares: np.ndarray, whole: np.ndarray, n: int) -> np.ndarray:
    """(k,) the largest evidence of each column, divided by n.

    Args:
        squares: (r,) s_i^2.
        shares: (k, r) x_i.
        whole: (k,) y'y.
        n: examples.
    """
    whole = np.where(whole > 0, whole, 1e-12 * n)  # a column that never varies
    rest = np.maximum(whole - shares.sum(axis=1), 1e-12 * whole)
    grid = np.log(squares.max()) + np.linspace(-SPAN, SPAN, STEPS)
    ratios = squares / np.exp(grid)[:, None]
    fits = shares @ (1 / (1 + ratios)).T + rest[:, None]
    values = _evidence(np.log1p(ratios).sum(axis=1), fits, n)
    best = values.argmax(axis=1)
    step = grid[1] - grid[0]
    low, high = grid[best] - step, grid[best] + step

    def at(place: np.ndarray) -> np.ndarray:
        ratios = squares / np.exp(place)[:, None]
        return _evidence(np.log1p(ratios).sum(axis=1), rest + (shares / (1 + ratios)).sum(axis=1), n)

    refined = at(_golden(at, low, high))
    return np.maximum(refined, values.max(axis=1))


def _evidence(lost: np.ndarray, fits: np.ndarray, n: int) -> np.ndarray:
    """L from -sum_i ln o_i and r + sum_i x_i o_i."""
    found: np.ndarray = -(lost + n * np.log(fits / n) + n * (1 + np.log(2 * np.pi))) / (2 * n)
    return found


def _golden(value: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where `value` is largest between `low` and `high`, for all columns at once."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(SECTIONS):
        lower = at_left > at_right
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        fresh = np.where(lower, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        left, right = np.where(lower, fresh, right), np.where(lower, left, fresh)
        at_fresh = value(fresh)
        at_left, at_right = np.where(lower, at_fresh, at_right), np.where(lower, at_left, at_fresh)
    return (low + high) / 2
