"""Features and answers of both domains are drawn together as pairs, not each for itself.

Paper: Long, Zhu, Wang and Jordan 2017, "Deep Transfer Learning with Joint Adaptation Networks" (JAN, arXiv 1605.06636),
section 4.

Equation: weight * r(p) * MMD^2 with the kernel k((f, y), (f', y')) = k_f(f, f') * k_y(y, y'), y = softmax(logits), k_f
= sum_u exp(-|f - f'|^2 / (2^u g)), u = -2 .. 2, g the mean of |f - f'|^2 over the pairs of both batches, taken as a
constant, and k_y = exp(-|y - y'|^2 / 1.68). MMD^2 is the unbiased estimate as in `dan`: it may fall below 0, and is 0
for a batch of one; pairs of labelled examples are weighted. r(p) = 2 / (1 + exp(-10 p)) - 1 grows from 0 to 1 over
training.

The widths are those of the authors' code; 1.68 suits probabilities, which are at most sqrt(2) apart. The paper's
estimate sees each example once; here all pairs of the batch count, with less noise. Its adversarial form (JAN-A), which
learns a kernel, is not here.

When not to use: where the answers on the target are mostly wrong at the start: what is drawn together then are wrong
pairs of features and classes. Where target classes are missing or their shares differ much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna import discrepancy
from sterna.adversary import ramp
from sterna.records import Setting, Step
from sterna.spec import Range, method, option

ANSWERS = 1.68  # the width of the kernel on probabilities


@method
class JAN:
    """How many kernels compare features, and how much it counts when."""

    weight: float = option(1.0, "factor on the term at the end of training (lambda; the paper's 1)", Range(0))
    kernels: int = option(5, "kernels on the features, whose widths double from one to the next", Range(1, 19))
    ramp: bool = option(True, "raise the factor from 0 over training, as the paper does, until answers mean something")

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.kernels, self.ramp)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    kernels: int
    ramp: bool

    def __call__(self, step: Step) -> Tensor:
        weights = step.labelled.batch.weights.float()
        (features, answers) = (torch.cat(pair) for pair in discrepancy.layers(step, "both", softmax=True))
        squared = discrepancy.squared_distances(features)
        ones = weights.new_ones(len(features) - len(weights))
        around = discrepancy.width(squared, torch.cat([weights, ones]))
        kernel = discrepancy.gaussians(squared, around, self.kernels)
        kernel = kernel * torch.exp(-discrepancy.squared_distances(answers) / ANSWERS)
        factor = self.weight * (ramp(step.progress) if self.ramp else 1)
        return factor * discrepancy.squared_mmd(kernel, weights)
