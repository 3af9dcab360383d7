"""RMSprop: steps divided by a running root mean square of the gradients.

Paper: Tieleman and Hinton 2012, "Lecture 6.5: rmsprop".

When not to use: as a first choice; `adamw` does the same with a bias correction and proper weight decay.
"""

from __future__ import annotations

import torch

from sterna.spec import Range, method, option


@method
class RMSprop:
    """Options of rmsprop."""

    rate: float = option(0.0001, "learning rate of the topmost moving stage and the head", Range(0, low_open=True))
    weight_decay: float = option(0.0, "pull of weight matrices towards zero, added to the gradient", Range(0))
    memory: float = option(0.99, "share of the running mean square that is kept", Range(0, 1, True, True))

    def build(self, groups: list[dict]) -> torch.optim.Optimizer:
        """`groups`: parameter groups that already carry their own rate and weight decay."""
        return torch.optim.RMSprop(groups, lr=self.rate, alpha=self.memory)
