"""What augmentations of pictures and of mixed batches are made of, on torchvision's transforms.

Everything here is a plain object of a module-level class, so that a built augmentation can be sent to worker
processes. Each draws from torch's global generator: whoever calls it fences that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from sterna.records import Batch


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
