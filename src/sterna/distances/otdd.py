"""Optimal transport data set distance: moving one labelled sample onto the other, classes taken as what they look like.

Paper: Alvarez-Melis and Fusi 2020, "Geometric Dataset Distances via Optimal Transport" (arXiv 2002.02923),
section 4.

Equation: min over plans P of sum P_ij (|x_i - z_j|^2 + W2^2(N(m_y, C_y), N(m_y', C_y'))), with y and y' the classes of
x_i and z_j: two classes are as far apart as the normal distributions fitted to them, so the sides may have other
classes, and their names do not count. The published code gives half of it.

Covariances are full where every class has five examples a feature, else diagonal; a class of one example has the mean
covariance within the others. Solved exactly by POT on at most 2,000 examples a side; the classes are fitted to all.

When not to use: to find out if the same label means the same on both sides, since classes are matched by their looks;
for samples of other sizes than those that it is compared with, since its bias goes with their number.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import ot

from sterna.contracts import Distance, Sides
from sterna.errors import DataError
from sterna.maths import kernels
from sterna.maths.samples import check, moments, thinned
from sterna.maths.transport import bures
from sterna.spec import Choice, Range, method, option

_STEPS = 10_000_000
_AFFORDABLE = 2e9  # eigenvalues of all pairs of classes, in k k' d^3: some five seconds


@method
class OTDD:
    """What a class is taken for, and how many examples are moved."""

    covariance: str = option(
        "auto", "the shape of a class; auto: by their examples", Choice(("auto", "full", "diagonal"))
    )
    limit: int = option(2000, "examples a side that are moved, drawn at random", Range(1, 5000))

    needs: ClassVar[str] = "labels"
    scale: ClassVar[str] = "in squared units of the features, 0 for the same labelled sample"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The squared distance of the paper. Raises `DataError` where a side has no labels."""
        check("otdd", sides.left, sides.right)
        if sides.left_labels is None or sides.right_labels is None:
            lacking = "left" if sides.left_labels is None else "right"
            raise DataError(f"otdd compares labelled samples, got no labels on the {lacking} side; add them.")
        first, own = np.unique(sides.left_labels, return_inverse=True)
        second, other = np.unique(sides.right_labels, return_inverse=True)
        shape = self.covariance if self.covariance != "auto" else _shape(own, other, sides.left.shape[1])
        apart = _between(_classes(sides.left, own, shape), _classes(sides.right, other, shape))
        left = thinned(len(sides.left), self.limit, sides.seed, "left")
        right = thinned(len(sides.right), self.limit, sides.seed, "right")
        centre = sides.right.mean(axis=0)
        cost = kernels.squared_distances(sides.left[left] - centre, sides.right[right] - centre)
        cost += apart[own[left]][:, other[right]]
        notes = [f"{len(first)} and {len(second)} classes, with {shape} covariances."]
        if max(len(sides.left), len(sides.right)) > self.limit:
            notes.append(f"Moved are {len(left)} of {len(own)} and {len(right)} of {len(other)} examples.")
        return Distance(float(ot.emd2([], [], cost, numItermax=_STEPS)), None, tuple(notes))


def _shape(own: np.ndarray, other: np.ndarray, d: int) -> str:
    counts = np.bincount(own), np.bincount(other)
    enough = min(count.min() for count in counts) >= 5 * d
    return "full" if enough and len(counts[0]) * len(counts[1]) * d**3 <= _AFFORDABLE else "diagonal"


def _classes(features: np.ndarray, labels: np.ndarray, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """(k, d) means and (k, d, d) covariances of classes, or (k, d) variances."""
    counts = np.bincount(labels)
    means, spreads = [], []
    for place in range(len(counts)):
        members = features[labels == place]
        if shape == "full":
            mean, spread = moments(members)
        else:
            mean, spread = members.mean(axis=0), members.var(axis=0) * len(members) / max(len(members) - 1, 1)
        means.append(mean)
        spreads.append(spread)
    found, single = np.stack(spreads), counts == 1
    if single.any() and not single.all():
        shares = np.maximum(counts - 1, 0) / (counts - 1).sum()
        found[single] = np.tensordot(shares, found, 1)
    return np.stack(means), found


def _between(left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(k, k') squared distances of the classes as normal distributions."""
    (means, spreads), (others, seconds) = left, right
    found = ((means[:, None] - others) ** 2).sum(axis=2)
    if spreads.ndim == 2:
        roots, second = np.sqrt(spreads), np.sqrt(seconds)
        return np.asarray(found + ((roots[:, None] - second) ** 2).sum(axis=2))
    return np.asarray(found + np.stack([bures(spread, seconds) for spread in spreads]))
