"""Methods of `shallow/` that give an estimator: of raw items, or of items as points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sterna import estimators, folder, footing, gathering
from sterna.contracts import Examples, Given
from sterna.desk import Desk, features, ones
from sterna.errors import DataError, TrainingError
from sterna.maths import blocks
from sterna.plan import Route
from sterna.records import Encoder, Table
from sterna.rows import Standardised


@dataclass(frozen=True)
class Estimated:
    """A fitted estimator."""

    model: Any  # as it is kept
    answer: Callable[[Table], np.ndarray]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Each:
    """A method, or one for tags and one for whole items, with the choices made for each of several tasks."""

    methods: tuple[Any, ...]

    @property
    def takes(self) -> str:
        """What it learns from."""
        return str(self.methods[0].takes)


def settled(method: Any, model: Any) -> Any:
    """A method that chooses no more what it has chosen for `model`."""
    if not hasattr(method, "settled"):
        return method
    if isinstance(model, estimators.PerTask):
        each = (_of_task(method, task) for task in model.tasks)
        return Each(tuple(one.settled(part) for one, part in zip(each, model.parts, strict=True)))
    return method.settled(model)


@dataclass(frozen=True)
class Points:
    """Items as points: features of a frozen encoder or of all its stages, else standardised columns."""

    desk: Desk
    encoder: Encoder | None
    encoding: Standardised | None  # fitted to the training part

    @classmethod
    def at(cls, desk: Desk, stages: bool = False) -> Points:
        """Those of a desk; with `stages`, what all stages of its encoder give."""
        target = desk.training.target
        if desk.encoder is not None:
            encoder = footing.fitted(desk.encoder, target)
            return cls(desk, gathering.gathered(encoder, target.items) if stages else encoder, None)
        return cls(desk, None, Standardised(getattr(target.items, "columns", ())).fit(items(target)))

    def __call__(self, table: Table) -> np.ndarray:
        """(n, d) float64."""
        if self.encoding is not None:
            return self.encoding.transform(items(table))
        assert self.encoder is not None
        return features(self.encoder, table, self.desk.store, self.desk.extracting).double().numpy()


def pointed(route: Route, desk: Desk) -> Estimated:
    """An estimator of points. Raises `TrainingError` for what it cannot learn from."""
    training, points = desk.training, Points.at(desk, route.gathers)
    others = None if training.unlabelled is None else points(training.unlabelled)
    encoding = points.encoding
    try:
        found = route.tune.fit(replace(given(desk, points), unlabelled=others, encoded=encoding is None))
    except DataError as error:
        raise TrainingError(str(error)) from error
    task, count = training.target.task, len(training.classes)

    def answer(table: Table) -> np.ndarray:
        return estimators.answers(found, list(points(table)), task, count)

    model = found if encoding is None else estimators.behind(encoding, found)
    return Estimated(model, answer, tuple(getattr(found, "notes", ())))


def raw(route: Route, desk: Desk) -> Estimated:
    """An estimator of raw items; of several tasks one for each."""
    task, count = desk.training.target.task, len(desk.training.classes)
    whole = given(desk, items)
    words = desk.training.target.by_word
    model = _per_task(route.tune, whole, words) if task == "several" else route.tune.fit(whole)

    def answer(table: Table) -> np.ndarray:
        return estimators.answers(model, items(table), task, count)

    return Estimated(model, answer)


def _per_task(method: Any, whole: Given, words: bool) -> estimators.PerTask:
    """An estimator for each of several tasks, fitted to the items that are labelled for it.

    `words`: whether items are words, of which what takes texts is given one text.

    Raises `TrainingError` for a task without a label to learn from.
    """
    found, parts = [], blocks.blocks(whole.classes)
    each = method.methods if isinstance(method, Each) else [_of_task(method, block.task) for block in parts]
    for one, block in zip(each, parts, strict=True):
        target, validation = (_labelled(part, block) for part in (whole.target, whole.validation))
        if not len(target.labels):
            raise TrainingError(f"no training example has a label for {block.name}; add some, or leave it out.")
        joined = words and one.takes == "text"
        if joined:
            target, validation = _joined(target), _joined(validation)
        own = replace(whole, target=target, validation=validation, classes=block.names, task=block.task)
        model = one.fit(own)
        found.append(estimators.of_words(model) if joined else model)
    return estimators.PerTask(found, [len(block.classes) for block in parts], [block.task for block in parts])


def _of_task(method: Any, task: str) -> Any:
    """The method for one of several tasks: of a method for tags, the one that stands in for it on whole items."""
    if task in method.tasks:
        return method
    (other,) = folder.resolve("shallow", method.beside)
    return other


def _labelled(part: Examples, block: blocks.Block) -> Examples:
    rows, labels = blocks.own(part.labels, block)
    return Examples([part.inputs[row] for row in rows.tolist()], labels, part.weights[rows])


def _joined(part: Examples) -> Examples:
    """Items of words as texts."""
    return replace(part, inputs=estimators.Joined().transform(part.inputs))


def given(
    desk: Desk,
    inputs: Callable[[Table], Any],
    describe: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> Given:
    """What a method of `shallow/` may see, without examples that have no label."""
    target, validation = desk.training.target, desk.training.validation
    return Given(
        target=Examples(inputs(target), target.labels, desk.weights),
        validation=Examples(inputs(validation), validation.labels, ones(validation)),
        classes=target.classes,
        task=target.task,
        seed=desk.seed,
        columns=getattr(target.items, "columns", ()),
        describe=describe,
    )


def items(table: Table) -> list[Any]:
    """The raw items of a table, in memory."""
    return [table.items.read(int(row), 0) for row in table.rows]
