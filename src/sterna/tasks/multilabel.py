"""Any number of labels for each item, none included.

Paper: Zhang and Zhou 2014, "A Review on Multi-Label Learning Algorithms" (IEEE TKDE 26), section 2.2.

Equation: the primary figure is example_f1 = mean over items of 2 |Y_i n P_i| / (|Y_i| + |P_i|), where Y_i are the true
labels of item i and P_i those whose probability is above 0.5; it is 1 for an item where both are empty.

The other figures: micro_f1, F1 of all (item, label) pairs together. macro_f1 and average_precision, means over labels;
labels without a held-out item are left out. exact_match, the share of items whose labels are all right. log_loss, the
mean over items and labels of the binary log loss, nats.

When not to use: when exactly one label is right for each item; `classify` then knows more.
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


@method
class Multilabel:
    """Labels (n, k) uint8; answers (n, k) probabilities, each its own."""

    loss: ClassVar[str] = "binary_cross_entropy"
    metrics: ClassVar[tuple[str, ...]] = (
        "example_f1",
        "micro_f1",
        "macro_f1",
        "average_precision",
        "exact_match",
        "log_loss",
    )
    lower: ClassVar[frozenset[str]] = frozenset({"log_loss"})
    shares: ClassVar[frozenset[str]] = frozenset(metrics[:5])
    shown: ClassVar[tuple[str, ...]] = ("macro_f1", "average_precision", "log_loss")
    gain: ClassVar[str] = "the {figure} of {route} is {points} points {higher} than that of {floor}"

    def primary(self, classes: tuple[str, ...]) -> str:
        return self.metrics[0]

    def strata(self, labels: Labels, classes: int) -> np.ndarray:
        """The rarest label of each item, and one more number for items without any."""
        counts = self.counts(labels, classes)
        rarity = np.where(labels > 0, counts, counts.max(initial=0) + 1)
        return np.where(labels.any(axis=1), rarity.argmin(axis=1), classes)

    def counts(self, labels: Labels, classes: int) -> np.ndarray:
        return (labels > 0).sum(axis=0)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return maths.sigmoid(logits)

    def sample(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> Measured:
        probabilities, truth = _checked(answers, labels, classes)
        predicted = probabilities > 0.5
        return Measured(
            truth=truth.astype(np.float32),
            predicted=predicted.astype(np.float32),
            hits=(truth & predicted).astype(np.float32),
            merits=_example_f1(truth, predicted),
            losses=_losses(probabilities, truth),
            exact=(truth == predicted).all(axis=1).astype(float),
            ranking=ranking(probabilities, truth),
        )

    def judge(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> dict[str, float]:
        probabilities, truth = _checked(answers, labels, classes)
        merit = _example_f1(truth, probabilities > 0.5).mean()
        return {self.metrics[0]: float(merit), "loss": float(_losses(probabilities, truth).mean())}

    def rows(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        answers: np.ndarray,
        labels: Labels,
        words: Sequence[str] = (),
    ) -> list[list[str]]:
        truth = [[_joined(classes, row > 0)] for row in labels] if len(labels) else [[] for _ in names]
        lines = [["item", *(["truth"] if len(labels) else []), "prediction", *classes]]
        for name, true, row in zip(names, truth, answers, strict=True):
            lines.append([name, *true, _joined(classes, row > 0.5), *(f"{value:.6f}" for value in row)])
        return lines


@dataclass(frozen=True)
class Measured:
    """What the figures need to know of each item."""

    truth: np.ndarray  # (n, k) float32 of 0 and 1
    predicted: np.ndarray  # (n, k)
    hits: np.ndarray  # (n, k) true and predicted
    merits: np.ndarray  # (n,) F1 of its labels
    losses: np.ndarray  # (n,)
    exact: np.ndarray  # (n,)
    ranking: Ranking

    def metrics(self, chosen: np.ndarray, quick: bool = False) -> np.ndarray:
        counts = np.bincount(chosen, minlength=len(self.merits)).astype(np.float32)
        examples, predictions, hits = (counts @ part for part in (self.truth, self.predicted, self.hits))
        every = float(examples.sum() + predictions.sum())
        micro = 2 * float(hits.sum()) / every if every else 1.0
        there = examples > 0
        macro = defined_mean(2 * hits[there].astype(float) / (examples[there] + predictions[there]))
        precision = np.nan if quick else defined_mean(self.ranking.figures(counts)[1])
        means = [part[chosen].mean() for part in (self.merits, self.exact, self.losses)]
        return np.array([means[0], micro, macro, precision, means[1], means[2]])


def _checked(answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    probabilities = maths.checked(answers, len(labels), len(classes))
    if labels.shape != probabilities.shape or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1 in {probabilities.shape}, got {labels.shape}")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError("probabilities must be in [0, 1]")
    return probabilities, labels > 0


def _example_f1(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    sizes = truth.sum(axis=1) + predicted.sum(axis=1)
    return np.where(sizes > 0, 2 * (truth & predicted).sum(axis=1) / np.maximum(sizes, 1), 1.0)


def _losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    losses: np.ndarray = maths.surprise(np.where(truth, probabilities, 1 - probabilities)).mean(axis=1)
    return losses


def _joined(classes: Sequence[str], there: np.ndarray) -> str:
    return " | ".join(name for name, held in zip(classes, there, strict=True) if held)
