"""Examples lie to one another in the student's features as they do in the teacher's: distances and angles.

Paper: Park, Kim, Lu and Cho 2019, "Relational Knowledge Distillation" (RKD, arXiv 1904.05068), section 3.2.

Equation: weight * (distance * mean_{i != j} h(d_ij / m - d'_ij / m') + angle * mean_{i, j, k different} h(c_ijk -
c'_ijk)), d_ij = |v_i - v_j| in what the student's head reads, m the mean of d over pairs of different examples, c_ijk
the cosine of the angle at v_j between v_i and v_k, primes the same in what the teacher's head reads, and h(e) = e^2 / 2
where |e| <= 1, else |e| - 1/2. Pairs and triples weigh the product of the weights of their examples.

Scale, shift and rotation of the features do not matter, nor how many there are, so it works between any two networks.
Angles are between the examples of groups of at most 64 of the batch, because there are b^3 of them. Where two examples
coincide there is no angle, and 0 takes its place. The paper takes sums, the authors' code means, as here.

When not to use: where all that moves is the head, since features then stand still; in batches of under about eight
examples, which have few relations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sterna import discrepancy, lessons
from sterna.records import Setting, Step
from sterna.spec import Range, method, option

GROUP = 64  # examples between which there are angles: 64^3 numbers take 1 MB
SAME = 1e-6  # of the mean squared distance; nearer points are one, to float32
TINY = 1e-30  # below any distance of features


@method
class RelationalDistill:
    """How much distances and angles count."""

    weight: float = option(1.0, "factor on the term", Range(0))
    distance: float = option(
        25.0, "of distances (25 is common beside cross-entropy; the authors' 1 is for metric learning)", Range(0)
    )
    angle: float = option(50.0, "of angles (50 beside cross-entropy; 2 for metric learning)", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "teacher"
    answers: ClassVar[bool] = False
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")

    def build(self, setting: Setting) -> Built:
        return Built(lessons.teacher(setting).features, self)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    recorded: Tensor  # (n, d) what the teacher's head reads
    options: RelationalDistill

    def __call__(self, step: Step) -> Tensor:
        options, seen = self.options, step.labelled
        weights = seen.batch.weights.float()
        sides = [lessons.of(self.recorded, seen), seen.output.features.float()]
        squared = [discrepancy.squared_distances(side) for side in sides]
        teacher, student = (_distances(one, weights) for one in squared)
        total = options.distance * _compared(teacher, student, _pairs(weights))
        if options.angle:
            total = total + options.angle * _angles(squared, weights)
        return options.weight * total


def _angles(squared: list[Tensor], weights: Tensor) -> Tensor:
    """The mean over the triples of all groups, from squared distances of both sides."""
    sums = []
    for start in range(0, len(weights), GROUP):
        own = slice(start, start + GROUP)
        triples = _triples(weights[own])
        teacher, student = (_cosines(one[own, own]) for one in squared)
        apart = _compared(teacher, student, triples)
        sums.append(torch.stack([apart * triples.sum(), triples.sum()]))
    found = torch.stack(sums).sum(dim=0)
    return found[0] / found[1].clamp_min(lessons.TINY)


def _compared(teacher: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of h(student - teacher)."""
    each = functional.smooth_l1_loss(student, teacher, reduction="none")
    return (weights * each).sum() / weights.sum().clamp_min(lessons.TINY)


def _distances(squared: Tensor, weights: Tensor) -> Tensor:
    """(b, b) distances in units of their mean."""
    found, pairs = _roots(squared), _pairs(weights)
    mean = (pairs * found).sum() / pairs.sum().clamp_min(lessons.TINY)
    return found / mean.clamp_min(TINY)


def _cosines(squared: Tensor) -> Tensor:
    """(b, b, b): [i, j, k] is the cosine at j between i and k, by the law of cosines."""
    lengths = _roots(squared)
    opposite = (squared[:, :, None] + squared.T[None] - squared[:, None, :]) / 2
    sides = lengths[:, :, None] * lengths.T[None]
    return torch.where(sides > 0, opposite / torch.where(sides > 0, sides, 1.0), 0.0)


def _roots(squared: Tensor) -> Tensor:
    """Square roots, 0 with a gradient of 0 where points coincide: that of a root at 0 is infinite."""
    there = squared > (SAME * squared.detach().mean()).clamp_min(TINY)
    return torch.where(there, torch.where(there, squared, 1.0).sqrt(), 0.0)


def _pairs(weights: Tensor) -> Tensor:
    """(b, b) products of weights, 0 on the diagonal."""
    return torch.outer(weights, weights) * (1 - torch.eye(len(weights), device=weights.device))


def _triples(weights: Tensor) -> Tensor:
    """(b, b, b) products of weights, 0 where two of three are one example."""
    apart = 1 - torch.eye(len(weights), device=weights.device)
    different = apart[:, :, None] * apart[None] * apart[:, None, :]
    return different * weights[:, None, None] * weights[None, :, None] * weights
