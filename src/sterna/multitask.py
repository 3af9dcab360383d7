"""The losses of several tasks on one batch, each over the examples, or the words, that are labelled for it.

A loss of several tasks is made of these: what it adds is how much each task counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna.maths.blocks import MULTILABEL, TAG, Block
from sterna.network import Network
from sterna.records import Batch


def losses(logits: Tensor, batch: Batch, parts: Sequence[Block]) -> dict[int, Tensor]:
    """The loss of each task that the batch has labels for, by the place of the task.

    Cross-entropy in nats for classes and tags, its mean over the labels for several labels, the squared error for a
    number (whose labels come standardised by the training part); sum_i w_i l_i / sum_i w_i over the examples i that
    carry its label. Where examples are words, those of a task of whole items are the items: their logits are the mean
    of their words', which the linear head makes of the mean of the words' features.

    Args:
        logits: (b, k) float32.
        batch: labels (b, c) with NaN where there is none.
        parts: the tasks, which divide the k rows and the c columns of labels.
    """
    found = {}
    words = logits, batch.labels, batch.weights
    items = words if batch.items is None else _items(logits, batch, batch.items)
    for place, block in enumerate(parts):
        answers, labels, weights = words if block.task == TAG else items
        there = ~labels[:, block.column].isnan()
        weights = weights[there]
        if not bool(weights.sum() > 0):
            continue
        each = _each(answers[there, block.rows], labels[there, block.columns], block)
        found[place] = (weights * each).sum() / weights.sum()
    return found


def _each(answers: Tensor, labels: Tensor, block: Block) -> Tensor:
    """(m,) the loss of each example that is labelled for a task."""
    if block.task == MULTILABEL:
        return functional.binary_cross_entropy_with_logits(answers, labels, reduction="none").mean(dim=1)
    if block.classes:
        return functional.cross_entropy(answers, labels[:, 0].long(), reduction="none")
    return (answers[:, 0] - labels[:, 0]).square()


def _items(logits: Tensor, batch: Batch, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (m, k), labels (m, c) and weights (m,) of the items that words (n, ...) belong to."""
    _, numbers, counts = torch.unique_consecutive(items, return_inverse=True, return_counts=True)
    # A product of matrices adds up in the same order each time, which adding into rows on a GPU does not.
    member = (numbers == torch.arange(len(counts), device=items.device)[:, None]).to(logits.dtype)
    first = counts.cumsum(0) - counts
    return member @ logits / counts[:, None], batch.labels[first], batch.weights[first]


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
