"""AdamW: Adam with weight decay kept apart from the gradient. The default.

Paper: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (arXiv 1711.05101).

When not to use: when memory is short: it keeps two numbers for each moving weight; `sgd` keeps none.
"""

from __future__ import annotations

import torch

from sterna.spec import Range, method, option


@method
class AdamW:
    """Options of adamw."""

    rate: float = option(0.0003, "learning rate of the topmost moving stage and the head", Range(0, low_open=True))
    weight_decay: float = option(
        0.01, "pull of weight matrices towards zero, in units of the rate; never on norms and biases", Range(0)
    )
    memory: float = option(
        0.9, "share of the running mean of gradients that is kept (beta 1)", Range(0, 1, high_open=True)
    )
    square_memory: float = option(
        0.999, "share of the running mean square that is kept (beta 2)", Range(0, 1, True, True)
    )

    def build(self, groups: list[dict]) -> torch.optim.Optimizer:
        """`groups`: parameter groups that already carry their own rate and weight decay."""
        return torch.optim.AdamW(groups, lr=self.rate, betas=(self.memory, self.square_memory), fused=True)
