"""Figures of order, many columns at once, on examples that count several times: for bootstrap resamples.

Columns are sorted once. A resample then is a count for each example, and a figure costs one pass over the cumulative
counts, without sorting again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Order:
    """Columns in ascending order, ties known."""

    places: np.ndarray  # (k, n) int32: the examples of each column from the lowest value to the highest
    first: np.ndarray  # (k, n) int32, by example: how many examples have lower values
    last: np.ndarray  # (k, n) int32, by example: how many have lower or equal values

    def cumulative(self, counts: np.ndarray) -> np.ndarray:
        """(k, n + 1): counts (n,) added up along each column."""
        found = np.zeros((len(self.places), len(counts) + 1), dtype=np.int32)
        np.cumsum(counts.astype(np.int32)[self.places], axis=1, out=found[:, 1:])
        return found

    def ranks(self, counts: np.ndarray) -> np.ndarray:
        """(k, n) float64: the rank of each example among all counted ones from 0 on, the middle one for ties."""
        along = self.cumulative(counts)
        below = np.take_along_axis(along, self.first, axis=1)
        return (below + np.take_along_axis(along, self.last, axis=1)) / 2  # type: ignore[no-any-return]


def order(values: np.ndarray) -> Order:
    """Sort the columns of (n, k) values."""
    columns = np.ascontiguousarray(values.T)
    n = columns.shape[1]
    places = np.argsort(columns, axis=1, kind="stable").astype(np.int32)
    ascending = np.take_along_axis(columns, places, axis=1)
    new = np.ones(columns.shape, dtype=bool)
    new[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    position = np.arange(n, dtype=np.int32)
    first = np.maximum.accumulate(np.where(new, position, 0), axis=1)
    closes = np.ones(columns.shape, dtype=bool)
    closes[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(closes, position + 1, n)[:, ::-1], axis=1)[:, ::-1]
    found = Order(places, np.empty_like(places), np.empty_like(places))
    np.put_along_axis(found.first, places, first, axis=1)
    np.put_along_axis(found.last, places, last, axis=1)
    return found


@dataclass(frozen=True)
class Ranking:
    """Scores of k binary questions beside the positive examples of each, in the order of (question, falling score)."""

    order: Order
    items: np.ndarray  # (m,) the example of each positive
    columns: np.ndarray  # (m,) its question
    first: np.ndarray  # (m,) its `Order.first`
    last: np.ndarray  # (m,)
    ties: np.ndarray  # (m,) the position of the last positive of equal score
    starts: np.ndarray  # (k,) where the positives of each question start

    def figures(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The area under the ROC curve and the average precision of each question on counted examples.

        The area is the probability that a positive scores higher than a negative, ties counting half (Hanley & McNeil
        1982), from midranks. Average precision is the sum of precision x step in recall over distinct scores.

        Args:
            counts: (n,) how often each example is there.

        Returns:
            (k,) and (k,); NaN where a question has no positive, or, for the area, no negative.
        """
        k, total = len(self.starts), float(counts.sum())
        along = self.order.cumulative(counts)
        below, up_to = along[self.columns, self.first], along[self.columns, self.last]
        weights = counts[self.items].astype(float)
        positives = np.bincount(self.columns, weights=weights, minlength=k)
        ranks = np.bincount(self.columns, weights=weights * (below + up_to) / 2, minlength=k)
        found = np.concatenate([[0.0], np.cumsum(weights)])
        hits = found[self.ties + 1] - found[self.starts[self.columns]]
        precision = hits / np.maximum(total - below, 1)
        steps = np.bincount(self.columns, weights=weights * precision, minlength=k)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = (ranks - positives**2 / 2) / (positives * (total - positives))
            return area, steps / positives


def ranking(scores: np.ndarray, positive: np.ndarray) -> Ranking:
    """Scores (n, k) and which of them belong to positives, (n, k) bool."""
    sorted_columns = order(scores)
    columns, items = np.nonzero(positive.T)
    falling = np.lexsort((-sorted_columns.first[columns, items], columns))
    columns, items = columns[falling], items[falling]
    first, last = sorted_columns.first[columns, items], sorted_columns.last[columns, items]
    closes = np.ones(len(items), dtype=bool)
    closes[:-1] = (columns[1:] != columns[:-1]) | (first[1:] != first[:-1])
    positions = np.where(closes, np.arange(len(items)), len(items))
    ties = np.minimum.accumulate(positions[::-1])[::-1]
    starts = np.searchsorted(columns, np.arange(scores.shape[1]))
    return Ranking(sorted_columns, items, columns, first, last, ties, starts)


def defined_mean(values: np.ndarray) -> float:
    """The mean of those that are not NaN; NaN where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
