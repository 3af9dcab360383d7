"""Adversarial discriminative adaptation: target features are moved to where a frozen copy puts the source.

Paper: Tzeng et al. 2017, "Adversarial Discriminative Domain Adaptation" (arXiv 1702.05464), section 4.

Equation: weight * (L_D + L_M), L_D = 1/2 mean_s ln(1 + exp(-D(m_s))) + 1/2 mean_t ln(1 + exp(D(m_t))) with the features
m held constant, and L_M = mean_t ln(1 + exp(-D(m_t))) with the weights of D held constant. m_s comes from a frozen copy
of the network, m_t from the moving one. Two losses, two players, one sum: labels are inverted and no gradient is
reversed, so the features get a strong pull just where the discriminator is sure. The head is left as it is.

The gradient of L_M on the features is multiplied by strength (2 / (1 + exp(-10 p)) - 1) at the share p of training
done, which the paper does not do: both players have one optimizer and one rate here, the discriminator begins with no
knowledge, and inverted labels pull hard. In one trial from 1,800 digits of USPS to 2,000 of MNIST, six epochs with
`adam` took the share of right answers from 34% to 13% with a strength of 1, and to 46% with 0.1.

The copy is the network as it is when the term is built, so training starts from one that has learnt the source. The
copy runs in evaluation mode: its statistics stand still and nothing is dropped. The paper has no loss on labels in this
stage; beside `cross_entropy` the source keeps the moving features useful as well, since source and target go through
the same weights here. What lies below the lowest stage that moves is shared by both.

When not to use: from a network that has not seen the source, whose frozen features are no goal; where the shares of
the classes differ between the domains; where only the head moves, when there is nothing to map.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from sterna import adversary
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class ADDA:
    """How strongly target features are moved, and against what discriminator."""

    weight: float = option(1.0, "factor on the term (the paper's 1)", Range(0))
    strength: float = option(0.1, "factor on the gradient that the features get from the discriminator", Range(0))
    steepness: float = option(
        10.0, "how soon that gradient reaches its strength; 10 has it at half after a tenth of training", Range(0)
    )
    hidden: int = option(500, "width of the two hidden layers of the discriminator (the paper's)", Range(1, 65536))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def build(self, setting: Setting) -> Built:
        made = Built(self, setting.network.stages, setting.network.width)
        return made.to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar. The frozen copy is part of it, and survives in a checkpoint."""

    def __init__(self, chosen: ADDA, stages: nn.ModuleDict, width: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.frozen = copy.deepcopy(stages).eval().requires_grad_(False)
        self.discriminator = adversary.discriminator(width, chosen.hidden)

    def train(self, mode: bool = True) -> Built:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, step: Step) -> Tensor:
        assert step.unlabelled is not None
        strength = self.chosen.strength * adversary.ramp(step.progress, self.chosen.steepness)
        moved = adversary.scaled(step.unlabelled.output.features, strength)
        source, target = self.discriminator(self._source(step)), self.discriminator(moved.detach())
        told = adversary.domain_cross_entropy(source, target, step.labelled.batch.weights)
        return self.chosen.weight * (told + self._mapping(moved))

    def _mapping(self, moved: Tensor) -> Tensor:
        """How sure the discriminator is that target examples are not of the source."""
        return adversary.mean(nn.functional.softplus(-adversary.held(self.discriminator, moved).flatten()))

    @torch.no_grad()
    def _source(self, step: Step) -> Tensor:
        """(b, d): the labelled examples as the frozen copy sees them, from the lowest stage that moves."""
        cut = step.network.moving.index(True) if any(step.network.moving) else step.network.depth
        values = step.labelled.batch.inputs.clone()  # a stage may begin with an operation in place
        for stage in list(self.frozen.values())[cut:]:
            values = stage(values)
        return values.float()
