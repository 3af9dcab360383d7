"""From answers to numbers with intervals: the only reader of sealed test labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sterna.contracts import Sample, Task
from sterna.maths.seeds import derive
from sterna.outcomes import Score
from sterna.records import Labels, Sealed
from sterna.stats import exact_bound, percentile_interval

_COSTLY = 200_000_000  # answers that the resamples of figures of order may look at, all together: about a second
_FEWEST = 200  # resamples of any figure
_BIASED = ("calibration_error", "average_precision")  # a resample's ties and noise raise them


@dataclass(frozen=True)
class Scored:
    """One route measured on the held-out part."""

    metrics: Mapping[str, Score]
    merits: np.ndarray  # (n,) float64, for paired comparisons; see `contracts.Sample`
    losses: np.ndarray  # (n,) float64
    truth: Labels  # (n, ...) the labels, for what is told class by class once everything is measured


def measure(
    task: Task, answers: np.ndarray, sealed: Sealed, classes: tuple[str, ...], *, seed: int, draws: int = 2000
) -> Scored:
    """All figures of the task on the held-out part, each with a 95 % percentile bootstrap interval over items.

    What a resample leaves undefined (a class it happens to miss) is left out of that resample; a figure that the
    held-out part itself leaves undefined is left out of `metrics`. When every prediction is right, or none, the
    bootstrap is blind, and the exact bound of `stats.exact_bound` takes its place for figures that count hits. The
    intervals of the calibration error and of average precision are shifted by the bootstrap's own upward bias. Figures
    that need the order of all answers (areas, average precision, rank correlation) are resampled less often when n x k
    is large, at least 200 times, which fixes an end of an interval to about 13 % of its width.

    Args:
        task: a file of `tasks/`.
        answers: (n, k), as `Task.answers` gives them; for tag, those of all words.
        sealed: the held-out labels.
        classes: as in `Table`.
        seed: of the run; the interval is the same to the last bit for the same seed.
        draws: resamples; 2,000 fix an end of the interval to about 4 % of its width.

    Raises:
        DataError: no held-out example.
        TrainingError: answers that are not finite, as a diverged network gives them.
        ValueError: shapes that do not fit, or rows that are not probabilities.
    """
    n = len(sealed)
    truth = sealed.open_for_scoring()
    sample = task.sample(answers, truth, classes)
    values = sample.metrics(np.arange(n))
    resampled = _resampled(sample, n, np.asarray(answers).size, draws, seed)
    metrics = {
        name: _interval(name, float(value), column[~np.isnan(column)], n, name in task.shares)
        for name, value, column in zip(task.metrics, values, resampled, strict=True)
        if not np.isnan(value)
    }
    return Scored(metrics, sample.merits, sample.losses, truth)


def held_out_rows(
    task: Task,
    names: Sequence[str],
    classes: Sequence[str],
    answers: np.ndarray,
    sealed: Sealed,
    words: Sequence[str] = (),
) -> list[list[str]]:
    """The lines of `predictions.csv`, its header first; see `Task.rows`.

    Args:
        task: a file of `tasks/`.
        names: (n,) what a person calls the items.
        classes: (k,) names.
        answers: (n, k); for tag, those of all words.
        sealed: their labels; written down after every choice has been made.
        words: for tag, of all items.
    """
    return task.rows(names, classes, answers, sealed.open_for_scoring(), words)


def _resampled(sample: Sample, n: int, size: int, draws: int, seed: int) -> np.ndarray:
    """(figures, draws); NaN for figures that a draw leaves undefined, or that are too costly for so many draws."""
    generator = np.random.default_rng(derive(seed, "score"))
    costly = max(_FEWEST, _COSTLY // size)
    found = [sample.metrics(generator.integers(0, n, size=n), quick=place >= costly) for place in range(draws)]
    return np.stack(found, axis=1)


def _interval(name: str, value: float, resampled: np.ndarray, n: int, share: bool) -> Score:
    low, high = percentile_interval(resampled) if len(resampled) else (value, value)
    if name in _BIASED and len(resampled):
        bias = float(resampled.mean()) - value
        low, high = max(0.0, low - bias), min(1.0, high - bias)
    if share and value in (0.0, 1.0):
        low, high = (exact_bound(n), 1.0) if value == 1.0 else (0.0, 1.0 - exact_bound(n))
    return Score(value, min(low, value), max(high, value))
