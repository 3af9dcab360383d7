"""Sequences of unequal length as one tensor: padded at the end, with the mask in the last column.

A packed tensor is (b, t, d + 1). Its last column says what stands at a position: 0 padding, 1 a token, 2 a token that
begins a word. Padding is zero everywhere. So a stage is a function from one tensor to one tensor whether items are
pictures or texts, and whatever handles activations (the store, prefix and suffix, feeds) handles both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PADDING, TOKEN, WORD = 0, 1, 2


def pack(values: Tensor, kinds: Tensor) -> Tensor:
    """Values (b, t, d) and kinds (b, t) -> packed (b, t, d + 1); values at padding become zero."""
    there = (kinds > 0).unsqueeze(-1)
    return torch.cat([torch.where(there, values, 0), kinds.to(values.dtype).unsqueeze(-1)], dim=-1)


def values(packed: Tensor) -> Tensor:
    """(b, t, d)."""
    return packed[..., :-1]


def kinds(packed: Tensor) -> Tensor:
    """(b, t) int64: 0 padding, 1 token, 2 token that begins a word."""
    return packed[..., -1].long()


def mask(packed: Tensor) -> Tensor:
    """(b, t) bool, True where there is a token."""
    return packed[..., -1] > 0


def lengths(packed: Tensor) -> Tensor:
    """(b,) int64: tokens of each item."""
    return mask(packed).sum(dim=1)


def words(packed: Tensor) -> Tensor:
    """The positions that begin a word, moved together: (b, t, d + 1) -> (b, w, d + 1), w the most words of an item."""
    begins = packed[..., -1] == WORD
    most = int(begins.sum(dim=1).max()) if packed.shape[1] else 0
    # A stable sort brings the words to the front in their order.
    order = torch.argsort((~begins).to(torch.int8), dim=1, stable=True)[:, :most]
    gathered = packed.gather(1, order.unsqueeze(-1).expand(-1, -1, packed.shape[-1]))
    return gathered * begins.gather(1, order).unsqueeze(-1).to(packed.dtype)


def padded(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays (t_i, c) -> (b, t, c), zeros behind each; arrays of one shape are stacked as they are."""
    longest = max(len(frame) for frame in frames)
    if all(len(frame) == longest for frame in frames):
        return np.stack(frames)
    made = np.zeros((len(frames), longest, *frames[0].shape[1:]), dtype=frames[0].dtype)
    for place, frame in zip(made, frames, strict=True):
        place[: len(frame)] = frame
    return made


def batches(lengths: np.ndarray, budget: int, most: int) -> list[np.ndarray]:
    """Positions of items put together by length, longest first, so that little is padding.

    Args:
        lengths: (n,) of the items, in any unit.
        budget: rows x longest that a batch may hold, in that unit; one item may exceed it.
        most: items in a batch.
    """
    order = np.argsort(-lengths, kind="stable")
    found, start = [], 0
    while start < len(order):
        size = int(np.clip(budget // max(int(lengths[order[start]]), 1), 1, most))
        found.append(order[start : start + size])
        start += size
    return found
