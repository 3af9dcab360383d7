"""A batch in pieces, for when a step does not fit into memory: gradients of the pieces add up to those of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sterna.records import Batch

FULL = ("can't allocate memory", "cannot allocate memory", "out of memory")  # what torch's allocators say


def short(error: RuntimeError) -> bool:
    """Whether an error says that memory was too short, on the device or the processor."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error).lower() for words in FULL)


def cut(batch: Batch, count: int) -> list[Batch]:
    """The batch in `count` pieces of nearly the same size, in order; a batch of fewer examples repeats them."""
    if count == 1:
        return [batch]
    size = len(batch.labels)
    parts = [part if len(part) else np.array([place % size]) for place, part in _divided(size, count)]
    return [_taken(batch, torch.from_numpy(part)) for part in parts]


def weight(batch: Batch) -> float:
    """What a batch counts beside others: the weights of its labels added up, or their number where all are zero."""
    each = batch.weights if batch.mask is None else batch.weights[:, None] * batch.mask
    return float(each.sum()) or float(len(batch.labels))


def _divided(size: int, count: int) -> list[tuple[int, np.ndarray]]:
    return list(enumerate(np.array_split(np.arange(size), count)))


def _taken(batch: Batch, rows: Tensor) -> Batch:
    mask, places = (None if one is None else one[rows.to(one.device)] for one in (batch.mask, batch.places))
    inputs, labels, weights = (one[rows.to(one.device)] for one in (batch.inputs, batch.labels, batch.weights))
    return replace(batch, inputs=inputs, labels=labels, weights=weights, mask=mask, places=places)
