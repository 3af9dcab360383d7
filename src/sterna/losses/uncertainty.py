"""The losses of several tasks, each weighed by a learnt uncertainty of its own.

Paper: Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
Semantics" (CVPR, arXiv 1705.07115), equations 7 to 10.

Equation: mean over the tasks j that the batch has labels for of exp(-s_j) L_j / 2 + s_j / 2 for a number and of
exp(-s_j) L_j + s_j / 2 for classes, with learnt s_j = ln sigma_j^2 that begin at 0. L_j is the squared error in units
of the training part's spread, or the cross-entropy in nats. At the optimum s_j = ln L_j for a number and ln 2 L_j for
classes, so each weighted loss comes to 1/2: a task counts as much as the noise that is left in it is small.

The paper has the sum where this has the mean, so that the scale is that of `fixed`. Its s_j learn at the rate of the
network over 100,000 steps; a run here has hundreds, so `pace` has them move faster. The objective may be below 0.

When not to use: with few labels, which a network can learn by heart: the training loss goes to 0, s_j falls without
end, and the task that is overfitted first counts most.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sterna import multitask
from sterna.maths.blocks import Block, blocks
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class Uncertainty:
    """How fast the uncertainties are learnt."""

    pace: float = option(
        10.0, "rate of the uncertainties against that of the network (Adam; the square of it for plain descent)",
        Range(0, 1000),
    )  # fmt: skip

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("several",)
    balances: ClassVar[bool] = True

    def build(self, setting: Setting) -> Built:
        device = next(setting.network.head.parameters()).device
        return Built(blocks(setting.classes), self.pace).to(device)


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    def __init__(self, parts: tuple[Block, ...], pace: float) -> None:
        super().__init__()
        self.parts, self.pace = parts, pace
        self.steps = nn.Parameter(torch.zeros(len(parts)), requires_grad=pace > 0)

    @property
    def log_variances(self) -> Tensor:
        """(t,) s_j."""
        return self.pace * self.steps

    def forward(self, step: Step) -> Tensor:
        logits = step.labelled.output.logits.float()
        found = multitask.losses(logits, step.labelled.batch, self.parts)
        logs = self.log_variances
        each = [
            torch.exp(-logs[place]) * loss * (1.0 if self.parts[place].classes else 0.5) + logs[place] / 2
            for place, loss in found.items()
        ]
        return multitask.mean(each, logits)
