"""Numbers that are learnt, in units of their own spread while a network learns them.

When not to use: for classes, tags and labels of yes and no, which have no unit; beside numbers they stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sterna import teaching
from sterna.contracts import Linear
from sterna.desk import Desk
from sterna.maths import blocks
from sterna.network import Network


@dataclass(frozen=True)
class Scale:
    """The mean and spread of numbers that are learnt, from the training part."""

    mean: np.ndarray  # (k,)
    spread: np.ndarray  # (k,)

    def fold(self, network: Network) -> None:
        """Have the head answer in the units of the labels."""
        weight, bias = (part.detach().cpu().double().numpy() for part in network.head.parameters())
        network.set_weights(Linear(weight * self.spread[:, None], bias * self.spread + self.mean))


def standardised(desk: Desk) -> tuple[Desk, Scale | None]:
    """For numbers: labels of mean 0 and spread 1 over the training part."""
    training = desk.training
    task, rows = training.target.task, training.classes
    if task not in ("regress", "several"):
        return desk, None
    own = training.target.labels[desk.weights > 0]
    mean, spread = blocks.scale(own, rows) if task == "several" else (own.mean(axis=0), own.std(axis=0))
    spread = np.where(spread > 0, spread, 1.0)
    target, validation = (
        replace(part, labels=blocks.scaled(part.labels, mean, spread))
        for part in (training.target, training.validation)
    )
    scale = Scale(blocks.by_row(mean, rows), blocks.by_row(spread, rows)) if task == "several" else Scale(mean, spread)
    teacher = teaching.scaled(desk.teacher, scale.mean, scale.spread)
    return replace(desk, training=replace(training, target=target, validation=validation), teacher=teacher), scale
