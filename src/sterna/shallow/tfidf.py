"""TF-IDF of words and letters with a linear model: the floor that pretrained text encoders have to beat.

Papers: Salton and Buckley 1988, "Term-weighting approaches in automatic text retrieval"; Joachims 1998, "Text
Categorization with Support Vector Machines: Learning with Many Relevant Features", for linear models on them.

Equation: a text becomes two vectors of length 1, side by side: one over words and runs of `words` words, one over
runs of 2 to `characters` letters inside words. Entry of term j: (1 + ln count_j) (1 + ln((1 + n) / (1 + n_j))), where
n_j of the n training texts hold it. On them: logistic regression (one for each label for multilabel), or ridge
regression for numbers, with the penalty C of `inverse_penalties` that has the smallest loss on the validation part, and
in folds of the training part where that is small.

A pair of texts becomes [a, b, a * b, |a - b|] over one vocabulary, so that a linear model sees what the two share.

Terms have no vocabulary: each falls by its hash on one of 65,536 places for its kind (Weinberger et al. 2009, arXiv
0902.2206, without signs), so memory is bounded and a model file holds numbers alone; on reviews, four times as many
places changed accuracy by less than a point. Frequencies come from the training texts, and places that they leave empty
are dropped.

Examples weigh what their weights say, in the linear model; frequencies count texts. A label that never changes in the
training examples gets its share, smoothed by half an example either way.

When not to use: where word order or meaning across different words decides (paraphrases, negation, short questions);
on languages written without spaces, set `words=1`: the letter runs carry the information.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline

from sterna.contracts import Examples, Given
from sterna.errors import DataError, TrainingError
from sterna.maths.folds import folds
from sterna.maths.seeds import derive
from sterna.spec import Range, method, option

ENOUGH = 100  # validation examples that choose alone
PLACES = 2**16  # of each kind of term
TOKEN = r"\w+|[^\w\s]"
STOP = 2e-5  # largest entry of the gradient of the mean loss
SMALLEST = 1e-12  # probability


@method
class Tfidf:
    """Which terms are counted, and how the linear model is held back."""

    words: int = option(2, "longest run of words that is a term", Range(1, 5))
    characters: int = option(5, "longest run of letters that is a term; 1: words alone", Range(1, 8))
    inverse_penalties: tuple[float, ...] = option(
        (0.5, 2.0, 8.0, 32.0, 128.0), "values of C to choose from on the validation part", Range(0, 1e9, low_open=True)
    )
    balanced: bool = option(False, "weigh classes by the inverse of their number of training examples")

    takes: ClassVar[str] = "text"
    pretrained: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress", "several")

    def fit(self, given: Given) -> Pipeline:
        """A fitted pipeline from raw texts, or pairs of them, to answers.

        Where examples are too few for folds and there is no validation part, the middle of `inverse_penalties` is
        taken. Raises `DataError` for texts without a word, `TrainingError` for examples of a single class.
        """
        texts = list(given.target.inputs)
        if given.task == "classify" and len(np.unique(given.target.labels)) < 2:
            raise TrainingError(
                "tfidf needs training examples of at least two classes, got one; add examples or lower --shots."
            )
        features = self._features(paired=isinstance(texts[0], tuple))
        try:
            seen = features.fit_transform(texts)
        except ValueError as error:
            raise DataError(
                "tfidf found no term that differs between the training texts; name the column of the texts with --text."
            ) from error
        checked = features.transform(given.validation.inputs) if len(given.validation.labels) else None
        model = self._chosen(given, seen, checked)
        return Pipeline([("features", features), ("model", model)])

    def settled(self, model: Pipeline) -> Tfidf:
        """The same with the penalty that a fit has chosen."""
        chosen = model["model"]
        if isinstance(chosen, Ridge):
            return replace(self, inverse_penalties=(1 / chosen.alpha,))  # type: ignore[type-var]
        return replace(self, inverse_penalties=(float(getattr(chosen, "logistic", chosen).C),))  # type: ignore[type-var]

    def _features(self, *, paired: bool) -> Pipeline:
        shared = {"n_features": PLACES, "alternate_sign": False, "norm": None, "dtype": np.float32}
        kinds = [("words", HashingVectorizer(ngram_range=(1, self.words), token_pattern=TOKEN, **shared))]
        if self.characters > 1:
            span = (2, self.characters)
            kinds.append(("characters", HashingVectorizer(analyzer="char_wb", ngram_range=span, **shared)))
        weighed = [
            (name, Pipeline([("count", kind), ("weigh", TfidfTransformer(sublinear_tf=True))])) for name, kind in kinds
        ]
        joined = FeatureUnion([(name, SideBySide(kind) if paired else kind) for name, kind in weighed])
        return Pipeline([("terms", joined), ("there", VarianceThreshold())])

    def _chosen(self, given: Given, seen: Any, checked: Any) -> Any:
        """The model of the penalty with the smallest validation loss; ties go to the stronger one.

        Few validation examples can favour any penalty: training examples count then too, each judged without its fold.
        """
        values = sorted(self.inverse_penalties)
        pairs = []
        if len(values) > 1 and len(given.validation.labels) < ENOUGH:
            pairs = folds(given.target.labels, given.target.weights, given.task, derive(given.seed, "folds"))
        if pairs:
            return self._divided(given, seen, checked, pairs)
        if checked is None or len(values) == 1:
            return self._model(given, values[len(values) // 2], seen)
        best, least = None, np.inf
        for value in values:
            model = self._model(given, value, seen, best)
            loss = _loss(model, checked, given.validation, given.task)
            if best is not None and loss >= least:
                break
            best, least = model, loss
        return best

    def _divided(self, given: Given, seen: Any, checked: Any, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Any:
        """The same, by cross-validation within the training part and by the validation part where there is one."""
        target, values = given.target, sorted(self.inverse_penalties)
        losses = np.zeros(len(values))
        for learn, judge in pairs:
            part, other = (
                replace(target, inputs=(), labels=target.labels[at], weights=target.weights[at])
                for at in (learn, judge)
            )
            fits = (self._model(replace(given, target=part), value, seen[learn]) for value in values)
            losses += [len(judge) * _loss(model, seen[judge], other, given.task) for model in fits]
        models = [self._model(given, value, seen) for value in values]
        if checked is not None:
            known = given.validation
            losses += [len(known.labels) * _loss(model, checked, known, given.task) for model in models]
        return models[int(losses.argmin())]

    def _model(self, given: Given, value: float, seen: Any, start: Any = None) -> Any:
        labels, weights = given.target.labels, given.target.weights
        if given.task == "regress":
            return Ridge(alpha=1 / value, solver="sparse_cg", tol=1e-5).fit(seen, labels, sample_weight=weights)
        kind = "balanced" if self.balanced else None
        logistic = LogisticRegression(C=value, class_weight=kind, max_iter=1000, tol=STOP, warm_start=True)
        if start is not None and given.task == "classify":
            logistic.coef_, logistic.intercept_ = start.coef_, start.intercept_
        if given.task == "multilabel":
            return OnePerLabel(logistic).fit(seen, labels, weights)
        return logistic.fit(seen, labels, sample_weight=weights)


class SideBySide(TransformerMixin, BaseEstimator):
    """Pairs of texts -> [a, b, a * b, |a - b|], both sides by one vectoriser."""

    def __init__(self, vectors: Pipeline) -> None:
        self.vectors = vectors

    def fit(self, pairs: Sequence[tuple[str, str]], y: Any = None) -> SideBySide:
        self.vectors.fit([text for side in zip(*pairs, strict=True) for text in side])
        self.fitted_ = True
        return self

    def transform(self, pairs: Sequence[tuple[str, str]]) -> Any:
        left, right = (self.vectors.transform(side) for side in zip(*pairs, strict=True))
        return scipy.sparse.hstack([left, right, left.multiply(right), abs(left - right)], format="csr")


class OnePerLabel(BaseEstimator):
    """Several labels at once: a logistic regression for each, and the smoothed share of one that never changes."""

    def __init__(self, logistic: LogisticRegression) -> None:
        self.logistic = logistic

    def fit(self, features: Any, labels: np.ndarray, weights: np.ndarray) -> OnePerLabel:
        """`labels` (n, k) of zeros and ones."""
        self.shares_ = (weights @ labels + 0.5) / (weights.sum() + 1)
        self.coef_ = np.zeros((labels.shape[1], features.shape[1]))
        self.intercept_ = np.log(self.shares_ / (1 - self.shares_))
        for place in np.flatnonzero(labels.min(axis=0) != labels.max(axis=0)):
            one = self.logistic.fit(features, labels[:, place], sample_weight=weights)
            self.coef_[place], self.intercept_[place] = one.coef_[0], one.intercept_[0]
        return self

    def predict_proba(self, features: Any) -> np.ndarray:
        """(n, k): how likely each label is, whatever the others are."""
        made: np.ndarray = 1 / (1 + np.exp(-np.clip(features @ self.coef_.T + self.intercept_, -700, 700)))
        return made

    def predict(self, features: Any) -> np.ndarray:
        """(n, k) of zeros and ones."""
        return (self.predict_proba(features) > 0.5).astype(np.uint8)


def _loss(model: Any, features: Any, examples: Examples, task: str) -> float:
    """Mean squared error over the labels' variances, or log loss."""
    if task == "regress":
        wrong = model.predict(features).reshape(examples.labels.shape) - examples.labels
        variances = examples.labels.var(axis=0)
        return float(np.mean((wrong**2).mean(axis=0) / np.where(variances > 0, variances, 1)))
    answers = np.clip(model.predict_proba(features), SMALLEST, 1 - SMALLEST)
    if task == "multilabel":
        return float(-np.where(examples.labels > 0, np.log(answers), np.log(1 - answers)).mean())
    places = {int(label): place for place, label in enumerate(model.classes_)}
    own = [
        answers[row, places[label]] if label in places else SMALLEST
        for row, label in enumerate(examples.labels.tolist())
    ]
    return float(-np.log(own).mean())
