"""Several tasks for each item, in any mix of classes, numbers, several labels and tags of words; labels may be missing.

Papers: Caruana 1997, "Multitask Learning" (Machine Learning 28); Ruder 2017, "An Overview of Multi-Task Learning in
Deep Neural Networks" (arXiv 1706.05098), for one network with a head for each task.

Equation: the primary figure is joint_score = (1 / t) sum_j s_j over the t tasks, each over the held-out items that are
labelled for that task. s_j is the accuracy of a task of classes, max(0, R2) of a task of a number, entity_f1 of a task
of tags (token_accuracy where no tag is of an entity), and example_f1 of a task of several labels. All lie in [0, 1],
and 0 of R2 is what the mean of the labels would reach: without the floor, one hopeless task could outweigh all others.

Where words are tagged, all items are words, and what is said of a whole item comes from the mean of its words' logits,
which the linear head makes of the mean of the words' features.

The other figures: mean_accuracy over the tasks of classes, mean_macro_f1 over those of classes and of several labels,
mean_r2 over those of a number, without the floor; mean_entity_f1 and mean_token_accuracy over those of tags, and
mean_example_f1 over those of several labels. What a run says of each task, with an interval and beside the same task
learnt alone, is measured by that task's own figures (see `classify`, `regress`, `tag` and `multilabel`).

A task without a labelled item among those measured is left out of the means. Merits are linearised: an item's is
s_j + (n / n_j) (m_ij - mean m_j) where it carries one of the n_j labels of task j and s_j where not, the mean over the
tasks; m_ij is the item's merit in the task alone.

When not to use: when all label columns hold 0 or 1 (`multilabel`), or all hold numbers of which none is missing
(`regress`), unless a verdict for each is wanted. With tasks that have nothing to do with each other, a model for each
costs the same labels and cannot hurt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
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

MEANS = ("accuracy", "macro_f1", "r2", "entity_f1", "token_accuracy", "example_f1")  # of the tasks that have them
SCORES = ("classify", "regress", "tag", "multilabel")  # whose primary figures are added up, in this order
JOIN = " | "  # between the labels of an item in `predictions.csv`


@method
class Several:
    """Labels (n, c) float64, NaN where there is none; answers (n, k), probabilities or values, one column a row.

    Where words are tagged, labels are those of `maths.blocks` for words, answers (all words, k).
    """

    head: tuple[str, ...] = option((), "names of the rows of the head, which the data say; not to be typed")

    loss: ClassVar[str] = "fixed"
    metrics: ClassVar[tuple[str, ...]] = ("joint_score", *(f"mean_{name}" for name in MEANS))
    lower: ClassVar[frozenset[str]] = frozenset()
    shares: ClassVar[frozenset[str]] = frozenset(metrics) - {"mean_r2"}
    shown: ClassVar[tuple[str, ...]] = metrics[1:]
    gain: ClassVar[str] = "the {figure} of {route} is {points} points {higher} than that of {floor}"

    def primary(self, classes: tuple[str, ...]) -> str:
        return self.metrics[0]

    def strata(self, labels: Labels, classes: int) -> np.ndarray:
        return blocks.strata(blocks.kinds(labels, self.head))

    def counts(self, labels: Labels, classes: int) -> np.ndarray:
        return blocks.counts(labels, self.head)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        found = np.array(logits, dtype=np.float64)
        for block in blocks.blocks(self.head):
            if block.classes:
                link = maths.sigmoid if block.task == blocks.MULTILABEL else maths.softmax
                found[:, block.rows] = link(found[:, block.rows])
        return found

    def sample(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> Measured:
        n, measured = len(labels), []
        for one in _divided(answers, labels, classes):
            place = np.full(n, -1, dtype=np.int64)
            place[one.rows] = np.arange(len(one.rows))
            sample = one.task.sample(one.answers, one.labels, one.block.names)
            names = tuple(one.task.metrics)
            measured.append(_Part(one.block, sample, place, names, names.index(one.task.primary(one.block.names))))
        merits, losses = np.zeros(n), np.zeros(n)
        for part in measured:
            rows = np.flatnonzero(part.place >= 0)
            found = part.sample.metrics(np.arange(len(rows)), quick=True)
            value, own = _score(float(found[part.primary])), part.sample.merits
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
        lines, truths = [["item"], *([name] for name in names)], labels
        if words:
            lines, truths = _word_lines(names, labels, words), _of_each_word(labels, classes)
        for block in blocks.blocks(classes):
            truth = truths[:, block.columns] if len(truths) else None
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
    primary: int  # the place of its primary figure among them

    def figures(self, chosen: np.ndarray) -> dict[str, float]:
        """Those of the chosen items that are labelled for it, its primary one as "score"."""
        mine = self.place[chosen]
        mine = mine[mine >= 0]
        if not len(mine):
            return {}
        values = self.sample.metrics(mine, quick=True).tolist()
        return {**dict(zip(self.names, values, strict=True)), "score": values[self.primary]}


@dataclass(frozen=True)
class Measured:
    """What the figures need to know of each item, task by task."""

    parts: tuple[_Part, ...]
    merits: np.ndarray  # (n,)
    losses: np.ndarray  # (n,) mean over the tasks: log loss in nats, squared error in variances

    def metrics(self, chosen: np.ndarray, quick: bool = False) -> np.ndarray:
        found = [(part.block.task, part.figures(chosen)) for part in self.parts]
        scores = [_score(one["score"]) for kind in SCORES for task, one in found if task == kind and "score" in one]
        each = [[one[name] for _, one in found if not np.isnan(one.get(name, np.nan))] for name in MEANS]
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
    answers: np.ndarray  # (m, its rows of the head), of tags (their words, ...)
    labels: Labels  # (m,) or (m, ...)


def _divided(answers: np.ndarray, labels: Labels, classes: Sequence[str]) -> list[_Divided]:
    """Answers and labels of each task that any item is labelled for."""
    parts = blocks.blocks(classes)
    wide = blocks.first(labels)
    if len(labels) and wide.shape[1] != parts[-1].columns.stop:
        raise ValueError(f"labels must have a column for each of {len(parts)} tasks, got {wide.shape}")
    counts = blocks.lengths(labels)
    answers = maths.checked(answers, len(labels) if counts is None else int(counts.sum()), len(classes), "answers")
    found = []
    for block in parts:
        rows, mine = blocks.own(labels, block)
        if len(rows):
            task: Task = folder.task(block.task, block.names)
            found.append(_Divided(block, task, rows, blocks.picked(answers, counts, rows, block), mine))
    return found


def _word_lines(names: Sequence[str], labels: Labels, words: Sequence[str]) -> list[list[str]]:
    """The item, its place and the word of each line, the header first; without labels `names` are one a word."""
    counts = blocks.lengths(labels) if len(labels) else None
    each = list(names) if counts is None else np.repeat(np.array(names, dtype=object), counts).tolist()
    lengths = [len(list(run)) for _, run in groupby(each)] if counts is None else counts.tolist()
    places = [str(place) for length in lengths for place in range(length)]
    return [["item", "place", "word"], *(list(line) for line in zip(each, places, words, strict=True))]


def _of_each_word(labels: Labels, classes: Sequence[str]) -> np.ndarray:
    """(all words, c) the labels of each word, those of whole items at each of their words."""
    if not len(labels):
        return np.zeros((0, 0))
    found = np.concatenate(labels)
    items = np.repeat(blocks.first(labels), [len(one) for one in labels], axis=0)
    for block in blocks.blocks(classes):
        if block.task != blocks.TAG:
            found[:, block.columns] = items[:, block.columns]
    return found


def _columns(block: Block, answers: np.ndarray, truth: np.ndarray | None) -> list[list[str]]:
    """The columns of one task in `predictions.csv`, its header first; `truth`: (lines, its columns of labels)."""
    sure = block.task in ("classify", "tag")  # of one class, with a probability
    head = [f"truth {block.name}"] if truth is not None else []
    head += [f"prediction {block.name}", *([f"probability {block.name}"] if sure else [])]
    listed = block.task in ("classify", "multilabel")  # of tags, a column each for every word would be too many
    lines = [[*head, *(blocks.named(block.name, block.classes, block.task) if listed else ())]]
    for place, row in enumerate(answers):
        line = [] if truth is None else [_true(block, truth[place])]
        if sure:
            best = int(row.argmax())
            line += [block.classes[best], f"{row[best]:.6f}"]
        elif block.classes:
            line.append(_joined(block.classes, row > 0.5))
        else:
            line.append(f"{row[0]:.6g}")
        lines.append(line + [f"{value:.6f}" for value in row if listed])
    return lines


def _true(block: Block, label: np.ndarray) -> str:
    """The label of one example as it is written; "" where there is none."""
    if np.isnan(label[0]):
        return ""
    if block.task == blocks.MULTILABEL:
        return _joined(block.classes, label > 0)
    return block.classes[int(label[0])] if block.classes else f"{label[0]:.6g}"


def _joined(classes: Sequence[str], there: np.ndarray) -> str:
    """The labels that an item has; `[]` for none, as it is read, where nothing says that it is not labelled."""
    return JOIN.join(name for name, held in zip(classes, there, strict=True) if held) or "[]"
