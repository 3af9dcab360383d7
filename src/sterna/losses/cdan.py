"""Conditional adversarial training: domains are told apart by features together with the answers.

Paper: Long et al. 2018, "Conditional Adversarial Domain Adaptation" (arXiv 1705.10667), section 3.

Equation: weight * (1/2 mean_s ln(1 + exp(-D(h_s))) + 1/2 mean_t ln(1 + exp(D(h_t)))) with the multilinear map
h = R(f) x g, the products of each feature with each predicted class share. Beyond 4,096 products it is the randomised
map h = (A R(f)) * (B g) / sqrt(m) with fixed standard normal A (m, d) and B (m, k), whose inner products are those of
the full map in expectation. R reverses the gradient times 2 / (1 + exp(-10 p)) - 1 at the share p of training done.
With `entropy` (CDAN+E), examples count 1 + exp(-H(g)) within their domain: sure answers come first.

The shares g are constants: the game moves the features alone. So do the authors' programs; a head that may move learns
to answer so that domains look alike, and not so that answers are right. The entropy weights are constants as well,
where the authors' program lets reversed gradients through them: those would make answers unsure.

When not to use: where the answers on the target are near chance at the start: matching is then by wrong classes; where
the shares of the classes differ much between the domains.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sterna import adversary
from sterna.records import Seen, Setting, Step
from sterna.spec import Range, method, option

FULL = 4096  # products beyond which the paper takes the randomised map


@method
class CDAN:
    """How strongly the domains are brought together, and what the discriminator is shown."""

    weight: float = option(1.0, "factor on the term (the paper's 1)", Range(0))
    steepness: float = option(
        10.0, "how soon the reversal reaches its full strength; the paper's 10 has it at half after a tenth", Range(0)
    )
    hidden: int = option(1024, "width of the two hidden layers of the discriminator (the paper's)", Range(1, 65536))
    dropout: float = option(
        0.0, "share of hidden units left out at random; the authors' program has 0.5", Range(0, 1, high_open=True)
    )
    entropy: bool = option(False, "let examples whose answer is sure count up to twice as much (CDAN+E)")
    products: int = option(1024, "size of the randomised map, beyond 4096 products (the paper's)", Range(1, 65536))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        made = Built(self, setting.network.width, len(setting.classes))
        return made.to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar. The randomised map survives in a checkpoint."""

    of_features: Tensor  # (m, d), or (0, d) where all products are taken
    of_answers: Tensor  # (m, k)

    def __init__(self, chosen: CDAN, width: int, classes: int) -> None:
        super().__init__()
        self.chosen = chosen
        full = width * classes
        size = 0 if full <= FULL else chosen.products
        self.register_buffer("of_features", torch.randn(size, width))
        self.register_buffer("of_answers", torch.randn(size, classes))
        self.discriminator = adversary.discriminator(size or full, chosen.hidden, chosen.dropout)

    def forward(self, step: Step) -> Tensor:
        labelled, unlabelled = step.labelled, step.unlabelled
        assert unlabelled is not None
        strength = adversary.ramp(step.progress, self.chosen.steepness)
        source, target = (self.discriminator(self._joined(seen, strength)) for seen in (labelled, unlabelled))
        weights = labelled.batch.weights * self._sure(labelled)
        return self.chosen.weight * adversary.domain_cross_entropy(source, target, weights, self._sure(unlabelled))

    def _joined(self, seen: Seen, strength: float) -> Tensor:
        """(b, m): features and answers together."""
        features = adversary.reverse(seen.output.features, strength)
        answers = seen.output.logits.detach().softmax(dim=1)
        size = len(self.of_features)
        if not size:
            return (answers[:, :, None] * features[:, None, :]).flatten(1)
        return (features @ self.of_features.T) * (answers @ self.of_answers.T) / size**0.5

    def _sure(self, seen: Seen) -> Tensor:
        """(b,): how much each example counts; only ratios within a domain matter."""
        logits = seen.output.logits.detach()
        return 1 + torch.exp(-adversary.entropy(logits)) if self.chosen.entropy else logits.new_ones(len(logits))
