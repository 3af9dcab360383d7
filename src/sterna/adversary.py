"""Gradient reversal, and networks that tell domains apart.

Several objectives of domain adaptation are games: one player (a discriminator, a critic, a second classifier) lowers a
loss and the features raise it. `reverse` lets one sum and one optimizer play both sides in one step; what is shared by
those objectives is here, and nothing of any one of them.

Paper: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks" (arXiv 1505.07818), section 4.2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TINY = 1e-12  # below any sum of weights that means something


class Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.factor * gradient, None


def scaled(values: Tensor, factor: float) -> Tensor:
    """`values`, through which gradients pass multiplied by `factor`."""
    return Scaled.apply(values, factor)  # type: ignore[no-untyped-call]


def reverse(values: Tensor, factor: float = 1.0) -> Tensor:
    """`values`, through which gradients pass with the opposite sign, times `factor` >= 0 (the paper's lambda).

    Equation: R(x) = x, dR/dx = -factor I (Ganin et al., section 4.2).
    """
    return scaled(values, -factor)


def ramp(progress: float, steepness: float = 10.0) -> float:
    """The factor of the reversal over training: 0 at its start, near 1 at its end.

    Equation: 2 / (1 + exp(-steepness p)) - 1 for p in [0, 1], which is tanh(steepness p / 2); 10 is the paper's. Until
    the discriminator has learnt something, what it says about the features is noise.
    """
    return math.tanh(steepness * progress / 2)


def perceptron(widths: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of these widths with a ReLU between any two, and dropout after each ReLU where it is above 0.

    Weights are drawn from torch's global generator: fence it. There is no BatchNorm: its statistics would mix two
    domains, or tell them apart by themselves.
    """
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers[: -2 if dropout else -1])  # nothing comes after the last layer


def discriminator(width: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """(b, width) -> (b, 1): the log odds that an example is of the source; two hidden layers."""
    return perceptron((width, hidden, hidden, 1), dropout)


def mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted mean of (b,) values; 0, with a gradient of 0, where there are none or nothing weighs anything."""
    if weights is None:
        return values.sum() / max(len(values), 1)
    return (values * weights).sum() / weights.sum().clamp_min(TINY)


def domain_cross_entropy(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """How badly log odds tell the domains apart; ln 2 where they do not, lower where they do.

    Equation: 1/2 mean_i ln(1 + exp(-s_i)) + 1/2 mean_j ln(1 + exp(t_j)), means weighted where weights are given. Each
    domain counts half whatever the sizes of the batches: or the discriminator learns which domain has the larger one.

    Args:
        source: (b,) or (b, 1) log odds of being of the source, of source examples.
        target: (c,) or (c, 1) of target examples.
        source_weights: (b,), of any sum.
        target_weights: (c,).
    """
    as_source = mean(functional.softplus(-source.flatten()), source_weights)
    as_target = mean(functional.softplus(target.flatten()), target_weights)
    return (as_source + as_target) / 2


def held(module: nn.Module, inputs: Tensor) -> Tensor:
    """What `module` makes of inputs with its weights as constants: gradients reach the inputs and not the module.

    No flag of the module is touched, so its own loss may stand in the same sum.
    """
    constants = {name: weight.detach() for name, weight in module.named_parameters()}
    return torch.func.functional_call(module, constants, (inputs,))


def shares(labels: Tensor, classes: int) -> Tensor:
    """(b, k) float32 from (b,) class numbers or from (b, k) soft labels."""
    return functional.one_hot(labels, classes).float() if labels.ndim == 1 else labels.float()


def entropy(logits: Tensor) -> Tensor:
    """(b,) entropies in nats of the answers that (b, k) logits stand for."""
    logs = functional.log_softmax(logits, dim=1)
    return -(logs.exp() * logs).sum(dim=1)


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of -sum_c q_c ln p_c for (b, k) logits and labels (b,) or (b, k)."""
    wanted = shares(labels, logits.shape[1])
    return mean(-(wanted * functional.log_softmax(logits, dim=1)).sum(dim=1), weights)


def device_of(module: nn.Module) -> torch.device:
    """Where the weights of a module lie."""
    return next(module.parameters()).device
