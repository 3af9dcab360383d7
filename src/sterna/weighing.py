"""How much of its source a route learns from: which examples, and at what weight.

Distances cannot see that a source calls the same things by other names; only held-out target examples can, so the
weight is chosen by cross-validation on them (see `gate`), on frozen features, before anything is trained. Where only
the best examples are wanted (see `valuing`), they are chosen first, and the gate weighs what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sterna import desk, gate, mixing, valuing
from sterna.errors import DataError, TrainingError
from sterna.records import Encoder, Table
from sterna.rows import Standardised
from sterna.store import Store
from sterna.valuing import Selection

# Standard errors by which less source may fall behind. More of them protect better and gain less: over four hospitals
# and four seeds with some forty to sixty labels, 1 left nearly all sources out, 0 let one in that cost five points.
ERRORS = 0.5
TASKS = ("classify", "multilabel", "regress")


@dataclass(frozen=True)
class Wanted:
    """What was asked for of the source."""

    weight: float | None = None  # of an example; None: by the gate
    select: Selection | None = None  # None: every example


@dataclass(frozen=True)
class Weighed:
    """The source as a route learns from it."""

    weights: np.ndarray  # (m,) of each source example against a target example; 0: left out
    told: tuple[str, ...]  # why, in sentences


def weighed(target: Table, source: Table, seen: tuple[Encoder | None, Store], seed: int, wanted: Wanted) -> Weighed:
    """A weight for each source example, by the labels of the target's training examples.

    Args:
        target: the training part of one seed.
        source: all of it.
        seen: by which encoder the examples are compared, with statistics of the training rows, or None for rows of a
            table, which are standardised by those of the target; and the store of its activations.
        seed: of the folds.
        wanted: of the source.

    Tags are not weighed, and neither are raw items without an encoder: the gate compares features, and without any
    the whole source counts.

    Raises `TrainingError` where no choice among the source examples can be made.
    """
    positions, labels = mixing.usable(source, target)
    weights = np.zeros(len(source), dtype=np.float32)
    weights[positions] = 1.0 if wanted.weight is None else wanted.weight
    comparable = target.task in TASKS and len(positions) and (seen[0] is not None or target.items.modality == "row")
    if not comparable or (wanted.weight is not None and wanted.select is None):
        return Weighed(weights, ())
    near, far = _features(target, mixing.aligned(source, target).take(positions), *seen)
    told = []
    if wanted.select is not None:
        try:
            best = valuing.select(wanted.select, near, target.labels, far, labels, seed)
        except DataError as error:
            raise TrainingError(str(error)) from error
        weights[np.delete(positions, best.rows)] = 0.0
        positions, far, labels = positions[best.rows], far[best.rows], labels[best.rows]
        told.append(best.sentence)
    if wanted.weight is None:
        found = gate.on_features(near, target.labels, far, labels, seed=seed, errors=ERRORS)
        weights[positions] = found.each
        told.append(found.sentence)
    return Weighed(weights, tuple(told))


def _features(target: Table, source: Table, encoder: Encoder | None, store: Store) -> tuple[np.ndarray, np.ndarray]:
    if encoder is None:
        encoding = Standardised(getattr(target.items, "columns", ())).fit(_read(target))
        return encoding.transform(_read(target)), encoding.transform(_read(source))
    near, far = (desk.features(encoder, part, store).double().numpy() for part in (target, source))
    return near, far


def _read(table: Table) -> list[tuple]:
    return [table.items.read(int(row), 0) for row in table.rows]
