"""Prototypes: an example belongs to the class whose mean is nearest; a linear head in closed form, no solver.

Papers: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning" (arXiv 1703.05175), equations 1,
2 and 8; Friedman 1989, "Regularized Discriminant Analysis", equation 18 with the covariance shared by the classes.

Equation: logit_c = b (m_c' A x - m_c' A m_c / 2) + ln p_c, with

- m_c = (n_c mean_c + s mean) / (n_c + s): each class mean, drawn towards the mean of all examples as if s more
  examples of the class lay there;
- A = inverse of (1 - r) S + r tr(S) / d I, where S (d, d) is the covariance within classes: r = 1 measures plain
  distances, r = 0 is linear discriminant analysis, and the best r depends on how many examples there are;
- p_c the share of class c among the examples, or 1 / k;
- b > 0 the inverse temperature, so that probabilities are calibrated.

b, and r where it is not given, have the smallest leave-one-out log loss on the training examples: each is judged with
its own class mean and S computed without it (by the formula of Sherman and Morrison; the mean of all, and the divisor
and trace of S, stay). Labels are smoothed by 1 / (n + 1), so that b stays finite where every example is right.

Examples weigh what their weights say: a weight of two is an example twice. A class without examples stands at the
mean of all and is as likely as one seen once in n + 1 examples. In float64; for d features and n examples the time
goes like n d^2 + d^3: 1.4 s on one core for n = 5,000 and d = 768.

Drawing the means in (s) lost accuracy on sentence embeddings, so it is off; it is there for classes of few examples
beside large ones.

When not to use: with hundreds of labels a class, where `probe` draws better borders; where a class is several clusters
in feature space, since its mean then lies in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sterna.contracts import Given, Linear
from sterna.errors import TrainingError
from sterna.spec import Range, method, option

GRID = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.03)  # r, from the plainest distance on
BISECTIONS = 40
SPAN = (np.log(1e-6), np.log(1e3))  # of b; scores are squared distances in variances


@method
class Prototypes:
    """How class means are estimated and distances measured."""

    spherical: float | None = option(
        None, "share of the identity in the covariance: 1 plain distances, 0 LDA; none: by leave-one-out", Range(0, 1)
    )
    shrinkage: float = option(0.0, "examples' worth of the mean of all in each class mean", Range(0, 1e6))
    prior: bool = option(True, "whether frequent classes are more likely beforehand")

    takes: ClassVar[str] = "features"
    pretrained: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def fit(self, given: Given) -> Linear:
        """The head. The validation part is not used. Raises `TrainingError` for features that are not finite."""
        features = np.asarray(given.target.inputs, dtype=np.float64)
        if not np.isfinite(features).all():
            raise TrainingError(
                "features must be finite, got some that are not: the encoder overflows on these items, try it in "
                "float32 or another encoder."
            )
        labels, weights = given.target.labels, given.target.weights.astype(np.float64)
        classes = _classes(features, labels, weights, len(given.classes), self.shrinkage)
        space = _space(features - classes.own[labels], weights, classes)
        examples = _Examples(features @ space.basis, labels, weights)
        prior = classes.prior(weights.sum(), self.prior)
        tried = GRID if self.spherical is None and space.seen else (_one(self.spherical),)
        fits = [_fitted(examples, classes, space, prior, share) for share in tried]
        best = min(fits, key=lambda fit: fit.loss)
        projected = (classes.means @ space.basis / best.diagonal) @ space.basis.T  # rows A m_c
        offsets = -(projected * classes.means).sum(axis=1) / 2
        return Linear(best.scale * projected, best.scale * offsets + prior)


def _one(share: float | None) -> float:
    return 1.0 if share is None else share


@dataclass(frozen=True)
class _Examples:
    """Training examples in the space's coordinates."""

    features: np.ndarray  # (n, d)
    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class _Classes:
    counts: np.ndarray  # (k,) sums of weights
    own: np.ndarray  # (k, d) plain class means; the mean of all where there is no example
    means: np.ndarray  # (k, d) shrunken
    pseudo: float  # s

    def prior(self, total: float, used: bool) -> np.ndarray:
        """(k,) ln p_c; where it is not used, 0 for every class that has an example."""
        absent = self.counts == 0
        if not used:
            return np.where(absent, -np.log(total + 1), 0.0)
        shares = np.where(absent, total / (total + 1), self.counts)
        return np.log(shares / shares.sum())


@dataclass(frozen=True)
class _Space:
    """Coordinates in which the covariance within classes is diagonal."""

    basis: np.ndarray  # (d, d), orthonormal columns
    variances: np.ndarray  # (d,)
    total: float  # the weight of the examples behind it
    seen: bool  # False: no class has two examples, so nothing is known of the spread within classes

    def diagonal(self, share: float) -> np.ndarray:
        """(d,) the diagonal of (1 - r) S + r tr(S) / d I, kept from 0 in directions in which no example varies."""
        mean = self.variances.mean()
        return np.maximum((1 - share) * self.variances + share * mean, 1e-9 * mean)


@dataclass(frozen=True)
class _Fit:
    diagonal: np.ndarray  # (d,) of the covariance, in the space's coordinates
    scale: float  # b
    loss: float  # leave-one-out log loss


def _classes(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, k: int, pseudo: float) -> _Classes:
    counts = np.bincount(labels, weights=weights, minlength=k)
    belongs = np.zeros((k, len(features)))
    belongs[labels, np.arange(len(features))] = weights
    centre = weights @ features / weights.sum()
    own = np.where(counts[:, None] > 0, belongs @ features / np.where(counts, counts, 1)[:, None], centre)
    drawn = (counts[:, None] * own + pseudo * centre) / np.where(counts + pseudo, counts + pseudo, 1)[:, None]
    return _Classes(counts, own, np.where(counts[:, None] > 0, drawn, centre), pseudo)


def _space(residuals: np.ndarray, weights: np.ndarray, classes: _Classes) -> _Space:
    total, d = float(weights.sum()), residuals.shape[1]
    root = residuals * np.sqrt(weights)[:, None]
    variances, basis = np.linalg.eigh(root.T @ root / total)
    variances = np.maximum(variances, 0)
    if variances.max() > 1e-12 * (classes.own**2).mean():
        return _Space(basis, variances, total, True)
    # One example a class: the spread between classes is the only scale there is.
    spread = float(((classes.own - classes.own.mean(axis=0)) ** 2).mean()) or 1.0
    return _Space(np.eye(d), np.full(d, spread), total, False)


def _fitted(examples: _Examples, classes: _Classes, space: _Space, prior: np.ndarray, share: float) -> _Fit:
    diagonal = space.diagonal(share)
    if not space.seen:
        return _Fit(diagonal, 1 / len(diagonal), np.inf)  # scores of order one: unsure, as it should be
    scores, kept = left_out(examples, classes, space, share)
    part = _Examples(scores, examples.labels[kept], examples.weights[kept])
    return _Fit(diagonal, *_temper(part, prior, smoothing=1 / (space.total + 1)))


def left_out(examples: _Examples, classes: _Classes, space: _Space, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores (m, k), each example judged without itself, of the examples (n,) bool whose class has others."""
    counts = classes.counts[examples.labels]
    kept = counts > examples.weights * (1 + 1e-9)
    x, labels, weights, counts = examples.features[kept], examples.labels[kept], examples.weights[kept], counts[kept]
    inverse, means = 1 / space.diagonal(share), classes.means @ space.basis
    rows = np.arange(len(x))
    # Without x the class mean m becomes m - w (x - m) / (n - w + s), so x lies further from it by that factor.
    away = (x - means[labels]) * ((counts + classes.pseudo) / (counts - weights + classes.pseudo))[:, None]
    distances = (x * x) @ inverse[:, None] - 2 * x @ (means * inverse).T + (means * means) @ inverse
    distances[rows, labels] = (away * away) @ inverse
    ray = (x - (classes.own @ space.basis)[labels]) * inverse
    along = (ray * x).sum(axis=1)[:, None] - ray @ means.T
    along[rows, labels] = (ray * away).sum(axis=1)
    lost = (1 - share) / space.total * weights * counts / (counts - weights)
    room = np.maximum(1 - lost * (ray * ray / inverse).sum(axis=1), 1e-6)
    return -(distances + (lost / room)[:, None] * along**2) / 2, kept


def _temper(examples: _Examples, prior: np.ndarray, smoothing: float) -> tuple[float, float]:
    """The b with the smallest weighted log loss of softmax(b scores + prior), and that loss; convex, so by bisection.

    The scores stand in `features` (m, k).
    """
    scores = examples.features - examples.features.max(axis=1, keepdims=True)
    truth = np.full(scores.shape, smoothing / scores.shape[1])
    truth[np.arange(len(scores)), examples.labels] += 1 - smoothing
    low, high = SPAN
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        slope = examples.weights @ ((np.exp(_log_answers(scores, middle, prior)) - truth) * scores).sum(axis=1)
        low, high = (middle, high) if slope < 0 else (low, middle)
    loss = -examples.weights @ (truth * _log_answers(scores, high, prior)).sum(axis=1)
    return float(np.exp(high)), float(loss / examples.weights.sum())


def _log_answers(scores: np.ndarray, exponent: float, prior: np.ndarray) -> np.ndarray:
    """ln softmax(e^exponent scores + prior)."""
    logits = np.exp(exponent) * scores + prior
    logits -= logits.max(axis=1, keepdims=True)
    answers: np.ndarray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return answers
