"""Open set by backpropagation: a further answer, unknown, takes in target examples that are of no known class.

Paper: Saito et al. 2018, "Open Set Domain Adaptation by Backpropagation" (arXiv 1804.10427), section 3.

Equation: weight * (CE over k + 1 answers on the source + mean_t -t ln u - (1 - t) ln(1 - u)), t = 1/2,
u = p(unknown | R(f_t)), R the identity with the gradient reversed. Descent puts u of target examples at t in the
classifier; the features move away from t, each example to the side it is nearer to: the known classes, or unknown.

The row for unknown is the term's own and the others are the network's head, both of which the term trains. It keeps
foreign target examples from being drawn onto known classes. The model that is kept has the known classes alone: it does
not answer unknown.

When not to use: where all classes of the target are known, since good examples are pushed away; where the trained model
itself must refuse examples; where the head stands still.
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
class OpenSet:
    """How much it counts, and where known ends."""

    weight: float = option(1.0, "factor on the term, the loss over k + 1 answers on the source included", Range(0))
    border: float = option(
        0.5, "share of unknown that the head puts target examples at (t, the paper's 0.5)", Range(0, 1, True, True)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self, setting.network.width).to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    def __init__(self, chosen: OpenSet, width: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.unknown = nn.Linear(width, 1)

    def forward(self, step: Step) -> Tensor:
        assert step.unlabelled is not None
        batch, output = step.labelled.batch, step.labelled.output
        answers = torch.cat([output.logits, self.unknown(output.features)], dim=1)
        wanted = functional.pad(adversary.shares(batch.labels, output.logits.shape[1]), (0, 1))
        learnt = adversary.cross_entropy(answers, wanted, batch.weights)
        target = adversary.reverse(step.unlabelled.output.features)
        # ln(u / (1 - u)): unknown against all known classes together
        odds = self.unknown(target).squeeze(1) - step.network.head(target).logsumexp(dim=1)
        border = torch.full_like(odds, self.chosen.border)
        at_border = functional.binary_cross_entropy_with_logits(odds, border, reduction="none")
        return self.chosen.weight * (learnt + adversary.mean(at_border))
