"""Hints: what the student's head reads, through a learnt linear layer, is what the teacher's head reads.

Paper: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets" (arXiv 1412.6550), equation 3.

Equation: weight * sum_i w_i L_i / sum_i w_i, v_i the student's features, u_i the teacher's, r(v) = A v + b. squared:
L_i = |r(v_i) - u_i|^2 / V, V the mean over the training examples of |u - mean of u|^2. cosine: L_i = 1 - cos(r(v_i),
u_i).

A and b are weights of the term, learn with the network and are thrown away at the end. Where both networks have equally
many features they start as the identity, so that a student with the teacher's features has nothing to learn; else as a
linear layer of torch does, drawn from its global generator when training starts. The paper's 1/2 |.|^2 is divided by V
here, so that `weight` means the same for every teacher: a student that always gives the mean has L = 1 on average. The
paper takes a layer in the middle and trains up to it first; here it is the last one, and one objective.

The teacher needs to know none of the classes: any encoder that takes these data can teach.

When not to use: where all that moves is the head, since features then stand still; with a teacher whose features hold
much that the task does not need, and a student too small for all of it.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from sterna import lessons
from sterna.records import Setting, Step
from sterna.spec import Choice, Range, method, option


@method
class FeatureDistill:
    """How features are compared, and how much that counts."""

    weight: float = option(1.0, "factor on the term", Range(0))
    form: str = option(
        "squared", "how features are compared; cosine leaves their length free", Choice(("squared", "cosine"))
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "teacher"
    answers: ClassVar[bool] = False
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")

    def build(self, setting: Setting) -> Built:
        made = Built(lessons.teacher(setting).features, setting.network.width, self.weight, self.form)
        return made.to(next(setting.network.head.parameters()).device)


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    def __init__(self, recorded: Tensor, width: int, weight: float, form: str) -> None:
        super().__init__()
        self.recorded, self.weight, self.form = recorded, weight, form
        self.spread = float((recorded - recorded.mean(dim=0)).square().sum(dim=1).mean()) or 1.0
        self.regressor = nn.Linear(width, recorded.shape[1])
        if width == recorded.shape[1]:
            nn.init.eye_(self.regressor.weight)
            nn.init.zeros_(self.regressor.bias)

    def forward(self, step: Step) -> Tensor:
        seen = step.labelled
        hint, guess = lessons.of(self.recorded, seen), self.regressor(seen.output.features.float())
        if self.form == "cosine":
            apart = 1 - functional.cosine_similarity(guess, hint, dim=1)
        else:
            apart = (guess - hint).square().sum(dim=1) / self.spread
        return self.weight * lessons.mean(apart, seen.batch.weights.float())
