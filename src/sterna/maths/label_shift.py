"""How the shares of classes differ between two samples whose classes look alike.

Papers: Saerens, Latinne and Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities"
(Neural Computation 14), equation 2.9; Lipton, Wang and Smola 2018, "Detecting and Correcting for Label Shift with Black
Box Predictors" (arXiv 1802.03916), section 4; Azizzadenesheli, Liu, Yang and Anandkumar 2019, "Regularized Learning for
Domain Adaptation under Label Shifts" (arXiv 1903.09734), equation 4; Alexandari, Kundaje and Shrikumar 2020, "Maximum
Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation" (arXiv 1901.06852), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize, nnls

from sterna.maths import adapted_heads, soft_heads
from sterna.maths.adapted_heads import Learnt, Linear
from sterna.maths.answers import softmax
from sterna.maths.folds import folds
from sterna.maths.probing import predictions
from sterna.maths.samples import thinned
from sterna.maths.seeds import derive
from sterna.records import Labels

MOST = 20_000  # source rows that a head learns from
_ROUNDS = 2000
_STOP = 1e-10
_PULL = 1e-3


@dataclass(frozen=True)
class Shown:
    """A head fitted to the source, and what it says of source rows that it has not seen."""

    head: Linear
    logits: np.ndarray  # (n', classes) out of fold
    labels: Labels  # (n',) theirs
    notes: tuple[str, ...]

    @property
    def prior(self) -> np.ndarray:
        """(classes,) shares of the classes of the source."""
        found: np.ndarray = np.bincount(self.labels, minlength=self.logits.shape[1]) / len(self.labels)
        return found


def shown(source: np.ndarray, labels: Labels, classes: int, seed: int) -> Shown:
    """Logistic regression, its penalty by cross-validation, and its logits for rows left out of one of five fits.

    Beyond 20,000 rows that many, drawn at random, are learnt from. Where no fold can be made, the logits are those of
    the rows learnt from.
    """
    rows = thinned(len(labels), MOST, seed, "shown")
    learnt = Learnt(source[rows], labels[rows], np.ones(len(rows)), classes, seed)
    head = adapted_heads.linear(adapted_heads.logistic, learnt)
    found = predictions(head.weight, learnt.features)
    scaled = replace(learnt, features=soft_heads.scale(learnt.features).apply(learnt.features))
    for learning, judged in folds(learnt.labels, learnt.weights, "classify", derive("shown", seed)):
        *_, part = adapted_heads.logistic(scaled.part(learning), [head.strength])
        found[judged] = predictions(part, scaled.features[judged])
    notes: tuple[str, ...] = ()
    if len(rows) < len(labels):
        notes = (f"The head learns from {MOST:,} of {len(labels):,} source rows, drawn at random.",)
    return Shown(head, found, learnt.labels, notes)


def calibration(logits: np.ndarray, labels: Labels) -> np.ndarray:
    """(1 + k,) a and b of the least log loss of softmax(a z + b): a scale >= 0.01, and a bias for each class.

    A pull of 1e-3 towards 1 and 0 keeps them finite where a class has no row.
    """
    n, k = logits.shape
    centred = logits - logits.mean(axis=1, keepdims=True)
    wanted = np.eye(k)[labels]

    def value(point: np.ndarray) -> tuple[float, np.ndarray]:
        moved = point[0] * centred + point[1:]
        top = moved.max(axis=1, keepdims=True)
        sums = np.exp(moved - top).sum(axis=1)
        away = point - start
        loss = float((np.log(sums) + top[:, 0]).sum() - (wanted * moved).sum()) / n + _PULL / 2 * float(away @ away)
        residual = (softmax(moved) - wanted) / n
        return loss, np.append((residual * centred).sum(), residual.sum(axis=0)) + _PULL * away

    start = np.append(1.0, np.zeros(k))
    bounds = [(0.01, None)] + [(None, None)] * k
    found: np.ndarray = minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def calibrated(logits: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(n, k) shares of logits, with the scale and biases that `calibration` found."""
    return softmax(found[0] * (logits - logits.mean(axis=1, keepdims=True)) + found[1:])


def confusion(shares: np.ndarray, labels: Labels) -> np.ndarray:
    """(k, k) mean share given to class i by rows of class j, times the share of rows that are of class j."""
    found: np.ndarray = shares.T @ np.eye(shares.shape[1])[labels] / len(labels)
    return found


def ratios(confused: np.ndarray, target: np.ndarray, strength: float) -> np.ndarray:
    """(k,) w >= 0 of least |C w - mu|^2 + strength |C|^2 / k |w - 1|^2, the ratios of shares, target by source.

    Args:
        confused: (k, k) C.
        target: (k,) mu, the mean shares that target rows are given.
        strength: 0 solves the system where it can be solved by w >= 0; the larger, the nearer to no shift.
    """
    k = len(target)
    pull = np.sqrt(strength / k) * float(np.linalg.norm(confused))
    found: np.ndarray = nnls(np.vstack([confused, pull * np.eye(k)]), np.append(target, np.full(k, pull)))[0]
    return found


def priors(shares: np.ndarray, prior: np.ndarray, pseudo: float) -> np.ndarray:
    """(k,) shares of classes under which answers are likeliest, by expectation and maximisation.

    Args:
        shares: (m, k) answers for the target of a classifier that has learnt with `prior`.
        prior: (k,) shares of the source; a class that has none gets none.
        pseudo: target rows that are taken to have the source's shares, besides those that there are.
    """
    there = np.flatnonzero(prior > 0)
    likelihood, own = shares[:, there] / prior[there], prior[there] / prior[there].sum()
    found = own
    for _ in range(_ROUNDS):
        sums = np.maximum(likelihood @ found, 1e-300)
        better = (found * (likelihood / sums[:, None]).sum(axis=0) + pseudo * own) / (len(shares) + pseudo)
        better /= better.sum()
        moved = float(np.abs(better - found).max())
        found = better
        if moved < _STOP:
            break
    made = np.zeros(len(prior))
    made[there] = found
    return made


def reweighted(shares: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """(m, k) answers with classes that are `ratio` times as frequent as they were learnt; unmoved where all are 0."""
    found = shares * ratio
    sums = found.sum(axis=1, keepdims=True)
    made: np.ndarray = np.where(sums > 0, found / np.where(sums > 0, sums, 1.0), shares)
    return made


@dataclass(frozen=True)
class Corrected:
    """A head whose answers are calibrated and changed by the ratio of shares of classes."""

    head: Linear
    scale: np.ndarray  # (1 + k,) as `calibration` gives it
    ratio: np.ndarray  # (k,)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(m, k) shares of rows (m, d)."""
        return reweighted(calibrated(predictions(self.head.weight, rows), self.scale), self.ratio)
