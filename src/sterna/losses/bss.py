"""Batch spectral shrinkage: directions in which a batch's features hardly spread are shrunk further.

Paper: Chen, Wang, Fu, Long and Wang 2019, "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage
for Safe Transfer Learning" (NeurIPS 2019), section 4.2.

Equation: weight * sum_{i <= smallest} s_{-i}^2, s_{-i} the i-th smallest of the min(b, d) singular values of the
batch's features (b, d). Examples of weight 0 are left out, others scaled by the root of their weight.

What transfers badly is in the components with small singular values, the paper finds; fine-tuning on enough labels
shrinks them by itself. The eigenvectors are held constant in the step, which gives the exact gradient and none that
blows up where singular values meet.

When not to use: with many labels, where the paper gains little; where features stand still, since the term then has
nothing to move. It depends on the size of the batch: with more examples than features it shrinks directions of all
data, with one example the features themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class BSS:
    """How many singular values are shrunk, and how strongly."""

    weight: float = option(0.001, "factor on the sum of squares (the paper's eta of 0.001)", Range(0))
    smallest: int = option(1, "how many of the smallest singular values (the paper's k of 1)", Range(1))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ()

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.smallest)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    smallest: int

    def __call__(self, step: Step) -> Tensor:
        weights = step.labelled.batch.weights
        kept = weights > 0
        rows = step.labelled.output.features[kept].float() * weights[kept].sqrt()[:, None]
        return self.weight * smallest_squares(rows, self.smallest)


def smallest_squares(rows: Tensor, count: int) -> Tensor:
    """The sum of the `count` smallest squared singular values of (b, d) rows; of all where there are fewer."""
    wide = rows if rows.shape[0] <= rows.shape[1] else rows.T  # (s, l) with s <= l
    with torch.no_grad():
        # In float64: the smallest eigenvalue is far below the rounding of the largest. Rows that are no numbers make a
        # value that is none, which the loop reports.
        exact = wide.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        vectors = torch.linalg.eigh(exact @ exact.T)[1][:, :count].to(wide)  # eigenvalues rise
    return (vectors.T @ wide).square().sum()
