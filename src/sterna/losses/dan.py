"""Features of both domains are drawn together until no kernel tells their distributions apart.

Papers: Long, Cao, Wang and Jordan 2015, "Learning Transferable Features with Deep Adaptation Networks" (DAN, arXiv
1502.02791), section 3; Tzeng et al. 2014, "Deep Domain Confusion" (DDC, arXiv 1412.3474), section 3.

Equation: weight * sum over layers of MMD^2, MMD^2 = mean_{i != j} k(s_i, s_j) + mean_{i != j} k(t_i, t_j) - 2 mean_{i,
j} k(s_i, t_j), k(x, y) = sum_u exp(-|x - y|^2 / (2^u g)), u = -2, -1, 0, 1, 2, and g the mean of |x - y|^2 over the
pairs of different examples of both batches, taken as a constant. Pairs of labelled examples are weighted.

`kernels=1` on the features is the form with one kernel on one layer, as which Long et al. measure DDC; DDC itself
compares means alone, which is a linear kernel, and cannot see domains that differ otherwise.

The estimate is the unbiased one over all pairs: it may fall below 0, and is 0 for a batch of one. The paper's sees each
example once, which is faster for very many examples and noisier for those of one batch. The paper weighs its kernels by
a quadratic program and takes the median for g; here, as in the authors' code, all count alike and g is the mean.

The paper compares the last three layers. Here it is what the head reads, the probabilities of classes, or both. Where
labels are values, `logits` are the values themselves.

When not to use: where classes have other shares in the target, or some are absent from it: equal distributions then
mean that examples of one class were moved onto another. With batches under about 16, whose estimate is mostly noise.
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
class DAN:
    """What is compared, with how many kernels, and how much it counts."""

    weight: float = option(1.0, "factor on the term (lambda; the paper chooses near 1)", Range(0))
    layers: str = option(
        "features", "what is compared: what the head reads, what it answers, or both", Choice(discrepancy.LAYERS)
    )
    kernels: int = option(5, "kernels, whose widths double from one to the next", Range(1, 19))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def build(self, setting: Setting) -> Built:
        # Values have no counts.
        return Built(self.weight, self.layers, self.kernels, bool(setting.class_counts.any()))


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    layers: str
    kernels: int
    softmax: bool

    def __call__(self, step: Step) -> Tensor:
        weights = step.labelled.batch.weights.float()
        found = [
            self._between(left, right, weights) for left, right in discrepancy.layers(step, self.layers, self.softmax)
        ]
        return self.weight * torch.stack(found).sum()

    def _between(self, left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
        squared = discrepancy.squared_distances(torch.cat([left, right]))
        around = discrepancy.width(squared, torch.cat([weights, weights.new_ones(len(right))]))
        return discrepancy.squared_mmd(discrepancy.gaussians(squared, around, self.kernels), weights)
