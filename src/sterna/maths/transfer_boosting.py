"""Boosting over a large source and a few labelled target rows: weights turned by errors, and how fits are combined.

Papers: Dai, Yang, Xue and Yu 2007, "Boosting for Transfer Learning" (ICML), figure 1; Pardoe and Stone 2010, "Boosting
for Regression Transfer" (ICML), algorithms 1 to 3; Drucker 1997, "Improving Regressors Using Boosting Techniques"
(ICML), for adjusted errors and the weighted median.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from sterna.errors import DataError
from sterna.maths.memory import check
from sterna.maths.probing import logistic_path, predictions, ridge_path, standardising
from sterna.maths.samples import thinned
from sterna.records import Labels

Answer = Callable[[np.ndarray], np.ndarray]
"""(m, d) rows -> (m,) classes or values of one fit."""
_LOWEST = -700.0  # the logarithm of the smallest beta, near where numbers end
STRENGTH = 1.0  # C of linear learners, on standardised features and weights of mean 1, as in scikit-learn


@dataclass(frozen=True)
class Joined:
    """Source rows, then the target rows whose labels are known, and the weights of a round."""

    features: np.ndarray  # (n + l, d)
    labels: Labels  # (n + l,)
    weights: np.ndarray  # (n + l,) of mean 1
    count: int  # n

    def kept(self, rows: np.ndarray) -> Joined:
        """Some of the rows, ascending; weights of mean 1 again."""
        weights = self.weights[rows]
        return Joined(self.features[rows], self.labels[rows], weights / weights.mean(), int((rows < self.count).sum()))

    def weighing(self, weights: np.ndarray) -> Joined:
        """The same rows with other weights."""
        return replace(self, weights=weights)


Learner = Callable[[Joined], Answer]


def joined(
    method: str,
    sides: tuple[np.ndarray, np.ndarray],
    labels: tuple[Labels, Labels],
    limit: int,
    share: float | None,
    seed: int,
) -> tuple[Joined, tuple[str, ...]]:
    """All rows with the weights of the first round, and a sentence where only some of the source's are taken.

    Args:
        method: for messages.
        sides: (n, d) source rows and (l, d) target rows whose labels are known.
        labels: theirs.
        limit: source rows that are learnt from; of more, that many are drawn.
        share: of the weights that target rows have together; none: all rows weigh the same.
        seed: of the draw.

    Raises `DataError` for no target row, and where a copy of the rows does not fit into memory.
    """
    if not len(sides[1]):
        raise DataError(f"{method} needs some known labels of the target, got none; give rows of it in known.")
    rows = thinned(len(sides[0]), limit, seed, "boosting")
    total, d = len(rows) + len(sides[1]), sides[0].shape[1]
    check(method, f"{total:,} x {d:,} features twice", 2.0 * total * d, "use a lower limit")
    notes = (f"It learns from {len(rows)} of {len(sides[0])} source rows, drawn at random.",)
    features = np.concatenate([sides[0][rows], sides[1]])
    weights = np.ones(total)
    if share is not None:
        weights[: len(rows)] = total * (1 - share) / len(rows)
        weights[len(rows) :] = total * share / len(sides[1])
    made = Joined(features, np.concatenate([labels[0][rows], labels[1]]), weights, len(rows))
    return made, notes if len(rows) < len(sides[0]) else ()


def factor(count: int, rounds: int) -> float:
    """beta of the source: 1 / (1 + sqrt(2 ln n / N)), n source rows and N rounds."""
    return float(1 / (1 + np.sqrt(2 * np.log(count) / rounds)))


def target_error(losses: np.ndarray, given: Joined) -> float:
    """The weighted mean loss of the target rows."""
    own = given.weights[given.count :]
    return float(own @ losses[given.count :] / own.sum())


def turned(given: Joined, losses: np.ndarray, source: float, target: float) -> np.ndarray:
    """(n + l,) the weights of the next round, of mean 1.

    Source rows are multiplied by source^loss and fall with their losses; target rows by target^-loss and rise.

    Args:
        given: the rows with the weights of this round.
        losses: (n + l,) in [0, 1].
        source: beta, in (0, 1].
        target: beta_t, in (0, 1].
    """
    logarithms = losses * np.where(np.arange(len(losses)) < given.count, np.log(source), -np.log(target))
    made = given.weights * np.exp(logarithms)
    turned: np.ndarray = made / made.mean()
    return turned


def adjusted(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) absolute errors divided by the largest of them; 0 where there is none."""
    errors = np.abs(answers - labels)
    largest = float(errors.max())
    made: np.ndarray = errors / largest if largest > 0 else errors
    return made


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) the smallest value of each column of (t, m) up to which lies half of the weight (t,) > 0."""
    order = np.argsort(values, axis=0, kind="stable")
    reached = weights[order].cumsum(axis=0)
    # Rounding must not ask for more than the sum that was reached.
    place = (reached >= reached[-1] / 2 * (1 - 1e-12)).argmax(axis=0)
    columns = np.arange(values.shape[1])
    made: np.ndarray = values[order[place, columns], columns]
    return made


def shrunken(given: Joined, losses: np.ndarray, share: float) -> np.ndarray:
    """(n + l,) weights of mean 1 of which the target rows have a share: source rows are multiplied by beta^loss.

    beta in (0, 1) is the one that makes it so. Rows without a loss keep their weights, and where they are too many, or
    the target has more than the share already, the source is scaled as a whole.
    """
    source, target = given.weights[: given.count], given.weights[given.count :]
    own, goal = losses[: given.count], float(target.sum()) * (1 - share) / share

    def excess(logarithm: float) -> float:
        return float(source @ np.exp(logarithm * own)) - goal

    kept = source
    if excess(0.0) > 0:
        logarithm = brentq(excess, _LOWEST, 0.0, xtol=1e-12) if excess(_LOWEST) < 0 else _LOWEST
        kept = source * np.exp(logarithm * own)
    total = float(kept.sum())
    weighed = np.concatenate([kept * (goal / total) if total > 0 else kept, target])
    made: np.ndarray = weighed / weighed.mean()
    return made


@dataclass(frozen=True)
class Head:
    """A linear head on standardised features, as an `Answer`."""

    weight: np.ndarray  # (k, d + 1), the bias last
    centre: np.ndarray  # (d,)
    scale: np.ndarray  # (d,)
    classes: bool  # whether it answers with class numbers, else with its only value

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        found = predictions(self.weight, (rows - self.centre) * self.scale)
        return found.argmax(axis=1) if self.classes else found[:, 0]


@dataclass(frozen=True)
class Votes:
    """`votes` of fits that are known."""

    fits: tuple[Answer, ...]
    weights: np.ndarray
    classes: int

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return votes(self.fits, self.weights, rows, self.classes)


def logistic_learner(classes: int) -> Learner:
    """Multinomial logistic regression on standardised features."""

    def learn(given: Joined) -> Answer:
        scaled, centre, scale = _standard(given.features)
        *_, head = logistic_path(scaled, given.labels, given.weights, classes, (STRENGTH,))
        return Head(head, centre, scale, True)

    return learn


def ridge_learner(given: Joined) -> Answer:
    """Linear regression with a squared penalty on standardised features, as a `Learner`."""
    scaled, centre, scale = _standard(given.features)
    values = np.asarray(given.labels, dtype=np.float64)[:, None]
    *_, head = ridge_path(scaled, values, given.weights, (STRENGTH,))
    return Head(head, centre, scale, False)


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre, scale = features.mean(axis=0), standardising(features)
    return (features - centre) * scale, centre, scale


def votes(fits: Sequence[Answer], weights: np.ndarray, rows: np.ndarray, classes: int) -> np.ndarray:
    """(m, classes) the share of the weights (t,) that votes for each class; equal votes where all weights are 0."""
    used = weights / weights.sum() if weights.sum() > 0 else np.full(len(weights), 1 / len(weights))
    shares, places = np.zeros((len(rows), classes)), np.arange(len(rows))
    for fit, weight in zip(fits, used, strict=True):
        shares[places, fit(rows)] += weight
    return shares
