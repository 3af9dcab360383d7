"""The gradients of each stage of a network, beside its weights: what adaptive policies choose from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sterna.network import Network


def weights(network: Network) -> list[list[nn.Parameter]]:
    """The weights of each stage that take gradients, bottom up."""
    return [[one for one in stage.parameters() if one.requires_grad] for stage in network.stages.values()]


def norms(network: Network) -> list[float]:
    """For each stage |gradient| / |weights|, all of its weights taken together; 0 where it has none that move."""
    found = []
    for stage in weights(network):
        size = _norm([one.detach() for one in stage])
        found.append(_norm([one.grad for one in stage if one.grad is not None]) / size if size else 0.0)
    return found


class Sums:
    """The gradients of all steps of an epoch, added up for each weight that moves.

    They take as much memory as the moving weights once more. Steps that pull one way add up, and steps that pull back
    and forth cancel.
    """

    def __init__(self, network: Network) -> None:
        self.stages = weights(network)
        self.sums = [[torch.zeros_like(one) for one in stage] for stage in self.stages]

    def add(self) -> None:
        """Add the gradients as they are now."""
        for stage, sums in zip(self.stages, self.sums, strict=True):
            for weight, total in zip(stage, sums, strict=True):
                if weight.grad is not None:
                    total += weight.grad

    def taken(self) -> list[float]:
        """The norm of the sum of each stage, which begins anew."""
        found = [_norm(sums) for sums in self.sums]
        for sums in self.sums:
            for total in sums:
                total.zero_()
        return found


def _norm(tensors: list[Tensor]) -> float:
    """The Euclidean norm of all numbers together."""
    return sum(float(one.double().square().sum()) for one in tensors) ** 0.5
