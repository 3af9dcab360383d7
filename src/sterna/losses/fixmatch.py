"""Where the answer on an unlabelled example is sure, a strongly augmented view of it must be answered alike.

Paper: Sohn, Berthelot, Li and others 2020, "FixMatch: Simplifying Semi-Supervised Learning with Consistency and
Confidence" (arXiv 2001.07685), section 2, equations 3 and 4.

Equation: weight / c * sum_j 1(max q_j >= threshold) * -ln p_j(argmax q_j) over the c examples of the unlabelled batch,
q_j the answer on the weak view (the augmentation of the run), p_j that on the strong one. q_j is a constant.

The sum is divided by all examples of the batch, so that the term grows by itself as more answers are sure. A batch
holds `ratio` unlabelled examples for each labelled one, as far as memory allows: threshold and ratio are the two
options that the paper found to matter. Where hardly any label is known, the first epochs decide: look at what the same
objective reaches without the term, which a run trains beside it.

When not to use: where the first sure answers are wrong, since they are then learnt as they are; where the strong
augmentation changes what an example is (a mirrored digit, a text without its `not`): name another by `strong`; where
the examples without labels hold classes that the labels lack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from sterna import consistency
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class Fixmatch:
    """Which answers are believed, and against which view."""

    weight: float = option(1.0, "factor on the term (lambda_u; the paper's 1)", Range(0))
    threshold: float = option(0.95, "probability from which an answer is believed (tau; the paper's 0.95)", Range(0, 1))
    ratio: int = option(
        consistency.RATIO, "unlabelled examples for each labelled one in a batch (mu; the paper's 7)", Range(1, 64)
    )
    strong: str = option("", "augmentation of the strong view, a sum; none named: that of the kind of data")

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "views"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.threshold)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    threshold: float

    def __call__(self, step: Step) -> Tensor:
        seen = consistency.views(step)
        confidences, answers = seen.sure
        each = functional.nll_loss(seen.strong, answers, reduction="none")
        return self.weight * consistency.chosen_mean(each, confidences >= self.threshold)
