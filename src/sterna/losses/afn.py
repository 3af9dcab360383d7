"""Features of both domains grow longer, a little at each step: short features transfer badly.

Paper: Xu, Li, Yang and Lin 2019, "Larger Norm More Transferable: An Adaptive Feature Norm Approach for Unsupervised
Domain Adaptation" (arXiv 1811.07456), section 3: the stepwise form, SAFN.

Equation: weight * (mean_i L(s_i) + mean_j L(t_j)), L(x) = (|x|_2 - (|x|_2 + step))^2 where the inner norm is a constant
without gradient. The value of L is always step^2, and its gradient asks for a norm that is longer by `step` than it is
now. The mean over labelled examples is weighted.

The paper takes the mean over both domains together and the inner norm from the weights before the last update; as in
the authors' code, each domain has a mean of its own and the inner norm is today's. The other form, which pulls all
norms to one number (HAFN), is not here. A feature vector of zeros has no direction and stays.

When not to use: where features are normalised to a length, which takes the growth back; with a strong weight decay on
the last stage, which works against it; where the head is penalised by its size, since logits grow along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna import discrepancy
from sterna.adversary import mean
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class AFN:
    """How far norms are asked to grow, and how much it counts."""

    weight: float = option(0.05, "factor on the term (lambda; the paper's 0.05)", Range(0))
    step: float = option(1.0, "growth of each norm that is asked for (the paper's 1, or 0.3 on VisDA)", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.step)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    step: float

    def __call__(self, step: Step) -> Tensor:
        ((left, right),) = discrepancy.layers(step, "features", softmax=False)
        labelled = mean(self._short(left), step.labelled.batch.weights.float())
        return self.weight * (labelled + mean(self._short(right)))

    def _short(self, features: Tensor) -> Tensor:
        """(b,) squared distances of the norms to what they should become."""
        norms = torch.linalg.vector_norm(features, dim=1)
        return (norms - norms.detach() - self.step).square()
