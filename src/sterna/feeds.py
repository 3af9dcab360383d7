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

    def batches(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Batch]:
        augment, seeds, rows = None, None, self.table.rows[order]
        if epoch >= 0 and (self.augment.crop or self.augment.pixels):
            augment = self.augment
            seeds = np.array([derive(self.seed, "augment", epoch, int(row)) for row in rows], dtype=np.int64)
        frames = reading.frames(self.table.items, self.preparation, rows, size=size, augment=augment, seeds=seeds)
        for positions, stacked in zip(_chunks(order, size), frames, strict=True):
            inputs = self.preparation.tensor(stacked)
            if self.prefix is not None:
                inputs = self.prefix(inputs)
            yield _batch(inputs, positions, self, epoch)


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

    def batches(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Batch]:
        view = self.augmented[epoch % self.views] if epoch >= 0 and self.views else self.clean
        for positions in _chunks(order, size):
            yield _batch(view.gather(self.rows[positions]), positions, self, epoch)


def _batch(inputs: Tensor, positions: np.ndarray, feed: PreparedFeed | StoredFeed, epoch: int) -> Batch:
    """Inputs with their labels and weights, mixed when they are for training."""
    known = len(feed.labels) > 0
    labels = torch.from_numpy(feed.labels[positions]) if known else torch.zeros(len(positions), dtype=torch.int64)
    batch = Batch(inputs, labels, torch.from_numpy(feed.weights[positions]))
    if epoch < 0 or feed.augment.mix is None:
        return batch
    classes = feed.classes if isinstance(feed, StoredFeed) else len(feed.table.classes)
    return feed.augment.mix(batch, classes)


def _chunks(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
