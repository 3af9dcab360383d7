"""Adam: momentum and per-weight rates from running moments of the gradient.

Paper: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization" (arXiv 1412.6980).

When not to use: with weight decay: it enters the moments; `adamw` keeps it apart.
"""

from __future__ import annotations

import torch

from sterna.spec import Range, method, option


@method
class Adam:
    """Options of adam."""

    rate: float = option(0.0003, "learning rate of the topmost moving stage and the head", Range(0, low_open=True))
    weight_decay: float = option(0.0, "pull of weight matrices towards zero, added to the gradient", Range(0))
    memory: float = option(
        0.9, "share of the running mean of gradients that is kept (beta 1)", Range(0, 1, high_open=True)
    )
    square_memory: float = option(
        0.999, "share of the running mean square that is kept (beta 2)", Range(0, 1, True, True)
    )

    def build(self, groups: list[dict]) -> torch.optim.Optimizer:
        """`groups`: parameter groups that already carry their own rate and weight decay."""
        return torch.optim.Adam(groups, lr=self.rate, betas=(self.memory, self.square_memory), fused=True)
