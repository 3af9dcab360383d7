"""How well a classifier tells two samples apart, on rows that it has not learnt from.

Three folds in five are learnt from, one chooses the penalty and one is judged, in turn, so the probabilities of the
judged rows are as good as the classifier makes them. Both sides weigh the same, whatever their sizes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sterna.maths import logistic
from sterna.maths.folds import balanced, folds
from sterna.maths.kernels import median_of
from sterna.maths.seeds import derive

LEAST = 5  # rows a side, so that there are five folds
PENALTIES = logistic.GRID[::2]
WAVES = 128
_WIDTHS = (1.0, 0.1)  # of the kernels, squared, in units of half the median squared distance


def held_out(left: np.ndarray, right: np.ndarray, kernel: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) and (m,) logits of being on the right side: > 0 for right, of the rows of the left and of the right.

    Args:
        left: (n, d), n >= 5.
        right: (m, d), m >= 5.
        kernel: "linear", logistic regression on the features; "rbf", on these and 256 random features of Gaussian
            kernels (Rahimi and Recht 2007), which see differences of any form.
        seed: of the folds and of the random features.
    """
    both = np.concatenate([left, right])
    both -= both.mean(axis=0)
    inputs = (both if kernel == "linear" else _waves(both, seed)).astype(np.float32)
    labels = np.repeat(np.arange(2), [len(left), len(right)])
    found = crossed(inputs, labels, 2, seed)
    logits = found[:, 1] - found[:, 0]
    return logits[: len(left)], logits[len(left) :]


def losses(left: np.ndarray, right: np.ndarray) -> float:
    """The balanced log loss of logits, nats: half the mean over each side."""
    return float(np.logaddexp(0, left).mean() + np.logaddexp(0, -right).mean()) / 2


def errors(left: np.ndarray, right: np.ndarray) -> float:
    """The balanced error rate of logits; a logit of 0 is half an error."""
    wrong = (left > 0).mean() + (left == 0).mean() / 2
    return float(wrong + (right < 0).mean() + (right == 0).mean() / 2) / 2


def crossed(inputs: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """(n, k) logits of rows (n, d) float32, each from a model that has not seen the row; classes weigh the same."""
    parts = [judged for _, judged in folds(labels, np.ones(len(labels)), "classify", derive("domains", seed))]
    found = np.zeros((len(labels), classes))
    for place, judged in enumerate(parts):
        choosing = parts[(place + 1) % len(parts)]
        learning = np.setdiff1d(np.arange(len(labels)), np.concatenate([judged, choosing]))
        found[judged] = answers(fitted(inputs, labels, classes, learning, choosing), inputs[judged])
    return found


def fitted(
    inputs: np.ndarray, labels: np.ndarray, classes: int, learning: np.ndarray, choosing: np.ndarray
) -> logistic.Fit:
    """Logistic regression on the rows `learning`, its penalty chosen on the rows `choosing`; classes weigh the same."""
    largest = int(np.bincount(labels[choosing]).max())
    # Rows of smaller classes are read again, so that the penalty is chosen by the loss that counts.
    again = [np.resize(choosing[labels[choosing] == label], largest) for label in np.unique(labels[choosing])]
    choosing = np.concatenate(again)
    weights = balanced(labels[learning], np.ones(len(learning)), "classify")
    path = logistic.fit_path(_slices(inputs[learning]), labels[learning], weights, classes, PENALTIES)
    return logistic.choose(path, _slices(inputs[choosing]), labels[choosing]).fit


def answers(fit: logistic.Fit, inputs: np.ndarray) -> np.ndarray:
    """(n, k) float64 logits."""
    found: np.ndarray = inputs.astype(np.float64) @ fit.weight.T + fit.bias
    return found


def _slices(inputs: np.ndarray) -> logistic.Slices:
    def read(size: int) -> Iterator[np.ndarray]:
        return (inputs[start : start + size] for start in range(0, len(inputs), size))

    return read


def _waves(both: np.ndarray, seed: int) -> np.ndarray:
    """(N, d + 2 r) the rows and their cosines and sines along random directions, at a medium and at a small width.

    Kernels around examples would do in few dimensions; in many, each is 0 but for the example itself.
    """
    generator = np.random.default_rng(derive("waves", seed))
    base = median_of(both, seed) / 2
    directions = generator.standard_normal((both.shape[1], WAVES)) / np.sqrt(base * np.resize(_WIDTHS, WAVES))
    angles = both @ directions
    return np.concatenate([both, np.cos(angles), np.sin(angles)], axis=1)
