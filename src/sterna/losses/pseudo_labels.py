"""Answers on unlabelled examples become their labels where they are among the most confident of their class.

Papers: Zou, Yu, Kumar and Wang 2018, "Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced
Self-Training" (CBST, arXiv 1810.07911), section 4; Lee 2013, "Pseudo-Label" (ICML Workshop on Challenges in
Representation Learning), for the weight that grows.

Equation: weight * min(1, p / start) / c * sum_j v_j * -ln q_j(y_j) over the c examples of the unlabelled batch, q_j the
answer on example j, y_j = argmax_k q_j(k) / t_k and v_j = 1 where q_j(y_j) >= t_{y_j}, else 0. t_k is the confidence
that the share first + (last - first) p of the examples answered as class k reaches, p the progress of training; rounded
up, so that each class that is answered has at least one. A class that is never answered has t_k = 1. Labels and
thresholds are constants without gradient.

One threshold for all classes would choose easy classes alone, and these then take over. The confidences are remembered
for each unlabelled example, as it was last seen, because a batch holds too few of a class. The paper alternates between
labelling everything and training; here labels follow the network at each step. The memory is kept in checkpoints. The
sum is divided by all examples of the batch, not by the chosen ones: with few chosen, the term is small.

When not to use: where the answers on the target are wrong for most examples of a class, since they are then learnt as
they are; where target classes are missing: the most confident examples of an absent class are chosen too.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary, discrepancy
from sterna.records import Setting, Step
from sterna.spec import Range, method, option

UNSEEN = -1  # in place of a class


@method
class PseudoLabels:
    """Which share of the answers is believed, and how much it counts when."""

    weight: float = option(1.0, "factor on the term (the paper weighs chosen examples like labelled ones)", Range(0))
    first: float = option(0.2, "share of each class that is chosen at the start (the paper's 0.2)", Range(0, 1))
    last: float = option(0.5, "share of each class that is chosen at the end (the paper's 0.5)", Range(0, 1))
    start: float = option(
        0.3, "share of training over which the factor grows from 0, since first answers are guesses", Range(0, 1)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    sourceless: ClassVar[bool] = True
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        device = adversary.device_of(setting.network.head)
        return Built(self, setting.unlabelled, len(setting.classes)).to(device)


class Built(nn.Module):
    """The term itself: `Step` -> scalar; it remembers the last answer on each unlabelled example."""

    confidences: Tensor  # (n,) float32
    answers: Tensor  # (n,) int64, `UNSEEN` before an example was seen

    def __init__(self, options: PseudoLabels, count: int, classes: int) -> None:
        super().__init__()
        self.options, self.classes = options, classes
        self.register_buffer("confidences", torch.zeros(count))
        self.register_buffer("answers", torch.full((count,), UNSEEN))

    def forward(self, step: Step) -> Tensor:
        options, seen = self.options, discrepancy.unlabelled(step)
        logs = functional.log_softmax(seen.output.logits.float(), dim=1)  # (c, k)
        probabilities = logs.detach().exp()
        confidences, answers = probabilities.max(dim=1)
        if seen.batch.places is not None:
            self.confidences[seen.batch.places] = confidences
            self.answers[seen.batch.places] = answers
            confidences, answers = self.confidences, self.answers
        share = options.first + (options.last - options.first) * step.progress
        margins, labels = (probabilities / thresholds(confidences, answers, self.classes, share)).max(dim=1)
        each = functional.nll_loss(logs, labels, reduction="none") * (margins >= 1)
        factor = min(1.0, step.progress / options.start) if options.start else 1.0
        return options.weight * factor * each.sum() / max(len(each), 1)


def thresholds(confidences: Tensor, answers: Tensor, classes: int, share: float) -> Tensor:
    """(k,) the confidence that `share` of the examples answered as a class reach; 1 for a class without any.

    Args:
        confidences: (n,) probabilities of the answers.
        answers: (n,) int64 class numbers; what is below 0 does not count.
        classes: k.
        share: in [0, 1]; at least one example of a class reaches its threshold.
    """
    # One sort orders by class and then the most confident first: class c lies in [2 c - 1, 2 c], exactly in float64.
    keys = torch.sort(2.0 * answers.double() - confidences.double()).values
    starts = 2.0 * torch.arange(classes, device=keys.device, dtype=keys.dtype)
    first = torch.searchsorted(keys, starts - 1.5)
    counts = torch.searchsorted(keys, starts + 0.5) - first
    # 0.2 of 5 is 1, whatever the rounding of 0.2 says.
    wanted = torch.ceil(share * counts.double() - 1e-9).long().clamp_min(1)
    there = counts > 0
    reached = functional.pad(keys, (0, 1))[torch.where(there, first + wanted - 1, len(keys))]
    return torch.where(there, starts - reached, 1.0).float()
