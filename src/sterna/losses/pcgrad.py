"""The losses of several tasks, their gradients on shared weights kept from working against one another.

Paper: Yu, Kumar, Gupta, Levine, Hausman and Finn 2020, "Gradient Surgery for Multi-Task Learning" (NeurIPS,
arXiv 2001.06782), algorithm 1.

Equation: with g_j the gradient of task j's loss in the weights that all tasks share and that move, each g_i begins as
its own copy p_i = g_i; for every other task j in random order, where <p_i, g_j> < 0, p_i = p_i - g_j <p_i, g_j> /
|g_j|^2. The shared weights go down the mean of the p_i, the rows of the head down those of the mean loss. Where no two
gradients conflict that is the gradient of the mean loss.

The value of the objective is the mean loss. Other addends of an objective add their own gradients as they are. Orders
are drawn from torch's global generator. A step costs a backward pass for each task.

When not to use: on many tasks, where a step costs as many backward passes; with large batches of tasks that agree,
where it is the mean and costs more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna import multitask
from sterna.maths.blocks import Block, blocks
from sterna.records import Setting, Step
from sterna.spec import method


@method
class Pcgrad:
    """Nothing to choose."""

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("several",)
    balances: ClassVar[bool] = True

    def build(self, setting: Setting) -> Built:
        return Built(blocks(setting.classes))


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    parts: tuple[Block, ...]

    def __call__(self, step: Step) -> Tensor:
        batch, output = step.labelled.batch, step.labelled.output
        logits = output.logits.float()
        found = list(multitask.losses(logits, batch, self.parts).values())
        shared = [weight for stage in multitask.moving(step.network, step.cut) for weight in stage]
        if not shared or len(found) < 2:
            return multitask.mean(found, logits)
        flat = torch.stack([torch.cat([g.flatten() for g in multitask.gradients(one, shared)]) for one in found])
        pulled = surgery(flat.detach()).mean(dim=0)
        # A scalar with this gradient: in the shared weights the projected one, in the head that of the mean loss on
        # features that are held fast.
        pull = torch.cat([weight.flatten() for weight in shared]) @ pulled
        held = step.network.head(output.features.detach()).float()
        own = multitask.mean(multitask.losses(held, batch, self.parts).values(), logits)
        return pull - pull.detach() + own - own.detach() + torch.stack(found).mean().detach()


def surgery(gradients: Tensor) -> Tensor:
    """(t, p) gradients of the tasks -> (t, p) without what works against others; draws orders."""
    made = []
    for place, own in enumerate(gradients):
        kept = own.clone()
        for other in torch.randperm(len(gradients)).tolist():
            against = torch.dot(kept, gradients[other])
            if other != place and against < 0:
                kept -= against / gradients[other].square().sum() * gradients[other]
        made.append(kept)
    return torch.stack(made)
