"""Heads on features of which each example has a weight: nearest neighbour, and linear ones with a chosen penalty.

Features are taken as they are but for their centre and one common factor, so that what an adaptation has made small
stays small. Linear heads choose their penalty by importance weighted cross-validation on the examples they learn from
(Sugiyama, Krauledat and Mueller 2007, JMLR 8): examples left out of a fit are judged with their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sterna.maths.answers import softmax
from sterna.maths.criteria import losses
from sterna.maths.folds import folds
from sterna.maths.kernels import squared_distances
from sterna.maths.memory import check
from sterna.maths.probing import logistic_path, predictions, ridge_path
from sterna.maths.samples import blocks, thinned
from sterna.maths.seeds import derive
from sterna.maths.spectra import spectrum
from sterna.records import Labels

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # C, for features whose variances add up to 1 and weights of mean 1
RIDGE = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # C; one decomposition serves all of them
MANY = 1000  # examples from which two folds of five choose a penalty as well as five do
_CELLS = 2**24  # of a block of distances: 128 MiB
_WIDTH_OF = 500  # examples whose neighbours fix the width of a nearest-neighbour head


@dataclass(frozen=True)
class Learnt:
    """What a head learns from."""

    features: np.ndarray  # (n, d) float64
    labels: Labels  # (n,) class numbers below `classes`, or values where that is 0
    weights: np.ndarray  # (n,) >= 0, not all 0
    classes: int
    seed: int

    def part(self, rows: np.ndarray) -> Learnt:
        """Some of the examples."""
        return replace(self, features=self.features[rows], labels=self.labels[rows], weights=self.weights[rows])


Path = Callable[[Learnt, Sequence[float]], Iterator[np.ndarray]]
"""Of examples and ascending strengths: a head (k, d + 1) at each strength in turn, the bias last."""


@dataclass(frozen=True)
class Linear:
    """A linear head: shares by softmax for classes, the value itself for values."""

    weight: np.ndarray  # (k, d + 1), the bias last
    classes: int  # 0 for values
    strength: float  # C of its penalty

    def answers(self, features: np.ndarray) -> np.ndarray:
        """(n, k) shares, or (n,) values."""
        found = predictions(self.weight, features)
        return softmax(found) if self.classes else found[:, 0]


@dataclass(frozen=True)
class Nearest:
    """One nearest neighbour: the class of the nearest example is the likeliest; ties go to the earliest class.

    Shares are proportional to exp(-d_k^2 / 2 s^2), d_k the distance to the nearest example of class k: one of them is
    the largest where one neighbour decides, and none is sure where two classes are equally near.
    """

    features: np.ndarray  # (n, d) around their centre, sorted by label
    labels: Labels  # (n,) ascending for classes
    classes: int  # 0 for values
    centre: np.ndarray  # (d,)
    width: float  # s^2: half the median squared distance of an example to the nearest other one

    def answers(self, features: np.ndarray) -> np.ndarray:
        """(n, classes) shares, or (n,) the values of the nearest examples."""
        parts = blocks(len(features), max(1, _CELLS // len(self.labels)))
        found = [self._block(features[part] - self.centre) for part in parts]
        empty = np.zeros((0, self.classes) if self.classes else 0)
        return np.concatenate([empty, *found])

    def _block(self, moved: np.ndarray) -> np.ndarray:
        squares = squared_distances(moved, self.features)
        if not self.classes:
            return np.asarray(self.labels[squares.argmin(axis=1)], dtype=np.float64)
        present, starts = np.unique(self.labels, return_index=True)
        nearest = np.full((len(moved), self.classes), np.inf)
        nearest[:, present] = np.minimum.reduceat(squares, starts, axis=1)
        return softmax((nearest.min(axis=1, keepdims=True) - nearest) / (2 * self.width))


def nearest(learnt: Learnt) -> Nearest:
    """The head that remembers all examples of weight above 0; how large weights are does not count."""
    used = np.flatnonzero(learnt.weights > 0)
    order = used[np.argsort(learnt.labels[used], kind="stable")] if learnt.classes else used
    centre = learnt.features[order].mean(axis=0)
    moved = learnt.features[order] - centre
    some = thinned(len(moved), _WIDTH_OF, learnt.seed, "nearest")
    closest = np.array([])
    for part in blocks(len(some), max(1, _CELLS // len(moved))):
        squares = squared_distances(moved[some[part]], moved)
        squares[np.arange(len(squares)), some[part]] = np.inf
        closest = np.append(closest, squares.min(axis=1))
    apart = closest[np.isfinite(closest) & (closest > 0)]
    width = float(np.median(apart)) / 2 if len(apart) else 1.0
    return Nearest(moved, learnt.labels[order], learnt.classes, centre, width)


def linear(path: Path, learnt: Learnt, measure: str = "log", strengths: Sequence[float] = STRENGTHS) -> Linear:
    """The head of a path at the strength that cross-validation finds.

    From 1,000 examples on two folds of five are judged. Where no fold can be made the strength is the middle one.

    Args:
        path: see `Path`.
        learnt: the examples.
        measure: the loss by which shares are judged, as `maths.criteria.losses` takes it.
        strengths: C, ascending.

    Raises `DataError` for features that do not fit into memory twice more.
    """
    n, d = learnt.features.shape
    advice = "use fewer examples or features, such as principal components"
    check("a linear head", f"{n:,} x {d:,} features twice", 2.0 * n * d, advice)
    share = learnt.weights / learnt.weights.sum()
    centre = share @ learnt.features
    moved = learnt.features - centre
    spread = float(share @ (moved * moved).sum(axis=1))
    factor = 1 / np.sqrt(spread) if spread > 0 else 1.0
    moved *= factor
    scaled = replace(learnt, features=moved)
    strength = _strength(path, scaled, measure, strengths)
    # Each start is near its optimum only along the whole path.
    *_, head = path(scaled, [one for one in strengths if one <= strength])
    weight = head[:, :-1] * factor
    return Linear(np.column_stack([weight, head[:, -1] - weight @ centre]), learnt.classes, strength)


def _strength(path: Path, learnt: Learnt, measure: str, strengths: Sequence[float]) -> float:
    used = np.flatnonzero(learnt.weights > 0)
    task = "classify" if learnt.classes else "regress"
    divided = folds(learnt.labels[used], np.ones(len(used)), task, derive("head", learnt.seed))
    total = np.zeros(len(strengths))
    for learning, judging in divided[: 2 if len(used) >= MANY else None]:
        judged = learnt.part(used[judging])
        for place, head in enumerate(path(learnt.part(used[learning]), strengths)):
            found = predictions(head, judged.features)
            answers = softmax(found) if learnt.classes else found[:, 0]
            total[place] += judged.weights @ losses(answers, judged.labels, measure)
    return strengths[int(total.argmin())] if divided else strengths[len(strengths) // 2]


def logistic(learnt: Learnt, strengths: Sequence[float]) -> Iterator[np.ndarray]:
    """`probing.logistic_path` as a `Path`."""
    return logistic_path(learnt.features, learnt.labels, learnt.weights, learnt.classes, strengths)


def ridge(learnt: Learnt, strengths: Sequence[float]) -> Iterator[np.ndarray]:
    """`probing.ridge_path` as a `Path`; more features than examples are first turned into the space they span."""
    values = np.asarray(learnt.labels, dtype=np.float64)[:, None]
    n, d = learnt.features.shape
    if d <= n:
        yield from ridge_path(learnt.features, values, learnt.weights, strengths)
        return
    centre = learnt.features.mean(axis=0)
    found = spectrum(learnt.features, centre=True)
    back = (found.left / found.values).T @ (learnt.features - centre)
    for head in ridge_path(found.coordinates, values, learnt.weights, strengths):
        weight = head[:, :-1] @ back
        yield np.column_stack([weight, head[:, -1] - weight @ centre])
