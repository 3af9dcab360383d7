"""The head alone, fitted to its optimum on frozen features: what a probe is, for each kind of label.

Classes and tags: multinomial logistic regression. Several labels: one logistic regression a label. Numbers: ridge
regression. Several tasks: each task's own rows, fitted to the examples that are labelled for it; where the items are
words, tags to the words, and what is said of whole items to the mean of their words' features.

The strength of the penalty is chosen on the validation part and, where that is small or absent, on the training part as
well, each of its examples judged by a head that has not seen it: a handful of examples can favour any penalty.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from sklearn.linear_model import Ridge
from torch import Tensor

from sterna import sequences
from sterna.contracts import Feed, Linear
from sterna.maths import blocks, logistic
from sterna.maths.blocks import Block
from sterna.maths.folds import folds
from sterna.records import Labels

CHUNK = 1024  # rows read at a time
MEMORY = 2**29  # bytes of features that are held; a pass over them is then a product of matrices
FEW = 100  # validation examples; with fewer, training examples left out of a fit are judged on too
RIDGE = tuple(10.0**power for power in range(5, -6, -1))  # penalties in examples, features being standardised


@dataclass(frozen=True)
class Solved:
    """A head, the loss it was chosen by, and the penalties that were chosen: one, or one for each of several labels.

    Penalties are C of `maths.logistic`, or those of ridge regression in examples.
    """

    head: Linear
    loss: float
    penalties: tuple[float, ...]


def _sliced(features: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (features[start : start + size] for start in range(0, len(features), size))


class _Part:
    """The features and labels of one part, one row for each item, or for each word that carries a tag.

    Features that fit in `MEMORY` are read once; larger ones anew at every pass, so that memory stays flat.

    Args:
        feed: at the last cut, whose inputs are features.
        epochs: augmented views; -1 is the clean one.
        pooled: whether items of words have one row each, the mean over their words.
    """

    def __init__(self, feed: Feed, epochs: tuple[int, ...], pooled: bool = False) -> None:
        self.feed, self.epochs, self.pooled = feed, epochs, pooled
        self.labels, weights = self._labels_and_weights()
        # Views of one example are not more evidence than the example: together they weigh what it weighs.
        self.labels = np.concatenate([self.labels] * len(epochs))
        self.weights = np.tile(weights.astype(np.float64) / len(epochs), len(epochs))
        self.width = next(self._read(1)).shape[1] if len(self.labels) else 0
        fits = 0 < 4 * len(self.labels) * self.width <= MEMORY
        self.only: np.ndarray | None = None  # (rows,) bool of all rows that are read: which are used
        self.kept = np.concatenate(list(self._read(CHUNK))) if fits else None

    def slices(self, size: int) -> Iterator[np.ndarray]:
        """The features in order, in arrays of at most `size` rows where they are items."""
        if self.kept is None:
            return self._read(size) if self.only is None else self._chosen(size, self.only)
        return _sliced(self.kept, size)

    def among(self, rows: np.ndarray, labels: Labels) -> _Part:
        """The rows of some of the examples, with these labels (m, ...) of theirs."""
        made, views = copy.copy(self), len(self.epochs)
        there = np.zeros(len(self.labels) // views, dtype=bool)
        there[rows] = True
        there = np.tile(there, views)
        made.labels, made.weights = np.concatenate([labels] * views), self.weights[there]
        made.kept, made.only = (None if self.kept is None else self.kept[there]), there
        return made

    def _chosen(self, size: int, only: np.ndarray) -> Iterator[np.ndarray]:
        start = 0
        for part in self._read(size):
            yield part[only[start : start + len(part)]]
            start += len(part)

    def some(self, rows: np.ndarray) -> logistic.Slices:
        """The slices of some rows, where the features are held."""
        assert self.kept is not None
        return partial(_sliced, self.kept[rows])

    def _read(self, size: int) -> Iterator[np.ndarray]:
        for epoch in self.epochs:
            for batch in self.feed.batches(np.arange(len(self.feed)), size, epoch, mixed=False):
                inputs = batch.inputs
                if self.pooled:
                    inputs = sequences.pooled(inputs, ragged=True)
                elif batch.mask is not None:
                    inputs = sequences.values(inputs)[_carrying(batch.mask, sequences.mask(inputs))]
                yield inputs.reshape(len(inputs), -1).float().numpy()

    def _labels_and_weights(self) -> tuple[np.ndarray, np.ndarray]:
        if self.pooled or self.feed.words is None or not len(self.feed):
            return self.feed.labels, self.feed.weights
        found = []
        for batch in self.feed.batches(np.arange(len(self.feed)), CHUNK, -1, mixed=False):
            assert batch.mask is not None
            carrying = _carrying(batch.mask, sequences.mask(batch.inputs))
            wide = batch.weights[:, None].expand(carrying.shape)
            found.append((batch.labels[:, : carrying.shape[1]][carrying].numpy(), wide[carrying].numpy()))
        labels, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return labels, weights


@dataclass(frozen=True)
class _Problem:
    """What a head is fitted to and chosen by."""

    training: _Part
    validation: _Part
    labels: np.ndarray  # of all views of the training part
    weights: np.ndarray
    known: np.ndarray  # labels of the validation part
    seed: int
    left_out: bool  # whether training examples may be judged on by fits without them

    def folds(self, task: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Training positions, of all views, and positions to judge on, of the clean one."""
        views = len(self.training.epochs)
        count = len(self.labels) // views
        if not self.left_out or self.training.kept is None or len(self.known) >= FEW:
            return []
        divided = folds(self.labels[:count], self.weights[:count], task, self.seed)
        return [(np.concatenate([learn + count * view for view in range(views)]), judge) for learn, judge in divided]


def solve(
    task: str,
    training: Feed,
    validation: Feed,
    classes: int,
    class_weights: Sequence[np.ndarray] = (),
    settled: Sequence[float] = (),
    seed: int = 0,
    rows: Sequence[str] = (),
) -> Solved:
    """The best head on the features of `training`.

    Args:
        task: the kind of label.
        training, validation: feeds at the last cut, whose inputs are features.
        classes: rows of the head.
        class_weights: (k,) factors on the weight of each class, multiplied.
        settled: penalties that are not to be chosen any more, as in `Solved`; `validation` is then not looked at.
        seed: of the division of few training examples.
        rows: the names of the rows of the head, which say of several tasks whose they are.
    """
    part, held = _Part(training, (-1, *range(training.views))), _Part(validation, (-1,))
    problem = _Problem(part, held, part.labels, part.weights, held.labels, seed, left_out=task != "tag")
    if task == "regress":
        return _ridge(problem, settled)
    if task == "several":
        return _blocks(problem, rows, settled)
    if task == "multilabel":
        return _per_label(problem, classes, settled)
    weights = part.weights
    for factors in class_weights:
        weights = weights * factors[part.labels]
    return _logistic(replace(problem, weights=weights), classes, settled)


def _per_label(problem: _Problem, classes: int, settled: Sequence[float]) -> Solved:
    """One logistic regression for each of several labels."""
    labels, known = problem.labels, problem.known
    several = [
        _logistic(replace(problem, labels=labels[:, j], known=known[..., j]), 2, settled[j : j + 1])
        for j in range(classes)
    ]
    rows = [one.head.weight[1] - one.head.weight[0] for one in several]
    biases = [one.head.bias[1] - one.head.bias[0] for one in several]
    loss = float(np.mean([one.loss for one in several]))
    return Solved(Linear(np.stack(rows), np.array(biases)), loss, tuple(one.penalties[0] for one in several))


def _blocks(problem: _Problem, rows: Sequence[str], settled: Sequence[float]) -> Solved:
    """The rows of each task, fitted to the examples that are labelled for it; zeros for a task that none is."""
    found = []
    examples = problem.training, problem.validation
    items = examples
    if problem.training.feed.words is not None:
        items = _Part(examples[0].feed, examples[0].epochs, True), _Part(examples[1].feed, examples[1].epochs, True)
    for block in blocks.blocks(rows):
        training, validation = (_labelled(part, block) for part in (examples if block.task == blocks.TAG else items))
        own = replace(problem, training=training, validation=validation, labels=training.labels)
        own = replace(own, weights=training.weights, known=validation.labels, left_out=block.task != blocks.TAG)
        found.append(_block(own, block, settled[block.columns]))
    head = Linear(np.concatenate([one.head.weight for one in found]), np.concatenate([one.head.bias for one in found]))
    losses = [one.loss for one in found if not np.isnan(one.loss)]
    penalties = tuple(penalty for one in found for penalty in one.penalties)
    return Solved(head, float(np.mean(losses)) if losses else np.nan, penalties)


def _labelled(part: _Part, block: Block) -> _Part:
    """The examples of a part that are labelled for a task, with its labels."""
    return part.among(*blocks.own(part.labels[: len(part.labels) // len(part.epochs)], block))


def _block(problem: _Problem, block: Block, settled: Sequence[float]) -> Solved:
    """The rows of one task; zeros where no example is labelled for it."""
    count, width = block.stop - block.start, problem.training.width
    if not len(problem.labels):
        penalties = (1.0,) * (block.columns.stop - block.columns.start)
        return Solved(Linear(np.zeros((count, width)), np.zeros(count)), np.nan, penalties)
    if block.task == blocks.MULTILABEL:
        return _per_label(problem, count, settled)
    return _logistic(problem, count, settled) if block.classes else _ridge(problem, settled)


def _logistic(problem: _Problem, classes: int, settled: Sequence[float]) -> Solved:
    labels, known = problem.labels.astype(np.int64), problem.known.astype(np.int64)
    slices, weights = problem.training.slices, problem.weights
    # A penalty that is settled is reached along the same path, from strong to weak, so that its fit is the same too.
    grid = [one for one in logistic.GRID if one <= settled[0]] if settled else logistic.GRID
    path: Iterable[logistic.Fit] = logistic.fit_path(slices, labels, weights, classes, grid, MEMORY)
    if settled:
        path = list(path)[-1:]
    divided = () if settled else problem.folds("classify")
    loss = np.nan
    if divided:
        path = list(path)
        losses, judged = np.zeros(len(path)), len(known)
        if len(known):
            losses += len(known) * logistic.losses(path, problem.validation.slices, known)
        for learn, judge in divided:
            seen, unseen = problem.training.some(learn), problem.training.some(judge)
            fits = logistic.fit_path(seen, labels[learn], weights[learn], classes, memory=MEMORY)
            losses += len(judge) * logistic.losses(fits, unseen, labels[judge])
            judged += len(judge)
        path, loss = path[int(losses.argmin()) :][:1], float(losses.min() / judged)
    if not len(known):
        fit = next(iter(path))
        return Solved(Linear(fit.weight, fit.bias), loss, (fit.inverse_penalty,))
    found = logistic.choose(path, problem.validation.slices, known)
    loss = min(loss for _, loss in found.losses)
    return Solved(Linear(found.fit.weight, found.fit.bias), loss, (found.fit.inverse_penalty,))


def _ridge(problem: _Problem, settled: Sequence[float]) -> Solved:
    features, held = (
        np.concatenate([*part.slices(CHUNK), np.zeros((0, problem.training.width), dtype=np.float32)])
        for part in (problem.training, problem.validation)
    )
    labels, weights, known = problem.labels, problem.weights, problem.known
    penalties = tuple(settled) or RIDGE
    squares, judged = np.zeros(len(penalties)), 0
    for learn, judge in () if settled else problem.folds("regress"):
        judged += labels[judge].size
        path = _ridge_path(features[learn], labels[learn], weights[learn], penalties)
        squares += [_squares(head, features[judge], labels[judge]) for head in path]
    heads = list(_ridge_path(features, labels, weights, penalties))
    held_out = np.array([_squares(head, held, known) for head in heads])
    best = int((squares + held_out).argmin())
    losses, count = (held_out, known.size) if known.size else (squares, judged)
    return Solved(heads[best], float(losses[best] / count) if count else np.nan, (penalties[best],))


def _ridge_path(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalties: Sequence[float]
) -> Iterator[Linear]:
    centre, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.where(logistic.is_flat(centre, scale), np.inf, scale)  # what is flat tells nothing
    standard = (features - centre) / scale
    for penalty in penalties:
        model = Ridge(alpha=penalty).fit(standard, labels, sample_weight=weights)
        weight = np.atleast_2d(model.coef_) / scale
        yield Linear(weight, np.atleast_1d(model.intercept_) - weight @ centre)


def _squares(head: Linear, features: np.ndarray, labels: np.ndarray) -> float:
    return float(((features @ head.weight.T + head.bias - labels) ** 2).sum())


def _carrying(labelled: Tensor, there: Tensor) -> Tensor:
    """(b, w) words that carry a tag and were not cut off with the end of a long item."""
    return labelled[:, : there.shape[1]] & there
