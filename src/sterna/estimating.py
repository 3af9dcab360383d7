"""Methods of `shallow/` that give an estimator: of raw items, or of items as points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sterna import estimators, footing
from sterna.contracts import Examples, Given
from sterna.desk import Desk, features, ones
from sterna.errors import DataError, TrainingError
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
class Points:
    """Items as points: features of a frozen encoder, else standardised columns."""

    desk: Desk
    encoder: Encoder | None
    encoding: Standardised | None  # fitted to the training part

    @classmethod
    def at(cls, desk: Desk) -> Points:
        """Those of a desk."""
        target = desk.training.target
        if desk.encoder is not None:
            return cls(desk, footing.fitted(desk.encoder, target), None)
        return cls(desk, None, Standardised(getattr(target.items, "columns", ())).fit(items(target)))

    def __call__(self, table: Table) -> np.ndarray:
        """(n, d) float64."""
        if self.encoding is not None:
            return self.encoding.transform(items(table))
        assert self.encoder is not None
        return features(self.encoder, table, self.desk.store, self.desk.extracting).double().numpy()


def pointed(route: Route, desk: Desk) -> Estimated:
    """An estimator of points. Raises `TrainingError` for what it cannot learn from."""
    training, points = desk.training, Points.at(desk)
    others = None if training.unlabelled is None else points(training.unlabelled)
    encoding = points.encoding
    try:
        found = route.tune.fit(replace(given(desk, points), unlabelled=others, encoded=encoding is None))
    except DataError as error:
        raise TrainingError(str(error)) from error
    task, count = training.target.task, len(training.classes)

    def answer(table: Table) -> np.ndarray:
        return estimators.answers(found, list(points(table)), task, count)

    return Estimated(found if encoding is None else estimators.behind(encoding, found), answer, tuple(found.notes))


def raw(route: Route, desk: Desk) -> Estimated:
    """An estimator of raw items."""
    task, count = desk.training.target.task, len(desk.training.classes)
    model = route.tune.fit(given(desk, items))

    def answer(table: Table) -> np.ndarray:
        return estimators.answers(model, items(table), task, count)

    return Estimated(model, answer)


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
