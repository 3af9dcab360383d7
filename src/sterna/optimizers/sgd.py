"""Stochastic gradient descent, without momentum.

Paper: Robbins and Monro 1951, "A Stochastic Approximation Method".

When not to use: when steps are few: without momentum it is the slowest of all here.
"""

from __future__ import annotations

import torch

from sterna.spec import Range, method, option


@method
class SGD:
    """Options of sgd."""

    rate: float = option(0.01, "learning rate of the topmost moving stage and the head", Range(0, low_open=True))
    weight_decay: float = option(0.0001, "pull of weight matrices towards zero, added to the gradient", Range(0))

    def build(self, groups: list[dict]) -> torch.optim.Optimizer:
        """`groups`: parameter groups that already carry their own rate and weight decay."""
        return torch.optim.SGD(groups, lr=self.rate, fused=True)
