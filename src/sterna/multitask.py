"""The losses of several tasks on one batch, each over the examples that are labelled for it.

A loss of several tasks is made of these: what it adds is how much each task counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna.maths.blocks import Block
from sterna.network import Network
from sterna.records import Batch


def losses(logits: Tensor, batch: Batch, parts: Sequence[Block]) -> dict[int, Tensor]:
    """The loss of each task that the batch has labels for, by the place of the task.

    Cross-entropy in nats for classes, the squared error for a number (whose labels come standardised by the training
    part); sum_i w_i l_i / sum_i w_i over the examples i that carry its label.

    Args:
        logits: (b, k) float32.
        batch: labels (b, t) with NaN where there is none.
        parts: the t tasks, which divide the k rows.
    """
    found = {}
    for place, block in enumerate(parts):
        labels = batch.labels[:, place]
        there = ~labels.isnan()
        weights = batch.weights[there]
        if not bool(weights.sum() > 0):
            continue
        answers, labels = logits[there, block.rows], labels[there]
        if block.classes:
            each = functional.cross_entropy(answers, labels.long(), reduction="none")
        else:
            each = (answers[:, 0] - labels).square()
        found[place] = (weights * each).sum() / weights.sum()
    return found


def mean(found: Iterable[Tensor], logits: Tensor) -> Tensor:
    """The mean of some losses; 0, with a gradient of 0, for none."""
    every = list(found)
    return torch.stack(every).mean() if every else 0 * logits.sum()


def moving(network: Network, cut: int) -> list[list[nn.Parameter]]:
    """The weights that all tasks share and that move, stage by stage from the bottom; the head is not among them."""
    stages = list(network.stages.values())[cut:]
    each = [[weight for weight in stage.parameters() if weight.requires_grad] for stage in stages]
    return [weights for weights in each if weights]


def gradients(loss: Tensor, weights: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradient of a loss in some weights, zeros where it has none; what it was computed from is kept."""
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if one is None else one for w, one in zip(weights, found, strict=True)]
