"""Labels as columns, and means of classes."""

from __future__ import annotations

import numpy as np

from sterna.records import Labels


def indicator(labels: Labels) -> np.ndarray:
    """(n, k) float64: one column a class, 1 where an example belongs to it."""
    found = np.zeros((len(labels), int(labels.max()) + 1))
    found[np.arange(len(labels)), labels] = 1.0
    return found


def columns(labels: Labels) -> np.ndarray:
    """(n, k) float64: the indicator of class numbers (n,), or values (n, k) with mean 0 and variance 1.

    A value that never varies becomes 0.
    """
    if labels.ndim == 1:
        return indicator(labels)
    return standardised(labels)


def standardised(values: np.ndarray) -> np.ndarray:
    """Columns of (n, d) with mean 0 and variance 1; those that never vary, up to rounding, become 0."""
    centred = values - values.mean(axis=0)
    deviation = centred.std(axis=0)
    flat = deviation <= 1e-12 * np.abs(values).max(axis=0)
    centred *= np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, deviation))
    return centred


def means(features: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """(k, d) the mean of each class, and (k,) its share of the examples; every class is there."""
    counts = np.bincount(labels)
    sums = indicator(labels).T @ features
    return sums / counts[:, None], counts / len(labels)
