"""Linear heads that are pulled towards a head, or learnt from shares of classes instead of classes.

    sum_i w_i (-sum_k t_ik ln softmax(W x_i + b + o_i)_k) / sum_i w_i + pull / 2 (||W||^2 + e ||b||^2)

With t the indicators of classes and o nothing it is logistic regression (Bishop 2006, section 4.3.4); with o the logits
of another head, W and b are what is added to that head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from sterna.maths.answers import softmax

BIAS = 1e-3  # of the pull on a weight, as in maths.probing; keeps the bias of a class without an example finite
_STOP = 1e-10  # relative decrease of the objective


@dataclass(frozen=True)
class Scale:
    """A centre and one common factor after which variances add up to 1."""

    centre: np.ndarray  # (d,)
    factor: float

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, d)."""
        found: np.ndarray = (rows - self.centre) * self.factor
        return found


def scale(rows: np.ndarray) -> Scale:
    """That of rows (n, d); rows that are all alike are only centred."""
    centre = rows.mean(axis=0)
    spread = float(((rows - centre) ** 2).sum()) / len(rows)
    return Scale(centre, 1 / np.sqrt(spread) if spread > 0 else 1.0)


def objective(
    head: np.ndarray, wide: np.ndarray, shares: np.ndarray, offsets: np.ndarray | float, pulls: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean loss and pull of a head (k, d + 1), and the gradient, for rows of equal weight.

    Args:
        head: the bias last.
        wide: (n, d + 1) rows, 1 last.
        shares: (n, k), each row adding up to 1.
        offsets: (n, k) logits that are there already, or 0.
        pulls: (d + 1,).
    """
    logits = wide @ head.T
    logits += offsets
    logits -= logits.max(axis=1, keepdims=True)
    own = float((shares * logits).sum())
    powers = np.exp(logits, out=logits)
    sums = powers.sum(axis=1)
    loss = (float(np.log(sums).sum()) - own) / len(wide) + float((pulls * head**2).sum()) / 2
    powers /= sums[:, None]
    powers -= shares
    return loss, powers.T @ wide / len(wide) + pulls * head


def fitted(
    rows: np.ndarray,
    shares: np.ndarray,
    pull: float,
    start: np.ndarray | None = None,
    offsets: np.ndarray | float = 0.0,
) -> np.ndarray:
    """The best head (k, d + 1), the bias last.

    Args:
        rows: (n, d) of moderate scale; see `scale`.
        shares: (n, k).
        pull: > 0, on weights; a thousandth of it on biases.
        start: a head near it.
        offsets: (n, k) logits that are there already.
    """
    wide = np.hstack([rows, np.ones((len(rows), 1))])
    shape = (shares.shape[1], wide.shape[1])
    pulls = np.full(shape[1], pull)
    pulls[-1] *= BIAS

    def value(point: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = objective(point.reshape(shape), wide, shares, offsets, pulls)
        return loss, slope.ravel()

    first = np.zeros(shape) if start is None else start
    found = minimize(value, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": _STOP})
    made: np.ndarray = found.x.reshape(shape)
    return made


def logits(head: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, k) of a head (k, d + 1)."""
    made: np.ndarray = rows @ head[:, :-1].T + head[:, -1]
    return made


def answers(head: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, k) shares."""
    return softmax(logits(head, rows))
