"""The mean of the losses of several tasks, at fixed weights.

Paper: Caruana 1997, "Multitask Learning" (Machine Learning 28), for the sum over tasks.

Equation: sum_j w_j L_j / sum_j w_j over the tasks j that the batch has labels for; L_j is the cross-entropy of a task
of classes, in nats, or the squared error of a number in units of its spread in the training part, over the examples
that are labelled for it. All w_j are 1 unless said.

When not to use: where nobody knows the weights and one task's loss is far larger than the others', or falls far slower;
`uncertainty` and `gradnorm` find weights, and `pcgrad` needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna import multitask
from sterna.errors import SpecError
from sterna.maths.blocks import Block, blocks
from sterna.records import Setting, Step
from sterna.spec import method, option


@method
class Fixed:
    """The weights."""

    weights: str = option("", "of tasks, such as 'stars 2, topic 0.5'; those not named weigh 1")

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("several",)
    balances: ClassVar[bool] = True

    def build(self, setting: Setting) -> Built:
        parts = blocks(setting.classes)
        given = _read(self.weights, [part.name for part in parts])
        return Built(parts, tuple(given.get(part.name, 1.0) for part in parts))


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    parts: tuple[Block, ...]
    weights: tuple[float, ...]

    def __call__(self, step: Step) -> Tensor:
        logits = step.labelled.output.logits.float()
        found = multitask.losses(logits, step.labelled.batch, self.parts)
        total = sum(self.weights[place] for place in found)
        if not total:
            return multitask.mean((), logits)
        return torch.stack([self.weights[place] * loss for place, loss in found.items()]).sum() / total


def _read(written: str, names: list[str]) -> dict[str, float]:
    """The weights by name. Raises `SpecError` for what is none, and for a name that is no task."""
    found = {}
    for part in filter(None, (one.strip() for one in written.split(","))):
        name, _, value = part.rpartition(" ")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name.strip() not in names or not 0 <= number < float("inf"):
            raise SpecError(
                f"weights of fixed are names of tasks and numbers from 0 on, got '{part}'; the tasks are "
                f"{', '.join(names)}, so type for example weights='{names[0]} 2'."
            )
        found[name.strip()] = number
    return found
