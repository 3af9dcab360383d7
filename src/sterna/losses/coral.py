"""Covariances of both domains are made equal.

Paper: Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation" (arXiv 1607.01719), equations
1 to 3.

Equation: weight / (4 d^2) * |C_s - C_t|_F^2, C = sum_i (x_i - m) (x_i - m)^T / (n - 1) with m the mean of the batch and
d the width of the layer. For labelled examples of unequal weights, C = sum_i p_i (x_i - m) (x_i - m)^T / (1 - sum_i
p_i^2) with p the weights divided by their sum, which is the same for equal ones. 0 for a batch of one.

As in the paper it compares the outputs of the last layer, the logits. On the features, `layers=features`, the division
by d^2 makes the term small: a larger `weight` is needed, and the head is not moved. Means are not compared: domains
that lie apart with the same covariance cost nothing.

When not to use: where domains differ by a shift alone; where batches are much smaller than the layer is wide, since the
covariances then have mostly noise to compare; where classes have other shares in the target, which change the
covariance between classes for good reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna import discrepancy
from sterna.records import Setting, Step
from sterna.spec import Choice, Range, method, option


@method
class CORAL:
    """What is compared, and how much it counts."""

    weight: float = option(
        1.0, "factor on the term (lambda; the paper's makes it as large as the supervised loss at the end)", Range(0)
    )
    layers: str = option(
        "logits", "what is compared: what the head reads, what it answers, or both", Choice(discrepancy.LAYERS)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.layers)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    layers: str

    def __call__(self, step: Step) -> Tensor:
        weights = step.labelled.batch.weights.float()
        pairs = discrepancy.layers(step, self.layers, softmax=False)
        return self.weight * torch.stack([_between(left, right, weights) for left, right in pairs]).sum()


def _between(left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
    ones = weights.new_ones(len(right))
    apart = discrepancy.covariance(left, weights) - discrepancy.covariance(right, ones)
    found = apart.square().sum() / (4 * left.shape[1] ** 2)
    # The covariance of one example is unknown: nothing is to be drawn to it.
    return torch.where(discrepancy.several(weights) & discrepancy.several(ones), found, torch.zeros_like(found))
