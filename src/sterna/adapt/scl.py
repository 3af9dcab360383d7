"""Structural correspondence learning: features that stand for the same shared features in both domains become one.

Papers: Blitzer, McDonald and Pereira 2006, "Domain Adaptation with Structural Correspondence Learning" (EMNLP),
figure 2; Blitzer, Dredze and Pereira 2007, "Biographies, Bollywood, Boom-boxes and Blenders" (ACL), section 3, for
pivots that tell of the labels.

Equation: pivots are features that are frequent in both domains, those with the largest mutual information with the
source's labels first. For each pivot p, w_p predicts whether it is present in a row from the features that are no
pivots, over the rows of both domains; theta are the leading left singular vectors of [w_1 ... w_P]. Features are x and
`weight` theta'x, the latter as long on average as the former.

A feature is present where it is not 0; one that is 0 in less than a tenth of the rows of both domains is present where
it is above the middle of its two means. Frequent means present in as many rows of either domain as few others: pivots
are taken from the `candidates` times P features whose smaller share of rows is largest. Predictors minimise squared
errors instead of the modified Huber loss, so that one decomposition serves all of them.

Cost: O(N d^2 + d^3), or O(N^2 d + N^3) where N < d, for N rows (at most 20,000, drawn at random) and d features.

When not to use: where features have no meaning of their own, such as those of a network, which all are alike in the two
domains or all are not; where fewer than some ten features are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import solve, svd

from sterna.contracts import Aligned, Pair
from sterna.maths.memory import check
from sterna.maths.samples import thinned
from sterna.maths.subspaces import signs
from sterna.records import Labels
from sterna.spec import Range, method, option

MOST = 20_000  # rows of both domains that predictors learn from
_SPARSE = 0.1  # share of zeros from which presence means not being 0
_RIDGE = 1e-2  # of the mean square of the features, an example


@dataclass(frozen=True)
class _Joined:
    """Rows with their shared features beside them."""

    theta: np.ndarray  # (d, h), 0 for pivots
    factor: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return np.hstack([rows, rows @ self.theta * self.factor])


def _present(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) and (m, d) booleans."""
    zeros = (np.count_nonzero(source == 0, axis=0) + np.count_nonzero(target == 0, axis=0)) / (
        len(source) + len(target)
    )
    middle = (source.mean(axis=0) + target.mean(axis=0)) / 2
    words = zeros >= _SPARSE
    return np.where(words, source != 0, source > middle), np.where(words, target != 0, target > middle)


def _information(present: np.ndarray, labels: Labels, classes: int) -> np.ndarray:
    """(d,) mutual information of presence and class, nats; of values, the squared correlation with presence."""
    there = present.astype(np.float64)
    if not classes:
        values, spread = labels - labels.mean(), there.std(axis=0) * float(labels.std())
        together = values @ (there - there.mean(axis=0)) / len(labels)
        return np.asarray((together / np.where(spread > 0, spread, np.inf)) ** 2)
    members = np.eye(classes)[labels]
    shares = members.mean(axis=0)[:, None]
    found = np.zeros(there.shape[1])
    for side in (there, 1 - there):
        joint, whole = members.T @ side / len(labels), side.mean(axis=0)
        ratio = np.divide(joint, shares * whole, out=np.ones_like(joint), where=joint > 0)
        found += (joint * np.log(ratio)).sum(axis=0)
    return found


def _pivots(pair: Pair, present: tuple[np.ndarray, np.ndarray], wanted: int, candidates: int) -> np.ndarray:
    """(P,) features, ascending."""
    shares = [side.mean(axis=0) for side in present]
    # A feature that is present everywhere is as little of a pivot as one that is present nowhere.
    useful = np.flatnonzero((np.minimum(*shares) > 0) & (np.minimum(*shares) < 1))
    frequent = useful[np.argsort(-np.minimum(*shares)[useful], kind="stable")][: candidates * wanted]
    told = _information(present[0][:, frequent], pair.labels, pair.classes)
    return np.sort(frequent[np.argsort(-told, kind="stable")][:wanted])


def _predictors(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(d, P) least squares with a small penalty, around the means; in products of features or of rows."""
    rows, wanted = rows - rows.mean(axis=0), wanted - wanted.mean(axis=0)
    n, d = rows.shape
    extra = _RIDGE * n * float((rows**2).mean()) or 1.0
    if d <= n:
        return np.asarray(solve(rows.T @ rows + extra * np.eye(d), rows.T @ wanted, assume_a="pos"))
    return np.asarray(rows.T @ solve(rows @ rows.T + extra * np.eye(n), wanted, assume_a="pos"))


@method
class SCL:
    """How many pivots, and how many features are made of them."""

    pivots: int = option(100, "shared features; at most half of all", Range(1, 5000))
    components: int = option(25, "features that are made; fewer where there are fewer pivots", Range(1, 1000))
    weight: float = option(1.0, "length of the new features beside the old", Range(0, 1e6))
    candidates: int = option(5, "frequent features among which a pivot is chosen", Range(1, 1000))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Features and correspondences. Raises `DataError` for what does not fit into memory."""
        n, d = pair.source.shape
        rows = thinned(n, MOST // 2, pair.seed, "source"), thinned(len(pair.target), MOST // 2, pair.seed, "target")
        count = len(rows[0]) + len(rows[1])
        small = float(min(count, d))
        check(
            "scl",
            f"{count:,} x {d:,} features and their products",
            2.0 * count * d + 3 * small**2,
            "use fewer features",
        )
        check(
            "scl",
            f"{n:,} x {d:,} features and their presence",
            float(n + len(pair.target)) * d / 4 + n * d,
            "use fewer features",
        )
        present = _present(pair.source, pair.target)
        chosen = _pivots(pair, present, min(self.pivots, d // 2), self.candidates)
        theta = self._theta(pair, present, rows, chosen)
        shared = (pair.source @ theta, pair.target @ theta)
        size, whole = (float(sum((side**2).sum() for side in sides)) for sides in (shared, (pair.source, pair.target)))
        made = _Joined(theta, self.weight * np.sqrt(whole / size) if size > 0 else 0.0)
        features = np.concatenate([made(pair.source), made(pair.target[pair.known])])
        labels = np.concatenate([pair.labels, pair.known_labels])
        notes: tuple[str, ...] = ()
        if not len(chosen):
            notes = ("No feature is frequent in both domains, so that nothing corresponds; features are as they were.",)
        if count < n + len(pair.target):
            notes += (f"Predictors of pivots learn from {count:,} rows of {n + len(pair.target):,}, drawn at random.",)
        return Aligned(features, labels, np.ones(len(labels)), made, notes)

    def _theta(
        self,
        pair: Pair,
        present: tuple[np.ndarray, np.ndarray],
        rows: tuple[np.ndarray, np.ndarray],
        chosen: np.ndarray,
    ) -> np.ndarray:
        d = pair.source.shape[1]
        if not len(chosen):
            return np.zeros((d, 0))
        rest = np.setdiff1d(np.arange(d), chosen)
        inputs = np.concatenate(
            [side[part][:, rest] for side, part in zip((pair.source, pair.target), rows, strict=True)]
        )
        wanted = np.concatenate([side[part][:, chosen] for side, part in zip(present, rows, strict=True)])
        left, values, _ = svd(_predictors(inputs, wanted.astype(np.float64)), full_matrices=False)
        left = left[:, : self.components][:, values[: self.components] > 1e-12 * max(float(values[0]), 1e-300)]
        theta = np.zeros((d, left.shape[1]))
        theta[rest] = left * signs(left)
        return theta
