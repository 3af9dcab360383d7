"""The one loop: phases of a policy, run on whatever feed lies at their cut.

`train` knows no concrete method. It is handed a network, the phases of a policy, the addends of the objective and a
function that gives the inputs at a cut; it adds, steps, checks against the validation part and keeps the best.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sterna import checkpoint, descent, solvers
from sterna.checkpoint import State
from sterna.contracts import Feed
from sterna.errors import TrainingError
from sterna.maths.seeds import derive
from sterna.network import Network, copied_state
from sterna.recipe import Feeds, Parts, Progress, Recipe, Trained
from sterna.records import Batch, Output, Phase, Seen, Setting, Step, Term
from sterna.spec import name_of
from sterna.underway import Run, example, fenced, judge, note, terms_module

PAIRS = 32  # examples a batch, at least, for objectives on pairs
SAVE_EVERY = 10.0  # seconds of training that an interruption may cost


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
    with fenced(derive(recipe.seed, "terms")):
        # Before a checkpoint is loaded: terms anchor to the start of the run, not to where it was interrupted.
        terms = [loss.build(setting) for loss in recipe.losses]
    state = checkpoint.load(place, recipe.fingerprint) if place else None
    run = Run(network, recipe, terms, setting, state or State(), place, report, SAVE_EVERY, time.monotonic(), twin)
    if state is not None:
        run.resume()
    for phase in recipe.phases[run.state.phase :]:
        choice = _solved(run, phase, feeds(phase))
        run.state.next_phase(choice)
        run.keep()
    network.eval()
    state = run.state
    for one in (network, twin):
        if one is not None and state.config:
            one.added = json.loads(state.config), state.added
    return Trained(state.history, tuple(map(tuple, state.choices)), tuple(state.notes))


def _solved(run: Run, phase: Phase, parts: Parts) -> tuple[float, ...]:
    """Run one phase; returns what was chosen in it."""
    if run.twin is not None and run.added is None:
        run.twin.move_from(phase.cut, phase.batch_norm)
    if phase.solver == "logistic":
        return solvers.logistic(run, phase, parts.training, parts.validation)
    if phase.solver == "interpolation":
        return solvers.interpolation(run, phase, parts.validation)
    if phase.rates:
        return solvers.soup(run, phase, parts, _descend)
    if not run.state.anchor and any(later.solver == "interpolation" for later in run.recipe.phases):
        run.state.anchor = copied_state(run.network)
    return _descend(run, phase, parts)


def _descend(run: Run, phase: Phase, parts: Parts) -> tuple[float, ...]:
    """One phase of gradient descent with early stopping; ends on the best weights it saw, its start included.

    Returns the number of epochs that those have seen. Where that is settled, it is what the phase runs for. A blind
    run ends on its last weights.
    """
    training = parts.training
    network, schedule, state = run.network, run.recipe.schedule, run.state
    run.enter(phase)
    suffix = network.suffix(phase.cut)
    with fenced(derive(run.recipe.seed, phase.name, "terms")):
        terms = [loss.build(run.setting) for loss in run.recipe.own[phase.loss]] if phase.loss else run.terms
    judged = not (phase.loss or run.settled or run.recipe.blind)
    size = _batch_size(run, phase, training, suffix)
    names = descent.named([*network.named_parameters(), *terms_module(run.terms).named_parameters("term")])
    optimizer = _optimizer(run, phase)
    descent.restore_moments(optimizer, state.moments, names)
    run.moving = partial(descent.moments_by_name, optimizer, names)  # costly, so only when it is asked for
    epochs, patience = phase.epochs or schedule.epochs, phase.patience or schedule.patience
    if phase.steps:
        epochs = max(1, round(phase.steps / max(1, len(training) // size)))
    last = int(run.settled[0]) if run.settled and not phase.loss else epochs
    if judged and state.best is None:
        judge(run, suffix, parts.validation, size)
    with descent.stochastic([one for one in (network, run.twin) if one is not None], phase.stochastic):
        while state.epoch < last and (state.waited < patience or not judged):
            order = _order(run, phase, training, size)
            with fenced(derive(run.recipe.seed, phase.name, state.epoch)):
                loss = _epoch(run, suffix, parts, optimizer, _Pass(phase, terms, order, size, epochs))
            state.epoch += 1
            if judged:
                judge(run, suffix, parts.validation, size)
            note(run, phase, loss, epochs, judged)
            run.keep()
    if judged:
        network.load_state_dict(state.best_weights)
    elif state.average and not phase.loss:
        network.load_state_dict(state.average)
    state.moments, run.moving = run.moving(), None
    run.leave(phase, example(training, suffix))
    return (float(state.best_epoch if judged else state.epoch),)


def _batch_size(run: Run, phase: Phase, training: Feed, suffix: Network) -> int:
    given = run.recipe.schedule.batch
    size = given or descent.found_batch_size(suffix, example(training, suffix), len(training))
    return min(max(PAIRS, size), len(training)) if phase.loss and not given else size


def _order(run: Run, phase: Phase, training: Feed, size: int) -> np.ndarray:
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


def _epoch(run: Run, suffix: Network, parts: Parts, optimizer: torch.optim.Optimizer, one: _Pass) -> float:
    """One pass over the training feed; returns the mean objective."""
    run.network.train()  # a term that takes a suffix of it runs in the mode of the step
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


def _others(run: Run, one: _Pass, parts: Parts, steps: int) -> Iterator[tuple[Seen, Seen | None]]:
    """What the network makes of batches of the unlabelled part, one for each step; they begin anew where they end.

    With each, where they are given, the same examples strongly augmented.
    """
    unlabelled = parts.unlabelled
    if unlabelled is None or one.phase.loss:
        return
    suffix = (run.twin or run.network).suffix(one.phase.cut).train()
    device = next(suffix.head.parameters()).device
    generator = np.random.default_rng(derive(run.recipe.seed, one.phase.name, "unlabelled", run.state.epoch))
    views = [view for view in (unlabelled, parts.strong) if view is not None]
    size = min(one.size, len(unlabelled))
    if run.recipe.ratio > 1:
        room = int(descent.room(suffix, example(unlabelled, suffix))) // len(views) - one.size
        size = min(max(size, min(one.size * run.recipe.ratio, room)), len(unlabelled))
    taught = [True] if any(loss.needs == "unlabelled" for loss in run.recipe.losses) else [False, True]
    order = descent.repeated_order(len(unlabelled), steps * size, size, generator, unlabelled.lengths)
    for batches in zip(*(view.batches(order, size, run.state.epoch, mixed=False) for view in views), strict=True):
        seen = []
        for place, batch in enumerate(batches):
            with torch.set_grad_enabled(taught[place % len(taught)]):  # no gradient goes through a weak view alone
                seen.append(_seen(run, suffix, _on(device, batch)))
        yield seen[0], seen[1] if len(seen) > 1 else None


def _seen(run: Run, forward: Callable[[Tensor], Output], batch: Batch) -> Seen:
    with torch.autocast(batch.inputs.device.type, dtype=torch.bfloat16, enabled=run.recipe.half):
        output = forward(batch.inputs)
    return descent.seen(batch, replace(output, features=output.features.float(), logits=output.logits.float()))


def _step(run: Run, step: Step, optimizer: torch.optim.Optimizer, terms: Sequence[Term]) -> float:
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


def _optimizer(run: Run, phase: Phase) -> torch.optim.Optimizer:
    """The optimizer of a phase; weight decay is off where a term of the objective regularises the weights itself."""
    chosen = run.recipe.optimizer
    regularised = any(loss.regularises for loss in run.recipe.losses)
    decay = 0.0 if regularised else chosen.weight_decay
    plain = run.added.plain if run.added else ()
    groups = descent.parameter_groups(run.network, phase, chosen.rate, decay, run.recipe.paces, plain)
    own = list(terms_module(run.terms).parameters())
    if own:
        groups.append({"params": own, "lr": chosen.rate, "weight_decay": chosen.weight_decay})
    return chosen.build(groups)


def _on(device: torch.device, batch: Batch) -> Batch:
    mask = None if batch.mask is None else batch.mask.to(device)
    places = None if batch.places is None else batch.places.to(device)
    return Batch(batch.inputs.to(device), batch.labels.to(device), batch.weights.to(device), mask, places)
