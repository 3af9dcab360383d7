"""Regularised linear model of a table: logistic regression or ridge regression on standardised columns.

Papers: Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics 12(1);
Le Cessie and Van Houwelingen 1992, "Ridge Estimators in Logistic Regression", Applied Statistics 41(1).

Equation: min_{W, b} sum_i w_i L(y_i, W x_i + b) + 1/(2C) ||W||^2, L the cross entropy for classes and labels; for
values sum_i w_i ||y_i - W x_i - b||^2 + 1/C ||W||^2.

Rows become numbers as in the encoder `columns`. C is the one with the least loss on the validation examples; where
these are fewer than a hundred, a handful of them would choose by chance, so the losses of a cross-validation within
the training examples are added to theirs. Source examples at a lesser weight are learnt from and never judged on.

When not to use: where columns act together or in steps rather than each on its own; `boosting` finds that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from sterna.contracts import Given
from sterna.estimators import Affine
from sterna.maths import folds, logistic
from sterna.maths.seeds import derive
from sterna.records import Labels
from sterna.rows import Standardised
from sterna.spec import Range, method, option

ENOUGH = 100  # validation examples from which they choose alone
UNCHOSEN = 0.03  # C where there is nothing to choose it by: about the best on tables of 20 to 100 rows
_PATIENCE = 3  # penalties without a new best after which weaker ones are not tried
_SMALLEST = 1e-15


@method
class Linear:
    """How the penalty is found and whether classes count alike."""

    inverse_penalty: float | None = option(
        None, "C, the weight of the data against the penalty; none: chosen on validation", Range(0, 1e6, low_open=True)
    )
    balanced: bool = option(False, "weigh classes by the inverse of their number of training examples")

    takes: ClassVar[str] = "row"
    pretrained: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress", "several")

    def fit(self, given: Given) -> Pipeline:
        """A pipeline from rows to probabilities or values."""
        encoding = Standardised(given.columns).fit(given.target.inputs)
        labels = given.target.labels
        weights = given.target.weights.astype(np.float64)
        used = folds.balanced(labels, weights, given.task) if self.balanced else weights
        data = _Data(encoding.transform(given.target.inputs), labels, used)
        held = _Data(encoding.transform(given.validation.inputs), given.validation.labels)
        pairs = []
        if len(held.labels) < ENOUGH:
            pairs = folds.folds(labels, weights, given.task, derive(given.seed, "folds"))
        fixed = self.inverse_penalty or (UNCHOSEN if not pairs and not len(held.labels) else None)
        whole = _Problem(data, given.task, len(given.classes), (fixed,) if fixed else logistic.GRID)
        return Pipeline([("rows", encoding), ("model", next(whole.path()) if fixed else _chosen(whole, held, pairs))])

    def settled(self, model: Pipeline) -> Linear:
        """The same with the penalty that a fit has chosen."""
        return replace(self, inverse_penalty=float(model["model"].inverse_penalty))  # type: ignore[type-var]


@dataclass(frozen=True)
class _Data:
    features: np.ndarray  # (n, d) float64
    labels: Labels
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (n,), or (0,) where nothing is learnt from them

    def take(self, places: np.ndarray) -> _Data:
        return _Data(self.features[places], self.labels[places], self.weights[places])


@dataclass(frozen=True)
class _Problem:
    """What is learnt from, and the penalties to try."""

    data: _Data
    task: str
    classes: int
    grid: Sequence[float]

    def path(self) -> Iterator[Affine]:
        """The model at each penalty, the strongest first."""
        if self.task == "regress":
            return (self._ridge(c) for c in self.grid)
        if self.task == "multilabel":
            sides = (self._logistic(labels, 2) for labels in self.data.labels.T.astype(np.int64))
            return (_several(fits) for fits in zip(*sides, strict=True))
        fits = self._logistic(self.data.labels, self.classes)
        return (Affine(fit.weight, fit.bias, "softmax", fit.inverse_penalty) for fit in fits)

    def losses(self, model: Affine, held: _Data) -> np.ndarray:
        """(m,) of examples that were not learnt from: log loss, or squared error in variances."""
        labels = held.labels
        if self.task == "regress":
            variance = self.data.labels.var(axis=0)
            wrong = (model.predict(held.features) - labels) ** 2 / np.where(variance > 0, variance, 1)
            return np.asarray(wrong.mean(axis=1))
        found = model.predict_proba(held.features)
        if self.task == "multilabel":
            found = np.where(labels > 0, found, 1 - found)
            return -np.log(np.maximum(found, _SMALLEST)).mean(axis=1)
        return -np.log(np.maximum(found[np.arange(len(labels)), labels], _SMALLEST))

    def _logistic(self, labels: np.ndarray, classes: int) -> Iterator[logistic.Fit]:
        features = self.data.features

        def slices(size: int) -> Iterator[np.ndarray]:
            return (features[start : start + size] for start in range(0, len(features), size))

        return logistic.fit_path(slices, labels, self.data.weights, classes, self.grid)

    def _ridge(self, c: float) -> Affine:
        fitted = Ridge(alpha=1 / c).fit(self.data.features, self.data.labels, sample_weight=self.data.weights)
        weight = np.asarray(fitted.coef_).reshape(self.classes, -1)
        bias = np.broadcast_to(fitted.intercept_, self.classes).astype(np.float64)
        return Affine(weight, bias, "identity", c)


def _several(fits: Sequence[logistic.Fit]) -> Affine:
    """Two rows of each label -> one: the sigmoid of their difference is their softmax."""
    weight = np.stack([fit.weight[1] - fit.weight[0] for fit in fits])
    bias = np.array([fit.bias[1] - fit.bias[0] for fit in fits])
    return Affine(weight, bias, "sigmoid", fits[0].inverse_penalty)


def _chosen(whole: _Problem, held: _Data, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Affine:
    """The model whose penalty has the least loss on examples that were not learnt from."""
    parts = [replace(whole, data=whole.data.take(learnt)) for learnt, _ in pairs]
    judged = [whole.data.take(places) for _, places in pairs]
    best, least, waited = None, np.inf, 0
    for model, *models in zip(whole.path(), *(part.path() for part in parts), strict=True):
        each = [part.losses(one, data) for part, one, data in zip(parts, models, judged, strict=True)]
        if len(held.labels):
            each.append(whole.losses(model, held))
        loss = float(np.concatenate(each).mean())
        waited += 1
        if best is None or loss < least:
            best, least, waited = model, loss, 0
        if waited == _PATIENCE:
            break
    assert best is not None
    return best
