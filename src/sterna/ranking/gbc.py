"""Gaussian Bhattacharyya coefficient: how much the classes overlap, each taken as a normal distribution.

Paper: Pándy, Agostinelli, Uijlings, Ferrari and Mensink 2022, "Transferability Estimation using Bhattacharyya Class
Separability" (arXiv 2111.12780), equations 2 to 4.

Equation: -ln sum_{i != j} exp(-D_ij) over ordered pairs of classes, with
D_ij = (m_i - m_j)' S^-1 (m_i - m_j) / 8 + ln(|S| / sqrt(|S_i| |S_j|)) / 2 and S = (S_i + S_j) / 2. The paper's
coefficient is minus the sum; its logarithm gives the same order, and stays usable where the sum of well separated
classes would be 0 in floating point.

Distances are taken in the first 64 principal components. Covariances of classes are diagonal, or one variance for all
directions; none falls below 1e-6 of the mean variance. A class of one example has the mean variance within the others.

When not to use: with fewer than about 20 examples a class, where the variances are mostly noise; where classes are
several clusters.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Evidence, Scoring
from sterna.errors import DataError
from sterna.maths.classes import indicator, means
from sterna.maths.spectra import unit_coordinates
from sterna.records import Labels
from sterna.spec import Choice, Range, method, option

FLOOR = 1e-6


@method
class GBC:
    """In which space, and how round, the classes are."""

    dimensions: int = option(64, "principal components that are kept", Range(1, 100_000))
    covariance: str = option("diagonal", "the shape of a class", Choice(("diagonal", "spherical")))

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """The principal components. The score raises `DataError` for a single class."""
        reduced = unit_coordinates(evidence.features)[:, : self.dimensions]
        return lambda labels: self._score(reduced, labels)

    def _score(self, reduced: np.ndarray, labels: Labels) -> float:
        own, _ = means(reduced, labels)
        if len(own) < 2:
            raise DataError("gbc compares classes and needs two of them, got 1; add examples of another class.")
        variances = self._variances(reduced - own[labels], labels, float((reduced**2).mean()))
        logs = np.log(variances).sum(axis=1)
        found = []
        for place in range(1, len(own)):
            shared = (variances[:place] + variances[place]) / 2
            apart = ((own[:place] - own[place]) ** 2 / shared).sum(axis=1) / 8
            found.append(-apart - (np.log(shared).sum(axis=1) - (logs[:place] + logs[place]) / 2) / 2)
        overlaps = np.concatenate(found)
        largest = overlaps.max()
        return -float(largest + np.log(2 * np.exp(overlaps - largest).sum()))

    def _variances(self, residuals: np.ndarray, labels: Labels, size: float) -> np.ndarray:
        """(k, d) the variances of the classes around their means, divided by their number of examples."""
        counts = np.bincount(labels)
        found = indicator(labels).T @ residuals**2 / counts[:, None]
        several = counts > 1
        # Where every class is one example the spread of all is the only scale there is.
        common = residuals[several[labels]] ** 2 if several.any() else np.full((1, residuals.shape[1]), size)
        found[~several] = common.mean(axis=0)
        if self.covariance == "spherical":
            found = np.repeat(found.mean(axis=1, keepdims=True), found.shape[1], axis=1)
        return np.maximum(found, FLOOR * size or 1.0)
