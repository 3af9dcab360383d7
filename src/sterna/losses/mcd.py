"""Maximum classifier discrepancy: two classifiers differ on target examples, and features close the gap.

Paper: Saito et al. 2018, "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation" (arXiv 1712.02560),
sections 3.2 and 3.3.

Equation: weight * (CE(F_2(f_s), y) - mean_t 1/k sum_c |p_1c - p_2c|), p_i = softmax(F_i(R(f_t))), R the identity with
the gradient reversed. F_1 is the network's head and learns from labels by another addend, as in `cross_entropy + mcd`;
F_2 is a linear head of the term's own.

Descent raises the discrepancy in both classifiers and lowers it in the features, in one step. The paper takes three:
all players on the source; the classifiers on source minus discrepancy; then the features on the discrepancy, several
times. One step sees one batch once and keeps one optimizer; the features then answer to classifiers that are less far
along, so the discrepancy they close is smaller in each step. The paper's classifiers may have several layers.

When not to use: with a head that stands still; where most target examples lie far from any of the source, since
classifiers then agree by chance; for regression, where nothing bounds the discrepancy.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sterna import adversary
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class MCD:
    """How much it counts beside other addends."""

    weight: float = option(1.0, "factor on the term, the second classifier's own loss included", Range(0))
    strength: float = option(1.0, "factor on the gradient that the features get from the discrepancy", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        made = Built(self, setting.network.width, len(setting.classes))
        return made.to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    def __init__(self, chosen: MCD, width: int, classes: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.second = nn.Linear(width, classes)

    def forward(self, step: Step) -> Tensor:
        assert step.unlabelled is not None
        batch = step.labelled.batch
        learnt = adversary.cross_entropy(self.second(step.labelled.output.features), batch.labels, batch.weights)
        target = adversary.reverse(step.unlabelled.output.features, self.chosen.strength)
        apart = step.network.head(target).softmax(dim=1) - self.second(target).softmax(dim=1)
        return self.chosen.weight * (learnt - adversary.mean(apart.abs().mean(dim=1)))
