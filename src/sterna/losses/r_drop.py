"""R-Drop: two passes with different dropout must give the same answer.

Paper: Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks" (arXiv 2106.14448), equations 2 to 4.

Equation: weight * 1/2 (KL(p1 | p2) + KL(p2 | p1)), a weighted mean over examples, p1 and p2 the answers of two passes
of the same examples. The paper's alpha counts beside the cross-entropies of both passes; beside that of one, it is
twice this weight.

The moving stages are run once more in each step, in float32: a step takes up to twice as long. It draws from torch's
global generator, as dropout does.

When not to use: where the moving stages have no dropout, since the term is then 0, which is refused; with BatchNorm
statistics that follow the data, which see each batch twice; where passes are most of the time and epochs are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from sterna import adversary, holding
from sterna.errors import SpecError
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class RDrop:
    """How much agreement counts."""

    weight: float = option(
        0.5, "factor on the term (half of the paper's alpha, which is 1 for language understanding)", Range(0)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        if setting.sample is not None and not holding.varies(setting):
            raise SpecError(
                "r_drop compares two passes with different dropout, and the moving stages have none, so it is always "
                "0; move stages that have dropout, choose an --encoder that has, or leave it out."
            )
        return Built(self.weight)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float

    def __call__(self, step: Step) -> Tensor:
        seen = step.labelled
        # The loop holds another suffix in training mode; the network itself may say otherwise.
        again = step.network.suffix(step.cut).train()(seen.batch.inputs)
        first, second = (functional.log_softmax(one.logits.float(), dim=1) for one in (seen.output, again))
        # (p1 - p2) (ln p1 - ln p2) summed over the classes is KL(p1 | p2) + KL(p2 | p1).
        each = ((first.exp() - second.exp()) * (first - second)).sum(dim=1) / 2
        return self.weight * adversary.mean(each, seen.batch.weights)
