"""What augmentations are made of and how several become one.

Everything here is a plain object of a module-level class, so that a built augmentation can be sent to worker
processes. Each draws from torch's global generator: whoever calls it fences that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

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
    """One change of pixels after the other."""

    calls: tuple[Callable[[Any], Any], ...]

    def __call__(self, picture: Any) -> Any:
        for call in self.calls:
            picture = call(picture)
        return picture


@dataclass(frozen=True)
class OneOf:
    """One of several mixes, drawn anew for each batch."""

    calls: tuple[Callable[[Batch, int], Batch], ...]

    def __call__(self, batch: Batch, classes: int) -> Batch:
        mixed: Batch = v2.RandomChoice(self.calls)(batch, classes)
        return mixed


@dataclass(frozen=True)
class RandomCrop:
    """A random part of the picture, resized to the frame.

    `scale`: the part's share of the picture's area, drawn uniformly. `ratio`: its width over its height, drawn
    uniformly in the logarithm.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]

    def __call__(self, picture: Any, size: tuple[int, int]) -> Any:
        return v2.RandomResizedCrop(size, scale=self.scale, ratio=self.ratio)(picture)


@dataclass(frozen=True)
class Blend:
    """Mixup: each example is blended with its neighbour in the batch.

    Inputs of any shape (b, ...) are blended, so activations at a cut are as good as pictures (then it is manifold
    mixup at that cut).
    """

    alpha: float

    def __call__(self, batch: Batch, classes: int) -> Batch:
        flat = batch.inputs.reshape(len(batch.inputs), 1, 1, -1)
        inputs, labels = v2.MixUp(alpha=self.alpha)(flat, _weighted_labels(batch, classes))
        return _batch(inputs.reshape(batch.inputs.shape), labels)


@dataclass(frozen=True)
class Paste:
    """CutMix: a rectangle of each picture is replaced by the same rectangle of its neighbour in the batch.

    Inputs that are not (b, c, h, w) have no rectangle: they come back as they were, with soft labels.
    """

    alpha: float

    def __call__(self, batch: Batch, classes: int) -> Batch:
        labels = _weighted_labels(batch, classes)
        if batch.inputs.ndim != 4:
            return _batch(batch.inputs, labels)
        return _batch(*v2.CutMix(alpha=self.alpha)(batch.inputs, labels))


def _weighted_labels(batch: Batch, classes: int) -> Tensor:
    """Soft labels with the examples' weights as a last column (b, classes + 1): both are mixed by the same share."""
    labels = batch.labels
    if not labels.is_floating_point():
        labels = torch.nn.functional.one_hot(labels, classes)
    return torch.cat([labels.float(), batch.weights.float()[:, None]], dim=1)


def _batch(inputs: Tensor, weighted: Tensor) -> Batch:
    return Batch(inputs, weighted[:, :-1].contiguous(), weighted[:, -1].contiguous())
