"""Small heads on features in memory, made to be fitted many times over: weighted, warm-started, a penalty at a time.

The heads of `maths.logistic` standardise what they are given, which would undo the order of principal coordinates;
these take coordinates as they are. Both minimise a weighted loss plus a squared penalty:

    logistic: sum_i w_i (-ln softmax(W x_i + b)[y_i]) + 1/(2C) (||W||^2 + e ||b||^2)   (Bishop 2006, section 4.3.4)
    ridge:    sum_i w_i ||y_i - W x_i - b||^2 + 1/C ||W||^2                            (Hoerl and Kennard 1970)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import minimize

from sterna.maths.answers import softmax
from sterna.maths.spectra import spectrum
from sterna.records import Labels

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # C, for coordinates whose variances add up to 1 and weights of mean 1
DIMENSIONS = 128
_BIAS = 1e-3  # of the penalty on a weight; keeps the bias of a class without an example finite
_STOP = 1e-9  # relative decrease of the objective: probabilities within about 1e-4 of the optimum


def coordinates(
    *parts: np.ndarray, dimensions: int = DIMENSIONS, unseen: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Principal coordinates of several samples in one space, scaled so that their variances add up to 1.

    Features are standardised over all parts together; one that never varies tells nothing. No label is read.

    Args:
        parts: (n_i, d) features of one encoder.
        dimensions: largest principal directions that are kept. 128 hold what a head with a few hundred labels can use.
        unseen: (m, d) features that are brought into the same space, last, and have no part in finding it.
    """
    whole = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    centre, factor = whole.mean(axis=0), standardising(whole)
    standard = (whole - centre) * factor
    found = spectrum(standard, centre=True)
    left, values = found.left[:, :dimensions], found.values[:dimensions]
    if not len(values):
        left, values = np.zeros((len(whole), 1)), np.ones(1)
    scale = np.sqrt(len(whole) / max(float((values**2).sum()), 1e-300))
    made = np.split(left * (values * scale), np.cumsum([len(part) for part in parts])[:-1])
    if unseen is not None:
        made.append((unseen - centre) * factor @ (standard.T @ (left * (scale / values))))
    return tuple(made)


def logistic_path(
    features: np.ndarray, labels: Labels, weights: np.ndarray, classes: int, strengths: Sequence[float] = STRENGTHS
) -> Iterator[np.ndarray]:
    """The optimum (k, d + 1) at each C in turn, the bias last, each started from the one before.

    Args:
        features: (n, d) of moderate scale; see `coordinates`.
        labels: (n,) class numbers below `classes`; a class without examples gets a bias far below the others.
        weights: (n,) >= 0.
        classes: k.
        strengths: C, ascending.

    When not to use: once, or on features too many for memory; `maths.logistic` takes those.
    """
    wide = np.hstack([features, np.ones((len(features), 1))])
    rows, mass = np.arange(len(labels)), max(float(weights.sum()), 1e-300)
    head = np.zeros((classes, wide.shape[1]))
    for strength in strengths:
        penalty = np.full(wide.shape[1], 1 / strength)
        penalty[-1] *= _BIAS
        head = _descend(head, wide, labels, weights / mass, penalty / mass, rows)
        yield head


def standardising(features: np.ndarray) -> np.ndarray:
    """(d,) one over the standard deviation of each feature; 0 for one that never varies, up to rounding."""
    deviation = features.std(axis=0)
    flat = deviation <= 1e-12 * np.abs(features).max(axis=0)
    made: np.ndarray = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, deviation))
    return made


def _descend(
    start: np.ndarray, wide: np.ndarray, labels: Labels, weights: np.ndarray, penalty: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    def value(point: np.ndarray) -> tuple[float, np.ndarray]:
        head = point.reshape(start.shape)
        logits = wide @ head.T
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(axis=1)
        loss = float(weights @ (np.log(sums) - logits[rows, labels])) + float((penalty * head**2).sum()) / 2
        powers /= sums[:, None]
        powers[rows, labels] -= 1.0
        return loss, ((powers * weights[:, None]).T @ wide + penalty * head).ravel()

    found = minimize(value, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": _STOP})
    made: np.ndarray = found.x.reshape(start.shape)
    return made


def probabilities(head: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(n, k) of a head (k, d + 1) as `logistic_path` gives it."""
    return softmax(predictions(head, features))


def predictions(head: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(n, k) features @ weight.T + bias of a head (k, d + 1), the bias last."""
    made: np.ndarray = features @ head[:, :-1].T + head[:, -1]
    return made


def ridge_path(
    features: np.ndarray, values: np.ndarray, weights: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> Iterator[np.ndarray]:
    """The optimum (k, d + 1) at each C in turn, the bias last and without a penalty.

    Args:
        features: (n, d) of moderate scale.
        values: (n, k) numbers.
        weights: (n,) >= 0, not all 0.
        strengths: C.
    """
    share = weights / weights.sum()
    centre, middle = share @ features, share @ values
    moved = (features - centre) * weights[:, None]
    squares, basis = np.linalg.eigh(moved.T @ (features - centre))
    along = basis.T @ (moved.T @ (values - middle))
    for strength in strengths:
        weight = (basis @ (along / (np.maximum(squares, 0) + 1 / strength)[:, None])).T
        yield np.hstack([weight, (middle - weight @ centre)[:, None]])
