"""Minimax entropy: the head makes the answers on unlabelled examples unsure, the features make them sure.

Paper: Saito et al. 2019, "Semi-supervised Domain Adaptation via Minimax Entropy" (arXiv 1904.06487), section 3.

Equation: -weight * mean_t H(p), p = softmax of the head's answers to R(f_t), R the identity with the gradient reversed.
Descent raises the entropy in the head, so that the rows of its weights, which stand for the classes, move towards the
target; and lowers it in the features, which gather around those rows.

It is meant for a target of which some examples carry labels: these are among the labelled ones, beside the source, and
`cross_entropy + mme` learns from them. The paper's head has no bias and reads features divided by their length and by a
temperature of 0.05. With `temperature` set, the answers of this term are made so, from the weights of the network's own
head: the order of the classes is the same but for the bias. Without, they are the answers that the network gives.

When not to use: without any labelled example of the target, where classes may change places and `mcd` or `cdan` is
steadier; where the head stands still; where classes are missing in the target, since features gather around their rows
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class MME:
    """How much it counts, and whose answers."""

    weight: float = option(0.1, "factor on the term (lambda, the paper's 0.1)", Range(0))
    temperature: float | None = option(
        None,
        "divisor of features brought to length 1 (the paper's 0.05); none: the head's own answers",
        Range(0, 1e6, True),
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.temperature)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    temperature: float | None

    def __call__(self, step: Step) -> Tensor:
        assert step.unlabelled is not None
        features = adversary.reverse(step.unlabelled.output.features)
        return -self.weight * adversary.mean(adversary.entropy(self._logits(step.network.head, features)))

    def _logits(self, head: nn.Module, features: Tensor) -> Tensor:
        if self.temperature is None:
            return head(features)
        weight: Tensor = head.weight  # type: ignore[assignment]
        return functional.normalize(features, dim=1) @ weight.T / self.temperature
