"""How far two batches of features are from one another, as terms of an objective.

Labelled examples may weigh differently, so every statistic here is a weighted one: an example of weight 0 is not there,
and equal weights give the textbook figure. The weights of unlabelled examples are all 1. A side of fewer than two
examples has no spread; what needs one is 0 then, with a gradient of 0.

Paper: Gretton et al. 2012, "A Kernel Two-Sample Test" (Journal of Machine Learning Research 13), equation 3, for the
unbiased estimate of the squared maximum mean discrepancy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sterna.records import Seen, Step

LAYERS = ("features", "logits", "both")
TINY = 1e-12  # below any sum of weights that means something
SPREAD = 1e-6  # of a side's weight off its heaviest example; below it the side is one example
NARROWEST = 1e-30  # a width that float32 divides by; reached only where all points are the same


def unlabelled(step: Step) -> Seen:
    """The unlabelled batch, which is there for a loss whose `needs` says so."""
    assert step.unlabelled is not None
    return step.unlabelled


def layers(step: Step, chosen: str, softmax: bool) -> list[tuple[Tensor, Tensor]]:
    """Activations of the labelled (b, d) and of the unlabelled batch (c, d) in each of the chosen layers.

    Args:
        step: with an unlabelled batch.
        chosen: one of `LAYERS`: what the head reads, what it answers, or both.
        softmax: whether answers are compared as probabilities instead of as logits.
    """
    sides = (step.labelled.output, unlabelled(step).output)
    features, logits = ([getattr(side, name).float() for side in sides] for name in LAYERS[:2])
    answers = [functional.softmax(one, dim=1) for one in logits] if softmax else logits
    pairs = {"features": [features], "logits": [answers], "both": [features, answers]}[chosen]
    return [(left, right) for left, right in pairs]


def shares(weights: Tensor) -> Tensor:
    """(n,) weights that sum to 1; exactly 1 for an example that alone weighs anything, 0 where none does."""
    return weights / weights.sum().clamp_min(TINY)


def several(weights: Tensor) -> Tensor:
    """Whether at least two examples weigh something, as a scalar on the weights' device."""
    return (1 - shares(weights).square().sum() > SPREAD) & (weights.sum() > TINY)


def mean(points: Tensor, weights: Tensor) -> Tensor:
    """(n, d) points -> (d,), weighted."""
    return shares(weights) @ points


def covariance(points: Tensor, weights: Tensor) -> Tensor:
    """(n, d) points -> (d, d), without bias: divided by n - 1 for equal weights; 0 for fewer than two points.

    Equation: sum_i p_i (x_i - m) (x_i - m)^T / (1 - sum_i p_i^2), p the shares of the weights and m the mean.
    """
    share = shares(weights)
    centred = points - share @ points
    found = centred.T @ (share[:, None] * centred) / (1 - share.square().sum()).clamp_min(SPREAD)
    return torch.where(several(weights), found, torch.zeros_like(found))


def central_moment(points: Tensor, weights: Tensor, order: int) -> Tensor:
    """(n, d) points -> (d,): the weighted mean of (x - m)^order, coordinate by coordinate."""
    return shares(weights) @ (points - mean(points, weights)).pow(order)


def squared_distances(points: Tensor) -> Tensor:
    """(n, d) points -> (n, n) squared Euclidean distances, never negative.

    Points are centred first, since the expansion |x|^2 + |y|^2 - 2 x y loses what lies below the rounding of |x|^2.
    """
    centred = points - points.detach().mean(dim=0)
    squares = centred.square().sum(dim=1)
    return (squares[:, None] + squares - 2 * centred @ centred.T).clamp_min(0)


def width(squared: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of the squared distances between different points, as a constant without gradient.

    With a gradient, spreading all points would count as making domains alike.
    """
    pairs = _pairs(weights)
    return ((pairs * squared.detach()).sum() / pairs.sum().clamp_min(TINY)).clamp_min(NARROWEST)


def gaussians(squared: Tensor, around: Tensor, count: int) -> Tensor:
    """The sum of `count` Gaussian kernels whose widths double from one to the next.

    Equation: sum_u exp(-squared / (2^u around)), u from -floor(count / 2) on: factors 1/4, 1/2, 1, 2, 4 for five.
    """
    factors: Sequence[float] = [2.0 ** (place - count // 2) for place in range(count)]
    return torch.stack([torch.exp(-squared / (factor * around)) for factor in factors]).sum(dim=0)


def squared_mmd(kernel: Tensor, weights: Tensor) -> Tensor:
    """The unbiased estimate of the squared maximum mean discrepancy; it may be below 0.

    Equation: mean_{i != j} k(s_i, s_j) + mean_{i != j} k(t_i, t_j) - 2 mean_{i, j} k(s_i, t_j), with pairs weighted by
    the product of their weights. 0 where a side has fewer than two examples.

    Args:
        kernel: (b + c, b + c), the labelled examples first.
        weights: (b,) of the labelled examples.
    """
    count = len(weights)
    others = kernel.new_ones(len(kernel) - count)
    across = shares(weights) @ kernel[:count, count:] @ shares(others)
    found = _within(kernel[:count, :count], weights) + _within(kernel[count:, count:], others) - 2 * across
    return torch.where(several(weights) & several(others), found, torch.zeros_like(found))


def _within(kernel: Tensor, weights: Tensor) -> Tensor:
    pairs = _pairs(shares(weights))
    return (pairs * kernel).sum() / pairs.sum().clamp_min(SPREAD)


def _pairs(weights: Tensor) -> Tensor:
    """(n, n) products of weights, 0 on the diagonal."""
    return torch.outer(weights, weights) - torch.diag(weights.square())
