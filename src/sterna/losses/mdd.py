"""Margin disparity discrepancy: a second head agrees with the first on the source and contradicts it on the target.

Paper: Zhang et al. 2019, "Bridging Theory and Algorithm for Domain Adaptation" (arXiv 1904.05801), section 5.

Equation: weight * (gamma mean_s -ln q_h(f_s) - mean_t ln(1 - q_h(f_t))), q = softmax(A(R(f))) the answers of a head A
with one hidden layer, h the class that the network's own head answers (a constant), R the identity with the gradient
reversed and multiplied by 0.1 (2 / (1 + exp(-10 p)) - 1). Descent makes A disagree on the target and agree on the
source, and the features do the opposite. ln(1 - q) in place of -ln q on the target keeps gradients alive. Where the
domains are alike the best A has q_h = gamma / (1 + gamma) on both.

The margin is rho = ln gamma. The ramp goes by the share of training that is done, the paper's by its thousandth
iteration. Only the features and A get gradients: the network's head learns by another addend, as in
`cross_entropy + mdd`. ln(1 - q) is computed from the other classes' logits, so no q is too near to 1.

When not to use: with two classes and few examples, where `dann` asks for less; where the shares of the classes differ
much; where the first head is near chance on the target: the second then learns to contradict noise.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class MDD:
    """The margin, and how strongly features are moved."""

    weight: float = option(1.0, "factor on the term (the paper's 1)", Range(0))
    gamma: float = option(4.0, "exponential of the margin, factor on the source part (the paper's 4)", Range(1))
    strength: float = option(0.1, "factor that the reversal rises to (eta, the paper's 0.1)", Range(0))
    steepness: float = option(
        10.0, "how soon the reversal rises; 10 has it at half after a tenth of training", Range(0)
    )
    hidden: int = option(1024, "width of the second head's hidden layer (the paper's)", Range(1, 65536))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        made = Built(self, setting.network.width, len(setting.classes))
        return made.to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    def __init__(self, chosen: MDD, width: int, classes: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.second = adversary.perceptron((width, chosen.hidden, classes))

    def forward(self, step: Step) -> Tensor:
        labelled, unlabelled = step.labelled, step.unlabelled
        assert unlabelled is not None
        strength = self.chosen.strength * adversary.ramp(step.progress, self.chosen.steepness)
        source, target = (
            self.second(adversary.reverse(seen.output.features, strength)) for seen in (labelled, unlabelled)
        )
        said_source, said_target = (seen.output.logits.detach().argmax(dim=1) for seen in (labelled, unlabelled))
        agree = adversary.mean(-_log(source, said_source), labelled.batch.weights)
        return self.chosen.weight * (self.chosen.gamma * agree - adversary.mean(_log_rest(target, said_target)))


def _log(logits: Tensor, classes: Tensor) -> Tensor:
    """(b,) ln q of the given classes."""
    return functional.log_softmax(logits, dim=1).gather(1, classes[:, None]).squeeze(1)


def _log_rest(logits: Tensor, classes: Tensor) -> Tensor:
    """(b,) ln(1 - q) of the given classes, exact however near to 1 q is."""
    others = logits.scatter(1, classes[:, None], float("-inf"))
    return torch.logsumexp(others, dim=1) - torch.logsumexp(logits, dim=1)
