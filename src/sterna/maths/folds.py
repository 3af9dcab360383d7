"""Cross-validation within few training examples, and weights that make classes count alike."""

from __future__ import annotations

import numpy as np

from sterna.records import Labels

FOLDS = 5


def folds(labels: Labels, weights: np.ndarray, task: str, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions: those to learn from and those to judge on.

    Only examples of the largest weight are judged on, each once: others are source examples, which are there to be
    learnt from. Classes are divided evenly, and each keeps an example to learn from in every pair; where that is
    impossible there are fewer pairs, or none.

    Args:
        labels: (n,) class numbers, (n, k) labels or values.
        weights: (n,).
        task: classify, multilabel or regress.
        seed: of the order within each class.
    """
    target = np.flatnonzero(weights == weights.max()) if len(weights) else np.zeros(0, dtype=np.int64)
    order = target[np.random.default_rng(seed).permutation(len(target))]
    count = min(FOLDS, len(order))
    if task == "classify" and len(order):
        order = order[np.argsort(labels[order], kind="stable")]
        sizes = np.unique(labels[target], return_counts=True)[1]
        count = min(count, int(np.median(sizes)))
    if count < 2:
        return []
    # Dealt out like cards, so neighbours in the order (one class) go to different folds.
    dealt = np.arange(len(order)) % count
    everything = np.arange(len(labels))
    return [(np.setdiff1d(everything, order[dealt == fold]), np.sort(order[dealt == fold])) for fold in range(count)]


def balanced(labels: Labels, weights: np.ndarray, task: str) -> np.ndarray:
    """(n,) weights times n / (k n_c): each class weighs as much as the others, and the whole as much as before.

    Several labels and values have no classes that exclude one another: their weights stay.
    """
    if task != "classify":
        return weights
    present, places = np.unique(labels, return_inverse=True)
    mass = np.bincount(places.ravel(), weights=weights)
    return np.asarray(weights * (weights.sum() / (len(present) * mass))[places.ravel()])
