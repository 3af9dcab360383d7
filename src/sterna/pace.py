"""What a route will take, from the time of one step: so that a run keeps to its budget.

Seconds depend on the machine and on what else it does, so nothing that is learnt depends on them but how many epochs
are tried; a run notes those, and the same command goes on with what was noted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sterna import descent, footing, reading
from sterna.desk import Desk, Tables
from sterna.maths.seeds import derive
from sterna.network import Network, device
from sterna.plan import Route
from sterna.records import Augment, Encoder, Phase, Table
from sterna.train import PAIRS

EXAMPLES = 8  # of a step that is timed, which costs more for each than a larger one; pairs come by their batch
FORWARD = 3.0  # a step forward and backward takes about three times as long as a pass forward
HEAD = 1.0  # seconds of fitting a head to its optimum, with what goes with it

Found = TypeVar("Found")


@dataclass(frozen=True)
class Cost:
    """Seconds of a route at one seed."""

    fixed: float  # whatever the number of epochs
    epoch: float  # for each

    def of(self, epochs: int) -> float:
        """Seconds with so many epochs in each phase."""
        return self.fixed + epochs * self.epoch


def measured(route: Route, at: Desk) -> Cost:
    """The cost of a route, by running a few of its examples through each phase, as training would.

    Training examples that a phase reads from the store are counted once, raw items in every epoch. A phase with a
    length of its own costs its part of that in each epoch of the schedule, with which `climb` shortens it.
    """
    if at.encoder is None or route.shallow:
        return Cost(HEAD, 0.0)
    encoder = footing.fitted(at.encoder, at.training.target)
    network = footing.start(route, encoder, replace(at, notes=[])).to(device())
    phases = route.tune.plan([sum(w.numel() for w in stage.parameters()) for stage in network.stages.values()])
    half = Tables(route, at, network, Augment()).half(phases)
    inputs, read = _sample(at.training.target, encoder, PAIRS if any(phase.loss for phase in phases) else EXAMPLES)
    above = {
        (phase.cut, phase.loss): _step(network, phase, inputs if phase.loss else inputs[:EXAMPLES], half)
        for phase in phases
        if phase.solver == "descent"
    }
    whole = _timed(lambda: _forward(network, inputs))[1] / len(inputs)
    lowest = list(accumulate((phase.cut for phase in phases), min))
    fits, judged = _fits(at)
    stored = route.pretrained and lowest[-1] > 0
    every = len(at.training.target) + len(at.training.validation) + len(at.test)
    once = every * (read + whole) if stored or any(p.solver == "logistic" for p in phases) else 0.0
    size = route.schedule.batch or descent.LARGEST_BATCH
    epoch = 0.0
    for phase, base in zip(phases, lowest, strict=True):
        step = above.get((phase.cut, phase.loss), 0.0)
        if phase.loss:
            paired = route.schedule.batch or PAIRS
            seen = sum(min(paired * (phase.steps or 0), count * (phase.epochs or count)) for count in fits)
            epoch += step * seen / route.schedule.epochs
        elif step:
            # Gradients are measured on some examples before they are followed on all.
            seen = sum(count + min(count, phase.relative * size) for count in fits)
            again = seen * (step + (0.0 if base else read)) + judged * step / FORWARD
            epoch += max(1, len(phase.rates)) * again  # a soup is trained once for each
    return Cost(once + len(fits) * HEAD, epoch)


def _fits(at: Desk) -> tuple[list[int], int]:
    """How many examples each fit of a route learns from, and how many are judged after each of its epochs."""
    last = [len(at.whole[0])] if at.whole is not None else []
    if at.folds:
        return [len(fold.training.target) for fold, _ in at.folds] + last, 0
    return [len(at.training.target), *last], len(at.training.validation)


def _sample(table: Table, encoder: Encoder, count: int) -> tuple[Tensor, float]:
    """Prepared inputs of a few examples, and the seconds that reading one takes."""
    drawn = np.random.default_rng(derive("pace")).permutation(len(table))[:count]
    rows, size = table.rows[np.sort(drawn)], len(drawn)
    frames, read = _timed(lambda: next(reading.frames(table.items, encoder.preparation, rows, size=size)))
    return encoder.preparation.tensor(frames).to(device()), read / size


def _step(network: Network, phase: Phase, inputs: Tensor, half: bool) -> float:
    """Seconds of one step of a phase, forward and backward, for each example."""
    network.move_from(phase.cut, phase.batch_norm)
    with torch.no_grad():
        below = network.prefix(phase.cut)(inputs) if phase.cut else inputs
    suffix = network.suffix(phase.cut).train()

    def once() -> None:
        with torch.autocast(below.device.type, dtype=torch.bfloat16, enabled=half):
            logits = suffix(below).logits
        logits.float().sum().backward()

    with torch.random.fork_rng():  # dropout draws
        once()
        return _timed(once)[1] / len(inputs)


@torch.no_grad()
def _forward(network: Network, inputs: Tensor) -> Tensor:
    network.eval()
    return network(inputs).logits


def _timed(work: Callable[[], Found]) -> tuple[Found, float]:
    begin = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begin
