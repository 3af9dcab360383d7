"""L2-SP: moving weights are pulled back to their pretrained values instead of to zero.

Paper: Li, Grandvalet and Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks"
(arXiv 1802.01483), equation 2.

Equation: weight / 2 * |w - w0|^2 + head / 2 * |w_head|^2, over weight matrices and kernels. Normalisation scales and
biases are left alone, as they are by weight decay. Weight decay itself is off where this term acts.

When not to use: when the target is far from the source, so that good weights lie far from w0; with `scratch`, whose
w0 means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sterna.network import Network
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class L2SP:
    """How strongly the body is held to its start and the head to zero."""

    weight: float = option(
        0.01, "pull of the stages towards their pretrained weights (alpha; the paper tries 0.001 to 0.1)", Range(0)
    )
    head: float = option(0.01, "pull of the new head towards zero (beta; the paper's 0.01)", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    sourceless: ClassVar[bool] = True
    regularises: ClassVar[bool] = True
    anchored: ClassVar[bool] = True  # holds weights by name: not for phases that move others, such as adapters
    tasks: ClassVar[tuple[str, ...]] = ()

    def build(self, setting: Setting) -> Built:
        anchors = {name: value.detach().clone() for name, value in _kernels(setting.network).items()}
        return Built(anchors, self.weight, self.head)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    anchors: dict[str, Tensor]  # clones: an anchor that shares memory with the weights would never pull
    weight: float
    head: float

    def __call__(self, step: Step) -> Tensor:
        total = self.head / 2 * step.network.head.weight.square().sum()  # type: ignore[union-attr,operator]
        for name, value in _kernels(step.network).items():
            if value.requires_grad:
                total = total + self.weight / 2 * (value - self.anchors[name]).square().sum()
        return total


def _kernels(network: Network) -> dict[str, Tensor]:
    """Weight matrices and convolution kernels of the stages, by name."""
    return {name: value for name, value in network.stages.named_parameters() if value.ndim > 1}
