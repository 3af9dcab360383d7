"""Learning without forgetting: the moving network goes on answering as the pretrained one did, in its old classes.

Paper: Li and Hoiem 2016, "Learning without Forgetting" (arXiv 1606.09282), equations 2 and 3.

Equation: weight * sum_i w_i (-sum_s q_is ln p_is) / sum_i w_i, q_i = softmax(a_i / T) with a_i the answers of the
source head on example i before training, p_i = softmax(b_i / T) with b_i those of a source head that starts as a copy
and moves with the network. T is the temperature; there is no factor T^2, as in the paper.

Answers before training are recorded once, on the examples without augmentation, from stored features; a step costs one
matrix product more. The paper first trains the new head alone, as `partial` and `lp_ft` do.

When not to use: where the target's items mean nothing to the source classes, whose answers are then noise to be kept;
with augmentations that change what is seen, since the recorded answers are of the plain item. It looks up examples by
their place, so it cannot be used with augmentations that mix them.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary, holding
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class LwF:
    """How much old answers count, and how soft they are."""

    weight: float = option(1.0, "factor on the term (the paper's lambda of 1)", Range(0))
    temperature: float = option(
        2.0, "divides logits, so that small probabilities count more (the paper's 2)", Range(0, low_open=True)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "source"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")

    def build(self, setting: Setting) -> Built:
        return Built(self, setting).to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar. The moving source head is trained and kept in checkpoints."""

    features: Tensor  # (n, d) before training
    weight: Tensor  # (z, d)
    bias: Tensor  # (z,)

    def __init__(self, chosen: LwF, setting: Setting) -> None:
        super().__init__()
        source, weight, bias = holding.source_of(setting)
        self.chosen = chosen
        self.head = holding.linear(weight, bias)
        # Made anew from the start of a run whenever a term is built, so no checkpoint has to hold them.
        self.register_buffer("features", source.features.float(), persistent=False)
        self.register_buffer("weight", weight.clone(), persistent=False)
        self.register_buffer("bias", bias.clone(), persistent=False)

    def forward(self, step: Step) -> Tensor:
        batch, temperature = step.labelled.batch, self.chosen.temperature
        before = functional.linear(self.features[holding.places_of(batch, "lwf")], self.weight, self.bias)
        after = self.head(step.labelled.output.features)
        recorded = (before / temperature).softmax(dim=1)
        return self.chosen.weight * adversary.cross_entropy(after / temperature, recorded, batch.weights)
