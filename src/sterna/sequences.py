"""Sequences of unequal length as one tensor: padded at the end, with the mask in the last column.

A packed tensor is (b, t, d + 1). Its last column says what stands at a position: 0 padding, 1 a token, 2 a token that
begins a word, 3 a token of the second of two texts that are read apart; those stand behind the first text's. Padding is
zero everywhere. So a stage is a function from one tensor to one tensor whether items are pictures, texts or pairs, and
whatever handles activations (the store, prefix and suffix, feeds) handles all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ENDLESS = 10**6  # tokenizers without a limit state one above this
PADDING, TOKEN, WORD, SECOND = 0, 1, 2, 3
START = 256  # positions that a network of several layers answers in the time that a batch takes to begin


def pack(values: Tensor, kinds: Tensor) -> Tensor:
    """Values (b, t, d) and kinds (b, t) -> packed (b, t, d + 1); values at padding become zero."""
    there = (kinds > 0).unsqueeze(-1)
    return torch.cat([torch.where(there, values, 0), kinds.to(values.dtype).unsqueeze(-1)], dim=-1)


def values(packed: Tensor) -> Tensor:
    """(b, t, d)."""
    return packed[..., :-1]


def kinds(packed: Tensor) -> Tensor:
    """(b, t) int64: 0 padding, 1 token, 2 token that begins a word, 3 token of the second text."""
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


def apart(packed: Tensor) -> Tensor:
    """The two texts of each item as items of their own: (b, t, c) -> (2 b, t', c), first texts, then second ones.

    t' is the length of the longest text. What was a token of the second text is a token like any other.
    """
    second = packed[..., -1] == SECOND
    counts = torch.stack([(mask(packed) & ~second).sum(dim=1), second.sum(dim=1)])
    place = torch.arange(_most(counts), device=packed.device)
    behind = place + counts[0].unsqueeze(1)  # where the second text lies
    wanted = torch.cat([place.expand_as(behind), behind]).clamp(max=max(packed.shape[1] - 1, 0))
    rows = torch.arange(packed.shape[0], device=packed.device).repeat(2).unsqueeze(1)
    found = torch.where((place < counts.view(-1, 1)).unsqueeze(-1), packed[rows, wanted], 0)
    return torch.cat([found[..., :-1], torch.where(found[..., -1:] == SECOND, TOKEN, found[..., -1:])], dim=-1)


def together(packed: Tensor) -> Tensor:
    """What `apart` made, or what a stage made of that, as pairs again: (2 b, t', c) -> (b, t, c)."""
    count, longest = packed.shape[0] // 2, packed.shape[1]
    first, second = lengths(packed).view(2, count, 1)
    place = torch.arange(_most(first + second), device=packed.device)
    beyond = place >= first
    wanted = torch.where(beyond, place - first, place).clamp(max=max(longest - 1, 0))
    rows = torch.arange(count, device=packed.device).unsqueeze(1) + count * beyond
    found = torch.where((place < first + second).unsqueeze(-1), packed[rows, wanted], 0)
    marked = torch.where(beyond.unsqueeze(-1) & (found[..., -1:] > 0), SECOND, found[..., -1:])
    return torch.cat([found[..., :-1], marked], dim=-1)


def pooled(value: Tensor, ragged: bool) -> Tensor:
    """(b, d) float32: the mean over the places of maps, over tokens, or over those of a packed sequence."""
    value = value.float()
    if ragged and value.dim() == 3:
        there = mask(value).unsqueeze(-1)
        return (values(value) * there).sum(dim=1) / there.sum(dim=1).clamp_min(1)
    if value.dim() == 4:
        return value.mean(dim=(1, 2) if channels_last(value.shape[1:]) else (2, 3))
    return value.mean(dim=1) if value.dim() == 3 else value.flatten(1)


def channels_last(shape: Sequence[int]) -> bool:
    """Whether a map of three sides is (h, w, c) and not (c, h, w): square first two sides and another last one."""
    return shape[0] == shape[1] != shape[2]


def _most(counts: Tensor) -> int:
    return int(counts.max()) if counts.numel() else 0


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


def cheapest(lengths: np.ndarray, budget: int, most: int) -> list[np.ndarray]:
    """Positions of items put together by length, longest first, at the least cost: what is padded and what is begun.

    A batch costs rows x longest + `START`. Args as of `batches`.
    """
    order = np.argsort(-lengths, kind="stable")
    longest = np.maximum(lengths[order], 1)
    cost, first = np.zeros(len(order) + 1), np.zeros(len(order) + 1, dtype=np.int64)
    # Of the longest `end` items: the least that they cost, and where their last batch begins then.
    for end in range(1, len(order) + 1):
        begins = np.arange(max(0, end - most), end)
        room = (end - begins) * longest[begins]
        total = cost[begins] + room + START
        total[:-1][room[:-1] > budget] = np.inf
        cost[end], first[end] = total.min(), begins[total.argmin()]
    found, end = [], len(order)
    while end:
        found.append(order[first[end] : end])
        end = int(first[end])
    return found[::-1]


def longest(model: nn.Module, settings: Mapping[str, Any]) -> int:
    """How many tokens of a text a model was made for."""
    found: Any = model.config
    limits = [getattr(found, name, None) for name in ("max_position_embeddings", "n_positions")]
    limits.append(settings.get("model_max_length"))
    for path, part in model.named_modules():
        if path.endswith("position_embeddings") and isinstance(part, nn.Embedding) and part.padding_idx is not None:
            limits.append(part.num_embeddings - part.padding_idx - 1)  # RoBERTa counts positions from there
    return int(min(limit for limit in (*limits, ENDLESS) if limit and 0 < limit <= ENDLESS))
