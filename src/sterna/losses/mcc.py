"""Answers on unlabelled examples are made to confuse fewer classes with one another.

Paper: Jin, Wang, Long and Wang 2020, "Minimum Class Confusion for Versatile Domain Adaptation" (arXiv 1912.03699),
section 3.

Equation: weight / k * sum_j sum_{l != j} C_jl / sum_m C_jm, C = Y^T W Y with Y = softmax(logits / temperature), (b, k),
of the unlabelled batch, W_ii = b (1 + exp(-H_i)) / sum_n (1 + exp(-H_n)), H_i the entropy of the answer Y_i. W is a
constant without gradient, as in the authors' code. It lies in [0, 1 - 1/k], and is 0 where all answers are certain,
also where all of them name the same class.

Each class is divided by its own mass, so that frequent classes do not swallow the others. The features of the two
domains are not compared, so shares of classes may differ and target classes may be missing. It stands alone beside
`cross_entropy`, or beside `dann` and `cdan`.

When not to use: where answers on the target start out worse than chance would have them, since what is confused is
settled by what is answered most; with batches that hold far fewer examples than there are classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sterna import discrepancy
from sterna.adversary import entropy
from sterna.records import Setting, Step
from sterna.spec import Range, method, option

MASS = 1e-12  # of a class in a batch: below it float32 may have none, and it counts as not confused


@method
class MCC:
    """How much answers are softened first, and how much it counts."""

    weight: float = option(1.0, "factor on the term (mu; the paper's 1)", Range(0))
    temperature: float = option(
        2.5, "logits are divided by it, so that sure answers also count (the paper's 2.5)", Range(0.1)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    sourceless: ClassVar[bool] = True
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.temperature)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    temperature: float

    def __call__(self, step: Step) -> Tensor:
        logits = discrepancy.unlabelled(step).output.logits.float() / self.temperature
        answers = functional.softmax(logits, dim=1)  # (b, k)
        sure = 1 + torch.exp(-entropy(logits.detach()))  # (b,)
        weights = len(logits) * discrepancy.shares(sure)
        confusion = answers.T @ (weights[:, None] * answers)  # (k, k)
        confusion = confusion / confusion.sum(dim=1, keepdim=True).clamp_min(MASS)
        return self.weight * (confusion.sum() - confusion.trace()) / logits.shape[1]
