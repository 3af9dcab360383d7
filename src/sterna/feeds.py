"""What training reads: items prepared on the way, or activations kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sterna import reading, sequences
from sterna.contracts import Feed
from sterna.maths.seeds import derive
from sterna.records import Augment, Batch, Preparation, Table
from sterna.store import Activations

Mix = Callable[[Batch, int], Batch]


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

    @property
    def lengths(self) -> np.ndarray | None:
        known = self.table.items.lengths
        return known[self.table.rows] if self.preparation.ragged and known is not None else None

    @property
    def words(self) -> np.ndarray | None:
        return word_counts(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Tensor]:
        augment, seeds, rows = None, None, self.table.rows[order]
        if epoch >= 0 and self.augment.single:
            augment = self.augment
            seeds = np.array([derive(self.seed, "augment", epoch, int(row)) for row in rows], dtype=np.int64)
        frames = reading.frames(self.table.items, self.preparation, rows, size=size, augment=augment, seeds=seeds)
        for stacked in frames:
            inputs = self.preparation.tensor(stacked)
            yield inputs if self.prefix is None else self.prefix(inputs)

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Iterator[Batch]:
        mix = self.augment.mix if mixed and epoch >= 0 else None
        return _batches(self, len(self.table.classes), order, size, epoch, mix)


@dataclass(frozen=True)
class StoredFeed:
    """Activations at a cut, read from the store; each epoch takes the next augmented view."""

    clean: Activations
    augmented: Sequence[Activations]  # one for each view
    table: Table
    weights: np.ndarray  # (n,) float32
    augment: Augment

    @property
    def views(self) -> int:
        return len(self.augmented)

    @property
    def labels(self) -> np.ndarray:
        return self.table.labels

    @property
    def lengths(self) -> np.ndarray | None:
        known = self.clean.lengths
        return None if known is None else known[np.searchsorted(self.clean.rows, self.table.rows)]

    @property
    def words(self) -> np.ndarray | None:
        return word_counts(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Tensor]:
        view = self.augmented[epoch % self.views] if epoch >= 0 and self.views else self.clean
        for positions in _chunks(order, size):
            yield view.gather(self.table.rows[positions])

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Iterator[Batch]:
        mix = self.augment.mix if mixed and epoch >= 0 else None
        return _batches(self, len(self.table.classes), order, size, epoch, mix)


@dataclass(frozen=True)
class RunFeed:
    """Another feed with its inputs taken further up by stages that have moved and stand still for now."""

    below: Feed
    stages: Callable[[Tensor], Tensor]

    @property
    def labels(self) -> np.ndarray:
        return self.below.labels

    @property
    def weights(self) -> np.ndarray:
        return self.below.weights

    @property
    def views(self) -> int:
        return self.below.views

    @property
    def lengths(self) -> np.ndarray | None:
        return self.below.lengths

    @property
    def words(self) -> np.ndarray | None:
        return self.below.words

    def __len__(self) -> int:
        return len(self.below)

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Tensor]:
        return map(self.stages, self.below.inputs(order, size, epoch))

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Iterator[Batch]:
        for batch in self.below.batches(order, size, epoch, mixed):
            yield replace(batch, inputs=self.stages(batch.inputs))


@dataclass(frozen=True)
class KeptFeed:
    """Another feed with its inputs taken further up once, and held in memory: they live as long as what reads them.

    So nothing of weights that have moved is ever found again by another run.
    """

    below: Feed
    copies: Sequence[Sequence[Tensor]]  # of each augmented view, or of the clean one alone; a tensor for each row

    @property
    def labels(self) -> np.ndarray:
        return self.below.labels

    @property
    def weights(self) -> np.ndarray:
        return self.below.weights

    @property
    def views(self) -> int:
        return self.below.views

    @property
    def lengths(self) -> np.ndarray | None:
        return self.below.lengths

    @property
    def words(self) -> np.ndarray | None:
        return self.below.words

    def __len__(self) -> int:
        return len(self.below)

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Iterator[Tensor]:
        copy = self.copies[max(epoch, 0) % len(self.copies)]
        for positions in _chunks(order, size):
            rows = [copy[place] for place in positions]
            alike = len({row.shape for row in rows}) == 1
            yield torch.stack(rows) if alike else torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Iterator[Batch]:
        return _batches(self, 0, order, size, epoch, None)


def kept(below: Feed, stages: Callable[[Tensor], Tensor], size: int, limit: int) -> KeptFeed | None:
    """What stages that stand still give for each view of a feed; None where it takes more than `limit` bytes.

    `size`: rows that are run at a time. Rows of unequal length are run by length and held without padding.
    """
    order = np.arange(len(below)) if below.lengths is None else np.argsort(-below.lengths, kind="stable")
    copies: list[list[Tensor]] = []
    taken, alike = 0, below.lengths is None  # where rows are alike, the first batch tells
    for view in range(below.views or 1):
        rows = [torch.empty(0)] * len(below)
        epoch = view if below.views else -1
        for places, inputs in zip(_chunks(order, size), below.inputs(order, size, epoch), strict=True):
            found = stages(inputs).cpu()
            taken += found.numel() * found.element_size()
            if taken > limit or (alike and taken // len(places) * len(below) * (below.views or 1) > limit):
                return None
            alike = False
            for place, row in zip(places, _rows(found, below.lengths is not None), strict=True):
                rows[place] = row
        copies.append(rows)
    return KeptFeed(below, copies)


def _rows(found: Tensor, ragged: bool) -> Iterator[Tensor]:
    """The rows of a batch, without padding."""
    if not ragged or found.dim() != 3:
        yield from found
        return
    for row, length in zip(found, sequences.lengths(found).tolist(), strict=True):
        yield row[:length]


def word_counts(table: Table) -> np.ndarray | None:
    """(n,) words of each item, where each word has an answer of its own."""
    if not table.by_word or table.items.lengths is None:
        return None
    found: np.ndarray = table.items.lengths[table.rows]
    return found


def _batches(
    feed: PreparedFeed | StoredFeed | KeptFeed, classes: int, order: np.ndarray, size: int, epoch: int, mix: Mix | None
) -> Iterator[Batch]:
    """Inputs with their labels and weights, mixed when they are for training."""
    for positions, inputs in zip(_chunks(order, size), feed.inputs(order, size, epoch), strict=True):
        labels, mask = _labels(feed, positions)
        weights, places = (torch.from_numpy(one) for one in (feed.weights[positions], positions.astype(np.int64)))
        batch = Batch(inputs, labels, weights, mask, places)
        yield mix(batch, classes) if mix else batch


def _labels(feed: PreparedFeed | StoredFeed | KeptFeed, positions: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """The labels of a batch, and which words carry one; zeros where they are sealed."""
    words = feed.words
    if not len(feed.labels):
        if words is None:
            return torch.zeros(len(positions), dtype=torch.int64), None
        there = torch.arange(int(words[positions].max())) < torch.from_numpy(words[positions])[:, None]
        return torch.zeros(there.shape, dtype=torch.int64), there
    if words is None:
        chosen = torch.from_numpy(np.ascontiguousarray(feed.labels[positions]))
        return chosen if chosen.ndim == 1 else chosen.float(), None
    if feed.labels[positions[0]].ndim > 1:  # of several tasks, whose NaN says that there is none
        padded = torch.from_numpy(sequences.padded(list(feed.labels[positions]))).float()
        there = torch.arange(padded.shape[1]) < torch.from_numpy(words[positions])[:, None]
        return padded, there
    # Tags are counted from 1 while they are padded, so that a 0 is no tag.
    padded = torch.from_numpy(sequences.padded([one[:, None] + 1 for one in feed.labels[positions]]))[..., 0]
    return (padded - 1).clamp_min(0), padded > 0


def _chunks(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
