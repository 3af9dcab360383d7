"""Means and higher moments of each feature are made equal in both domains.

Paper: Zellinger et al. 2017, "Central Moment Discrepancy (CMD) for Domain-Invariant Representation Learning" (arXiv
1702.08811), definition 2.

Equation: weight * (|E(x_s) - E(x_t)|_2 / (b - a) + sum_{k=2..moments} |c_k(x_s) - c_k(x_t)|_2 / (b - a)^k), c_k(x) =
E((x - E(x))^k) coordinate by coordinate, means over labelled examples weighted. The paper assumes features in [a, b]
and has hidden units with a sigmoid; here the features pass through one, x = 1 / (1 + exp(-f)), for this term alone, so
that a = 0 and b = 1 hold for any encoder. What the head reads stays as it is.

The norms are not squared: the pull stays as strong near the end as at the start. A norm of exactly 0 has a gradient of
0.

When not to use: where features are far above 1 in size, since the sigmoid is flat there and passes no gradient; where
domains differ in how features go together and not in each one, which marginal moments cannot see; where classes have
other shares in the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna import discrepancy
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class CMD:
    """How many moments are compared, and how much it counts."""

    weight: float = option(1.0, "factor on the term (lambda; the paper fixes it at 1)", Range(0))
    moments: int = option(5, "the highest moment; the paper finds 3 to 5 alike", Range(1, 5))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.moments)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    moments: int

    def __call__(self, step: Step) -> Tensor:
        ((left, right),) = discrepancy.layers(step, "features", softmax=False)
        left, right = left.sigmoid(), right.sigmoid()
        weights = step.labelled.batch.weights.float()
        ones = weights.new_ones(len(right))
        apart = [discrepancy.mean(left, weights) - discrepancy.mean(right, ones)]
        for order in range(2, self.moments + 1):
            first = discrepancy.central_moment(left, weights, order)
            apart.append(first - discrepancy.central_moment(right, ones, order))
        found = torch.linalg.vector_norm(torch.stack(apart), dim=1).sum()
        present = (weights.sum() > discrepancy.TINY) & (ones.sum() > 0)
        return self.weight * torch.where(present, found, torch.zeros_like(found))
