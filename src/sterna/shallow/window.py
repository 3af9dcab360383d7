"""Words in their window with a linear model: the floor that pretrained encoders of words have to beat.

Paper: Ratinov and Roth 2009, "Design Challenges and Misconceptions in Named Entity Recognition" (CoNLL), section 3, for
the features of a word and its neighbours; without its gazetteers, clusters and two stages.

Equation: p(tag | word) = softmax(W x + b), x of zeros and ones: of the word and of `reach` words on either side, the
word in lower case and its shape (Xxxx for Berlin, d for 7); of the word itself, its beginnings and endings of up to
four letters, and whether it begins the item. Each feature falls by its hash on one of 2^18 places (Weinberger et al.
2009, arXiv 0902.2206, without signs). The penalty C has the smallest log loss on the words of the validation part.

Each word is answered by itself: a tag knows nothing of the tag before it. With several tasks at once, what is said of
whole items beside the tags is answered by `tfidf`, on the words with spaces between.

When not to use: where words far away decide, or where the words of new items were hardly seen in training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sterna.contracts import Examples, Given
from sterna.errors import TrainingError
from sterna.spec import Range, method, option

PLACES = 2**18
SMALLEST = 1e-12  # probability
STOP = 1e-4  # largest entry of the gradient of the mean loss


@method
class Window:
    """How far a word looks and how the linear model is held back."""

    reach: int = option(2, "words on either side that are looked at", Range(0, 10))
    inverse_penalties: tuple[float, ...] = option(
        (0.5, 2.0, 8.0), "values of C to choose from on the validation part", Range(0, 1e9, low_open=True)
    )

    takes: ClassVar[str] = "words"
    pretrained: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("tag", "several")
    beside: ClassVar[str] = "tfidf"  # the method of `shallow/` for whole items, where several tasks have both

    def fit(self, given: Given) -> Pipeline:
        """A fitted pipeline from items of words to probabilities of all their words, one after another.

        Without a validation part the middle of `inverse_penalties` is taken. Raises `TrainingError` for words of a
        single tag.
        """
        labels = _flat(given.target.labels)
        if len(np.unique(labels)) < 2:
            raise TrainingError("window needs training words of at least two tags, got one; add examples.")
        lengths = [len(item) for item in given.target.inputs]
        weights = np.repeat(given.target.weights, lengths)
        words = Pipeline(
            [("look", Look(self.reach)), ("hash", FeatureHasher(PLACES, input_type="string", alternate_sign=False))]
        )
        seen = words.fit_transform(given.target.inputs)
        values = sorted(self.inverse_penalties)
        if len(values) > 1 and not len(given.validation.labels):
            values = [values[len(values) // 2]]
        checked = words.transform(given.validation.inputs) if len(values) > 1 else None
        best, least = None, np.inf
        for value in values:
            model = LogisticRegression(C=value, max_iter=300, tol=STOP)
            model.fit(seen, labels, sample_weight=weights)
            loss = 0.0 if checked is None else _loss(model, checked, given.validation)
            if best is not None and loss >= least:
                break
            best, least = model, loss
        return Pipeline([("words", words), ("model", best)])

    def settled(self, model: Pipeline) -> Window:
        """The same with the penalty that a fit has chosen."""
        return replace(self, inverse_penalties=(float(model["model"].C),))  # type: ignore[type-var]


class Look(TransformerMixin, BaseEstimator):
    """Items of words -> for each word of each item, what is seen of it and of its neighbours.

    Args:
        reach: words on either side.
    """

    def __init__(self, reach: int = 2) -> None:
        self.reach = reach

    def fit(self, items: Sequence[Sequence[str]], labels: Any = None) -> Look:
        """Nothing is learnt."""
        self.fitted_ = True
        return self

    def transform(self, items: Sequence[Sequence[str]]) -> list[list[str]]:
        """(all words, features of each)."""
        return [one for item in items for one in self._seen(item)]

    def _seen(self, item: Sequence[str]) -> Iterator[list[str]]:
        plain = [(word.lower(), shape(word)) for word in item]
        for place, word in enumerate(item):
            lower = plain[place][0]
            found = ["", "first"] if place == 0 else [""]
            found += [f"<{lower[:size]}" for size in range(1, min(4, len(lower)) + 1)]
            found += [f">{lower[-size:]}" for size in range(1, min(4, len(lower)) + 1)]
            for step in range(-self.reach, self.reach + 1):
                there = 0 <= place + step < len(item)
                low, kind = plain[place + step] if there else ("\n", "\n")
                found += [f"{step}={low}", f"{step}#{kind}"]
            yield [*found, f"={word}"]


def shape(word: str) -> str:
    """Berlin -> Xx, USA -> X, 2009 -> d, iPhone-7 -> xXx-d: runs of one kind of letter as one."""
    kinds = "".join("X" if one.isupper() else "x" if one.islower() else "d" if one.isdigit() else one for one in word)
    return re.sub(r"(.)\1+", r"\1", kinds)


def _flat(labels: np.ndarray) -> np.ndarray:
    return np.concatenate([*labels, np.zeros(0, dtype=np.int64)]).astype(np.int64)


def _loss(model: LogisticRegression, features: Any, examples: Examples) -> float:
    """Mean log loss of the words; a tag that was never seen counts as all but impossible."""
    known = _flat(examples.labels)
    answers = np.clip(model.predict_proba(features), SMALLEST, 1)
    places = np.searchsorted(model.classes_, known)
    seen = np.isin(known, model.classes_)
    own = np.where(seen, answers[np.arange(len(known)), np.minimum(places, len(model.classes_) - 1)], SMALLEST)
    return float(-np.log(own).mean())
