"""One number for each item, or several.

Papers: Wright 1921, "Correlation and Causation", for R2 as the share of the variance explained; Spearman 1904, "The
Proof and Measurement of Association between Two Things" (American Journal of Psychology 15), for the rank correlation.

Equation: the primary figure is R2 = mean over columns of 1 - sum_i (y_i - z_i)^2 / sum_i (y_i - mean y)^2, with the
mean of the held-out labels; 0 is what that mean itself would reach, and a poor model is below 0.

The other figures, means over columns: rmse and mae, in the units of the labels; spearman, the correlation of the ranks,
middle ranks for ties, 0 where the answers are all alike.

A column whose held-out labels are all alike has no variance to be explained. It is measured against a variance of 1, so
that its R2 is 1 - mean squared error, and it is left out of the rank correlation. In a resample that happens to be all
alike, the variance of all held-out labels stands in.

The paired comparison of two routes takes the variance of the held-out labels as known.

When not to use: on numbers that only name things, such as codes; that is `classify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sterna.maths import answers as maths
from sterna.maths.ranking import Order, defined_mean, order
from sterna.records import Labels
from sterna.spec import method

_BINS = 10
_BIN_EXAMPLES = 5  # a bin with fewer can hardly be divided between three parts
_ALIKE = 1e-12  # of the variance of all labels


@method
class Regress:
    """Labels (n, c) float64; answers (n, c), the values themselves."""

    loss: ClassVar[str] = "squared_error"
    metrics: ClassVar[tuple[str, ...]] = ("r2", "rmse", "mae", "spearman")
    lower: ClassVar[frozenset[str]] = frozenset({"rmse", "mae"})
    shares: ClassVar[frozenset[str]] = frozenset()
    shown: ClassVar[tuple[str, ...]] = ("rmse", "mae", "spearman")
    gain: ClassVar[str] = "{route} explains {points} points {more} of the variance than {floor}"

    def primary(self, classes: tuple[str, ...]) -> str:
        return self.metrics[0]

    def strata(self, labels: Labels, classes: int) -> np.ndarray:
        """Ten bins of like numbers of examples by the first column, fewer where they would hold under five."""
        count = max(1, min(_BINS, len(labels) // _BIN_EXAMPLES))
        edges = np.unique(np.quantile(labels[:, 0], np.arange(1, count) / count)) if len(labels) else np.zeros(0)
        return np.searchsorted(edges, labels[:, 0], side="left").astype(np.int64)

    def counts(self, labels: Labels, classes: int) -> np.ndarray:
        return np.zeros(classes, dtype=np.int64)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits, dtype=np.float64)

    def sample(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> Measured:
        errors, variance = _errors(answers, labels, classes)
        squares = errors**2 / variance
        ranked = order(np.concatenate([labels, labels + errors], axis=1))
        losses = squares.mean(axis=1)
        return Measured(labels - labels.mean(axis=0), errors, variance, ranked, -losses, losses)

    def judge(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> dict[str, float]:
        errors, variance = _errors(answers, labels, classes)
        loss = float((errors**2 / variance).mean())
        return {self.metrics[0]: 1 - loss, "loss": loss}

    def rows(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        answers: np.ndarray,
        labels: Labels,
        words: Sequence[str] = (),
    ) -> list[list[str]]:
        known = len(labels) > 0
        parts = [labels, answers] if known else [answers]
        kinds = ["truth", "prediction"] if known else ["prediction"]
        lines = [["item", *(f"{word} {name}" for name in classes for word in kinds)]]
        for place, name in enumerate(names):
            values = (part[place, column] for column in range(len(classes)) for part in parts)
            lines.append([name, *(f"{value:.6g}" for value in values)])
        return lines


@dataclass(frozen=True)
class Measured:
    """What the figures need to know of each item."""

    centred: np.ndarray  # (n, c) labels minus their means: small numbers, whose squares lose no digits
    errors: np.ndarray  # (n, c)
    variance: np.ndarray  # (c,) of all labels
    ranked: Order  # of the columns of the labels, then of those of the answers
    merits: np.ndarray  # (n,)
    losses: np.ndarray  # (n,)

    def metrics(self, chosen: np.ndarray, quick: bool = False) -> np.ndarray:
        errors, centred = self.errors[chosen], self.centred[chosen]
        variance = centred.var(axis=0)
        variance = np.where(variance > _ALIKE * self.variance, variance, self.variance)
        squares = (errors**2).mean(axis=0)
        figures = [(1 - squares / variance).mean(), np.sqrt(squares).mean(), np.abs(errors).mean()]
        return np.array([*figures, np.nan if quick else self._spearman(chosen)])

    def _spearman(self, chosen: np.ndarray) -> float:
        counts = np.bincount(chosen, minlength=len(self.errors))
        ranks = self.ranked.ranks(counts)
        ranks -= (ranks @ counts / len(chosen))[:, None]
        truth, given = np.split(ranks, 2)
        shared = (truth * given) @ counts
        spread, given_spread = truth**2 @ counts, given**2 @ counts
        with np.errstate(invalid="ignore", divide="ignore"):
            found = shared / np.sqrt(spread * given_spread)
        return defined_mean(np.where((spread > 0) & (given_spread == 0), 0.0, found))


def _errors(answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Answers minus labels, and the variance of each column, 1 where all are alike."""
    answers = maths.checked(answers, len(labels), len(classes), "values")
    if labels.shape != answers.shape or not np.isfinite(labels).all():
        raise ValueError(f"labels must be finite numbers in {answers.shape}, got {labels.shape}")
    alike = labels.max(axis=0) == labels.min(axis=0)
    return answers - labels, np.where(alike, 1.0, labels.var(axis=0))
