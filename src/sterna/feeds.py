"""What training reads: pictures prepared on the way, or activations kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sterna import reading
from sterna.maths.seeds import derive
from sterna.records import Augment, Batch, Preparation, Table
from sterna.store import Activations


@dataclass(frozen=True)
class PreparedFeed:
    """Items prepared afresh in every epoch, each epoch with its own augmentation.

    `prefix`, when given, takes the prepared inputs to a cut whose activations are too large to keep.
    """

    table: Table
    weights: np.ndarray  # (n,) float32
    preparation: Preparation
    augment: Augment
    seed: int
    prefix: Callable[[Tensor], Tensor] | None = None
    views: int = 0

    @property
    def labels(self) -> np.ndarray:
        return self.table.labels

    def __len__(self) -> int:
        return len(self.table)

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Tensor]:
        augment, seeds, rows = None, None, self.table.rows[order]
        if epoch >= 0 and (self.augment.crop or self.augment.pixels):
            augment = self.augment
            seeds = np.array([derive(self.seed, "augment", epoch, int(row)) for row in rows], dtype=np.int64)
        frames = reading.frames(self.table.items, self.preparation, rows, size=size, augment=augment, seeds=seeds)
        for stacked in frames:
            inputs = self.preparation.tensor(stacked)
            yield inputs if self.prefix is None else self.prefix(inputs)

    def batches(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Batch]:
        return _batches(self, len(self.table.classes), order, size, epoch)


@dataclass(frozen=True)
class StoredFeed:
    """Activations at a cut, read from the store; each epoch takes the next augmented view."""

    clean: Activations
    augmented: Sequence[Activations]  # one for each view
    rows: np.ndarray  # (n,) int64, rows of the activations
    labels: np.ndarray  # (n,) or (0,)
    weights: np.ndarray  # (n,) float32
    augment: Augment
    classes: int

    @property
    def views(self) -> int:
        return len(self.augmented)

    def __len__(self) -> int:
        return len(self.rows)

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Tensor]:
        view = self.augmented[epoch % self.views] if epoch >= 0 and self.views else self.clean
        for positions in _chunks(order, size):
            yield view.gather(self.rows[positions])

    def batches(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Batch]:
        return _batches(self, self.classes, order, size, epoch)


def _batches(
    feed: PreparedFeed | StoredFeed, classes: int, order: np.ndarray, size: int, epoch: int
) -> Iterator[Batch]:
    """Inputs with their labels and weights, mixed when they are for training."""
    for positions, inputs in zip(_chunks(order, size), feed.inputs(order, size, epoch), strict=True):
        known = len(feed.labels) > 0
        labels = torch.from_numpy(feed.labels[positions]) if known else torch.zeros(len(positions), dtype=torch.int64)
        batch = Batch(inputs, labels, torch.from_numpy(feed.weights[positions]))
        yield feed.augment.mix(batch, classes) if epoch >= 0 and feed.augment.mix else batch


def _chunks(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
