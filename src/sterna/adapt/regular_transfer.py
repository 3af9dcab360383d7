"""Regular transfer: a linear head learnt from few target examples and pulled towards the source's instead of to 0.

Papers: Chelba and Acero 2006, "Adaptation of Maximum Entropy Capitalizer: Little Data Can Help a Lot" (Computer Speech
and Language 20), equation 10; Evgeniou and Pontil 2004, "Regularized Multi-Task Learning" (KDD), for ridge regression.

Equation: min over W, b of mean_i L(y_i, W x_i + b) + pull / 2 (|W - W_S|^2 + e |b - b_S|^2) over the known target
rows, L the log loss of classes, e = 1/1000, or half the squared error of values in variances, e = 1. W_S is logistic or
ridge regression on the source, its penalty by cross-validation. An endless pull leaves the source's head, none takes
the target's alone.

`pull` is chosen by cross-validation on the known target rows, the endless one among the choices; where no fold can be
made, as with one row a class, it is 1. Features have one scale, the source's: variances adding up to 1.

Cost: that of the head on the source, at most 20,000 rows of it, drawn at random; the target's rows are few.

When not to use: without known target labels; where the source's head is worse than nothing, the pull goes to 0 and the
target alone does as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sterna.contracts import Answering, Pair
from sterna.errors import DataError
from sterna.maths import adapted_heads, soft_heads
from sterna.maths.answers import softmax, surprise
from sterna.maths.folds import folds
from sterna.maths.samples import thinned
from sterna.maths.seeds import derive
from sterna.records import Labels
from sterna.spec import Range, method, option

MOST = 20_000
PULLS = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001)  # those of cross-validation, after the endless one
_ALONE = 1.0  # where nothing can be judged


@dataclass(frozen=True)
class _Moved:
    """A head, as rows and labels see it."""

    head: np.ndarray  # (k, d + 1) on scaled rows
    scale: soft_heads.Scale
    classes: int
    middle: float
    spread: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        found = soft_heads.logits(self.head, self.scale.apply(rows))
        return softmax(found) if self.classes else found[:, 0] * self.spread + self.middle


def _ridge(rows: np.ndarray, values: np.ndarray, pull: float) -> np.ndarray:
    """(1, d + 1) of least mean (y - W x - b)^2 / 2 + pull / 2 (|W|^2 + b^2)."""
    wide = np.hstack([rows, np.ones((len(rows), 1))])
    left, size, right = np.linalg.svd(wide, full_matrices=False)
    kept = size > 1e-12 * size[0]
    shrunk = size[kept] / (size[kept] ** 2 + pull * len(rows))
    found: np.ndarray = (left[:, kept].T @ values * shrunk) @ right[kept]
    return found[None]


def _learnt(rows: np.ndarray, labels: Labels, source: np.ndarray, pull: float, classes: int) -> np.ndarray:
    """The head at one pull towards the source's."""
    if np.isinf(pull):
        return source
    there = soft_heads.logits(source, rows)
    if not classes:
        return source + _ridge(rows, labels - there[:, 0], pull)
    return source + soft_heads.fitted(rows, np.eye(classes)[labels], max(pull, 1e-9), offsets=there)


def _lost(head: np.ndarray, rows: np.ndarray, labels: Labels, classes: int) -> float:
    found = soft_heads.logits(head, rows)
    if not classes:
        return float(((found[:, 0] - labels) ** 2).sum())
    return float(surprise(softmax(found)[np.arange(len(labels)), labels]).sum())


@method
class RegularTransfer:
    """How much the head is pulled to the source's."""

    pull: float | None = option(None, "to the source's head; none: by cross-validation", Range(0, 1e12))

    needs: ClassVar[str] = "labels"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Answering:
        """The moved head. Raises `DataError` without known target labels."""
        if not len(pair.known):
            raise DataError("regular_transfer needs known labels of the target, got none; label some, or type none.")
        rows = thinned(len(pair.labels), MOST, pair.seed, "regular_transfer")
        middle, spread = 0.0, 1.0
        if not pair.classes:
            middle, spread = float(pair.labels.mean()), float(pair.labels.std()) or 1.0
        labels, known = (
            one if pair.classes else (one - middle) / spread for one in (pair.labels[rows], pair.known_labels)
        )
        scale = soft_heads.scale(pair.source[rows])
        source = self._source(scale.apply(pair.source[rows]), labels, pair)
        own = scale.apply(pair.target[pair.known])
        pull = self._chosen(own, known, source, pair) if self.pull is None else self.pull
        head = _learnt(own, known, source, pull, pair.classes)
        notes: tuple[str, ...] = (f"Pulled to the head of the source with {pull:g}.",)
        if len(rows) < len(pair.labels):
            notes += (f"The source's head learns from {MOST:,} of {len(pair.labels):,} rows, drawn at random.",)
        return Answering(_Moved(head, scale, pair.classes, middle, spread), notes)

    def _source(self, rows: np.ndarray, labels: Labels, pair: Pair) -> np.ndarray:
        learnt = adapted_heads.Learnt(rows, labels, np.ones(len(rows)), pair.classes, pair.seed)
        if pair.classes:
            return adapted_heads.linear(adapted_heads.logistic, learnt).weight
        return adapted_heads.linear(adapted_heads.ridge, learnt, strengths=adapted_heads.RIDGE).weight

    def _chosen(self, rows: np.ndarray, labels: Labels, source: np.ndarray, pair: Pair) -> float:
        """The pull of least loss on known rows that were left out; the strongest of those that are as good."""
        task = "classify" if pair.classes else "regress"
        divided = folds(labels, np.ones(len(labels)), task, derive("regular_transfer", pair.seed))
        if not divided:
            return _ALONE
        total = np.zeros(1 + len(PULLS))
        for learning, judged in divided:
            for place, pull in enumerate((np.inf, *PULLS)):
                head = _learnt(rows[learning], labels[learning], source, pull, pair.classes)
                total[place] += _lost(head, rows[judged], labels[judged], pair.classes)
        return float((np.inf, *PULLS)[int(total.argmin())])
