"""Answers on a strong view must be those that a running average of the network's weights gives.

Paper: Tarvainen and Valpola 2017, "Mean teachers are better role models: Weight-averaged consistency targets improve
semi-supervised deep learning results" (arXiv 1703.01780), section 2 and, for both ramps, section 3.4 and appendix B.

Equation: weight * r(p) / c * sum_j |f(v_j; w) - f(v'_j; w')|^2 over the c examples of the unlabelled batch, f the
probabilities of the classes, v_j the strong view and v'_j the one that the teacher is shown, r(p) = exp(-5 (1 - min(1,
p / ramp))^2), p the progress of training. After step t of a phase the teacher's weights are w' <- a w' + (1 - a) w with
a = min(decay, 1 - 1 / (t + 1)), so it begins as the plain mean of all steps, and at each phase anew from the network.

The teacher is a copy of the stages that move. It runs in evaluation mode, where the paper's drops units as well: with
few unlabelled examples a quiet teacher is the better one. It has no gradient, takes no part in the model that ships,
and is kept in checkpoints. The weight is of a sum over classes; the paper's 100 for CIFAR-10 is of their mean.

When not to use: where nothing tells the two views apart (no augmentation that fits the data, no dropout), since
student and teacher then agree and the term is near 0; where the network is large: it is held, and run, twice; with
policies that add layers, such as `lora`, whose weights are not those of the stages.
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import consistency
from sterna.errors import TrainingError
from sterna.network import Network
from sterna.records import Setting, Step
from sterna.spec import Choice, Range, method, option

STEEPNESS = 5.0  # of the ramp, as in the paper


@method
class MeanTeacher:
    """How slowly the teacher follows, what it is shown, and how much it counts when."""

    weight: float = option(
        10.0, "factor on the term at the end of the ramp (the paper's 100 for ten classes, of their mean)", Range(0)
    )
    decay: float = option(
        0.99,
        "share of the teacher's weights that a step keeps, at most (alpha; the paper's 0.99 at first)",
        Range(0, 1),
    )
    ramp: float = option(0.3, "share of training over which the factor grows to the weight", Range(0, 1))
    shown: str = option("weak", "the view that the teacher answers", Choice(("weak", "strong")))
    ratio: int = option(
        consistency.RATIO, "unlabelled examples for each labelled one in a batch, as in `fixmatch`", Range(1, 64)
    )
    strong: str = option("", "augmentation of the strong view, a sum; none named: that of the kind of data")

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "views"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self, setting.network.suffix(setting.cut), setting.cut)


class Built(nn.Module):
    """The term itself: `Step` -> scalar; the teacher and the number of its steps are part of it."""

    steps: Tensor  # () int64, in the phase under way

    def __init__(self, options: MeanTeacher, start: Network, cut: int) -> None:
        super().__init__()
        self.options, self.cut = options, cut
        self.teacher = copy.deepcopy(start).requires_grad_(False).eval()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Built:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, step: Step) -> Tensor:
        options = self.options
        self._follow(step)
        assert step.unlabelled is not None
        assert step.strong is not None
        shown = step.unlabelled if options.shown == "weak" else step.strong
        wanted = self._answers(shown.batch.inputs, step.cut)
        found = functional.softmax(step.strong.output.logits.float(), dim=1)
        apart = (found - wanted).square().sum(dim=1)
        return options.weight * factor(step.progress, options.ramp) * apart.sum() / max(len(apart), 1)

    @torch.no_grad()
    def _follow(self, step: Step) -> None:
        """The weights have taken a step since the last call, or stand where a phase begins."""
        if step.progress == 0:
            self.steps.zero_()
        kept = min(self.options.decay, 1 - 1 / (int(self.steps) + 1))
        student = step.network.state_dict()
        if not self.teacher.state_dict().keys() <= student.keys():
            raise TrainingError(
                "mean_teacher averages the weights of stages, and this policy puts layers of its own in their place; "
                "type --tune partial, or another addend, such as fixmatch."
            )
        for name, value in self.teacher.state_dict().items():
            if value.is_floating_point():
                value.lerp_(student[name].to(value), 1 - kept)
            else:
                value.copy_(student[name])
        self.steps += 1

    @torch.no_grad()
    def _answers(self, inputs: Tensor, cut: int) -> Tensor:
        """(c, k) what the teacher says of inputs of stage `cut`."""
        # A stage may begin with an operation in place.
        return functional.softmax(self.teacher.suffix(cut - self.cut)(inputs.clone()).logits.float(), dim=1)


def factor(progress: float, ramp: float) -> float:
    """exp(-5 (1 - min(1, progress / ramp))^2): e^-5 at the start, 1 from `ramp` on."""
    return math.exp(-STEEPNESS * (1 - min(1.0, progress / ramp)) ** 2) if ramp else 1.0
