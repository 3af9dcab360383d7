"""Attention transfer: the student's stages are strong where in the picture the teacher's are.

Paper: Zagoruyko and Komodakis 2017, "Paying More Attention to Attention: Improving the Performance of Convolutional
Neural Networks via Attention Transfer" (ICLR 2017, arXiv 1612.03928), equation 2 with activation-based maps of squares.

Equation: weight / m * sum_l |q_l - q0_l|^2, the mean over the examples by their weights. q_l = s_l / |s_l| with s_l at
each place the sum of squares over the channels of stage l, q0_l the same of the teacher; m pairs of stages. 0 where
both look at the same places in the same proportions, however many channels they have; 2 at most.

The maps of the teacher are those of its coarsest sizes, the last stage of each; they meet the student's in this order,
the larger of two averaged down to the places of the smaller. What the teacher saw is each picture as it comes, computed
once. The paper writes the norm itself and its authors' code the square, as here; their 1,000 on a mean over places is
16 at 8 x 8 places, 4 at 16 x 16 and 1 at 32 x 32. The teacher needs to know none of the classes.

When not to use: with augmentations that mirror, turn or cut, since the teacher's maps stay where they were; where only
the head moves; where teacher and student see differently large parts of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sterna import holding, lessons
from sterna.errors import TrainingError
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class AttentionTransfer:
    """How many maps are compared, and how much that counts."""

    weight: float = option(
        10.0, "factor on the term; between the authors' weights of their finer and coarser maps", Range(0)
    )
    maps: int = option(lessons.LEVELS, "pairs of maps at most, from the coarsest on", Range(1, lessons.LEVELS))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "maps"
    answers: ClassVar[bool] = False
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")

    def build(self, setting: Setting) -> Built:
        names = _coarsest(setting)
        setting.network.wanted |= frozenset(names)  # so that what the loop runs anyway is handed out
        taught = lessons.teacher(setting).maps
        return Built(self.weight, dict(list(zip(names, taught, strict=False))[: self.maps]))


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    taught: Mapping[str, Tensor]  # (n, h, w) of the teacher, by the student's stage

    def __call__(self, step: Step) -> Tensor:
        seen, found = step.labelled, step.labelled.output.stages
        moving = dict(list(step.network.stages.items())[step.cut :])
        names = [name for name in self.taught if name in moving]
        if not names or not self.weight:
            return 0 * seen.output.features.float().sum()
        if not set(names) <= found.keys():
            with holding.quiet(moving.values()):
                found = holding.outputs(moving, seen.batch.inputs)
        each = [apart(lessons.strength(found[name]), lessons.of(self.taught[name], seen)) for name in names]
        return self.weight * lessons.mean(torch.stack(each).mean(dim=0), seen.batch.weights.float())


def apart(student: Tensor, teacher: Tensor) -> Tensor:
    """(b,) |q - q0|^2 of two maps (b, h, w) and (b, h', w'), on the places that both have."""
    size = min(student.shape[1], teacher.shape[1]), min(student.shape[2], teacher.shape[2])
    one, other = (_unit(functional.adaptive_avg_pool2d(value, size)) for value in (student, teacher))
    return (one - other).square().sum(dim=1)


def _unit(value: Tensor) -> Tensor:
    return functional.normalize(value.flatten(1), dim=1, eps=lessons.TINY)


def _coarsest(setting: Setting) -> Sequence[str]:
    """The student's stages that may move and give maps. Raises `TrainingError` where there are none."""
    assert setting.sample is not None
    batch, suffix = next(setting.sample()), setting.network.suffix(setting.cut)
    inputs = batch.inputs[:1].to(next(setting.network.head.parameters()).device)
    with torch.no_grad(), holding.quiet([suffix]):
        found = holding.outputs(dict(suffix.stages.items()), inputs)
    names = lessons.coarsest({name: value.shape[1:] for name, value in found.items()})
    if not names:
        raise TrainingError(
            "attention_transfer compares maps of pictures, and none of the stages that move gives any; learn from what "
            "the teacher's head reads, as --loss 'cross_entropy + feature_distill' does."
        )
    return names
