"""The one loop: phases of a policy, run on whatever feed lies at their cut.

`train` knows no concrete method. It is handed a network, the phases of a policy, the addends of the objective and a
function that gives the inputs at a cut; it adds, steps, checks against the validation part and keeps the best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sterna import checkpoint, descent, heads
from sterna.checkpoint import State
from sterna.contracts import Feed
from sterna.errors import TrainingError
from sterna.maths.seeds import derive
from sterna.network import Network, copied_state
from sterna.recipe import Feeds, Parts, Progress, Recipe, Trained
from sterna.records import Batch, Output, Phase, Seen, Setting, Step, Term
from sterna.spec import name_of

CHUNK = 1024  # rows read at a time where order does not matter
LINE = tuple(tenth / 10 for tenth in range(11))  # places between two networks that are tried
PAIRS = 32  # examples a batch, at least, for objectives on pairs
SAVE_EVERY = 10.0  # seconds of training that an interruption may cost


@dataclass
class _Run:
    """A run under way."""

    network: Network
    recipe: Recipe
    terms: list[Term]
    setting: Setting
    state: State
    place: Path | None
    report: Callable[[Progress], None]
    saved: float = 0.0
    twin: Network | None = None  # see `train`
    moving: Callable[[], dict[str, dict[str, Tensor]]] | None = None  # the optimizer's state in the phase under way

    @property
    def settled(self) -> tuple[float, ...]:
        """What is no longer to be chosen in the phase under way."""
        return self.recipe.settled[self.state.phase] if self.recipe.settled else ()

    def keep(self) -> None:
        """Write a checkpoint, unless one was written a moment ago."""
        if self.place is None or time.monotonic() - self.saved <= SAVE_EVERY:
            return
        self.state.weights = copied_state(self.network)
        self.state.moments = self.moving() if self.moving else self.state.moments
        self.state.terms = _terms_module(self.terms).state_dict()
        checkpoint.save(self.place, self.state, self.recipe.fingerprint)
        self.saved = time.monotonic()


def train(
    network: Network,
    recipe: Recipe,
    feeds: Feeds,
    setting: Setting,
    *,
    twin: Network | None = None,
    place: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Run all phases on `network`, in place.

    Args:
        network: starts at its source weights (or random ones), with the target's head.
        feeds: the training and validation inputs at a phase's cut.
        setting: what the losses may know beforehand.
        twin: the network as unlabelled examples meet it, where these have statistics of their own: it shares all
            weights with `network`. By default `network` itself.
        place: the checkpoint file; an interrupted run goes on from it.

    Raises `TrainingError` when the loss stops being a number.
    """
    with _fenced(derive(recipe.seed, "terms")):
        # Before a checkpoint is loaded: terms anchor to the start of the run, not to where it was interrupted.
        terms = [loss.build(setting) for loss in recipe.losses]
    state = checkpoint.load(place, recipe.fingerprint) if place else None
    run = _Run(network, recipe, terms, setting, state or State(), place, report, time.monotonic(), twin)
    if state is not None:
        network.load_state_dict(state.weights)
        _terms_module(terms).load_state_dict(state.terms)
    for phase in recipe.phases[run.state.phase :]:
        parts = feeds(phase)
        if twin is not None:
            twin.move_from(phase.cut, phase.batch_norm)
        if phase.solver == "logistic":
            choice = _solve(run, phase, parts.training, parts.validation)
        elif phase.solver == "interpolation":
            choice = _interpolate(run, phase, parts.validation)
        else:
            if not run.state.anchor and any(later.solver == "interpolation" for later in recipe.phases):
                run.state.anchor = copied_state(network)
            choice = _descend(run, phase, parts)
        run.state.next_phase(choice)
        run.keep()
    network.eval()
    return Trained(run.state.history, tuple(map(tuple, run.state.choices)))


def _solve(run: _Run, phase: Phase, training: Feed, validation: Feed) -> tuple[float, ...]:
    """Fit the head alone to its optimum; returns the penalties, chosen on the validation part."""
    recipe, setting = run.recipe, run.setting
    factors = [loss.class_weights(setting.class_counts) for loss in recipe.losses if hasattr(loss, "class_weights")]
    run.network.move_from(phase.cut)  # before: what lies below stands still, also where it has moved in another phase
    seed, classes = derive(recipe.seed, phase.name, "folds"), len(setting.classes)
    found = heads.solve(recipe.name, training, validation, classes, factors, run.settled, seed)
    run.network.set_weights(found.head)
    if not run.settled:
        _judge(run, run.network.suffix(phase.cut), validation, CHUNK)
        _note(run, phase, found.loss, epochs=1, judged=True)
    return found.penalties


def _descend(run: _Run, phase: Phase, parts: Parts) -> tuple[float, ...]:
    """One phase of gradient descent with early stopping; ends on the best weights it saw, its start included.

    Returns the number of epochs that those have seen. Where that is settled, it is what the phase runs for. A blind
    run ends on its last weights.
    """
    training = parts.training
    network, schedule, state = run.network, run.recipe.schedule, run.state
    network.move_from(phase.cut, phase.batch_norm)
    suffix = network.suffix(phase.cut)
    with _fenced(derive(run.recipe.seed, phase.name, "terms")):
        terms = [loss.build(run.setting) for loss in run.recipe.own[phase.loss]] if phase.loss else run.terms
    judged = not (phase.loss or run.settled or run.recipe.blind)
    size = _batch_size(run, phase, training, suffix)
    names = descent.named([*network.named_parameters(), *_terms_module(run.terms).named_parameters("term")])
    optimizer = _optimizer(run, phase)
    descent.restore_moments(optimizer, state.moments, names)
    run.moving = partial(descent.moments_by_name, optimizer, names)  # costly, so only when it is asked for
    epochs, patience = phase.epochs or schedule.epochs, phase.patience or schedule.patience
    if phase.steps:
        epochs = max(1, round(phase.steps / max(1, len(training) // size)))
    last = int(run.settled[0]) if run.settled and not phase.loss else epochs
    if judged and state.best is None:
        _judge(run, suffix, parts.validation, size)
    while state.epoch < last and (state.waited < patience or not judged):
        order = _order(run, phase, training, size)
        with _fenced(derive(run.recipe.seed, phase.name, state.epoch)):
            loss = _epoch(run, suffix, parts, optimizer, _Pass(phase, terms, order, size, epochs))
        state.epoch += 1
        if judged:
            _judge(run, suffix, parts.validation, size)
        _note(run, phase, loss, epochs, judged)
        run.keep()
    if judged:
        network.load_state_dict(state.best_weights)
    elif state.average and not phase.loss:
        network.load_state_dict(state.average)
    state.moments, run.moving = run.moving(), None
    return (float(state.best_epoch if judged else state.epoch),)


def _interpolate(run: _Run, phase: Phase, validation: Feed) -> tuple[float, ...]:
    """The best network on the line from the anchor to here; returns its place, 0 at the anchor."""
    network, start, end = run.network, run.state.anchor, copied_state(run.network)
    suffix = network.suffix(phase.cut)
    best, chosen = None, run.settled[0] if run.settled else 0.0
    for place in () if run.settled else LINE:
        network.load_state_dict(descent.between(start, end, place))
        run.state.best = None
        _judge(run, suffix, validation, descent.LARGEST_BATCH)
        if best is None or run.state.judged > best:
            best, chosen = run.state.judged, place
    network.load_state_dict(descent.between(start, end, chosen))
    if best is not None:
        run.state.judged = best
        _note(run, phase, -best[1], epochs=1, judged=True)
    return (chosen,)


def _batch_size(run: _Run, phase: Phase, training: Feed, suffix: Network) -> int:
    given = run.recipe.schedule.batch
    size = given or descent.found_batch_size(suffix, _example(training, suffix), len(training))
    return min(max(PAIRS, size), len(training)) if phase.loss and not given else size


def _order(run: _Run, phase: Phase, training: Feed, size: int) -> np.ndarray:
    """The positions of the training feed in the order of this epoch."""
    generator = np.random.default_rng(derive(run.recipe.seed, phase.name, "order", run.state.epoch))
    if not phase.loss:
        return descent.epoch_order(len(training), size, generator, training.lengths)
    order = descent.balanced_order(training.labels, size, generator)
    return order[: phase.steps * size] if phase.steps else order


@dataclass(frozen=True)
class _Pass:
    """One epoch to be run."""

    phase: Phase
    terms: list[Term]
    order: np.ndarray
    size: int
    epochs: int


def _epoch(run: _Run, suffix: Network, parts: Parts, optimizer: torch.optim.Optimizer, one: _Pass) -> float:
    """One pass over the training feed; returns the mean objective."""
    suffix.train()
    schedule, state, training = run.recipe.schedule, run.state, parts.training
    device = next(suffix.head.parameters()).device
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = -(-len(one.order) // one.size)
    total = 0.0
    # Batches that are balanced by class hold items of any length.
    forward = partial(descent.by_length, suffix) if one.phase.loss and training.lengths is not None else suffix
    others = _others(run, one, parts, steps)
    for number, batch in enumerate(training.batches(one.order, one.size, state.epoch, mixed=not one.phase.loss)):
        progress = (state.epoch * steps + number) / (one.epochs * steps)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule.factor(progress + 0.5 / (one.epochs * steps))
        seen = _seen(run, forward, _on(device, batch))
        unlabelled, strong = next(others, (None, None))
        step = Step(seen, run.network, progress, unlabelled, strong, one.phase.cut)
        loss = _step(run, step, optimizer, one.terms)
        total += loss * len(batch.labels)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return total / max(len(one.order), 1)


def _others(run: _Run, one: _Pass, parts: Parts, steps: int) -> Iterator[tuple[Seen, Seen | None]]:
    """What the network makes of batches of the unlabelled part, one for each step; they begin anew where they end.

    With each, where they are given, the same examples strongly augmented.
    """
    unlabelled = parts.unlabelled
    if unlabelled is None:
        return
    suffix = (run.twin or run.network).suffix(one.phase.cut).train()
    device = next(suffix.head.parameters()).device
    generator = np.random.default_rng(derive(run.recipe.seed, one.phase.name, "unlabelled", run.state.epoch))
    size = min(one.size, len(unlabelled))
    order = descent.repeated_order(len(unlabelled), steps * size, size, generator, unlabelled.lengths)
    views = [one for one in (unlabelled, parts.strong) if one is not None]
    for batches in zip(*(view.batches(order, size, run.state.epoch, mixed=False) for view in views), strict=True):
        seen = [_seen(run, suffix, _on(device, batch)) for batch in batches]
        yield seen[0], seen[1] if len(seen) > 1 else None


def _seen(run: _Run, forward: Callable[[Tensor], Output], batch: Batch) -> Seen:
    with torch.autocast(batch.inputs.device.type, dtype=torch.bfloat16, enabled=run.recipe.half):
        output = forward(batch.inputs)
    return descent.seen(batch, replace(output, features=output.features.float(), logits=output.logits.float()))


def _step(run: _Run, step: Step, optimizer: torch.optim.Optimizer, terms: Sequence[Term]) -> float:
    """The sum of the addends, backward, one step; returns the objective."""
    objective = torch.stack([term(step).float() for term in terms]).sum()
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
    task, classes = run.recipe.task, run.setting.classes
    figures = task.judge(descent.answers(suffix, validation, size, task, classes), validation.labels, classes)
    key = state.judged = (figures[task.primary(classes)], -figures["loss"])
    if state.best is None or key > state.best:
        state.best, state.best_weights, state.waited = key, copied_state(run.network), 0
        state.best_epoch = state.epoch
    else:
        state.waited += 1
    if kept is not None:
        run.network.load_state_dict(kept)


def _optimizer(run: _Run, phase: Phase) -> torch.optim.Optimizer:
    """The optimizer of a phase; weight decay is off where a term of the objective regularises the weights itself."""
    chosen = run.recipe.optimizer
    regularised = any(loss.regularises for loss in run.recipe.losses)
    decay = 0.0 if regularised else chosen.weight_decay
    groups = descent.parameter_groups(run.network, phase, chosen.rate, decay, run.recipe.paces)
    own = list(_terms_module(run.terms).parameters())
    if own:
        groups.append({"params": own, "lr": chosen.rate, "weight_decay": chosen.weight_decay})
    return chosen.build(groups)


def _note(run: _Run, phase: Phase, loss: float, epochs: int, judged: bool) -> None:
    """Add an entry to the history and show it."""
    state = run.state
    figure = run.recipe.task.primary(run.setting.classes)
    entry: dict[str, Any] = {"phase": phase.name, "epoch": state.epoch, "objective": loss}
    if judged:
        entry |= {figure: state.judged[0], "loss": -state.judged[1]}
    state.history.append(entry)
    run.report(Progress(phase.name, state.epoch, epochs, loss, figure, entry.get(figure)))


def _example(feed: Feed, suffix: Network) -> Tensor:
    """The input of one example, the longest, on the network's device."""
    longest = np.array([0 if feed.lengths is None else int(feed.lengths.argmax())])
    return next(iter(feed.inputs(longest, 1, -1))).to(next(suffix.head.parameters()).device)


def _on(device: torch.device, batch: Batch) -> Batch:
    mask = None if batch.mask is None else batch.mask.to(device)
    places = None if batch.places is None else batch.places.to(device)
    return Batch(batch.inputs.to(device), batch.labels.to(device), batch.weights.to(device), mask, places)


def _terms_module(terms: Sequence[Term]) -> nn.ModuleList:
    """The terms that have weights of their own, as one module."""
    return nn.ModuleList([term for term in terms if isinstance(term, nn.Module)])


@contextmanager
def _fenced(seed: int) -> Iterator[None]:
    """A random state of its own for torch's global generator, put back as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
