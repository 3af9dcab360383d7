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
from sterna.desk import Desk
from sterna.maths.seeds import derive
from sterna.network import Network, device
from sterna.plan import Route
from sterna.records import Phase
from sterna.train import PAIRS

EXAMPLES = 8  # of a step that is timed
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
    """The cost of a route, by running a few of its examples through each phase.

    Training examples that a phase reads from the store are counted once, raw items in every epoch. A last fit on
    training and validation examples costs what the first one does, and each fold its share of that. A phase with a
    length of its own costs its part of that in each epoch of the schedule, with which `climb` shortens it.
    """
    if at.encoder is None or route.shallow:
        return Cost(HEAD, 0.0)
    training, encoder = at.training, footing.fitted(at.encoder, at.training.target)
    network = footing.start(route, encoder, replace(at, notes=[])).to(device())
    phases = route.tune.plan([sum(w.numel() for w in stage.parameters()) for stage in network.stages.values()])
    drawn = np.random.default_rng(derive(at.seed, "pace")).permutation(len(training.target))[:EXAMPLES]
    rows = training.target.rows[np.sort(drawn)]
    frames, read = _timed(lambda: next(reading.frames(training.target.items, encoder.preparation, rows, size=EXAMPLES)))
    inputs = encoder.preparation.tensor(frames).to(device())
    above = {phase.cut: _step(network, phase, inputs) / len(rows) for phase in phases if phase.solver == "descent"}
    whole = _timed(lambda: _forward(network, inputs))[1] / len(rows)
    lowest = list(accumulate((phase.cut for phase in phases), min))
    counts = len(training.target), len(training.validation), len(at.test)
    stored = route.pretrained and lowest[-1] > 0
    once = sum(counts) * (read / len(rows) + whole) if stored or any(p.solver == "logistic" for p in phases) else 0.0
    folds = len(at.folds)
    again = max(1, folds - 1) + (at.whole is not None)  # a fold of k learns from (k - 1) / k of the examples
    size = route.schedule.batch or descent.LARGEST_BATCH
    each = [
        max(1, len(p.rates))  # a soup is trained once for each
        * (
            # Gradients are measured on some examples before they are followed on all.
            (counts[0] + min(counts[0], p.relative * size)) * (above[p.cut] + (0.0 if base else read / len(rows)))
            + counts[1] * above[p.cut] / FORWARD
        )
        for p, base in zip(phases, lowest, strict=True)
        if p.solver == "descent" and not p.loss
    ]
    size = route.schedule.batch or PAIRS
    own = sum(above[p.cut] * min(size * (p.steps or 0), counts[0] * (p.epochs or counts[0])) for p in phases if p.loss)
    return Cost(once + again * HEAD, again * (sum(each) + own / route.schedule.epochs))


def _step(network: Network, phase: Phase, inputs: Tensor) -> float:
    """Seconds of one step of a phase, forward and backward."""
    network.move_from(phase.cut, phase.batch_norm)
    with torch.no_grad():
        below = network.prefix(phase.cut)(inputs) if phase.cut else inputs
    suffix = network.suffix(phase.cut).train()

    def once() -> None:
        suffix(below).logits.sum().backward()

    with torch.random.fork_rng():  # dropout draws
        once()
        return _timed(once)[1]


@torch.no_grad()
def _forward(network: Network, inputs: Tensor) -> Tensor:
    network.eval()
    return network(inputs).logits


def _timed(work: Callable[[], Found]) -> tuple[Found, float]:
    begin = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begin
