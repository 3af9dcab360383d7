"""Every distance of two samples, in units of the distance between one's own halves.

A distance alone says little: some are never 0, some grow with the features and fall with the examples. So the left
sample is halved at random, ten times, and each distance is measured between its halves and, at the same sizes, between
one half and as many examples of the right sample. What is asked is how many times the second is the first: about 1
where the right sample could be another half of the left.

Distances at their best in few dimensions see principal components of the two samples pooled, each feature standardised,
scaled so that the variances of the components add up to 1. There are at most 64, and at most one for every ten examples
of the smaller sample: the bias of distances fitted to means and covariances goes like components over examples, and
neighbours and kernels tell the less apart the more directions hold nothing but noise. The components do not know which
example is whose, so permutation tests on them stay exact.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sterna.contracts import Metric, Sides
from sterna.errors import DataError
from sterna.maths.samples import blocks, thinned
from sterna.maths.seeds import derive
from sterna.records import Labels

COMPONENTS = 64
EACH = 10  # examples a component, of the smaller sample
FITTED = 2048  # examples of the pool by which components are found
HALVINGS = 10
HALF = 500  # examples of a half at most
CLASS_HALF = 250
FEWEST = 10  # examples a side
FEW = 6  # examples of a class on a side, below which its distance says nothing
SHOWN = 2000  # examples a side of distances that are slow and test nothing, where nobody chose their options
MOST = 1000.0  # of the times: beyond, halves are all but alike and the number means nothing
DRAWS = 9999
_BLOCK = 4096


@dataclass(frozen=True)
class Measured:
    """One distance of two samples."""

    name: str  # as it is written
    scale: str  # what the value means
    value: float | None = None  # None where it does not apply
    p: float | None = None
    within: float | None = None  # between halves of the left sample, the mean size
    across: float | None = None  # between a half and as many of the right sample
    times: float | None = None  # across / within, at most `MOST`
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    reason: str = ""  # why it does not apply


@dataclass(frozen=True)
class Moved:
    """One class that both samples have."""

    name: str
    left: int  # examples
    right: int
    moved: float  # the distance beyond that of the left sample's halves, at the same sizes
    times: float
    p: float | None


@dataclass(frozen=True)
class Samples:
    """Two samples as one encoder sees them, or the same items as two encoders do."""

    left: np.ndarray  # (n, d)
    right: np.ndarray  # (m, d), or (n, e) for pairs
    left_labels: Labels | None = None  # (n,) class numbers
    right_labels: Labels | None = None
    paired: bool = False  # row i of both is the same item, seen by two encoders
    reduced: tuple[np.ndarray, np.ndarray] | None = None  # in principal components; None for pairs
    share: float = 1.0  # of the variance that these hold
    seed: int = field(default=0)

    @property
    def half(self) -> int:
        """Examples of a half that are measured."""
        return min(len(self.left) // 2, len(self.right), HALF)

    def sides(self, metric: Metric, rows: tuple[np.ndarray, np.ndarray] | None = None, tested: bool = False) -> Sides:
        """Rows of the left and of the right sample, all where none are named, as the distance is to see them."""
        left, right = self.reduced if metric.reduced and self.reduced else (self.left, self.right)
        first, second = rows or (slice(None), slice(None))
        own = None if self.left_labels is None else self.left_labels[first]
        other = None if self.right_labels is None else self.right_labels[second]
        return Sides(left[first].astype(float), right[second].astype(float), self.seed, own, other, tested)

    def halves(self, metric: Metric, first: np.ndarray, second: np.ndarray) -> Sides:
        """Two parts of the left sample."""
        left = self.reduced[0] if metric.reduced and self.reduced else self.left
        own, other = (None if self.left_labels is None else self.left_labels[rows] for rows in (first, second))
        return Sides(left[first].astype(float), left[second].astype(float), self.seed, own, other, tested=False)


def samples(
    left: np.ndarray, right: np.ndarray, labels: tuple[Labels | None, Labels | None] = (None, None), seed: int = 0
) -> Samples:
    """Two samples of the same features, with their principal components.

    Raises `DataError` for fewer than ten examples a side.
    """
    if min(len(left), len(right)) < FEWEST:
        raise DataError(
            f"a comparison needs at least {FEWEST} examples on each side, got {len(left)} and {len(right)}; add "
            "examples."
        )
    (first, second), share = principal((left, right), seed)
    return Samples(left, right, *labels, reduced=(first, second), share=share, seed=seed)


def principal(parts: Sequence[np.ndarray], seed: int) -> tuple[tuple[np.ndarray, ...], float]:
    """(n_i, k) float32 principal components of samples pooled, and the share of the variance that they hold.

    Features are standardised; one that never varies tells nothing. Found from 2,048 examples of the pool, whoever they
    belong to, so that time does not grow with the examples.
    """
    edges = np.cumsum([0, *(len(part) for part in parts)])
    chosen = thinned(int(edges[-1]), FITTED, seed, "principal")
    homes = np.searchsorted(edges, chosen, side="right") - 1
    pool = np.stack([parts[home][row - edges[home]] for home, row in zip(homes, chosen, strict=True)]).astype(float)
    centre, deviation = pool.mean(axis=0), pool.std(axis=0)
    flat = deviation <= 1e-7 * np.abs(pool).max(axis=0)
    factor = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, deviation))
    pool = (pool - centre) * factor
    count = min(COMPONENTS, max(2, min(map(len, parts)) // EACH))
    directions, share = _directions(pool, count)
    return tuple(_projected(part, centre, directions * factor[:, None]) for part in parts), share


def measured(name: str, metric: Metric, given: Samples, tested: bool = True, most: int | None = None) -> Measured:
    """One distance; with a reason where it does not apply.

    Args:
        name: as it is written.
        metric: the distance.
        given: the samples.
        tested: whether p values mean anything.
        most: examples a side, for a distance that looks at few anyway and tests nothing; None: what it says itself.
    """
    begin = time.perf_counter()
    reason = _lacking(metric, given)
    if reason:
        return Measured(name, metric.scale, reason=reason)
    rows, notes = _rows(metric, given, most)
    within = across = times = None
    try:
        got = metric.measure(given.sides(metric, rows, tested))
        if not given.paired:
            within, across = _repeated(given, metric, None, HALF)
            times = _times(across, within)
    except DataError as error:
        return Measured(name, metric.scale, reason=str(error))
    seconds = time.perf_counter() - begin
    return Measured(name, metric.scale, got.value, got.p, within, across, times, seconds, (*notes, *got.notes))


def classes(given: Samples, names: Sequence[str], metric: Metric, most: int) -> tuple[Moved, ...]:
    """How far each class that both samples have has moved, the furthest first.

    Distances depend on how many examples are compared, so what counts is how much further a half of the class lies from
    as many examples of the other sample than from its other half.

    Args:
        given: the samples, both with labels.
        names: of the classes by their numbers.
        metric: that sees any difference.
        most: classes that are looked at, the most frequent.
    """
    if given.left_labels is None or given.right_labels is None:
        return ()
    counts = [np.bincount(one, minlength=len(names))[: len(names)] for one in (given.left_labels, given.right_labels)]
    often = np.argsort(-np.minimum(*counts), kind="stable")[:most]
    found = []
    for number in np.sort(often).tolist():
        name = names[number]
        left, right = (np.flatnonzero(one == number) for one in (given.left_labels, given.right_labels))
        if min(len(left), len(right)) >= FEW:
            within, across = _repeated(given, metric, (left, right), CLASS_HALF)
            p = metric.measure(given.sides(metric, (left, right), tested=True)).p
            found.append(Moved(name, len(left), len(right), across - within, _times(across, within), p))
    return tuple(sorted(found, key=lambda one: -one.moved))


def shares(left: np.ndarray, right: np.ndarray, seed: int) -> float:
    """The p value of the shares of classes being the same, from counts (k,) of each.

    The G statistic, 2 sum O ln(O / E), against 9,999 tables with the same margins, so that rare classes count rightly
    (Sokal and Rohlf 1995, "Biometry", section 17.4, for the statistic).
    """
    totals = left + right
    generator = np.random.default_rng(derive(seed, "shares"))
    drawn = generator.multivariate_hypergeometric(totals, int(left.sum()), size=DRAWS, method="marginals")
    found = _likelihood(np.concatenate([left[None], drawn]), totals)
    return float((found >= found[0] - 1e-9).mean())


def _likelihood(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """(b,) G of tables (b, k) of the first side, without what all of them share."""
    both = np.stack([counts, totals - counts]).astype(float)
    return np.asarray((both * np.log(np.maximum(both, 1))).sum(axis=(0, 2)))


def _rows(
    metric: Metric, given: Samples, most: int | None
) -> tuple[tuple[np.ndarray, np.ndarray] | None, tuple[str, ...]]:
    """The examples that a distance is measured on, None for all, and the sentence that says so where these are few."""
    few = most is not None and hasattr(metric, "limit") and not hasattr(metric, "permutations")
    if not few or most is None or max(len(given.left), len(given.right)) <= most:
        return None, ()
    left, right = (
        thinned(len(one), most, given.seed, "shown", side) for side, one in enumerate((given.left, given.right))
    )
    return (left, right), (f"Measured on {len(left)} and {len(right)} examples, drawn at random.",)


def _lacking(metric: Metric, given: Samples) -> str:
    """What a distance needs and these samples do not have; "" for nothing."""
    if given.paired:
        return "" if metric.needs == "pairs" else "two encoders give other features, which only pairs of items compare"
    if metric.needs == "pairs":
        return "pairs compare two encoders on the same items; type --encoder E,F and the same data twice"
    if metric.needs == "labels" and (given.left_labels is None or given.right_labels is None):
        return "it needs one class for each example on both sides"
    return ""


def _repeated(
    given: Samples, metric: Metric, rows: tuple[np.ndarray, np.ndarray] | None, most: int
) -> tuple[float, float]:
    """The mean size of the distance between halves of the left sample, and between a half and the right sample.

    Sizes without sign: estimates without bias fall below 0 as often as above where nothing differs.
    """
    left, right = rows or (np.arange(len(given.left)), np.arange(len(given.right)))
    size = min(len(left) // 2, len(right), most)
    within, across = [], []
    for number in range(HALVINGS):
        generator = np.random.default_rng(derive(given.seed, "halves", number))
        own, other = generator.permutation(left), generator.permutation(right)[:size]
        within.append(abs(metric.measure(given.halves(metric, own[:size], own[size : 2 * size])).value))
        across.append(abs(metric.measure(given.sides(metric, (own[:size], other))).value))
    return float(np.mean(within)), float(np.mean(across))


def _times(across: float, within: float) -> float:
    """How many times the one is the other; 1 where both are rounding."""
    if across <= 1e-12:
        return 1.0 if within <= 1e-12 else 0.0
    return min(across / max(within, 1e-12), MOST)


def _directions(pool: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """(d, k) that give the largest principal components with variances that add up to 1, and their share of all."""
    n, d = pool.shape
    wide = d > n
    squares, vectors = np.linalg.eigh(pool @ pool.T if wide else pool.T @ pool)
    total = float(squares.clip(0).sum())
    kept = [place for place in range(len(squares))[::-1][:count] if squares[place] > 1e-10 * max(total, 1e-300)]
    if not kept:
        return np.zeros((d, 1)), 1.0
    found = pool.T @ vectors[:, kept] / np.sqrt(squares[kept]) if wide else vectors[:, kept]
    held = float(squares[kept].sum())
    return np.asarray(found * np.sqrt(n / held)), held / total


def _projected(part: np.ndarray, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    found = np.empty((len(part), directions.shape[1]), dtype=np.float32)
    for rows in blocks(len(part), _BLOCK):
        found[rows] = (part[rows] - centre) @ directions
    return found
