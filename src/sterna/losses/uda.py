"""Answers on a strong view must be the sharpened ones on the weak view, where these are sure enough.

Paper: Xie, Dai, Hovy, Luong and Le 2020, "Unsupervised Data Augmentation for Consistency Training" (arXiv 1904.12848),
section 2.2, equation 1; section 3 for confidence, sharpening and the annealing of the training signal.

Equation: weight / c * sum_j 1(max q_j > threshold) * KL(s_j || p_j) over the c examples of the unlabelled batch, q_j
the answer on the weak view, s_j = softmax(ln q_j / temperature), both constants, and p_j the answer on the strong view.

With `annealing`, labelled examples whose label already has a probability above eta = a(p) (1 - 1/k) + 1/k are taken out
of the cross-entropy at the progress p of training, a(p) = p (linear), 1 - exp(-5 p) (log) or exp(5 (p - 1)) (exp), so
that few labels are not learnt by heart. The term then holds minus their share of the plain `cross_entropy` that
must stand beside it (without smoothing and without balance): -sum_i w_i 1(i sure) CE_i / sum_i w_i. What is left is
divided by all examples of the batch, where the authors' code divides by those that are left.

When not to use: as for `fixmatch`, which learns classes instead of shares and so needs a higher threshold; `annealing`
beside any other objective than the plain `cross_entropy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from sterna import adversary, consistency
from sterna.records import Setting, Step
from sterna.spec import Choice, Range, method, option

TINY = 1e-12  # below any sum of weights that means something


@method
class UDA:
    """Which answers are believed and how they are sharpened."""

    weight: float = option(1.0, "factor on the term (lambda; the paper's 1)", Range(0))
    threshold: float = option(
        0.8, "probability above which an answer is believed (beta; the paper's 0.8 for pictures)", Range(0, 1)
    )
    temperature: float = option(
        0.4, "logits of the weak view are divided by it (tau; the paper's 0.4)", Range(0.01, 10)
    )
    annealing: str = option(
        "none",
        "how soon labelled examples that are sure count (the paper: exp for few labels, log for many)",
        Choice(("none", "linear", "log", "exp")),
    )
    ratio: int = option(
        consistency.RATIO, "unlabelled examples for each labelled one in a batch, as in `fixmatch`", Range(1, 64)
    )
    strong: str = option("", "augmentation of the strong view, a sum; none named: that of the kind of data")

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "views"
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    options: UDA

    def __call__(self, step: Step) -> Tensor:
        options, seen = self.options, consistency.views(step)
        confidences, _ = seen.sure
        sharp = functional.log_softmax(_logs(step) / options.temperature, dim=1)
        each = (sharp.exp() * (sharp - seen.strong)).sum(dim=1)
        found = options.weight * consistency.chosen_mean(each, confidences > options.threshold)
        return found if options.annealing == "none" else found - _taken_out(step, options.annealing)


def _logs(step: Step) -> Tensor:
    assert step.unlabelled is not None
    return functional.log_softmax(step.unlabelled.output.logits.detach().float(), dim=1)


def _taken_out(step: Step, annealing: str) -> Tensor:
    """The share of the plain cross-entropy that comes from labelled examples which are sure already."""
    logits, batch = step.labelled.output.logits.float(), step.labelled.batch
    logs, shares = functional.log_softmax(logits, dim=1), adversary.shares(batch.labels, logits.shape[1])
    each = -(shares * logs).sum(dim=1)
    right = (shares * logs.detach().exp()).sum(dim=1)
    sure = right > limit(step.progress, annealing, logits.shape[1])
    return (each * batch.weights * sure).sum() / batch.weights.sum().clamp_min(TINY)


def limit(progress: float, annealing: str, classes: int) -> float:
    """eta: the probability of its label above which an example is taken out; from 1/k at the start up to 1."""
    grown = {
        "linear": progress,
        "log": 1 - math.exp(-5 * progress),
        "exp": math.exp(5 * (progress - 1)),
    }[annealing]
    return grown * (1 - 1 / classes) + 1 / classes
