"""Which answers of a classifier are wrong, and whether its probabilities can be believed.

Paper: Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599), equation 3
for the expected calibration error; Nixon et al. 2019 (arXiv 1904.01685) for bins of equal mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sterna.records import Labels


@dataclass(frozen=True)
class Reliability:
    """Confidence beside accuracy."""

    bins: tuple[tuple[float, float, int], ...]  # mean confidence, accuracy, examples
    error: float  # mean of |confidence - accuracy| over examples, taken bin by bin


def confusion(predicted: np.ndarray, labels: Labels, classes: int) -> np.ndarray:
    """(k, k) int64: examples by truth (rows) and prediction (columns)."""
    found = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return found.reshape(classes, classes)


def confused(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Truth, prediction and count of the pairs that are mistaken most often, each at least once."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = np.stack(np.unravel_index(order, wrong.shape), axis=1)
    return [(int(i), int(j), int(wrong[i, j])) for i, j in places if wrong[i, j]]


def reliability(confidences: np.ndarray, hits: np.ndarray, bins: int = 10) -> Reliability:
    """Bins of equal mass by confidence; equal confidences share a bin, so the order of the examples does not matter.

    Args:
        confidences: (n,) the probability of what is predicted.
        hits: (n,) whether that is right.
        bins: at most; fewer where there are fewer examples.
    """
    n = len(confidences)
    count = max(1, min(bins, n))
    # The least confidence of each bin but the first.
    edges = np.sort(confidences)[np.arange(1, count) * n // count]
    places = np.searchsorted(edges, confidences, side="right")
    sizes = np.bincount(places, minlength=count)
    sums = [np.bincount(places, weights=value, minlength=count) for value in (confidences, hits.astype(float))]
    error = float(np.abs(sums[0] - sums[1]).sum() / max(n, 1))
    rows = [(float(a / m), float(b / m), int(m)) for a, b, m in zip(*sums, sizes, strict=True) if m]
    return Reliability(tuple(rows), error)
