"""Histogram gradient boosting of a table: many small trees, each mending what the ones before it got wrong.

Papers: Friedman 2001, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 29(5), for
the method; Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree" (NeurIPS), for histograms.

Equation: F_m = F_{m-1} + rate * T_m, T_m the tree that best fits the gradient of the loss at F_{m-1}, with leaves
-sum g / (sum h + l2).

Missing cells go to the side of a split where they fit better; categories are split as sets, without indicators. The
number of trees is the one with the least loss on the validation examples; where these are fewer than a hundred, the
losses of a cross-validation within the training examples are added. A leaf holds at least a tenth of the examples, 3 to
20 of them: with 20 always, as in scikit-learn, 30 examples would give no tree at all.

When not to use: fewer than about 50 examples, where `linear` is better almost always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from sterna.contracts import Given
from sterna.estimators import OneEach
from sterna.maths import folds
from sterna.maths.seeds import derive
from sterna.records import Column
from sterna.rows import Coded, Row
from sterna.spec import Range, method, option

ENOUGH = 100  # validation examples from which they choose alone
UNCHOSEN = 50  # trees where there is nothing to choose their number by
COARSE = 64  # bins of a column where examples weigh differently, in place of 255: binning then takes most of the time
_FIRST = 50  # trees that are grown before looking for the first time
_SMALLEST = 1e-15


@method
class Boosting:
    """The shape of the trees, how many there may be, and whether classes count alike."""

    rate: float = option(0.05, "share of each tree that is added", Range(0, 1, low_open=True))
    trees: int = option(400, "most trees; how many there are is chosen on validation", Range(1, 100_000))
    leaves: int = option(8, "most leaves of a tree", Range(2, 1024))
    leaf: int = option(0, "fewest examples in a leaf; 0: a tenth of them, 3 to 20", Range(0, 100_000))
    l2: float = option(1.0, "pull of leaves towards 0", Range(0, 1e6))
    balanced: bool = option(False, "weigh classes by the inverse of their number of training examples")
    counts: tuple[int, ...] = option(
        (), "numbers of trees, one for each column of labels; none: chosen on validation", Range(1, 100_000)
    )

    takes: ClassVar[str] = "row"
    pretrained: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress", "several")

    def fit(self, given: Given) -> Pipeline:
        """A pipeline from rows to probabilities or values."""
        learnt = _Data(list(given.target.inputs), given.target.labels, given.target.weights.astype(np.float64))
        held = _Data(list(given.validation.inputs), given.validation.labels, given.validation.weights)
        encoding = Coded(given.columns).fit(learnt.rows)
        if given.task == "classify":
            model = self._grown(given, encoding, learnt, held, 0)
        else:
            sides = range(len(given.classes))
            model = OneEach([self._grown(given, encoding, learnt.side(k), held.side(k), k) for k in sides])
        return Pipeline([("rows", encoding), ("model", model)])

    def settled(self, model: Pipeline) -> Boosting:
        """The same with the numbers of trees that a fit has chosen."""
        made = model["model"]
        several = made.parts if isinstance(made, OneEach) else [made]
        counts = tuple(getattr(one, "max_iter", UNCHOSEN) for one in several)  # where all labels were alike, none was
        return replace(self, counts=counts)  # type: ignore[type-var]

    def _grown(self, given: Given, encoding: Coded, learnt: _Data, held: _Data, side: int) -> Any:
        """The trees for one column of labels, as many as lose least on what they have not learnt from."""
        task = "regress" if given.task == "regress" else "classify"
        whole = _Trial(self, task, given.columns, encoding, learnt)
        if len(np.unique(learnt.labels)) < 2:
            return whole.constant(len(given.classes) if given.task == "classify" else 2)
        if self.counts:
            return whole.fitted(self.counts[side])
        trials = [(whole, held)]
        if len(held.labels) < ENOUGH:
            for one, other in folds.folds(learnt.labels, learnt.weights, task, derive(given.seed, "folds")):
                part = learnt.take(one)
                fitted = Coded(given.columns).fit(part.rows)
                trials.append((_Trial(self, task, given.columns, fitted, part), learnt.take(other)))
        trials = [(trial, judged) for trial, judged in trials if trial.tells(judged)]
        return whole.fitted(_best_count(trials, self.trees))


@dataclass(frozen=True)
class _Data:
    rows: Sequence[Row]
    labels: np.ndarray  # (n,), or (n, k)
    weights: np.ndarray  # (n,)

    def take(self, places: np.ndarray) -> _Data:
        return _Data([self.rows[place] for place in places.tolist()], self.labels[places], self.weights[places])

    def side(self, place: int) -> _Data:
        """With one column of its labels."""
        return _Data(self.rows, self.labels[:, place] if self.labels.ndim == 2 else self.labels, self.weights)


@dataclass(frozen=True)
class _Trial:
    """Trees on one selection of the examples."""

    options: Boosting
    task: str
    columns: tuple[Column, ...]
    encoding: Coded
    data: _Data

    @property
    def weights(self) -> np.ndarray | None:
        """(n,) of the examples; None where all count alike, which scikit-learn bins faster and to the same bits."""
        found = self.data.weights
        if self.options.balanced:
            found = folds.balanced(self.data.labels, found, self.task)
        return None if (found == 1).all() else found

    def booster(self, count: int) -> Any:
        """As many trees as `count`, unfitted."""
        n = len(self.data.labels)
        words = [place for place, column in enumerate(self.columns) if column.kind == "category"]
        made = HistGradientBoostingRegressor if self.task == "regress" else HistGradientBoostingClassifier
        return made(
            learning_rate=self.options.rate,
            max_iter=count,
            max_leaf_nodes=self.options.leaves,
            min_samples_leaf=self.options.leaf or min(max(n // 10, 3), 20),
            l2_regularization=self.options.l2,
            max_bins=255 if self.weights is None else max([COARSE, *map(len, self.encoding.levels_)]),
            categorical_features=words or None,
            early_stopping=False,  # scikit-learn's own would hold out some of the training examples
            random_state=0,  # nothing is drawn at random
        )

    def fitted(self, count: int) -> Any:
        return self.grow(self.booster(count))

    def grow(self, booster: Any) -> Any:
        return booster.fit(self.encoding.transform(self.data.rows), self.data.labels, sample_weight=self.weights)

    def constant(self, classes: int) -> Any:
        """Where all labels are alike: their value, or for each class its share, smoothed by half an example."""
        if self.task == "regress":
            return DummyRegressor().fit(np.zeros((len(self.data.labels), 1)), self.data.labels)
        shares = np.bincount(self.data.labels, weights=self.data.weights, minlength=classes) + 0.5
        return DummyClassifier(strategy="prior").fit(np.zeros((classes, 1)), np.arange(classes), sample_weight=shares)

    def tells(self, held: _Data) -> bool:
        """Whether there are trees to grow, and something that they can be judged on."""
        several = len(np.unique(self.data.labels)) > 1
        return several and bool(len(held.labels) if self.task == "regress" else self._known(held).any())

    def _known(self, held: _Data) -> np.ndarray:
        """(m,) bool: the examples of classes that are there to be learnt."""
        return np.isin(held.labels, self.data.labels)

    def losses(self, booster: Any, held: _Data) -> np.ndarray:
        """(trees, m) after each tree: log loss, or squared error."""
        features = self.encoding.transform(held.rows)
        if self.task == "regress":
            return np.stack([(found - held.labels) ** 2 for found in booster.staged_predict(features)])
        known = self._known(held)
        places = np.searchsorted(booster.classes_, held.labels[known])
        found = [stage[known][np.arange(len(places)), places] for stage in booster.staged_predict_proba(features)]
        return -np.log(np.maximum(np.stack(found), _SMALLEST))


def _best_count(trials: Sequence[tuple[_Trial, _Data]], most: int) -> int:
    """How many trees lose least on what was not learnt from; grown on until the best lies well behind."""
    if not trials:
        return min(UNCHOSEN, most)
    boosters = [trial.booster(1).set_params(warm_start=True) for trial, _ in trials]
    count = min(_FIRST, most)
    while True:
        each = []
        for (trial, held), booster in zip(trials, boosters, strict=True):
            each.append(trial.losses(trial.grow(booster.set_params(max_iter=count)), held))
        best = int(np.concatenate(each, axis=1).mean(axis=1).argmin()) + 1
        if count == most or best <= 0.7 * count:
            return best
        count = min(2 * count, most)
