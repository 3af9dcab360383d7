"""The student orders classes as the teacher does, and examples within each class, without its exact probabilities.

Paper: Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher" (DIST, arXiv 2205.10536), section 4.

Equation: weight * T^2 * (inter * sum_i w_i (1 - r(p_i, q_i)) / sum_i w_i + intra / k * sum_c (1 - r(p_.c, q_.c))),
with r the Pearson correlation, p = softmax(t / T) the teacher's and q = softmax(z / T) the student's probabilities, p_i
those of example i over the classes, p_.c those of class c over the examples of the batch, weighted by w.

A strong teacher's probabilities are often out of a small student's reach; a correlation asks for no more than a linear
relation. Where a row or a column does not vary, its correlation is taken as 1 if neither side varies, else as 0, and
it has no gradient.

When not to use: with two classes, whose probabilities over the classes always correlate by 1 or -1, so that only
`intra` teaches; in batches of few examples, whose correlations within a class are noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sterna import lessons
from sterna.records import Setting, Step
from sterna.spec import Range, method, option

FLAT = 1e-12  # a variance of probabilities below which they do not vary: float32 cannot tell


@method
class DIST:
    """Which relations count how much, and how soft the answers are made."""

    weight: float = option(1.0, "factor on the term", Range(0))
    inter: float = option(2.0, "of the relation between the classes of an example (beta; 2 is common)", Range(0))
    intra: float = option(2.0, "of the relation between examples in a class (gamma; 2 is common)", Range(0))
    temperature: float = option(
        1.0, "divides logits (tau; 1 for ImageNet, 4 for CIFAR in the paper)", Range(0, low_open=True)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "teacher"
    answers: ClassVar[bool] = True
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built((lessons.answers(lessons.teacher(setting)) / self.temperature).softmax(dim=1), self)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    recorded: Tensor  # (n, k) the teacher's probabilities for the training examples
    options: DIST

    def __call__(self, step: Step) -> Tensor:
        options, seen = self.options, step.labelled
        weights = seen.batch.weights.float()
        teacher = lessons.of(self.recorded, seen)
        student = (seen.output.logits.float() / options.temperature).softmax(dim=1)
        even = torch.ones_like(student[0])
        inter = lessons.mean(apart(teacher.T, student.T, even), weights)
        intra = apart(teacher, student, weights).mean()
        return options.weight * options.temperature**2 * (options.inter * inter + options.intra * intra)


def apart(left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
    """(m,) one minus the Pearson correlation of each column of two (n, m), with weights (n,) on the rows."""
    share = lessons.shares(weights)[:, None]
    left, right = (side - (share * side).sum(dim=0) for side in (left, right))
    squares = [(share * side.square()).sum(dim=0) for side in (left, right)]
    flat = [one <= FLAT for one in squares]
    lengths = [torch.where(still, 1.0, one).sqrt() for one, still in zip(squares, flat, strict=True)]
    found = (share * left * right).sum(dim=0) / (lengths[0] * lengths[1])
    both, either = flat[0] & flat[1], flat[0] | flat[1]
    return 1 - torch.where(either, both.float(), found)
