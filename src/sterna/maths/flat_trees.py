"""Fitted decision trees as plain arrays: what is kept of them runs no code and holds no object of another library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FlatTree:
    """A binary tree: node i goes left where the row's feature is at most the threshold; -1 on the left marks a leaf."""

    left: np.ndarray  # (n,) int64
    right: np.ndarray  # (n,) int64
    feature: np.ndarray  # (n,) int64
    threshold: np.ndarray  # (n,) float64
    values: np.ndarray  # (n,) what a leaf answers

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """(m,) the leaf of each row; compared in float32, as scikit-learn does."""
        narrow, at = rows.astype(np.float32), np.zeros(len(rows), dtype=np.int64)
        places = np.arange(len(rows))
        for _ in range(len(self.left)):  # a path visits no node twice
            inner = self.left[at] >= 0
            if not inner.any():
                break
            below = narrow[places, self.feature[at]] <= self.threshold[at]
            at = np.where(inner, np.where(below, self.left[at], self.right[at]), at)
        return at

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(m,) the values of the leaves."""
        found: np.ndarray = self.values[self.apply(rows)]
        return found


def flat(estimator: Any, values: np.ndarray | None = None) -> FlatTree:
    """The tree of a fitted decision tree of scikit-learn, with one output.

    Args:
        estimator: a `DecisionTreeRegressor`, or a `DecisionTreeClassifier` of class numbers.
        values: (nodes,) what its leaves answer; by default what the estimator predicts.
    """
    tree = estimator.tree_
    if values is None:
        shares = tree.value[:, 0, :]
        known = getattr(estimator, "classes_", None)
        values = shares[:, 0] if known is None else known[shares.argmax(axis=1)]
    left, right, feature = (
        part.astype(np.int64) for part in (tree.children_left, tree.children_right, np.maximum(tree.feature, 0))
    )
    return FlatTree(left, right, feature, tree.threshold.astype(np.float64), values)
