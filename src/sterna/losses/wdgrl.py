"""Wasserstein-guided features: a critic of slope 1 says how far apart the domains lie, the features draw near.

Papers: Shen et al. 2018, "Wasserstein Distance Guided Representation Learning for Domain Adaptation" (arXiv
1707.01217), algorithm 1; for the penalty, Gulrajani et al. 2017, "Improved Training of Wasserstein GANs" (arXiv
1704.00028), section 4.

Equation: weight * (-(mean_s c(R(f_s)) - mean_t c(R(f_t))) + penalty mean_x (|grad c(x)| - 1)^2). c is a critic with one
hidden layer, R the identity with the gradient reversed, x the features of both batches and a random point between each
pair of them. The penalty moves the critic alone. At a critic's best the difference of its means is the Wasserstein
distance of the two samples (a little more: a gap of W is measured as W + W^2 / (2 penalty)), which has a gradient also
where the domains do not overlap and a discriminator is sure.

The paper takes several steps of the critic to one of the features. Here both take one, with one optimizer, so the
gradient on the features is multiplied by strength (2 / (1 + exp(-10 p)) - 1) at the share p of training done, which the
paper does not do: the critic begins with no knowledge, and its gap has no bound that would keep labels in sight. `pace`
multiplies the critic's gradient alone, which makes it faster under `sgd` and `momentum`, and changes next to nothing
under `adam` and its like, which divide by the size of the gradient. The smaller of the batches is gone through again
where pairs are made. The random points come from torch's global generator at each step.

When not to use: where the shares of the classes differ between the domains: mass is then carried over class borders;
with tiny batches, whose critic is noise; where `coral` is enough, at a fraction of the time: the penalty needs a second
gradient.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sterna import adversary
from sterna.records import Setting, Step
from sterna.spec import Range, method, option

FLOOR = 1e-12  # added under the root of a squared slope: at 0 the root has no gradient


@method
class WDGRL:
    """How strongly the domains are brought together, and by what critic."""

    weight: float = option(1.0, "factor on the term (the paper's 1)", Range(0))
    strength: float = option(0.1, "factor on the gradient that the features get from the critic", Range(0))
    steepness: float = option(
        10.0, "how soon that gradient reaches its strength; 10 has it at half after a tenth of training", Range(0)
    )
    penalty: float = option(10.0, "how strongly the critic is held to slope 1 (gamma, the paper's 10)", Range(0))
    hidden: int = option(100, "width of the critic's hidden layer (the paper's)", Range(1, 65536))
    pace: float = option(1.0, "factor on the critic's own gradient; 5 where plain sgd leaves it behind", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def build(self, setting: Setting) -> Built:
        return Built(self, setting.network.width).to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    def __init__(self, chosen: WDGRL, width: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.critic = adversary.perceptron((width, chosen.hidden, 1))

    def forward(self, step: Step) -> Tensor:
        assert step.unlabelled is not None
        # Examples of no weight are left out, so that no random point lies between them and others.
        counted = step.labelled.batch.weights > 0
        source, weights = step.labelled.output.features[counted], step.labelled.batch.weights[counted]
        target = step.unlabelled.output.features
        strength = self.chosen.strength * adversary.ramp(step.progress, self.chosen.steepness)
        apart = adversary.mean(self._height(adversary.reverse(source, strength)), weights)
        apart = apart - adversary.mean(self._height(adversary.reverse(target, strength)))
        steep = self._penalty(source.detach(), weights, target.detach())
        return self.chosen.weight * (self.chosen.penalty * steep - apart)

    def _height(self, values: Tensor) -> Tensor:
        """(b,) what the critic gives, with its own gradient at its own pace."""
        paced = {name: adversary.scaled(one, self.chosen.pace) for name, one in self.critic.named_parameters()}
        return torch.func.functional_call(self.critic, paced, (values,)).squeeze(1)

    def _penalty(self, source: Tensor, weights: Tensor, target: Tensor) -> Tensor:
        """How far the critic's slope is from 1 at both ends and in between."""
        relative = weights / adversary.mean(weights).clamp_min(FLOOR)
        points, counts = [source, target], [relative, target.new_ones(len(target))]
        if len(source) and len(target):
            pairs = torch.arange(max(len(source), len(target)), device=source.device)
            left, right = pairs % len(source), pairs % len(target)
            places = torch.rand(len(pairs), 1).to(source.device)
            points.append(places * source[left] + (1 - places) * target[right])
            counts.append(relative[left])
        values = torch.cat(points).requires_grad_()
        (slopes,) = torch.autograd.grad(self._height(values).sum(), values, create_graph=True)
        return adversary.mean(((slopes.square().sum(dim=1) + FLOOR).sqrt() - 1).square(), torch.cat(counts))
