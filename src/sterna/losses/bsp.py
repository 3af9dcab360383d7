"""The directions along which features spread most are held down, since adversarial training feeds on them alone.

Paper: Chen, Wang, Long and Wang 2019, "Transferability vs. Discriminability: Batch Spectral Penalization for
Adversarial Domain Adaptation" (Proceedings of Machine Learning Research 97), section 4.

Equation: weight * sum_{i=1..largest} (a_i^2 + b_i^2), a_1 >= a_2 >= ... the singular values of the features (b, d) of
the labelled batch and b_i those of the unlabelled one. Features are not centred. A labelled example of weight w counts
as its features times sqrt(w), which for whole numbers is the example w times.

It is meant beside `dann` or `cdan`, which make domains alike along few strong directions and lose the others, in which
classes differ; by itself it only shrinks features. The value grows with the batch: the default belongs to batches of
about 36.

When not to use: without an adversarial addend; where features have been normalised to a length, whose largest singular
value then says how alike they are and hardly how long; with far larger batches, unless with a smaller `weight`.
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
class BSP:
    """How many singular values are held down, and how much it counts."""

    weight: float = option(1e-4, "factor on the term (beta; the paper's 0.0001)", Range(0))
    largest: int = option(1, "singular values of each batch that count (k; the paper's 1)", Range(1, 1000))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.largest)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    largest: int

    def __call__(self, step: Step) -> Tensor:
        ((left, right),) = discrepancy.layers(step, "features", softmax=False)
        weighted = step.labelled.batch.weights.float().sqrt()[:, None] * left
        return self.weight * (self._strongest(weighted) + self._strongest(right))

    def _strongest(self, features: Tensor) -> Tensor:
        """The sum of the largest squared singular values, as eigenvalues of the smaller of the two products.

        Their gradient 2 v v^T F has no differences of eigenvalues in it, so equal ones are no trouble.
        """
        rows, columns = features.shape
        products = features @ features.T if rows <= columns else features.T @ features
        # A decomposition refuses what is not finite, before the loop can say in words that training diverged.
        safe = torch.nan_to_num(products, nan=0.0, posinf=0.0, neginf=0.0)
        return torch.linalg.eigvalsh(safe)[-self.largest :].sum() + 0 * products.sum()
