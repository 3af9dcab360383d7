"""Adagrad: each weight's rate falls with the gradients it has seen.

Paper: Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization".

When not to use: for long runs: the rates only ever fall.
"""

from __future__ import annotations

import torch

from sterna.spec import Range, method, option


@method
class Adagrad:
    """Options of adagrad."""

    rate: float = option(0.003, "learning rate of the topmost moving stage and the head", Range(0, low_open=True))
    weight_decay: float = option(0.0, "pull of weight matrices towards zero, added to the gradient", Range(0))

    def build(self, groups: list[dict]) -> torch.optim.Optimizer:
        """`groups`: parameter groups that already carry their own rate and weight decay."""
        return torch.optim.Adagrad(groups, lr=self.rate, fused=True)
