"""Elastic weight consolidation: weights that the pretrained answers depend on are held harder to their start.

Papers: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (arXiv 1612.00796), equation 3;
Li, Grandvalet and Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks" (arXiv
1802.01483), section 3.2, where it is L2-SP-Fisher.

Equation: weight / 2 * sum_j F_j (w_j - w0_j)^2 + head / 2 * |w_head|^2 over weight matrices and kernels, as `l2sp`; F_j
is the mean over examples of (d ln p(s | x) / d w_j)^2, p the answers of the encoder's own head at the start, divided by
its mean over all weights, so that `weight` means what it does for l2sp. The source class s is drawn from p, once for
each example, with torch's global generator; `exact` sums over all classes, weighted by p.

Both papers take examples of the source, which are not at hand here; these are of the target's training part. Each is
run backward alone when training begins, so examples cost as many steps of one example, and `exact` z times that. Weight
decay is off where this term acts.

When not to use: when the target is far from the source; with few examples or one answer drawn for each, F is rough, and
l2sp is its limit of equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sterna import adversary, holding
from sterna.network import Network
from sterna.records import Batch, Setting, Step
from sterna.spec import Range, method, option


@method
class EWC:
    """How strongly weights are held, and how their importance is estimated."""

    weight: float = option(0.01, "pull towards pretrained weights, where all count alike that of l2sp", Range(0))
    head: float = option(0.01, "pull of the new head towards zero (beta of l2sp's paper: 0.01)", Range(0))
    examples: int = option(256, "training examples that importance is estimated from, at most", Range(1))
    exact: bool = option(False, "sum over all source classes in place of drawing one")

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "source"
    regularises: ClassVar[bool] = True
    anchored: ClassVar[bool] = True  # holds weights by name: not for phases that move others, such as adapters
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")

    def build(self, setting: Setting) -> Built:
        _, weight, bias = holding.source_of(setting)
        start = holding.still(setting.network, setting.cut)
        start.set_head(holding.linear(weight, bias).to(adversary.device_of(setting.network.head)))
        anchors = {name: value.detach().clone() for name, value in _kernels(start).items()}
        importance = fisher(start, holding.drawn(setting, self.examples), self.exact)
        return Built(anchors, importance, self.weight, self.head)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    anchors: dict[str, Tensor]
    importance: dict[str, Tensor]  # mean 1 over all
    weight: float
    head: float

    def __call__(self, step: Step) -> Tensor:
        total = holding.head_pull(step.network, self.head)
        for name, value in _kernels(step.network).items():
            if value.requires_grad and name in self.anchors:
                pulled = self.importance[name] * (value - self.anchors[name]).square()
                total = total + self.weight / 2 * pulled.sum()
        return total


def fisher(start: Network, batches: list[Batch], exact: bool) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of the kernels of a network's stages, by name, with mean 1 over all.

    Args:
        start: in evaluation mode, with the head whose answers count.
        batches: examples as its first stage takes them; their weights count.
        exact: sum over all classes in place of drawing one from the answers.
    """
    kernels = _kernels(start)
    for value in kernels.values():
        value.requires_grad_(True)
    found = {name: torch.zeros_like(value) for name, value in kernels.items()}
    for inputs, weight in _one_by_one(batches, adversary.device_of(start.head)):
        logs = functional.log_softmax(start(inputs).logits.float(), dim=1)[0]  # (z,)
        chances = logs.detach().exp()
        classes = range(len(logs)) if exact else torch.multinomial(chances.cpu(), 1).tolist()
        for number in classes:
            slopes = torch.autograd.grad(logs[number], list(kernels.values()), retain_graph=exact, allow_unused=True)
            share = weight * float(chances[number]) if exact else weight
            for name, slope in zip(kernels, slopes, strict=True):
                if slope is not None:
                    found[name] += share * slope.square()
    return _of_mean_one(found)


def _one_by_one(batches: list[Batch], device: torch.device) -> list[tuple[Tensor, float]]:
    """Single examples as batches of one, each with its weight: the square of a mean is not the mean of squares."""
    return [
        (batch.inputs[place : place + 1].to(device), float(batch.weights[place]))
        for batch in batches
        for place in range(len(batch.weights))
    ]


def _of_mean_one(found: dict[str, Tensor]) -> dict[str, Tensor]:
    count = sum(value.numel() for value in found.values())
    mean = sum(float(value.double().sum()) for value in found.values()) / max(count, 1)
    return {name: value / mean if mean > 0 else torch.ones_like(value) for name, value in found.items()}


def _kernels(network: Network) -> dict[str, Tensor]:
    """Weight matrices and convolution kernels of the stages, by name."""
    return {name: value for name, value in network.stages.named_parameters() if value.ndim > 1}
