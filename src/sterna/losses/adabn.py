"""Each domain is normalised by BatchNorm statistics of its own, with one set of weights for both.

Paper: Li, Wang, Shi, Liu and Hou 2016, "Revisiting Batch Normalization for Practical Domain Adaptation" (arXiv
1603.04779), section 3.

Equation: y = g (x - m_D) / sqrt(v_D + e) + b, the mean m_D and variance v_D of each channel over the examples of the
domain D that x comes from; g and b are shared. As an addend it is 0: what it asks for is how examples of the target are
normalised, in training and when they are answered.

When not to use: with encoders without BatchNorm, where there is nothing to change (it is refused); with few target
examples, whose statistics are noise; where classes have other shares in the target, since the statistics then take out
a difference that the head needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sterna.records import Setting, Step
from sterna.spec import method


@method
class AdaBN:
    """It has nothing to choose."""

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "statistics"
    sourceless: ClassVar[bool] = True
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ()

    def build(self, setting: Setting) -> Built:
        return Built()


@dataclass
class Built:
    """The term itself: `Step` -> 0."""

    def __call__(self, step: Step) -> Tensor:
        return step.labelled.output.features.new_zeros(())
