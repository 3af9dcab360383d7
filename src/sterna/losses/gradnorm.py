"""The losses of several tasks at weights that have all tasks pull on the shared weights alike, and learn at one speed.

Paper: Chen, Badrinarayanan, Lee and Rabinovich 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in
Deep Multitask Networks" (ICML, arXiv 1711.02257), equations 1 and 2 and algorithm 1.

Equation: sum_j w_j L_j / t with learnt w_j, sum_j w_j = t. Let G_j = w_j |grad_W L_j| over the weights W of the topmost
moving stage, r_j = L_j(now) / L_j(first) over the mean of these ratios; the w_j go down the gradient of
sum_j |G_j - mean(G) r_j^alpha|, where mean(G) r_j^alpha is held constant. A task whose gradient is larger than its turn
gets a smaller weight, one that has learnt less so far a larger one.

W is the last shared layer of the paper: the last stage that moves. Where nothing but the head moves, tasks share
nothing that moves, and all weights stay 1. The w_j are t times a softmax of learnt numbers, so their sum is t at every
step and none falls below 0; the paper divides by the sum after each step. `pace` as in `uncertainty`: a run has
hundreds of steps, not ten thousands. A batch without labels of a task leaves that task out. The objective's value is
that of the weighted losses; |G - ...| adds a gradient to the w_j alone.

When not to use: with batches that hold one or two labels of a task, whose gradients are mostly noise; where gradients
are alike from the start, since the weights then stay near 1 and each step costs a backward pass for each task.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sterna import multitask
from sterna.maths.blocks import Block, blocks
from sterna.records import Setting, Step
from sterna.spec import Range, method, option

TINY = 1e-12


@method
class Gradnorm:
    """How hard tasks are held to one speed."""

    alpha: float = option(1.5, "how strongly a task that lags behind is pulled; 0: equal gradients", Range(0, 10))
    pace: float = option(
        10.0, "rate of the weights against that of the network (Adam; the square of it for plain descent)",
        Range(0, 1000),
    )  # fmt: skip

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("several",)
    balances: ClassVar[bool] = True

    def build(self, setting: Setting) -> Built:
        device = next(setting.network.head.parameters()).device
        return Built(blocks(setting.classes), self.alpha, self.pace).to(device)


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    first: Tensor  # (t,) the loss of each task on the first batch that had labels for it, NaN before

    def __init__(self, parts: tuple[Block, ...], alpha: float, pace: float) -> None:
        super().__init__()
        self.parts, self.alpha, self.pace = parts, alpha, pace
        self.steps = nn.Parameter(torch.zeros(len(parts)), requires_grad=pace > 0)
        self.register_buffer("first", torch.full((len(parts),), float("nan")))

    @property
    def weights(self) -> Tensor:
        """(t,) w_j."""
        return len(self.parts) * torch.softmax(self.pace * self.steps, dim=0)

    def forward(self, step: Step) -> Tensor:
        logits = step.labelled.output.logits.float()
        found = multitask.losses(logits, step.labelled.batch, self.parts)
        if not found:
            return multitask.mean((), logits)
        there = list(found)
        values = torch.stack([found[place] for place in there])
        weights = self.weights[there]
        objective = (weights.detach() * values).sum() / len(there)
        shared = multitask.moving(step.network, step.cut)
        if not shared or len(there) < 2 or not self.pace:
            return objective
        norms = [torch.cat([g.flatten() for g in multitask.gradients(one, shared[-1])]).norm() for one in values]
        unequal = self._unequal(weights, torch.stack(norms), values.detach(), there)
        return objective + unequal - unequal.detach()

    def _unequal(self, weights: Tensor, norms: Tensor, values: Tensor, there: list[int]) -> Tensor:
        """How far the gradients are from those that have all tasks learn at one speed."""
        with torch.no_grad():
            known = self.first[there]
            self.first[there] = torch.where(known.isnan(), values, known)
            ratios = values / self.first[there].clamp_min(TINY)
            speeds = ratios / ratios.mean().clamp_min(TINY)
            wanted = (weights * norms).mean() * speeds**self.alpha
        return (weights * norms - wanted).abs().sum()
