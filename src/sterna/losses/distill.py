"""Distillation: the student learns the teacher's whole answer, and not only which label is right.

Paper: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), section 2;
Furlanello et al. 2018, "Born-Again Neural Networks" (arXiv 1805.04770), for a student of the teacher's own shape.

Equation: weight * sum_i w_i D_i / sum_i w_i. For classes D_i = T^2 sum_c p_c ln(p_c / q_c), p = softmax(t_i / T) of the
teacher's logits, q = softmax(z_i / T) of the student's. For several labels D_i = T^2 / k times the sum over labels of
the same divergence of two outcomes, p_c = s(t_ic / T), with s the logistic function. For values D_i = (1/c) sum_j
(z_ij - t_ij)^2 in units of the training part's spread, without a temperature. w_i is the weight of example i.

The paper's cross-entropy differs from this divergence by the teacher's entropy, a constant; the divergence is 0 for a
student that answers as the teacher does. T^2 keeps the gradient's size as T grows, as in the paper.

The paper's (1 - a) cross-entropy + a distillation is `cross_entropy + distill(weight=a / (1 - a))` up to a factor on
the whole objective, which Adam and AdamW divide out again; with sgd or momentum, multiply the rate by 1 - a. weight=1
is a = 0.5 and weight=9 is a = 0.9.

The teacher answers for each example as it comes, once; with augmentation, the student sees other views than it did.

When not to use: with a teacher that is hardly better than the student alone, whose mistakes are learnt too; where the
teacher has learnt its training examples by heart and its answers there are the labels once more: raise the temperature,
or learn from `feature_distill`. Mixed examples (mixup, cutmix) have no recorded answer and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sterna import lessons
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class Distill:
    """How much the teacher counts beside the labels, and how soft its answers are made."""

    weight: float = option(
        1.0, "factor on the term; beside cross-entropy, a / (1 - a) for the paper's share a", Range(0)
    )
    temperature: float = option(
        4.0, "divides logits, so that small probabilities count (the paper tries 1 to 20)", Range(0, low_open=True)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "teacher"
    answers: ClassVar[bool] = True
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")

    def build(self, setting: Setting) -> Built:
        return Built(lessons.answers(lessons.teacher(setting)), setting.task, self.weight, self.temperature)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    recorded: Tensor  # (n, k) the teacher's logits for the training examples
    task: str
    weight: float
    temperature: float

    def __call__(self, step: Step) -> Tensor:
        seen = step.labelled
        apart = self._apart(lessons.of(self.recorded, seen), seen.output.logits.float())
        return self.weight * lessons.mean(apart, seen.batch.weights.float())

    def _apart(self, teacher: Tensor, student: Tensor) -> Tensor:
        """(b,) from (b, k) logits of both."""
        if self.task == "regress":
            return (student - teacher).square().mean(dim=1)
        teacher, student = teacher / self.temperature, student / self.temperature
        if self.task == "multilabel":
            pairs = [torch.stack([one, torch.zeros_like(one)], dim=2).flatten(0, 1) for one in (teacher, student)]
            logs = [functional.log_softmax(one, dim=1) for one in pairs]  # of «has it» and «has it not»
            return self.temperature**2 * lessons.divergence(*logs).reshape(teacher.shape).mean(dim=1)
        logs = [functional.log_softmax(one, dim=1) for one in (teacher, student)]
        return self.temperature**2 * lessons.divergence(*logs)
