"""Squared distance between the answers and the labels, for numbers.

Paper: Huber 1964, "Robust Estimation of a Location Parameter" (Annals of Mathematical Statistics 35), for `delta`.

Equation: sum_i w_i L_i / sum_i w_i, L_i = (1/c) sum_j h(z_ij - y_ij) over the c columns, h(e) = e^2, and with delta
h(e) = e^2 where |e| <= delta, else delta (2 |e| - delta): far errors then pull no harder than those at delta.

When not to use: on counts and prices that span several powers of ten, unless their logarithm is the label; the largest
would be all that matters. `delta`, when means are wanted of labels whose noise is skewed: it aims below them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class SquaredError:
    """Whether far errors are tamed."""

    delta: float | None = option(
        None, "errors beyond this, in units of the labels, count linearly", Range(0, low_open=True)
    )

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("regress",)

    def build(self, setting: Setting) -> Built:
        return Built(self.delta)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    delta: float | None

    def __call__(self, step: Step) -> Tensor:
        batch = step.labelled.batch
        answers, labels = step.labelled.output.logits.float(), batch.labels.float()  # (b, c)
        if self.delta is None:
            each = (answers - labels).square()
        else:  # torch's Huber loss is half of the one above
            each = 2 * functional.huber_loss(answers, labels, reduction="none", delta=self.delta)
        return (batch.weights * each.mean(dim=1)).sum() / batch.weights.sum()
