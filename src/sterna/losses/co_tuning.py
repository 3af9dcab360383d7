"""Co-tuning: the source head is kept and trained too, on what each target class looks like in source classes.

Paper: You, Kou, Long and Wang 2020, "Co-Tuning for Transfer Learning" (NeurIPS 2020), sections 3.2 and 3.3.

Equation: weight * sum_i w_i (-sum_s p(s | y_i) ln q_is) / sum_i w_i, q_i the softmax of the answers of a source head
that starts as a copy of the encoder's and moves with training. `direct`: p(s | y) is the mean answer before training on
the examples of class y. `reverse`, the paper's for more source than target classes: a linear classifier of the target's
classes on those answers, read at the pure source class s, gives p(y | s); p(s | y) = p(y | s) p(s) / p(y) with p(s) the
mean answer. Its penalty and the factor that calibrates its logits are chosen by cross-validation on the training part.

The paper calibrates the source head on source validation examples, which are not at hand here; `temperature` is for
whoever knows it. It uses the validation part for the classifier's penalty; here that is left to judge epochs.

When not to use: where source and target classes have nothing in common, so that every row of p(s | y) is alike; with
thousands of labels a class, where the paper's own gain is small. Learning the relation takes seconds with 1,000 source
classes and a few thousand examples.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary, holding
from sterna.maths import class_relations, memory
from sterna.records import Setting, Step
from sterna.spec import Choice, Range, method, option


@method
class CoTuning:
    """How much the source head's loss counts, and how classes are related."""

    weight: float = option(2.3, "factor on the term (lambda; 2.3 in the authors' experiments)", Range(0))
    relation: str = option("reverse", "how p(source class | target class) is learnt", Choice(("reverse", "direct")))
    temperature: float = option(
        1.0,
        "divides the source head's logits before classes are related; 1: as they come (the authors' ResNet-50 was "
        "calibrated by 1.13)",
        Range(0, low_open=True),
    )

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = "source"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        source, weight, bias = holding.source_of(setting)
        labels, weights = _labels(setting)
        what = f"the answers of {len(weight):,} source classes on {len(labels):,} examples"
        memory.check("co_tuning", what, 2 * len(labels) * len(weight), "learn from fewer examples, or type lwf")
        with torch.no_grad():
            logits = functional.linear(source.features.float(), weight, bias) / self.temperature
            answers = logits.softmax(dim=1).double().cpu().numpy()
        learn = class_relations.reverse if self.relation == "reverse" else class_relations.direct
        found = learn(answers, labels, weights, len(setting.classes))
        made = Built(self.weight, holding.linear(weight, bias), torch.from_numpy(found).float())
        return made.to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    relation: Tensor  # (k, z): p(source class | target class)

    def __init__(self, weight: float, head: nn.Linear, relation: Tensor) -> None:
        super().__init__()
        self.weight, self.head = weight, head
        self.register_buffer("relation", relation)

    def forward(self, step: Step) -> Tensor:
        batch = step.labelled.batch
        wanted = adversary.shares(batch.labels, len(self.relation)) @ self.relation
        return self.weight * adversary.cross_entropy(self.head(step.labelled.output.features), wanted, batch.weights)


def _labels(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """(n,) class numbers and weights of the training examples, in their order."""
    assert setting.sample is not None
    batches = list(setting.sample())
    labels, weights = (torch.cat([getattr(one, name) for one in batches]) for name in ("labels", "weights"))
    return labels.cpu().numpy(), weights.double().cpu().numpy()
