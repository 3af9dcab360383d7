"""Multinomial logistic regression that uses few features: one penalty on all the weights of a feature together.

    F(W, b) = sum_i w_i (-ln softmax(W z_i + b)[y_i]) / sum_i w_i + lambda sum_j |W_.j|      (Yuan and Lin 2006, eq. 2)

W_.j (k,) are the weights of feature j, whose length the penalty takes without a square: where the loss falls by less
than lambda along a feature, all its weights are exactly 0. b is not penalised. Solved by accelerated proximal gradient
steps (Beck and Teboulle 2009, "FISTA") on the features that may have weight, beginning with none at the largest
lambda; those left out are looked at again until none of them would enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sterna.maths.answers import softmax
from sterna.records import Labels

STEPS = 300  # of one solution
ROUNDS = 20  # of looking for features that should enter
STOP = 1e-4  # of the largest gradient at the start: how far a solution may be from its conditions
LEAST = 1e-9  # gradient that is more than rounding
HALVING = 0.5  # each lambda of the path to the one before


@dataclass(frozen=True)
class Problem:
    """Features of moderate scale, and what they are to tell."""

    features: np.ndarray  # (n, d) float64
    labels: np.ndarray  # (n, k) one-hot
    weights: np.ndarray  # (n,) sum 1

    def error(self, places: np.ndarray, head: np.ndarray) -> np.ndarray:
        """(n, k) weighted difference of answers and labels; the loss's gradient in the logits. `head`: (a + 1, k)."""
        logits = self.features[:, places] @ head[:-1] + head[-1]
        found: np.ndarray = self.weights[:, None] * (softmax(logits) - self.labels)
        return found


def lengths(
    features: np.ndarray, labels: Labels, weights: np.ndarray, classes: int, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """How long the weights of each feature (d,) are at lambda = share times the one at which all are 0.

    Beside them, how fast the loss still falls along each feature (d,): at most lambda, and lambda where it has weight.

    Args:
        features: (n, d), standardised.
        labels: (n,) class numbers below `classes`.
        weights: (n,) >= 0.
        classes: k.
        share: in (0, 1); the smaller, the more features have weight.

    When not to use: features of unlike scale, since the penalty then falls on small ones.
    """
    problem = Problem(features, np.eye(classes)[labels], weights / weights.sum())
    every = np.zeros(features.shape[1])
    head = np.log(np.maximum(problem.weights @ problem.labels, 1e-12))[None]  # the shares of classes alone
    places = np.zeros(0, dtype=np.int64)
    pulls = _pulls(problem, places, head)
    largest = strength = float(pulls.max(initial=0.0))
    if largest < LEAST:  # nothing tells the classes apart, or there is one
        return every, pulls
    while strength > share * largest:
        strength = max(HALVING * strength, share * largest)
        places, head = _solved(problem, places, head, strength, STOP * largest)
    every[places] = np.linalg.norm(head[:-1], axis=1)
    return every, _pulls(problem, places, head)


def _pulls(problem: Problem, places: np.ndarray, head: np.ndarray) -> np.ndarray:
    """(d,) how fast the loss falls along each feature."""
    return np.asarray(np.linalg.norm(problem.features.T @ problem.error(places, head), axis=1))


def _solved(
    problem: Problem, places: np.ndarray, head: np.ndarray, strength: float, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """The features that have weight at a strength and their head (a + 1, k), from those of a larger one."""
    for number in range(ROUNDS):
        pulls = _pulls(problem, places, head)
        pulls[places] = 0
        entering = np.flatnonzero(pulls > strength + tolerance)
        if number and not len(entering):
            break
        head = np.concatenate([head[:-1], np.zeros((len(entering), head.shape[1])), head[-1:]])
        places = np.concatenate([places, entering])
        head = _descended(problem, places, head, strength, tolerance)
        there = np.append(np.linalg.norm(head[:-1], axis=1) > 0, True)
        places, head = places[there[:-1]], head[there]
    return places, head


def _descended(problem: Problem, places: np.ndarray, head: np.ndarray, strength: float, tolerance: float) -> np.ndarray:
    """FISTA with restarts, whose step is one over the largest curvature: softmax has one of at most 1/2."""
    wide = np.hstack([problem.features[:, places], np.ones((len(problem.features), 1))])
    step = 1 / (0.5 * float(np.linalg.norm(wide * np.sqrt(problem.weights)[:, None], 2)) ** 2)
    ahead, momentum = head, 1.0
    for _ in range(STEPS):
        gradient = wide.T @ (problem.weights[:, None] * (softmax(wide @ ahead) - problem.labels))
        new = _shrunk(ahead - step * gradient, step * strength)
        moved = new - head
        if np.vdot(ahead - new, moved) > 0:  # going uphill: momentum is dropped (O'Donoghue and Candes 2015)
            momentum = 1.0
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / grown * moved
        head, momentum = new, grown
        if np.abs(moved).max(initial=0.0) < tolerance * step:
            break
    return head


def _shrunk(head: np.ndarray, by: float) -> np.ndarray:
    """Each feature's weights, shorter by so much; the bias as it is."""
    sizes = np.linalg.norm(head[:-1], axis=1, keepdims=True)
    return np.concatenate([head[:-1] * np.maximum(0, 1 - by / np.maximum(sizes, 1e-300)), head[-1:]])
