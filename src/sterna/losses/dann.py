"""Domain-adversarial training: features from which a discriminator cannot tell source from target.

Papers: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks" (arXiv 1505.07818), section 4.2; for
`partial`, Cao et al. 2018, "Partial Adversarial Domain Adaptation" (arXiv 1808.04205), section 3.

Equation: weight * (1/2 mean_s ln(1 + exp(-D(R(f_s)))) + 1/2 mean_t ln(1 + exp(D(R(f_t))))). D is a perceptron with two
hidden layers that gives the log odds of the source; R is the identity, whose gradient is reversed and multiplied by
lambda(p) = 2 / (1 + exp(-10 p)) - 1 at the share p of training that is done. The discriminator descends and the
features ascend, in one step.

The term is the adaptation alone: it stands beside an objective on the labels, as in `cross_entropy + dann`. With
`partial`, a source example counts by how often its class is predicted on the target, so that classes which the target
lacks do not pull it astray; the shares are a running mean over the batches where the paper takes the mean over the
whole target now and then. The paper weighs the labelled loss in the same way, and that one is another addend here.

When not to use: where the shares of the classes differ between the domains: equal features then force wrong answers
(`partial` helps where classes are missing altogether, and does harm where the first answers on the target are poor);
with few examples of either domain, which the discriminator learns by heart. Moments (`coral`, `dan`) are steadier.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sterna import adversary
from sterna.errors import TrainingError
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class DANN:
    """How strongly the domains are brought together, and against what discriminator."""

    weight: float = option(1.0, "factor on the term (the paper's 1)", Range(0))
    steepness: float = option(
        10.0, "how soon the reversal reaches its full strength; the paper's 10 has it at half after a tenth", Range(0)
    )
    hidden: int = option(1024, "width of the two hidden layers of the discriminator (the paper's)", Range(1, 65536))
    dropout: float = option(
        0.0, "share of hidden units left out at random; some where domains are small", Range(0, 1, high_open=True)
    )
    partial: bool = option(False, "weigh source examples by the share of their class in the answers on the target")
    memory: float = option(
        0.99, "share of the running mean of those answers that is kept at each step", Range(0, 1, high_open=True)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def build(self, setting: Setting) -> Built:
        if self.partial and not setting.class_counts.sum():
            raise TrainingError("dann(partial=true) weighs classes and this task has none, got numbers; type dann.")
        made = Built(self, setting.network.width, len(setting.classes))
        return made.to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar. Its running shares of the classes survive in a checkpoint."""

    shares: Tensor  # (k,)

    def __init__(self, chosen: DANN, width: int, classes: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.discriminator = adversary.discriminator(width, chosen.hidden, chosen.dropout)
        self.register_buffer("shares", torch.full((classes,), 1 / classes))

    def forward(self, step: Step) -> Tensor:
        labelled, unlabelled = step.labelled, step.unlabelled
        assert unlabelled is not None
        strength = adversary.ramp(step.progress, self.chosen.steepness)
        source, target = (
            self.discriminator(adversary.reverse(seen.output.features, strength)) for seen in (labelled, unlabelled)
        )
        weights = labelled.batch.weights
        if self.chosen.partial:
            self._remember(unlabelled.output.logits)
            weights = weights * (adversary.shares(labelled.batch.labels, len(self.shares)) @ self.shares)
        return self.chosen.weight * adversary.domain_cross_entropy(source, target, weights)

    @torch.no_grad()
    def _remember(self, logits: Tensor) -> None:
        if len(logits):
            self.shares.lerp_(logits.softmax(dim=1).mean(dim=0), 1 - self.chosen.memory)
