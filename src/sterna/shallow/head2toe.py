"""A linear head on the most telling features of all stages, from the first to the last; nothing moves.

Papers: Evci, Dumoulin, Larochelle and Mozer 2022, "Head2Toe: Utilizing Intermediate Representations for Better Transfer
Learning" (arXiv 2201.03529), section 3; Yuan and Lin 2006, "Model Selection and Estimation in Regression with Grouped
Variables", for the penalty.

Equation: relevance s_j = |W_.j|, W the weights of a linear classifier on the pooled outputs of all stages under the
penalty lambda sum_j |W_.j|; the head is a logistic regression on the share `keep` of features with the largest s.

Outputs are pooled over their places and standardised; of two features that are the same on all training examples, as
where a stage does nothing but pool, one counts. Features that the penalty leaves without weight come after all others,
by how fast the loss falls along them. The share that is
kept, of 0.5 % to all, and the head's penalty are those of the smallest log loss on the validation part. The paper pools
to several places for each channel, and judges stages alike by the length of their features; here each channel is one
feature.

The time goes like n d k a pass for n examples, d features and k classes, and most passes see few features: seconds for
1,000 photos and 5,000 features.

When not to use: where the last stage already says all that the classes ask for, as with a sentence encoder on topics;
where the model must open without sterna: this is an estimator behind the encoder, `probe` a network with its head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from sterna.contracts import Examples, Given
from sterna.errors import TrainingError
from sterna.estimators import Affine
from sterna.maths import group_lasso, logistic, memory
from sterna.maths.probing import standardising
from sterna.spec import Range, method, option

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MIDDLE = 0.1  # the share without a validation part
ALIKE = 4  # decimals of standardised features
PENALTY = 0.01  # C without one


@method
class Head2Toe:
    """How many features are kept, and how they are told."""

    keep: float | None = option(
        None, "share of the features that the head reads; none: chosen on validation", Range(0, 1, low_open=True)
    )
    pull: float = option(
        0.05,
        "lambda of relevance, as a share of the one that leaves no feature any weight",
        Range(0, 1, low_open=True, high_open=True),
    )
    penalty: float | None = option(
        None, "the head's C, as in scikit-learn; none: chosen on validation", Range(0, low_open=True)
    )

    takes: ClassVar[str] = "stages"
    pretrained: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def fit(self, given: Given) -> Affine:
        """The model: a head on all features, 0 for those that it does not read.

        Raises `TrainingError` for features that are not finite, `DataError` for more of them than memory holds.
        """
        features = np.asarray(given.target.inputs, dtype=np.float64)
        if not np.isfinite(features).all():
            raise TrainingError(
                "features must be finite, got some that are not: the encoder overflows on these items, try it in "
                "float32 or another encoder."
            )
        n, width = features.shape
        memory.check("head2toe", f"{n:,} examples with {width:,} features", 3 * n * width, "type --tune probe")
        order = self._ranked(features, given)
        judged = bool(len(given.validation.labels))
        shares = (self.keep,) if self.keep else SHARES if judged else (MIDDLE,)
        counts = sorted({min(max(1, round(share * width)), len(order)) for share in shares})
        found = [self._headed(given, np.sort(order[:count]), judged) for count in counts]
        return min(found, key=lambda one: one[0])[1]

    def settled(self, model: Any) -> Head2Toe:
        """The same with the share and the penalty that a fit has chosen."""
        share = float((model.weight != 0).any(axis=0).mean())
        return replace(self, keep=share, penalty=float(model.inverse_penalty))  # type: ignore[type-var]

    def _ranked(self, features: np.ndarray, given: Given) -> np.ndarray:
        """The features from the most relevant one on, those that are copies of another left out."""
        standard = (features - features.mean(axis=0)) * standardising(features)
        once = np.sort(np.unique(np.round(standard, ALIKE), axis=1, return_index=True)[1])
        weights = given.target.weights.astype(np.float64)
        labels, classes = given.target.labels, len(given.classes)
        lengths, pulls = group_lasso.lengths(standard[:, once], labels, weights, classes, self.pull)
        return once[np.lexsort((-pulls, -lengths))]

    def _headed(self, given: Given, places: np.ndarray, judged: bool) -> tuple[float, Affine]:
        """The head on some features, and its log loss on the validation part."""
        target, held, classes = given.target, given.validation, len(given.classes)
        penalties = (self.penalty,) if self.penalty else logistic.GRID if judged else (PENALTY,)
        path = logistic.fit_path(
            _Slices(target, places), target.labels, target.weights.astype(np.float64), classes, penalties
        )
        if judged:
            chosen = logistic.choose(path, _Slices(held, places), held.labels)
            fit, loss = chosen.fit, min(value for _, value in chosen.losses)
        else:
            fit, loss = next(path), 0.0
        weight = np.zeros((classes, np.shape(target.inputs)[1]))
        weight[:, places] = fit.weight
        return loss, Affine(weight, fit.bias, inverse_penalty=fit.inverse_penalty)


@dataclass(frozen=True)
class _Slices:
    """Some features of some examples, as many at a time as are asked for."""

    examples: Examples
    places: Sequence[int] | np.ndarray

    def __call__(self, size: int) -> Iterator[np.ndarray]:
        inputs = self.examples.inputs
        return (np.asarray(inputs[start : start + size])[:, self.places] for start in range(0, len(inputs), size))
