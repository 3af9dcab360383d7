"""What a run found, as records: figures with intervals, verdicts, gains in parts. Nothing here computes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Score:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """One route at one seed, measured on the held-out part. Its fields are the entries of `result.json`."""

    name: str
    encoder: str
    tune: str
    loss: str
    seed: int
    n: int  # held-out examples
    seconds: float
    metrics: Mapping[str, Score]
    validation: Mapping[str, float]  # what the route was chosen by
    floor: bool  # True: uses no pretrained weights
    given_up: bool = False  # among its folds: `validation` is of a part of the examples, and it was not to be chosen


@dataclass(frozen=True)
class PartGain:
    """The gain of transfer in one class or subgroup."""

    kind: str  # "class" or "group"
    name: str
    gain: float  # 0.01 = one point
    low: float
    high: float
    n: int
    p_value: float
    adjusted: float = 1.0  # p value after Holm's correction over the parts of this kind


@dataclass(frozen=True)
class Verdict:
    """The answer to «did transfer help here?», with its evidence. Gains are in `figure`, 0.01 = one point."""

    answer: Literal["helps", "hurts", "equivalent", "undecided"]
    route: str
    floor: str
    gain: float
    low: float
    high: float
    n: int
    needed: int | None  # held-out examples that would settle an undecided answer
    p_value: float  # first seed: McNemar's exact test of zeros and ones, else a paired sign-flip permutation test
    sentence: str
    figure: str = "accuracy"  # the task's primary one
    loss_gain: float = 0.0  # loss of the floor minus loss of the route: positive where transfer helps
    loss_low: float = 0.0
    loss_high: float = 0.0
    parts: tuple[PartGain, ...] = ()


@dataclass(frozen=True)
class Learner:
    """A teacher or a student: how good, how large and how fast it is."""

    name: str  # of a route, or the teacher as it was typed
    role: Literal["teacher", "student", "alone"]  # alone: the same network without the teacher
    figure: Score | None  # the task's primary one on the held-out part, the mean over seeds; None: not measured
    weights: int
    bytes: int  # of the file of its weights
    single: float  # milliseconds an item, one at a time in one thread, as measured on this machine
    batched: float  # the same in batches of 32


@dataclass(frozen=True)
class Distilled:
    """What learning from a teacher gave."""

    learners: tuple[Learner, ...]
    verdict: Verdict | None  # the best student against itself alone, where both were run; it decides nothing
    notes: tuple[str, ...] = ()  # what is not known of the teacher


@dataclass(frozen=True)
class SharedTask:
    """One of several tasks: a route that learns all of them beside the same route on that task alone."""

    route: str  # that learns all
    task: str  # the name of its labels
    kind: str  # the file of `tasks/` that says what its labels are
    shared: Mapping[str, Score]  # the figures of `kind`, means over seeds
    alone: Mapping[str, Score]
    verdict: Verdict  # with the other tasks against without, in pairs; it decides nothing


@dataclass(frozen=True)
class Sharing:
    """What learning several tasks together gave each of them."""

    tasks: tuple[SharedTask, ...]  # of each route, in the order of the routes
    sentence: str  # which tasks sharing helps and hurts, of the verdict's route


@dataclass(frozen=True)
class CurvePoint:
    """The gain of transfer with a share of the labels. Figures are in the task's primary one."""

    share: float
    labels: int  # training and validation examples, the mean over seeds
    route: float
    floor: float
    gain: float
    low: float
    high: float
    n: int
