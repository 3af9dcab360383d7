"""What the parts that can be exchanged promise: tasks, feeds, and methods on features or raw items.

Like `records` it computes nothing. Torch is named for type checkers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sterna.records import Batch, Column, Labels

if TYPE_CHECKING:
    from torch import Tensor


class Sample(Protocol):
    """Predictions beside the truth, ready to be measured on any selection of the items."""

    @property
    def merits(self) -> np.ndarray:
        """(n,) float64 for each item; their mean is the task's primary figure (up to a constant shared by all routes).

        A figure that is no mean, such as an F1, is linearised: value + its influence function. Paired differences of
        merits are what a verdict is made from.
        """

    @property
    def losses(self) -> np.ndarray:
        """(n,) float64 for each item, lower is better: log loss in nats, or squared error in variances."""

    def metrics(self, chosen: np.ndarray, quick: bool = False) -> np.ndarray:
        """The task's figures, in the order of `Task.metrics`, on the items `chosen` (positions that may repeat).

        NaN where a figure is not defined, and for costly figures when `quick`.
        """


class Task(Protocol):
    """What a label is: a file of `tasks/`. Labels and classes are those of a `Table`; everything is numpy."""

    loss: str  # the objective where none is named, in the grammar
    metrics: tuple[str, ...]  # names of the figures
    lower: frozenset[str]  # those of them for which lower is better
    shares: frozenset[str]  # those of them that count hits, for exact bounds at 0 and 1
    shown: tuple[str, ...]  # those of them that a printed table gives beside the primary one
    gain: str  # a verdict's claim, of {route}, {floor}, {points}, {figure}, and {more} (less) or {higher} (lower)

    def primary(self, classes: tuple[str, ...]) -> str:
        """The figure by which routes are chosen and compared; higher is better."""

    def strata(self, labels: Labels, classes: int) -> np.ndarray:
        """(n,) int64: examples of one number should be divided alike between the parts of a split."""

    def counts(self, labels: Labels, classes: int) -> np.ndarray:
        """(k,) int64: how often each class, label or tag occurs; zeros for numbers."""

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(n, k) float64 logits -> probabilities, or the values themselves."""

    def sample(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> Sample:
        """Checked and ready to be measured. For tag, answers are those of all words of all items, one after another."""

    def judge(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> dict[str, float]:
        """The primary figure by its name and "loss", without intervals, for choosing on the validation part; fast."""

    def rows(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        answers: np.ndarray,
        labels: Labels,
        words: Sequence[str] = (),
    ) -> list[list[str]]:
        """The lines of `predictions.csv`, its header first; without the truth where `labels` is empty.

        For tag, `words` are those of all items, one after another; without labels, `names` are given once for each.
        """


class Feed(Protocol):
    """The inputs of one phase: rows of a table as the first moving stage takes them."""

    @property
    def labels(self) -> Labels:
        """(n,), or (0,) for a part whose labels are sealed."""

    @property
    def weights(self) -> np.ndarray:
        """(n,) float32."""

    @property
    def views(self) -> int:
        """How many augmented copies of each example are kept; 0 when every epoch makes its own."""

    @property
    def lengths(self) -> np.ndarray | None:
        """(n,) how long each input is, so that batches can be made of like ones; None where all are alike."""

    @property
    def words(self) -> np.ndarray | None:
        """(n,) int64 words of each item, where each word has a label of its own; else None."""

    def __len__(self) -> int: ...

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Tensor]:
        """Inputs (size, ...) in the given order of positions; `epoch` picks the augmented view (-1: the clean one)."""

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Iterator[Batch]:
        """The same with labels and weights, and mixed where the augmentation mixes examples and `mixed` allows it."""


@dataclass(frozen=True)
class Examples:
    """What a method of `shallow/` learns from: features of an encoder, or raw items."""

    inputs: Any  # (n, d) float32 features, or a sequence of raw items as `Items.read` gives them
    labels: Labels
    weights: np.ndarray  # (n,) float32


@dataclass(frozen=True)
class Given:
    """All that a method of `shallow/` may see."""

    target: Examples
    validation: Examples
    classes: tuple[str, ...]
    task: str
    seed: int
    columns: tuple[Column, ...] = ()  # of rows
    describe: Callable[[Sequence[str]], np.ndarray] | None = None  # as `Encoder.describe`
    unlabelled: np.ndarray | None = None  # (m, d) more points without labels, for a method that takes points
    encoded: bool = True  # whether points are features of an encoder, and no standardised columns


@dataclass(frozen=True)
class Linear:
    """What a method on features gives: logits = features @ weight.T + bias, a head like any other."""

    weight: np.ndarray  # (k, d) float
    bias: np.ndarray  # (k,)


@dataclass(frozen=True)
class Evidence:
    """What a score of `ranking/` may see of one candidate: its answers on a sample of the target's training part.

    The labels are not in it: a score is asked for many times with permuted ones, and what depends on the features
    alone is computed once (see `Score`).
    """

    features: np.ndarray  # (n, d) float64, finite
    source: np.ndarray | None  # (n, z) probabilities of the candidate's own classes, or None where it has no head
    seed: int


class Scoring(Protocol):
    """A score of one candidate, as a function of the labels."""

    def __call__(self, labels: Labels) -> float:
        """Higher is better. `labels`: (n,) int64 with every class present, or (n, k) float64 for regression."""


class Score(Protocol):
    """A file of `ranking/`: a measure of how well features suit labels, without training."""

    needs: str  # "features" or "source"
    tasks: tuple[str, ...]  # of "classify" and "regress"

    def prepare(self, evidence: Evidence) -> Scoring:
        """All that does not depend on the labels, done once."""


@dataclass(frozen=True)
class Sides:
    """Two samples whose distance is asked for, as the same encoder sees them."""

    left: np.ndarray  # (n, d) float64, finite
    right: np.ndarray  # (m, d) float64; (m, e) for a distance of pairs
    seed: int
    left_labels: np.ndarray | None = None  # (n,) int64
    right_labels: np.ndarray | None = None  # (m,) int64; both number the same classes where these are shared
    tested: bool = True  # whether p values are wanted; permutations are most of the time that a test takes


@dataclass(frozen=True)
class Distance:
    """How far apart two samples are."""

    value: float
    p: float | None = None  # of the hypothesis that both come from one distribution, where it is tested; never 0
    notes: tuple[str, ...] = ()  # approximations taken, in sentences


class Metric(Protocol):
    """A file of `distances/`."""

    needs: str  # "features", "labels" (on both sides) or "pairs" (row i of both sides is the same item)
    scale: str  # what the value means: its unit and its range, in a phrase
    reduced: bool  # whether it is at its best in few principal components: nearness and density thin out in many

    def measure(self, sides: Sides) -> Distance:
        """The distance of two samples. Raises `DataError` for samples that are too small, or of other features."""


@dataclass(frozen=True)
class Pair:
    """A labelled source and a target of the same features, of whose labels few or none are known."""

    source: np.ndarray  # (n, d) float64, finite
    labels: Labels  # (n,) int64 class numbers, or (n,) float64 values
    target: np.ndarray  # (m, d) float64
    classes: int  # how many there are; 0 for values
    seed: int
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # (l,) rows of the target
    known_labels: Labels = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # (l,) theirs, as `labels`


@dataclass(frozen=True)
class Aligned:
    """Source and target brought together: what a head learns from, and how it is shown rows of the target."""

    features: np.ndarray  # (n', k) float64, to learn from: the source, and known target examples where there are any
    labels: Labels  # (n',)
    weights: np.ndarray  # (n',) float64, >= 0, their mean 1
    view: Callable[[np.ndarray], np.ndarray]  # (m', d) rows of the target's domain, seen before or not -> (m', k)
    notes: tuple[str, ...] = ()  # approximations taken, in sentences


@dataclass(frozen=True)
class Answering:
    """What a method gives that answers by itself."""

    answer: Callable[[np.ndarray], np.ndarray]  # (m', d) of the target's domain -> (m', classes) shares, (m',) values
    notes: tuple[str, ...] = ()


class Adaptation(Protocol):
    """A file of `adapt/`."""

    needs: str  # "labels" where some labels of the target must be known, else ""
    tasks: tuple[str, ...]  # of "classify" and "regress"

    def adapt(self, pair: Pair) -> Aligned | Answering:
        """Bring source and target together. Raises `DataError` for what cannot be, or does not fit into memory."""


@dataclass(frozen=True)
class Adapted:
    """What a criterion of `criteria/` may look at: an adapted head on both domains, and no label of the target."""

    source: np.ndarray  # (n, k) features of held-out source examples as the head sees them
    labels: Labels  # (n,) theirs
    source_answers: np.ndarray  # (n, classes) shares
    target: np.ndarray  # (m, k)
    answers: np.ndarray  # (m, classes) shares
    raw: tuple[np.ndarray, np.ndarray]  # (n, d) and (m, d) the same examples before adaptation
    refit: Callable[
        [np.ndarray, Labels, np.ndarray], np.ndarray
    ]  # source (n, d), labels, target (m, d) -> (m, classes)
    seed: int


class Criterion(Protocol):
    """A file of `criteria/`."""

    def judge(self, adapted: Adapted) -> float:
        """Higher is better; comparable only between adaptations of the same two samples."""
