"""Reverse validation: from source to target and, by the answers given there, back to held-out source examples.

Papers: Zhong, Fan, Yang, Verscheure and Ren 2010, "Cross Validation Framework to Choose amongst Models and Datasets for
Transfer Learning" (ECML PKDD); Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand and
Lempitsky 2016, "Domain-Adversarial Training of Neural Networks" (arXiv 1505.07818), who call it reverse validation.

Equation: g = A((x_j, argmax f(x_j)) of the target -> source), with A the same method and head and f what they gave from
source to target; the value is -mean_i loss(g(x_i), y_i) over held-out source examples.

When not to use: methods whose way there and way back are alike wrong: classes that are swapped on the way come back
right. Every method is fitted once more, in the other direction. Methods that need known target labels have none in the
source on the way back, and cannot be judged.
"""

from __future__ import annotations

from sterna.contracts import Adapted
from sterna.maths.criteria import losses
from sterna.spec import Choice, method, option


@method
class Circular:
    """The risk of the way back, negated."""

    loss: str = option(
        "error", "of one example: a wrong class, or the log loss of the shares", Choice(("error", "log"))
    )

    def judge(self, adapted: Adapted) -> float:
        """0 at best. Raises `DataError` where the method cannot go back."""
        given = adapted.answers if adapted.answers.ndim == 1 else adapted.answers.argmax(axis=1)
        source, target = adapted.raw
        back = adapted.refit(target, given, source)
        return -float(losses(back, adapted.labels, self.loss).mean())
