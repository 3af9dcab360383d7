"""Boosted trees fitted to the source, to which trees are added that mend their faults on known target examples.

Papers: Friedman 2001, "Greedy Function Approximation: A Gradient Boosting Machine" (Annals of Statistics 29),
algorithms 2 and 6; Daumé 2007 (arXiv 0907.1815), section 2, for a target model that starts from the source's.

Equation: F_0(x) = ln p(y | x) of gradient boosting on the source, then F <- F + `rate` sum of trees, each fitted to the
residuals of the known target rows, 1[y] - softmax(F)_y, its leaves one Newton step, (k - 1) / k sum r / sum |r| (1 -
|r|), or for values y - F and its mean. The number of added trees is the one that cross-validation on the known rows
finds best, 0 included, which leaves the source's model.

scikit-learn's histogram boosting makes the source's trees; its own warm start would read them with the bins of other
rows, and refuses fewer classes. Here classes that no known row has keep their place.

Cost: O(n d) a tree and class on the source, of which at most 20,000 rows are used, drawn at random; the target's are
few.

When not to use: with few source rows, or where linear heads do as well: trees learn steps, and features that were
rotated or mixed suit them ill. Without known target labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from sterna.contracts import Answering, Pair
from sterna.errors import DataError
from sterna.maths.answers import softmax, surprise
from sterna.maths.flat_trees import FlatTree, flat
from sterna.maths.folds import folds
from sterna.maths.samples import thinned
from sterna.maths.seeds import derive
from sterna.records import Labels
from sterna.spec import Range, method, option

MOST = 20_000
_LEAST = 1e-4  # share of a class that the source's model never gives
_STEP = 4.0  # largest step of a leaf, in logits: where all residuals are near 0 or 1 Newton's has no bound

Scores = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _First:
    """The source's model: scores (n, k) of classes, or (n, 1) values."""

    model: Any
    present: np.ndarray  # classes that it knows
    classes: int

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        if not self.classes:
            return np.asarray(self.model.predict(rows))[:, None]
        shares = np.full((len(rows), self.classes), _LEAST)
        shares[:, self.present] += self.model.predict_proba(rows) if len(self.present) > 1 else 1.0
        return np.log(shares / shares.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class _Round:
    """One tree a column."""

    trees: tuple[FlatTree, ...]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return np.column_stack([tree(rows) for tree in self.trees])


@dataclass(frozen=True)
class _Boosted:
    """The source's model and the rounds after it."""

    first: _First
    rounds: tuple[_Round, ...]
    rate: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        scores = self.first(rows)
        for one in self.rounds:
            scores = scores + self.rate * one(rows)
        return softmax(scores) if self.first.classes else scores[:, 0]


def _source(rows: np.ndarray, labels: Labels, classes: int, trees: int, seed: int) -> _First:
    state = derive("warm_boosting", seed) % 2**32
    present = np.unique(labels) if classes else np.zeros(0, dtype=np.int64)
    model: Any = None
    if not classes:
        model = HistGradientBoostingRegressor(max_iter=trees, early_stopping=False, random_state=state)
    elif len(present) > 1:
        model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=state)
    return _First(model.fit(rows, labels) if model is not None else None, present, classes)


def _tree(rows: np.ndarray, residuals: np.ndarray, depth: int, classes: int) -> FlatTree:
    tree = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(rows, residuals)
    leaves, count = tree.apply(rows), tree.tree_.node_count
    sums = np.bincount(leaves, residuals, count)
    if not classes:
        return flat(tree, sums / np.maximum(np.bincount(leaves, minlength=count), 1))
    size = np.abs(residuals)
    curve = np.bincount(leaves, size * (1 - size), count)
    steps = (classes - 1) / classes * sums / np.maximum(curve, 1e-12)
    return flat(tree, np.clip(steps, -_STEP, _STEP))


def _rounds(rows: np.ndarray, labels: Labels, scores: np.ndarray, method: WarmBoosting) -> Iterator[_Round]:
    """Rounds one after another, from scores (l, k) of the source's model on known rows."""
    classes = scores.shape[1] if scores.shape[1] > 1 else 0
    wanted = np.eye(classes)[labels] if classes else labels[:, None]
    for _ in range(method.added):
        residuals = wanted - (softmax(scores) if classes else scores)
        made = _Round(tuple(_tree(rows, column, method.depth, classes) for column in residuals.T))
        scores = scores + method.rate * made(rows)
        yield made


def _lost(scores: np.ndarray, labels: Labels, classes: int) -> float:
    if not classes:
        return float(((scores[:, 0] - labels) ** 2).sum())
    return float(surprise(softmax(scores)[np.arange(len(labels)), labels]).sum())


@method
class WarmBoosting:
    """How many trees, and how they are added."""

    trees: int = option(100, "trees a class on the source", Range(1, 2000))
    added: int = option(100, "rounds at most that are added on the target", Range(0, 2000))
    rate: float = option(0.1, "what a new tree counts", Range(0, 1, low_open=True))
    depth: int = option(3, "of a new tree", Range(1, 20))

    needs: ClassVar[str] = "labels"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Answering:
        """The source's trees and more. Raises `DataError` without known target labels."""
        if not len(pair.known):
            raise DataError("warm_boosting needs known labels of the target, got none; label some, or type none.")
        some = thinned(len(pair.labels), MOST, pair.seed, "warm_boosting")
        first = _source(pair.source[some], pair.labels[some], pair.classes, self.trees, pair.seed)
        rows, labels = pair.target[pair.known], pair.known_labels
        scores = first(rows)
        count = self._count(rows, labels, scores, pair)
        kept = tuple(one for one, _ in zip(_rounds(rows, labels, scores, self), range(count), strict=False))
        notes: tuple[str, ...] = (f"{count} rounds of trees added on {len(labels)} known target rows.",)
        if len(some) < len(pair.labels):
            notes += (f"The source's trees learn from {MOST:,} of {len(pair.labels):,} rows, drawn at random.",)
        return Answering(_Boosted(first, kept, self.rate), notes)

    def _count(self, rows: np.ndarray, labels: Labels, scores: np.ndarray, pair: Pair) -> int:
        """Rounds of least loss on known rows that were left out; the fewest of those that are as good."""
        task = "classify" if pair.classes else "regress"
        divided = folds(labels, np.ones(len(labels)), task, derive("warm_boosting", pair.seed))
        total = np.zeros(1 + self.added)
        for learning, judged in divided:
            held = scores[judged]
            total[0] += _lost(held, labels[judged], pair.classes)
            for place, one in enumerate(_rounds(rows[learning], labels[learning], scores[learning], self), 1):
                held = held + self.rate * one(rows[judged])
                total[place] += _lost(held, labels[judged], pair.classes)
        return int(total.argmin()) if divided else 0
