"""What augmentations are made of and how several become one.

Everything here is a plain object of a module-level class, so that a built augmentation can be sent to worker
processes. Each draws from torch's global generator: whoever calls it fences that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sterna.errors import SpecError
from sterna.records import Augment, Batch


def combine(parts: Sequence[Augment], written: str) -> Augment:
    """Several augmentations as one.

    The frame is chosen first, then pixels change in the written order, then the batch is mixed. Of several mixes one
    is drawn for each batch, all equally likely.

    Args:
        parts: built augmentations in the written order; none at all is an augmentation that does nothing.
        written: the sum as typed, for messages, keys and results.

    Raises `SpecError` when two parts choose a frame: the second would crop the first one's crop.
    """
    crops = [part.crop for part in parts if part.crop]
    pixels = [part.pixels for part in parts if part.pixels]
    others = {name: [getattr(part, name) for part in parts if getattr(part, name)] for name in ("text", "row", "sound")}
    mixes = [part.mix for part in parts if part.mix]
    if len(crops) > 1:
        raise SpecError(
            f"an augmentation may hold one random crop (crop, light and strong bring one each), "
            f"got {len(crops)} in '{written}'; leave out all but one."
        )
    return Augment(
        crop=crops[0] if crops else None,
        pixels=_one(pixels, InOrder),
        mix=_one(mixes, OneOf),
        text=_one(others["text"], InOrder),
        row=_one(others["row"], InOrder),
        sound=_one(others["sound"], InOrder),
        written=written or "none",
    )


def interval(what: str, values: Sequence[float]) -> tuple[float, float]:
    """The two ends of an interval option, or a `SpecError` that names the option."""
    if len(values) != 2 or values[0] > values[1]:
        got = ", ".join(f"{value:g}" for value in values)
        raise SpecError(f"{what} must be two numbers, the smaller first, got [{got}]; write [low, high].")
    return values[0], values[1]


def _one(calls: list[Any], several: Callable[[tuple[Any, ...]], Any]) -> Any:
    return several(tuple(calls)) if len(calls) > 1 else next(iter(calls), None)


@dataclass(frozen=True)
class InOrder:
    """One change of an item after the other."""

    calls: tuple[Callable[[Any], Any], ...]

    def __call__(self, item: Any) -> Any:
        for call in self.calls:
            item = call(item)
        return item


@dataclass(frozen=True)
class OneOf:
    """One of several mixes, drawn anew for each batch."""

    calls: tuple[Callable[[Batch, int], Batch], ...]

    def __call__(self, batch: Batch, classes: int) -> Batch:
        return self.calls[int(torch.multinomial(torch.ones(len(self.calls)), 1))](batch, classes)
