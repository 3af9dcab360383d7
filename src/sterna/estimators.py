"""Estimators of scikit-learn on raw items: what they answer, and how they are kept without code in the file.

Files are written and read by skops, which rebuilds objects of known types from plain values; a file that asks for any
type not named here is refused before anything in it is made.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from skops import io

from sterna.errors import EncoderError

# Beyond the estimators of scikit-learn and the arrays of numpy that skops itself vouches for. Of the types below none
# runs anything while it is rebuilt; `partial` and `check_array` are how gradient boosting holds its columns apart.
TRUSTED = (
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.utils.validation.check_array",
    "sterna.estimators.Affine",
    "sterna.estimators.Joined",
    "sterna.estimators.OneEach",
    "sterna.estimators.PerTask",
    "sterna.records.Column",
    "sterna.rows.Category",
    "sterna.rows.Coded",
    "sterna.rows.Numeric",
    "sterna.rows.RowPreparation",
    "sterna.rows.Standardised",
    "sterna.shallow.label_propagation.Spread",
    "sterna.shallow.tfidf.OnePerLabel",
    "sterna.shallow.tfidf.SideBySide",
    "sterna.shallow.window.Look",
)
# Adapted models are made of functions and records of these parts, which compute and touch nothing else.
NUMERIC = ("sterna.adapt.", "sterna.adapting.", "sterna.crossing.", "sterna.maths.")
LINKS = ("softmax", "sigmoid", "identity")


class Affine(BaseEstimator):
    """A linear model that is fitted already: link(features @ weight.T + bias).

    Args:
        weight: (k, d).
        bias: (k,).
        link: softmax for exclusive classes, sigmoid for several labels, identity for values.
        inverse_penalty: C, with which it was fitted.
    """

    def __init__(
        self, weight: np.ndarray, bias: np.ndarray, link: str = "softmax", inverse_penalty: float = 1.0
    ) -> None:
        self.weight = weight
        self.bias = bias
        self.link = link
        self.inverse_penalty = inverse_penalty

    @property
    def classes_(self) -> np.ndarray:
        """(k,) the number of each class."""
        return np.arange(len(self.bias))

    def fit(self, features: np.ndarray, labels: Any = None) -> Affine:
        """Nothing is left to fit; scikit-learn's pipelines ask for it."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, k) the values before the link; (n,) the likeliest class for softmax."""
        values: np.ndarray = np.asarray(features, dtype=np.float64) @ self.weight.T + self.bias
        return values.argmax(axis=1) if self.link == "softmax" else values

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """(n, k)."""
        values = np.asarray(features, dtype=np.float64) @ self.weight.T + self.bias
        found: np.ndarray = softmax(values, axis=1) if self.link == "softmax" else expit(values)
        return found


class OneEach(BaseEstimator):
    """Fitted estimators on the same features, one for each label or value.

    Args:
        parts: one that tells 0 from 1 for each label, or one that predicts each value.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts

    def fit(self, features: np.ndarray, labels: Any = None) -> OneEach:
        """Nothing is left to fit; scikit-learn's pipelines ask for it."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, k) what each part predicts."""
        return np.column_stack([part.predict(features) for part in self.parts])

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """(n, k) the probability of 1, by each part."""
        return np.column_stack([_spread(part.predict_proba(features), part.classes_, 2)[:, 1] for part in self.parts])


class PerTask(BaseEstimator):
    """Fitted estimators of the same items, one for each of several tasks.

    Args:
        parts: one for each task.
        counts: classes, labels or tags of each, 0 for one number.
        tasks: what each answers; () where all are of classes or of numbers.
    """

    def __init__(self, parts: Sequence[Any], counts: Sequence[int], tasks: Sequence[str] = ()) -> None:
        self.parts = parts
        self.counts = counts
        self.tasks = tasks

    def fit(self, features: np.ndarray, labels: Any = None) -> PerTask:
        """Nothing is left to fit; scikit-learn's pipelines ask for it."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, items: Sequence[Any]) -> np.ndarray:
        """(n, k) probabilities of classes and values, the tasks side by side; of items of words (all words, k)."""
        tasks = getattr(self, "tasks", ()) or ["classify" if count else "regress" for count in self.counts]
        found = [
            answers(part, items, task, count or 1)
            for part, count, task in zip(self.parts, self.counts, tasks, strict=True)
        ]
        if "tag" in tasks:
            words = [len(item) for item in items]
            each = zip(found, tasks, strict=True)
            found = [one if task == "tag" else np.repeat(one, words, axis=0) for one, task in each]
        return np.concatenate(found, axis=1)


class Joined(TransformerMixin, BaseEstimator):
    """Items of words -> texts, a space between the words."""

    def fit(self, items: Sequence[Sequence[str]], labels: Any = None) -> Joined:
        """Nothing is learnt."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, items: Sequence[Sequence[str]]) -> list[str]:
        """(n,)."""
        return [" ".join(item) for item in items]


def of_words(model: Pipeline) -> Pipeline:
    """A fitted pipeline of texts, of items of words."""
    return Pipeline([("joined", Joined()), *model.steps])


def behind(encoding: Any, model: Any) -> Pipeline:
    """A fitted model of points, of raw rows: `encoding`, fitted too, makes points of them."""
    return Pipeline([("rows", encoding), ("model", model)])


def answers(estimator: Any, items: Sequence[Any], task: str, k: int) -> np.ndarray:
    """What a fitted estimator says of raw items: (n, k) float64.

    Args:
        estimator: `predict_proba` and `classes_` for classify, `predict_proba` for multilabel, `predict` for regress.
        items: raw items, as `Items.read` gives them.
        task: classify (probabilities that add up to 1), multilabel (a probability for each label), regress (values)
            or several (what `PerTask` gives); where words are tagged, all words of all items have rows of their own.
        k: classes, labels or values. A class that the estimator has never seen gets probability 0.
    """
    if task == "several":
        return np.asarray(estimator.predict(items), dtype=np.float64).reshape(-1, k)
    if task == "regress":
        return np.asarray(estimator.predict(items), dtype=np.float64).reshape(len(items), k)
    found = estimator.predict_proba(items)
    if task == "multilabel":
        if isinstance(found, list):  # of (n, 2), as MultiOutputClassifier gives them
            classes = estimator.classes_
            found = np.column_stack(
                [_spread(one, known, 2)[:, 1] for one, known in zip(found, classes, strict=True)],
            )
        return np.asarray(found, dtype=np.float64).reshape(len(items), k)
    return _spread(np.asarray(found, dtype=np.float64), estimator.classes_, k)


def save(estimator: Any, path: Path) -> None:
    """Write a fitted estimator to `path`.

    Raises `EncoderError` for one that `load` would refuse; nothing is left at `path` then.
    """
    data = io.dumps(estimator)
    unknown = _unknown(io.get_untrusted_types(data=data))
    if unknown:
        raise EncoderError(
            f"this estimator holds objects that sterna does not keep ({unknown}); use scikit-learn's own estimators."
        )
    path.write_bytes(data)


def load(path: Path) -> Any:
    """The estimator that `save` wrote; it answers to the last bit as it did.

    Raises `EncoderError` for a file that is absent or damaged, or that asks for a type other than those of `TRUSTED`
    and those that skops vouches for.
    """
    try:
        types = io.get_untrusted_types(file=path)
        unknown = _unknown(types)
        estimator = None if unknown else io.load(path, trusted=types)
        sound = all(_sound(booster) for booster in _boosters(estimator))
    except FileNotFoundError as error:
        raise EncoderError(f"there is no file {path}; give the model folder of a run.") from error
    # A damaged archive fails wherever its damage lies: zip, JSON, arrays, attributes.
    except (zipfile.BadZipFile, AttributeError, ImportError, KeyError, OSError, TypeError, ValueError) as error:
        raise EncoderError(f"{path} is damaged ({error}); save the model again.") from error
    if unknown:
        raise EncoderError(
            f"{path} asks for objects that sterna does not make from a file ({unknown}), and such files can run code; "
            "use a model that sterna saved."
        )
    if not sound:
        raise EncoderError(f"{path} is damaged (a tree in it points outside itself); save the model again.")
    return estimator


def _boosters(value: Any) -> Iterator[Any]:
    """The gradient boosters in an estimator."""
    if isinstance(value, (HistGradientBoostingClassifier, HistGradientBoostingRegressor)):
        if hasattr(value, "_predictors"):  # an unfitted one is what others were copied from
            yield value
        return
    inner = vars(value) if isinstance(value, BaseEstimator) else value
    if isinstance(inner, (dict, list, tuple)) or (isinstance(inner, np.ndarray) and inner.dtype == object):
        for one in inner.values() if isinstance(inner, dict) else inner:
            yield from _boosters(one)


def _sound(booster: Any) -> bool:
    """Whether every place that the trees point to is there: scikit-learn follows them without looking."""
    categorical = np.asarray(booster._bin_mapper.is_categorical_)
    if len(categorical) != booster.n_features_in_:
        return False
    return all(_within(tree, categorical) for trees in booster._predictors for tree in trees)


def _within(tree: Any, categorical: np.ndarray) -> bool:
    nodes = tree.nodes
    splits = np.flatnonzero(nodes["is_leaf"] == 0)
    feature, side = nodes["feature_idx"][splits], nodes["bitset_idx"][splits]
    ends = np.stack([nodes["left"][splits], nodes["right"][splits]])
    # A node comes before those below it, so that no path is a ring.
    below = bool(((ends > splits) & (ends < len(nodes))).all())
    if not len(nodes) or not below or not ((feature >= 0) & (feature < len(categorical))).all():
        return False
    by_set = nodes["is_categorical"][splits] != 0
    sets = tree.raw_left_cat_bitsets
    return bool((categorical[feature[by_set]] & (side[by_set] < len(sets))).all()) and sets.shape[1:] == (8,)


def _unknown(types: Sequence[str]) -> str:
    """Those of the types that are not trusted, as words; empty where all are."""
    return ", ".join(sorted(one for one in set(types) - set(TRUSTED) if not one.startswith(NUMERIC)))


def _spread(probabilities: np.ndarray, classes: np.ndarray, k: int) -> np.ndarray:
    """Columns of the classes an estimator has seen -> columns of all classes."""
    found = np.zeros((len(probabilities), k))
    found[:, np.asarray(classes, dtype=np.int64)] = probabilities
    return found
