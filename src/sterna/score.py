"""From class probabilities to numbers with intervals: the only reader of sealed test labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sterna.errors import DataError, TrainingError
from sterna.maths.seeds import derive
from sterna.records import Labels, Score, Sealed
from sterna.stats import exact_bound, percentile_interval

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")
_FROM_COUNTS = METRICS[:3]
_SMALLEST = np.finfo(np.float64).eps  # probabilities are clipped here before the logarithm, as in scikit-learn
_BINS = 15
_BIN_EXAMPLES = 50


@dataclass(frozen=True)
class Scored:
    """One route measured on the held-out part."""

    metrics: Mapping[str, Score]
    correct: np.ndarray  # (n,) bool, for paired comparisons
    log_losses: np.ndarray  # (n,) float64, nats


def measure(probabilities: np.ndarray, sealed: Sealed, *, seed: int, draws: int = 2000) -> Scored:
    """All metrics on the held-out part, each with a 95 % percentile bootstrap interval over examples.

    * accuracy: share of examples whose most probable class is the true one.
    * balanced_accuracy: mean of the classes' recalls.
    * macro_f1: mean of the classes' F1 = 2 hits / (examples + predictions).
    * log_loss: mean of -ln p(true class), nats.
    * calibration_error: expected calibration error of the top class (Naeini et al. 2015; Guo et al. 2017, eq. 3),
      sum over bins of |sum of (confidence - hit)| / n. The bins hold equal numbers of examples (Nixon et al. 2019), at
      least 50 each and at most 15 bins: with 15 bins of equal width, 200 examples and perfect calibration the figure
      comes out at 0.08 instead of 0. Some of that bias remains: read small values at small n as «at most».

    Classes without a held-out example are left out of the means over classes (predicting one still costs its victim's
    recall and F1); a class that a resample happens to miss is left out of that resample's means. When every prediction
    is right, or none, the bootstrap is blind, and the exact bound of `stats.exact_bound` takes its place for the first
    three. The interval of the calibration error is shifted by the bootstrap's own upward bias.

    Args:
        probabilities: (n, k), rows sum to 1.
        sealed: the held-out labels.
        seed: of the run; the interval is the same to the last bit for the same seed.
        draws: resamples; 2,000 fix an end of the interval to about 4 % of its width.

    Raises:
        DataError: no held-out example.
        TrainingError: probabilities that are not finite, as a diverged network gives them.
        ValueError: shapes that do not fit, or rows that are not probabilities.
    """
    labels = sealed.open_for_scoring()
    sample = _sample(probabilities, labels)
    values = _metrics(sample, np.arange(len(labels)))
    generator = np.random.default_rng(derive(seed, "score"))
    resampled = np.stack(
        [_metrics(sample, generator.integers(0, len(labels), size=len(labels))) for _ in range(draws)], axis=1
    )
    metrics = {
        name: _interval(name, float(value), column, len(labels))
        for name, value, column in zip(METRICS, values, resampled, strict=True)
    }
    return Scored(metrics, sample.hits > 0, sample.log_losses)


def validation_metrics(probabilities: np.ndarray, labels: Labels) -> dict[str, float]:
    """Accuracy and log loss without intervals, for choosing on the validation part.

    Args:
        probabilities: (n, k), rows sum to 1.
        labels: (n,) class numbers.

    Raises:
        As `measure`.
    """
    sample = _sample(probabilities, labels)
    return {"accuracy": float(sample.hits.mean()), "log_loss": float(sample.log_losses.mean())}


def held_out_rows(
    names: Sequence[str], classes: Sequence[str], probabilities: np.ndarray, sealed: Sealed
) -> list[list[str]]:
    """The lines of `predictions.csv`, its header first: item, truth, prediction, its probability, those of all classes.

    Args:
        names: (n,) what a person calls the items.
        classes: (k,) class names.
        probabilities: (n, k).
        sealed: their labels; written down after every choice has been made.
    """
    lines = [["item", "truth", "prediction", "probability", *classes]]
    for name, label, row in zip(names, sealed.open_for_scoring(), probabilities, strict=True):
        best = int(row.argmax())
        lines.append([name, classes[label], classes[best], f"{row[best]:.6f}", *(f"{value:.6f}" for value in row)])
    return lines


@dataclass(frozen=True)
class _Sample:
    """What the metrics need to know of each example."""

    truth: np.ndarray  # (n,) int64
    predicted: np.ndarray  # (n,) int64
    hits: np.ndarray  # (n,) float64, 1 where predicted is truth
    log_losses: np.ndarray  # (n,) float64
    bins: np.ndarray  # (n,) int64, by confidence
    gaps: np.ndarray  # (n,) float64, confidence minus hit
    classes: int


def _sample(probabilities: np.ndarray, labels: Labels) -> _Sample:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    _check(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    hits = (predicted == labels).astype(float)
    losses = -np.log(np.clip(probabilities[np.arange(len(labels)), labels], _SMALLEST, 1.0))
    return _Sample(labels, predicted, hits, losses, _bins(confidence), confidence - hits, probabilities.shape[1])


def _check(probabilities: np.ndarray, labels: Labels) -> None:
    if len(labels) == 0:
        raise DataError("there is no held-out example to score, at least one is needed: give more labelled examples.")
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise ValueError(f"probabilities must be ({len(labels)}, k), got {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise TrainingError(
            f"the predicted probabilities must be finite, got {bad} examples of {len(labels)} where they are not: "
            "training diverged, try a smaller learning rate."
        )
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels must be in [0, {probabilities.shape[1]}), got {labels.min()} to {labels.max()}")
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-4 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-4:
        raise ValueError("probabilities must be in [0, 1] and each row must sum to 1")


def _bins(confidence: np.ndarray) -> np.ndarray:
    """Bins of equal mass; equal confidences share a bin, so the order of the examples does not matter."""
    count = max(1, min(_BINS, len(confidence) // _BIN_EXAMPLES))
    edges = np.quantile(confidence, np.arange(1, count) / count)
    return np.searchsorted(edges, confidence, side="left")


def _metrics(sample: _Sample, chosen: np.ndarray) -> np.ndarray:
    """The values of `METRICS` on the examples `chosen`, (n,) positions that may repeat."""
    truth, hits = sample.truth[chosen], sample.hits[chosen]
    examples = np.bincount(truth, minlength=sample.classes)
    right = np.bincount(truth, weights=hits, minlength=sample.classes)
    predictions = np.bincount(sample.predicted[chosen], minlength=sample.classes)
    there = examples > 0
    recall = right[there] / examples[there]
    f1 = 2 * right[there] / (examples[there] + predictions[there])
    gaps = np.bincount(sample.bins[chosen], weights=sample.gaps[chosen])
    error = np.abs(gaps).sum() / len(chosen)
    return np.array([hits.mean(), recall.mean(), f1.mean(), sample.log_losses[chosen].mean(), error])


def _interval(name: str, value: float, resampled: np.ndarray, n: int) -> Score:
    low, high = percentile_interval(resampled)
    if name == "calibration_error":
        bias = float(resampled.mean()) - value
        low, high = max(0.0, low - bias), min(1.0, high - bias)
    if name in _FROM_COUNTS and value in (0.0, 1.0):
        low, high = (exact_bound(n), 1.0) if value == 1.0 else (0.0, 1.0 - exact_bound(n))
    return Score(value, min(low, value), max(high, value))
