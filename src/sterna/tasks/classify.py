"""One class for each item.

Papers: Brodersen et al. 2010, "The Balanced Accuracy and Its Posterior Distribution" (ICPR) for balanced accuracy;
Hanley and McNeil 1982 for the area under the ROC curve; Guo et al. 2017, "On Calibration of Modern Neural Networks"
(arXiv 1706.04599), equation 3, for the calibration error.

Equation: the primary figure is the accuracy, the share of items whose most probable class is the true one.

The other figures: balanced_accuracy, the mean of the classes' recalls. macro_f1, the mean of the classes'
F1 = 2 hits / (examples + predictions). roc_auc and average_precision, of the second class where there are two, else the
mean over classes of each against the rest. log_loss, the mean of -ln p(true class), nats. calibration_error of the top
class, the sum over bins of |sum of (confidence - hit)| / n: the bins hold equal numbers of examples (Nixon et al.
2019), at least 50 each and at most 15 bins, because with 15 bins of equal width, 200 examples and perfect calibration
the figure comes out at 0.08 instead of 0. Some of that bias remains: read small values at small n as «at most».

Classes without a held-out example are left out of the means over classes (predicting one still costs its victim's
recall and F1).

When not to use: on items that may have several labels, or none; that is `multilabel`. On labels with an order or a
distance, such as ages; that is `regress`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sterna.maths import answers as maths
from sterna.maths.ranking import Ranking, defined_mean, ranking
from sterna.records import Labels
from sterna.spec import method

_BINS = 15
_BIN_EXAMPLES = 50


@method
class Classify:
    """Labels (n,) int64 class numbers; answers (n, k) probabilities that sum to 1."""

    loss: ClassVar[str] = "cross_entropy"
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "roc_auc",
        "average_precision",
        "log_loss",
        "calibration_error",
    )
    lower: ClassVar[frozenset[str]] = frozenset({"log_loss", "calibration_error"})
    shares: ClassVar[frozenset[str]] = frozenset(metrics[:5])
    shown: ClassVar[tuple[str, ...]] = ("macro_f1", "log_loss", "calibration_error")
    gain: ClassVar[str] = "{route} is {points} points {more} accurate than {floor}"

    def primary(self, classes: tuple[str, ...]) -> str:
        return self.metrics[0]

    def strata(self, labels: Labels, classes: int) -> np.ndarray:
        return labels.astype(np.int64)

    def counts(self, labels: Labels, classes: int) -> np.ndarray:
        return np.bincount(labels, minlength=classes)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return maths.softmax(logits)

    def sample(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> Measured:
        probabilities = maths.checked_shares(answers, labels, len(classes))
        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        hits = (predicted == labels).astype(float)
        # With two classes the second says all; with more, each is a question of its own.
        questions = np.array([1]) if len(classes) == 2 else np.arange(len(classes))
        return Measured(
            truth=labels,
            predicted=predicted,
            merits=hits,
            losses=maths.surprise(probabilities[np.arange(len(labels)), labels]),
            bins=_bins(confidence),
            gaps=confidence - hits,
            classes=len(classes),
            ranking=ranking(probabilities[:, questions], labels[:, None] == questions),
        )

    def judge(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> dict[str, float]:
        probabilities = maths.checked_shares(answers, labels, len(classes))
        losses = maths.surprise(probabilities[np.arange(len(labels)), labels])
        accuracy = (probabilities.argmax(axis=1) == labels).mean()
        return {self.metrics[0]: float(accuracy), "loss": float(losses.mean())}

    def rows(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        answers: np.ndarray,
        labels: Labels,
        words: Sequence[str] = (),
    ) -> list[list[str]]:
        truth = [[classes[label]] for label in labels] if len(labels) else [[] for _ in names]
        lines = [["item", *(["truth"] if len(labels) else []), "prediction", "probability", *classes]]
        for name, true, row in zip(names, truth, answers, strict=True):
            best = int(row.argmax())
            lines.append([name, *true, classes[best], f"{row[best]:.6f}", *(f"{value:.6f}" for value in row)])
        return lines


@dataclass(frozen=True)
class Measured:
    """What the figures need to know of each example."""

    truth: np.ndarray  # (n,) int64
    predicted: np.ndarray  # (n,) int64
    merits: np.ndarray  # (n,) float64, 1 where predicted is truth
    losses: np.ndarray  # (n,) float64
    bins: np.ndarray  # (n,) int64, by confidence
    gaps: np.ndarray  # (n,) float64, confidence minus hit
    classes: int
    ranking: Ranking

    def metrics(self, chosen: np.ndarray, quick: bool = False) -> np.ndarray:
        truth, hits = self.truth[chosen], self.merits[chosen]
        examples = np.bincount(truth, minlength=self.classes)
        right = np.bincount(truth, weights=hits, minlength=self.classes)
        predictions = np.bincount(self.predicted[chosen], minlength=self.classes)
        there = examples > 0
        recall = right[there] / examples[there]
        f1 = 2 * right[there] / (examples[there] + predictions[there])
        gaps = np.bincount(self.bins[chosen], weights=self.gaps[chosen])
        ordered = [np.nan, np.nan] if quick else self._ordered(chosen)
        error = np.abs(gaps).sum() / len(chosen)
        return np.array([hits.mean(), recall.mean(), f1.mean(), *ordered, self.losses[chosen].mean(), error])

    def _ordered(self, chosen: np.ndarray) -> list[float]:
        """The area under the ROC curve and the average precision."""
        found = self.ranking.figures(np.bincount(chosen, minlength=len(self.truth)))
        return [defined_mean(values) for values in found]


def _bins(confidence: np.ndarray) -> np.ndarray:
    """Bins of equal mass; equal confidences share a bin, so the order of the examples does not matter."""
    count = max(1, min(_BINS, len(confidence) // _BIN_EXAMPLES))
    edges = np.quantile(confidence, np.arange(1, count) / count)
    return np.searchsorted(edges, confidence, side="left")
