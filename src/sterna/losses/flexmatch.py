"""FixMatch with a threshold for each class, which is lower for classes that are not learnt yet.

Paper: Zhang, Wang, Hou and others 2021, "FlexMatch: Boosting Semi-Supervised Learning with Curriculum Pseudo Labeling"
(arXiv 2110.08263), section 3, equations 5 to 11 and algorithm 1.

Equation: weight / c * sum_j 1(max q_j > T(argmax q_j)) * -ln p_j(argmax q_j), q_j the answer on the weak view of the
unlabelled example j, a constant, and p_j that on the strong one. T(c) = M(s_c / d) * threshold, s_c the number of
unlabelled examples that have passed the threshold as class c, d the largest of these numbers, M(x) = x / (2 - x)
(convex), x (linear) or ln(x + 1) / ln 2 (concave). While more examples have never passed than belong to the largest
class, d is the number of those instead (warm-up): or the class that passes first would have the full threshold at once.

Who has passed is remembered for each example, as the class it was last sure to be, and is kept in checkpoints.

When not to use: as for `fixmatch`; in short training, since all thresholds start at 0 and first guesses are learnt
before any has passed: with a few hundred steps from four to eight labels a class it lost accuracy on photos and texts
where `fixmatch` did not; where classes differ much in size, since the class with the most examples is held to be the
one that is learnt best.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary, consistency
from sterna.records import Setting, Step
from sterna.spec import Choice, Range, method, option

NEVER = -1  # in place of a class


@method
class Flexmatch:
    """Which answers are believed, how thresholds follow what is learnt, and against which view."""

    weight: float = option(1.0, "factor on the term (lambda; the paper's 1)", Range(0))
    threshold: float = option(0.95, "threshold of the best learnt class (tau; the paper's 0.95)", Range(0, 1))
    mapping: str = option(
        "convex", "how a threshold follows its class (M; the paper's convex)", Choice(("convex", "linear", "concave"))
    )
    warm_up: bool = option(True, "whether examples that have never passed hold thresholds down (the paper's yes)")
    ratio: int = option(
        consistency.RATIO, "unlabelled examples for each labelled one in a batch (mu; the paper's 7)", Range(1, 64)
    )
    strong: str = option("", "augmentation of the strong view, a sum; none named: that of the kind of data")

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "views"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        made = Built(self, setting.unlabelled, len(setting.classes))
        return made.to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar; it remembers which examples have passed, and as what."""

    passed: Tensor  # (n,) int64, `NEVER` before an example has

    def __init__(self, options: Flexmatch, count: int, classes: int) -> None:
        super().__init__()
        self.options, self.classes = options, classes
        self.register_buffer("passed", torch.full((count,), NEVER))

    def forward(self, step: Step) -> Tensor:
        options, seen = self.options, consistency.views(step)
        confidences, answers = seen.sure
        limits = thresholds(self.passed, self.classes, options)
        each = functional.nll_loss(seen.strong, answers, reduction="none")
        found = consistency.chosen_mean(each, confidences > limits[answers])
        if seen.batch.places is not None:
            now = confidences > options.threshold
            self.passed[seen.batch.places[now]] = answers[now]
        return options.weight * found


def thresholds(passed: Tensor, classes: int, options: Flexmatch) -> Tensor:
    """(k,) float32 thresholds.

    Args:
        passed: (n,) int64 the class as which each example has passed, `NEVER` for none.
        classes: k.
        options: the threshold of the best class, the mapping and whether to warm up.
    """
    counts = torch.bincount(passed[passed >= 0], minlength=classes).float()
    most = counts.max()
    if options.warm_up:
        most = torch.maximum(most, (passed < 0).sum().float())
    share = counts / most.clamp_min(1)
    mapped = {
        "convex": share / (2 - share),
        "linear": share,
        "concave": torch.log1p(share) / math.log(2),
    }[options.mapping]
    return mapped * options.threshold
