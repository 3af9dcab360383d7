"""Nearest neighbours, leave-one-out: the share of examples whose k nearest neighbours have their label.

Papers: Fix and Hodges 1951, "Discriminatory Analysis"; Bolya, Mittapalli and Hoffman 2021, "Scalable Diverse Model
Selection for Accessible Transfer Learning" (arXiv 2111.06977), as a score of transfer.

Equation: mean_i [most frequent label among the k examples of largest cosine to i, i itself left out, = y_i]; between
labels of equal frequency the one of the nearest neighbour counts. For values, 1 - (squared error of the neighbours'
mean) / (squared error of the mean of all), averaged over the columns.

An example is left out by its position, so that a duplicate stays a neighbour. Neighbours at exactly equal distances
are taken in the order of the examples. Distances are computed in blocks of rows: all pairs, but never at once.

When not to use: where duplicates of one example abound, which find one another whatever the features are; with n far
beyond 10,000, for n^2 d operations.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Evidence, Scoring
from sterna.maths.classes import columns
from sterna.records import Labels
from sterna.spec import Range, method, option

BLOCK = 32 << 20  # bytes of distances held at a time


@method
class KNN:
    """How far an example looks."""

    k: int = option(5, "how many neighbours vote", Range(1, 1000))

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def prepare(self, evidence: Evidence) -> Scoring:
        """The neighbours of every example."""
        near = neighbours(evidence.features, self.k)
        return lambda labels: _voted(near, labels) if labels.ndim == 1 else _averaged(near, labels)


def neighbours(features: np.ndarray, k: int) -> np.ndarray:
    """(n, min(k, n - 1)) positions, the nearest by cosine first; rows of zeros are orthogonal to all."""
    n = len(features)
    k = min(k, n - 1)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    rows = features / np.where(norms > 0, norms, 1.0)
    found = np.empty((n, k), dtype=np.int64)
    size = max(1, BLOCK // (8 * n))
    for start in range(0, n, size):
        likeness = rows[start : start + size] @ rows.T
        places = np.arange(len(likeness))
        likeness[places, start + places] = -np.inf
        found[start : start + size] = _largest(likeness, k)
    return found


def _largest(likeness: np.ndarray, k: int) -> np.ndarray:
    """(m, k) columns of the largest entries, falling; among equal ones the first."""
    if k == 0:
        return np.zeros((len(likeness), 0), dtype=np.int64)
    bound = np.partition(likeness, -k, axis=1)[:, -k]
    found = np.empty((len(likeness), k), dtype=np.int64)
    for row, (values, least) in enumerate(zip(likeness, bound, strict=True)):
        candidates = np.flatnonzero(values >= least)
        found[row] = candidates[np.argsort(-values[candidates], kind="stable")[:k]]
    return found


def _voted(near: np.ndarray, labels: Labels) -> float:
    votes = labels[near]
    if not votes.shape[1]:
        return 0.0
    support = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    answer = votes[np.arange(len(votes)), support.argmax(axis=1)]
    return float((answer == labels).mean())


def _averaged(near: np.ndarray, labels: Labels) -> float:
    values = columns(labels)
    if not near.shape[1]:
        return 0.0
    errors = ((values - values[near].mean(axis=1)) ** 2).mean(axis=0)
    return float(1 - errors.mean())
