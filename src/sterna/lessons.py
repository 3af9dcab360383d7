"""What a teacher said of the examples of a batch, and how far a student is from it.

A teacher is run once over the training examples (see `teaching`), so a loss that learns from it looks its words up by
the places of the examples, and no epoch runs the teacher again. They hold for the examples as they come: where training
augments them, the student answers for another view than the teacher did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from sterna import sequences
from sterna.records import Seen, Setting, Taught

LEVELS = 3  # sizes of maps that are kept of a teacher
TINY = 1e-12  # below any sum of weights that means something


Key = TypeVar("Key")


def teacher(setting: Setting) -> Taught:
    """What the teacher said, which is there for a loss whose `needs` says so."""
    assert setting.teacher is not None
    return setting.teacher


def answers(taught: Taught) -> Tensor:
    """(n, k) float32: the teacher's logits for all training examples; for numbers, the values in units of training."""
    assert taught.head is not None
    return functional.linear(taught.features.float(), taught.head.float(), taught.bias)


def of(recorded: Tensor, seen: Seen) -> Tensor:
    """The rows of `recorded` (n, ...) that belong to the examples of a batch, on its device."""
    assert seen.batch.places is not None
    return recorded[seen.batch.places.to(recorded.device)].to(seen.output.features.device)


def coarsest(shapes: Mapping[Key, Sequence[int]], most: int = LEVELS) -> list[Key]:
    """Of stages with outputs of these shapes, the last of each size of map, coarsest first.

    Args:
        shapes: of an example's output, without the examples, in the order of the stages.
        most: how many sizes there are at most.
    """
    last = {places(shape): key for key, shape in shapes.items() if len(shape) == 3}
    return [last[size] for size in sorted(last, key=math.prod) if math.prod(size) > 1][:most]


def places(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of a map (c, h, w) or (h, w, c)."""
    height, width = shape[:2] if sequences.channels_last(shape) else shape[1:]
    return height, width


def strength(value: Tensor) -> Tensor:
    """Maps (b, c, h, w) or (b, h, w, c) -> (b, h, w) float32: the sum of squares over the channels."""
    return value.float().square().sum(dim=-1 if sequences.channels_last(value.shape[1:]) else 1)


def mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of (b,) values; 0, with a gradient of 0, where nothing weighs anything."""
    return (values * weights).sum() / weights.sum().clamp_min(TINY)


def shares(weights: Tensor) -> Tensor:
    """(b,) weights that sum to 1, or to 0 where nothing weighs anything."""
    return weights / weights.sum().clamp_min(TINY)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """(b,) sum_c p_c (ln p_c - ln q_c) for (b, k) logarithms of probabilities ln p of the teacher, ln q of the student.

    Where p_c is 0, so is its part, also where its logarithm is minus infinity.
    """
    shared = teacher.exp()
    each = shared * (torch.where(shared > 0, teacher, 0.0) - student)
    return each.sum(dim=1)
