"""Stochastic gradient descent with Nesterov's momentum.

Paper: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".

When not to use: on transformers, where it needs much more tuning than `adamw`.
"""

from __future__ import annotations

import torch

from sterna.spec import Range, method, option


@method
class Momentum:
    """Options of momentum."""

    rate: float = option(0.01, "learning rate of the topmost moving stage and the head", Range(0, low_open=True))
    weight_decay: float = option(0.0001, "pull of weight matrices towards zero, added to the gradient", Range(0))
    momentum: float = option(0.9, "share of the last step that is kept", Range(0, 1, True, True))
    nesterov: bool = option(True, "look ahead along the momentum before taking the gradient")

    def build(self, groups: list[dict]) -> torch.optim.Optimizer:
        """`groups`: parameter groups that already carry their own rate and weight decay."""
        return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum, nesterov=self.nesterov, fused=True)
