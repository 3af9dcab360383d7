"""Several tasks for each item, in any mix of classes and numbers; some labels may be missing.

Papers: Caruana 1997, "Multitask Learning" (Machine Learning 28); Ruder 2017, "An Overview of Multi-Task Learning in
Deep Neural Networks" (arXiv 1706.05098), for one network with a head for each task.

Equation: the primary figure is joint_score = (1 / t) sum_j s_j over the t tasks, where s_j is the accuracy of a task of
classes and max(0, R2) of a task of a number, each over the held-out items that are labelled for that task. Both lie in
[0, 1], and 0 of R2 is what the mean of the labels would reach: without the floor, one hopeless task could outweigh all
others.

The other figures: mean_accuracy and mean_macro_f1 over the tasks of classes, mean_r2 over those of a number, without
the floor. What a run says of each task, with an interval and beside the same task learnt alone, is measured by that
task's own figures (see `classify` and `regress`).

A task without a labelled item among those measured is left out of the means. Merits are linearised: an item's is
s_j + (n / n_j) (m_ij - mean m_j) where it carries one of the n_j labels of task j and s_j where not, the mean over the
tasks; m_ij is the item's merit in the task alone.

When not to use: when all label columns hold 0 or 1 (`multilabel`), or all hold numbers of which none is missing
(`regress`), unless a verdict for each is wanted; words with tags. With tasks that have nothing to do with each other,
a model for each costs the same labels and cannot hurt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sterna import folder
from sterna.contracts import Sample, Task
from sterna.maths import answers as maths
from sterna.maths import blocks
from sterna.maths.blocks import Block
from sterna.maths.ranking import defined_mean
from sterna.records import Labels
from sterna.spec import method, option


@method
class Several:
    """Labels (n, t) float64, NaN where there is none; answers (n, k), probabilities or values, one column a row."""

    head: tuple[str, ...] = option((), "names of the rows of the head, which the data say; not to be typed")

    loss: ClassVar[str] = "fixed"
    metrics: ClassVar[tuple[str, ...]] = ("joint_score", "mean_accuracy", "mean_macro_f1", "mean_r2")
    lower: ClassVar[frozenset[str]] = frozenset()
    shares: ClassVar[frozenset[str]] = frozenset(metrics[:3])
    shown: ClassVar[tuple[str, ...]] = metrics[1:]
    gain: ClassVar[str] = "the {figure} of {route} is {points} points {higher} than that of {floor}"

    def primary(self, classes: tuple[str, ...]) -> str:
        return self.metrics[0]

    def strata(self, labels: Labels, classes: int) -> np.ndarray:
        return blocks.strata(labels)

    def counts(self, labels: Labels, classes: int) -> np.ndarray:
        return blocks.counts(labels, self.head)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        found = np.array(logits, dtype=np.float64)
        for block in blocks.blocks(self.head):
            if block.classes:
                found[:, block.rows] = maths.softmax(found[:, block.rows])
        return found

    def sample(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> Measured:
        n, measured = len(labels), []
        for one in _divided(answers, labels, classes):
            place = np.full(n, -1, dtype=np.int64)
            place[one.rows] = np.arange(len(one.rows))
            sample = one.task.sample(one.answers, one.labels, one.block.names)
            measured.append(_Part(one.block, sample, place, tuple(one.task.metrics)))
        merits, losses = np.zeros(n), np.zeros(n)
        for part in measured:
            rows = np.flatnonzero(part.place >= 0)
            found = part.sample.metrics(np.arange(len(rows)), quick=True)
            value, own = _score(float(found[0])), part.sample.merits
            moves = not (value == 0 and not part.block.classes)  # a figure at its floor stays there
            merits += value / len(measured)
            merits[rows] += moves * (own - own.mean()) * n / (len(rows) * len(measured))
            losses[rows] += part.sample.losses * n / (len(rows) * len(measured))
        return Measured(tuple(measured), merits, losses)

    def judge(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> dict[str, float]:
        divided = _divided(answers, labels, classes)
        found = [one.task.judge(one.answers, one.labels, one.block.names) for one in divided]
        merits = [_score(value) for one in found for name, value in one.items() if name != "loss"]
        losses = [one["loss"] for one in found]
        return {self.metrics[0]: defined_mean(np.array(merits)), "loss": defined_mean(np.array(losses))}

    def rows(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        answers: np.ndarray,
        labels: Labels,
        words: Sequence[str] = (),
    ) -> list[list[str]]:
        lines = [["item"], *([name] for name in names)]
        for place, block in enumerate(blocks.blocks(classes)):
            truth = labels[:, place] if len(labels) else None
            for line, more in zip(lines, _columns(block, answers[:, block.rows], truth), strict=True):
                line += more
        return lines


@dataclass(frozen=True)
class _Part:
    """One task, measured on the items that are labelled for it."""

    block: Block
    sample: Sample
    place: np.ndarray  # (n,) int64: which of its items each item is, -1 for none
    names: tuple[str, ...]  # of its figures

    def figures(self, chosen: np.ndarray) -> dict[str, float]:
        """Those of the chosen items that are labelled for it."""
        mine = self.place[chosen]
        mine = mine[mine >= 0]
        if not len(mine):
            return {}
        return dict(zip(self.names, self.sample.metrics(mine, quick=True).tolist(), strict=True))


@dataclass(frozen=True)
class Measured:
    """What the figures need to know of each item, task by task."""

    parts: tuple[_Part, ...]
    merits: np.ndarray  # (n,)
    losses: np.ndarray  # (n,) mean over the tasks: log loss in nats, squared error in variances

    def metrics(self, chosen: np.ndarray, quick: bool = False) -> np.ndarray:
        found = [part.figures(chosen) for part in self.parts]
        each = [[one[name] for one in found if name in one] for name in ("accuracy", "macro_f1", "r2")]
        scores = [_score(value) for values in (each[0], each[2]) for value in values]
        return np.array([defined_mean(np.array(values, dtype=np.float64)) for values in (scores, *each)])


def _score(value: float) -> float:
    """A primary figure in [0, 1]."""
    return max(0.0, value)


@dataclass(frozen=True)
class _Divided:
    """What one task is measured by."""

    block: Block
    task: Task
    rows: np.ndarray  # (m,) the items that are labelled for it
    answers: np.ndarray  # (m, its rows of the head)
    labels: Labels  # (m,) or (m, 1)


def _divided(answers: np.ndarray, labels: Labels, classes: Sequence[str]) -> list[_Divided]:
    """Answers and labels of each task that any item is labelled for."""
    parts = blocks.blocks(classes)
    if len(labels) and labels.shape[1] != len(parts):
        raise ValueError(f"labels must have a column for each of {len(parts)} tasks, got {labels.shape}")
    answers = maths.checked(answers, len(labels), len(classes), "answers")
    found = []
    for place, block in enumerate(parts):
        rows, mine = blocks.own(labels, place, block)
        if len(rows):
            task: Task = folder.task(block.task, block.names)
            found.append(_Divided(block, task, rows, answers[rows, block.rows], mine))
    return found


def _columns(block: Block, answers: np.ndarray, truth: np.ndarray | None) -> list[list[str]]:
    """The columns of one task in `predictions.csv`, its header first."""
    classes = block.classes
    head = [f"truth {block.name}"] if truth is not None else []
    head += [f"prediction {block.name}"]
    head += [f"probability {block.name}", *blocks.named(block.name, classes)] if classes else []
    lines = [head]
    for place, row in enumerate(answers):
        line = []
        if truth is not None:
            value = truth[place]
            line = ["" if np.isnan(value) else classes[int(value)] if classes else f"{value:.6g}"]
        if classes:
            best = int(row.argmax())
            line += [classes[best], f"{row[best]:.6f}", *(f"{value:.6f}" for value in row)]
        else:
            line.append(f"{row[0]:.6g}")
        lines.append(line)
    return lines
