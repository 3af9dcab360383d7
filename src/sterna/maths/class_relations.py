"""How the classes of two problems are related: p(source class | target class), from a source classifier's answers.

Paper: You, Kou, Long and Wang 2020, "Co-Tuning for Transfer Learning" (NeurIPS 2020), section 3.2.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from sterna.maths.answers import softmax

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # on the squared weights, beside a mean loss
FOLDS = 3
_STOP = 1e-7  # relative decrease of the objective
_SPAN = (np.log(1e-2), np.log(1e2))  # of the factor on the logits


def direct(answers: np.ndarray, labels: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """(k, z) the mean answer on the examples of each target class; of all examples for a class without any.

    Args:
        answers: (n, z) probabilities of the source classes.
        labels: (n,) target classes.
        weights: (n,) >= 0; examples of weight 0 do nothing.
        classes: k.
    """
    members = (labels[:, None] == np.arange(classes)) * weights[:, None]
    counts = members.sum(axis=0)
    found = members.T @ answers / np.where(counts > 0, counts, 1)[:, None]
    return np.where(counts[:, None] > 0, found, _prior(answers, weights))


def reverse(answers: np.ndarray, labels: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """(k, z) by Bayes' rule from a linear classifier of the target classes on the source's answers.

    Equation: p(s | y) proportional to softmax_y(b W e_s) p(s), with W the weights of a logistic regression on the
    answers without a bias, b the factor that makes its held-out answers most likely, p(s) the mean answer. Penalty and
    factor are chosen over folds; with fewer than two examples of each class in the folds it is `direct`.

    Args: as of `direct`.
    """
    kept = weights > 0
    answers, labels, weights = answers[kept], labels[kept], weights[kept]
    present = np.unique(labels)
    fold = _folds(labels)
    if len(present) < 2 or np.bincount(labels).max() < 2:
        return direct(answers, labels, weights, classes)
    targets = np.searchsorted(present, labels)
    held = np.zeros((len(PENALTIES), len(labels), len(present)))
    for number in range(FOLDS):
        learn, judge = fold != number, fold == number
        for place, head in enumerate(_path(answers[learn], targets[learn], weights[learn], len(present))):
            held[place, judge] = answers[judge] @ head.T
    tried = [_scaled(logits, targets, weights) for logits in held]
    best = int(np.argmin([loss for loss, _ in tried]))
    head = _path(answers, targets, weights, len(present))[best]
    prior = _prior(answers, weights)
    joint = softmax(tried[best][1] * head.T).T * prior  # (k', z)
    found = np.tile(prior, (classes, 1))
    found[present] = joint / joint.sum(axis=1, keepdims=True)
    return found


def _prior(answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(z,) the mean answer."""
    found: np.ndarray = weights @ answers / weights.sum() if weights.sum() > 0 else answers.mean(axis=0)
    return found


def _folds(labels: np.ndarray) -> np.ndarray:
    """(n,) the fold of each example: those of a class go to the folds in turn, whatever their order among others."""
    order = np.argsort(labels, kind="stable")
    found = np.empty(len(labels), dtype=np.int64)
    found[order] = np.arange(len(labels)) % FOLDS
    return found


def _path(answers: np.ndarray, labels: np.ndarray, weights: np.ndarray, classes: int) -> list[np.ndarray]:
    """(k, z) weights at each penalty, each started from the one before."""
    wanted = np.eye(classes)[labels]
    shares = weights / weights.sum()
    head, found = np.zeros((classes, answers.shape[1])), []
    for penalty in PENALTIES:
        head = _solved(head, answers, wanted, shares, penalty)
        found.append(head)
    return found


def _solved(
    start: np.ndarray, answers: np.ndarray, wanted: np.ndarray, shares: np.ndarray, penalty: float
) -> np.ndarray:
    """The minimum of sum_i v_i CE_i + penalty / 2 |W|^2."""

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        head = flat.reshape(start.shape)
        chances = softmax(answers @ head.T)
        loss = -float(shares @ np.log(np.maximum((chances * wanted).sum(axis=1), 1e-300)))
        slope = (shares[:, None] * (chances - wanted)).T @ answers + penalty * head
        return loss + penalty / 2 * float(flat @ flat), slope.ravel()

    made = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options={"ftol": _STOP, "maxiter": 300})
    found: np.ndarray = made.x.reshape(start.shape)
    return found


def _scaled(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The smallest mean loss of factor * logits, and the factor."""

    def loss(exponent: float) -> float:
        chances = softmax(np.exp(exponent) * logits)[np.arange(len(labels)), labels]
        return -float(weights @ np.log(np.maximum(chances, 1e-300)) / weights.sum())

    made = minimize_scalar(loss, bounds=_SPAN, method="bounded", options={"xatol": 1e-3})
    return float(made.fun), float(np.exp(made.x))
