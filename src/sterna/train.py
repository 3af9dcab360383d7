"""The one loop: phases of a policy, run on whatever feed lies at their cut.

`train` knows no concrete method. It is handed a network, the phases of a policy, the addends of the objective and a
function that gives the inputs at a cut; it adds, steps, checks against the validation part and keeps the best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sterna import checkpoint, descent
from sterna.checkpoint import State
from sterna.errors import TrainingError
from sterna.maths import logistic
from sterna.maths.seeds import derive
from sterna.network import Network, copied_state
from sterna.records import Batch, Feed, Phase, Seen, Setting, Step, Term
from sterna.schedule import Schedule
from sterna.spec import name_of

CHUNK = 1024  # rows read at a time where order does not matter
SAVE_EVERY = 10.0  # seconds of training that an interruption may cost


@dataclass(frozen=True)
class Recipe:
    """All of a run but its data and its network."""

    phases: tuple[Phase, ...]
    losses: tuple[Any, ...]
    optimizer: Any
    schedule: Schedule
    seed: int
    fingerprint: str = ""  # of options and data: a checkpoint of another run is refused


@dataclass(frozen=True)
class Progress:
    """Where the loop is, for whoever shows it."""

    phase: str
    epoch: int
    epochs: int
    loss: float
    accuracy: float  # on the validation part


Feeds = Callable[[Phase], tuple[Feed, Feed]]  # phase -> training and validation inputs at its cut


@dataclass
class _Run:
    """A run under way."""

    network: Network
    recipe: Recipe
    terms: list[Term]
    state: State
    place: Path | None
    report: Callable[[Progress], None]
    saved: float = 0.0

    def keep(self, always: bool = False) -> None:
        """Write a checkpoint, unless one was written a moment ago."""
        if self.place is None or not (always or time.monotonic() - self.saved > SAVE_EVERY):
            return
        self.state.weights = copied_state(self.network)
        self.state.terms = _terms_module(self.terms).state_dict()
        checkpoint.save(self.place, self.state, self.recipe.fingerprint)
        self.saved = time.monotonic()


def train(
    network: Network,
    recipe: Recipe,
    feeds: Feeds,
    setting: Setting,
    *,
    place: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[dict[str, Any]]:
    """Run all phases on `network`, in place; returns the history, one entry an epoch.

    Args:
        network: starts at its source weights (or random ones), with the target's head.
        feeds: the training and validation inputs at a phase's cut.
        setting: what the losses may know beforehand.
        place: the checkpoint file; an interrupted run goes on from it.

    Raises `TrainingError` when the loss stops being a number.
    """
    with _fenced(derive(recipe.seed, "terms")):
        # Before a checkpoint is loaded: terms anchor to the start of the run, not to where it was interrupted.
        terms = [loss.build(setting) for loss in recipe.losses]
    state = checkpoint.load(place, recipe.fingerprint) if place else None
    run = _Run(network, recipe, terms, state or State(), place, report, time.monotonic())
    if state is not None:
        network.load_state_dict(state.weights)
        _terms_module(terms).load_state_dict(state.terms)
    for phase in recipe.phases[run.state.phase :]:
        training, validation = feeds(phase)
        if phase.solver == "logistic":
            _solve(run, phase, training, validation, setting)
        else:
            _descend(run, phase, training, validation)
        run.state.next_phase()
        run.keep(always=True)
    network.eval()
    return run.state.history


def _solve(run: _Run, phase: Phase, training: Feed, validation: Feed, setting: Setting) -> None:
    """Fit the head alone to its optimum; the regulariser is chosen on the validation part."""
    views = tuple(range(training.views)) if training.views else ()
    labels = np.tile(training.labels, 1 + len(views))
    weights = training.weights.astype(np.float64)
    for loss in run.recipe.losses:
        if loss.supervised:
            weights = weights * loss.class_weights(setting.class_counts)[training.labels]
    # Views of one example are not more evidence than the example: together they weigh what it weighs.
    weights = np.tile(weights / (1 + len(views)), 1 + len(views))
    path = logistic.fit_path(_slices(training, (-1, *views)), labels, weights, len(setting.classes))
    found = logistic.choose(path, _slices(validation, (-1,)), validation.labels)
    head = run.network.head
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(found.fit.weight))  # type: ignore[union-attr,operator]
        head.bias.copy_(torch.from_numpy(found.fit.bias))  # type: ignore[union-attr,operator]
    run.network.move_from(phase.cut)
    _judge(run, run.network.suffix(phase.cut), validation, CHUNK)
    _note(run, phase, min(loss for _, loss in found.losses), epochs=1)


def _descend(run: _Run, phase: Phase, training: Feed, validation: Feed) -> None:
    """One phase of gradient descent with early stopping; ends on the best weights it saw, its start included."""
    network, schedule, state = run.network, run.recipe.schedule, run.state
    network.move_from(phase.cut, phase.batch_norm)
    suffix = network.suffix(phase.cut)
    size = schedule.batch or descent.found_batch_size(suffix, _example(training, suffix), len(training))
    names = descent.named([*network.named_parameters(), *_terms_module(run.terms).named_parameters("term")])
    optimizer = _optimizer(run, phase)
    descent.restore_moments(optimizer, state.moments, names)
    epochs, patience = phase.epochs or schedule.epochs, phase.patience or schedule.patience
    if state.best is None:
        _judge(run, suffix, validation, size)
    while state.epoch < epochs and state.waited < patience:
        with _fenced(derive(run.recipe.seed, phase.name, state.epoch)):
            loss = _epoch(run, suffix, training, optimizer, size=size, epochs=epochs, phase=phase)
        state.epoch += 1
        state.moments = descent.moments_by_name(optimizer, names)
        _judge(run, suffix, validation, size)
        _note(run, phase, loss, epochs)
        run.keep()
    network.load_state_dict(state.best_weights)


def _epoch(
    run: _Run,
    suffix: Network,
    training: Feed,
    optimizer: torch.optim.Optimizer,
    *,
    size: int,
    epochs: int,
    phase: Phase,
) -> float:
    """One pass over the training feed; returns the mean objective."""
    suffix.train()
    schedule, state = run.recipe.schedule, run.state
    device = next(suffix.head.parameters()).device
    rates = [group["lr"] for group in optimizer.param_groups]
    order = descent.epoch_order(
        len(training), size, np.random.default_rng(derive(run.recipe.seed, phase.name, "order", state.epoch))
    )
    steps = -(-len(order) // size)
    total = 0.0
    for number, batch in enumerate(training.batches(order, size, state.epoch)):
        progress = (state.epoch * steps + number) / (epochs * steps)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule.factor(progress + 0.5 / (epochs * steps))
        loss = _step(run, suffix, _on(device, batch), optimizer, progress)
        total += loss * len(batch.labels)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return total / max(len(order), 1)


def _step(run: _Run, suffix: Network, batch: Batch, optimizer: torch.optim.Optimizer, progress: float) -> float:
    """Forward, the sum of the addends, backward, one step; returns the objective."""
    step = Step(Seen(batch, suffix(batch.inputs)), run.network, progress)
    objective = torch.stack([term(step).float() for term in run.terms]).sum()
    value = float(objective.detach())
    if not np.isfinite(value):
        raise TrainingError(
            f"training diverged: the objective became {value} at step {run.state.steps}; try a smaller rate, such as "
            f"--optimizer '{name_of(type(run.recipe.optimizer))}(rate={run.recipe.optimizer.rate / 10:g})'."
        )
    optimizer.zero_grad(set_to_none=True)
    objective.backward()
    descent.total_norm_clipped([w for g in optimizer.param_groups for w in g["params"]], run.recipe.schedule.clip)
    optimizer.step()
    run.state.steps += 1
    if run.recipe.schedule.average:
        descent.update_average(run.state.average, run.network, run.recipe.schedule.average, run.state.steps)
    return value


def _judge(run: _Run, suffix: Network, validation: Feed, size: int) -> None:
    """Compare the weights (or their average) with the best so far, on the validation part."""
    state, kept = run.state, None
    if state.average:
        kept = copied_state(run.network)
        run.network.load_state_dict(state.average)
    accuracy, loss = descent.accuracy_and_loss(descent.probabilities(suffix, validation, size), validation.labels)
    key = state.judged = (accuracy, -loss)
    if state.best is None or key > state.best:
        state.best, state.best_weights, state.waited = key, copied_state(run.network), 0
    else:
        state.waited += 1
    if kept is not None:
        run.network.load_state_dict(kept)


def _optimizer(run: _Run, phase: Phase) -> torch.optim.Optimizer:
    """The optimizer of a phase; weight decay is off where a term of the objective regularises the weights itself."""
    chosen = run.recipe.optimizer
    regularised = any(loss.regularises for loss in run.recipe.losses)
    groups = descent.parameter_groups(run.network, phase, chosen.rate, 0.0 if regularised else chosen.weight_decay)
    own = list(_terms_module(run.terms).parameters())
    if own:
        groups.append({"params": own, "lr": chosen.rate, "weight_decay": chosen.weight_decay})
    return chosen.build(groups)


def _note(run: _Run, phase: Phase, loss: float, epochs: int) -> None:
    """Add an entry to the history and show it."""
    state = run.state
    accuracy, negative_loss = state.judged
    entry = {
        "phase": phase.name,
        "epoch": state.epoch,
        "objective": loss,
        "accuracy": accuracy,
        "log_loss": -negative_loss,
    }
    state.history.append(entry)
    run.report(Progress(phase.name, state.epoch, epochs, loss, accuracy))


def _slices(feed: Feed, epochs: Sequence[int]) -> Callable[[int], Iterator[np.ndarray]]:
    """The unmixed inputs of a feed as blocks, as often as asked, so that memory does not grow with the data."""

    def blocks(size: int) -> Iterator[np.ndarray]:
        for epoch in epochs:
            for inputs in feed.inputs(np.arange(len(feed)), size, epoch):
                yield inputs.reshape(len(inputs), -1).float().numpy()

    return blocks


def _example(feed: Feed, suffix: Network) -> Tensor:
    """The input of one example, on the network's device."""
    return next(iter(feed.inputs(np.arange(1), 1, -1))).to(next(suffix.head.parameters()).device)


def _on(device: torch.device, batch: Batch) -> Batch:
    return Batch(batch.inputs.to(device), batch.labels.to(device), batch.weights.to(device))


def _terms_module(terms: Sequence[Term]) -> nn.ModuleList:
    """The terms that have weights of their own, as one module."""
    return nn.ModuleList([term for term in terms if isinstance(term, nn.Module)])


@contextmanager
def _fenced(seed: int) -> Iterator[None]:
    """A random state of its own for torch's global generator, put back as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
