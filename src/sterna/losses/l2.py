"""L2: all moving weights are pulled towards zero.

Paper: Krogh and Hertz 1991, "A Simple Weight Decay Can Improve Generalization".

Equation: weight / 2 * |w|^2 over the moving weight matrices and kernels, the head's included; normalisation scales
and biases are left alone.

When not to use: to stay close to pretrained weights; zero is not where they are. That is `l2sp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class L2:
    """How strongly weights are pulled to zero."""

    weight: float = option(0.0001, "pull towards zero; 1e-4 is the usual value for convolutional networks", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ()

    def build(self, setting: Setting) -> Built:
        return Built(self.weight)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float

    def __call__(self, step: Step) -> Tensor:
        kernels = [value for value in step.network.parameters() if value.requires_grad and value.ndim > 1]
        total = step.labelled.output.logits.new_zeros(())
        for value in kernels:
            total = total + self.weight / 2 * value.square().sum()
        return total
