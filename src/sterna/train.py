"""The one loop: phases of a policy, run on whatever feed lies at their cut.

`train` knows no concrete method. It is handed a network, the phases of a policy, the addends of the objective and a
function that gives the inputs at a cut; it adds, steps, checks against the validation part and keeps the best.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sterna import adaptive, checkpoint, descent, passes, ranging, solvers
from sterna.checkpoint import State
from sterna.contracts import Feed
from sterna.maths.seeds import derive
from sterna.network import Network, copied_state
from sterna.passes import Course
from sterna.recipe import Feeds, Parts, Progress, Recipe, Trained
from sterna.records import Phase, Setting, Term
from sterna.relative import Sums
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
    now, begun = time.monotonic(), state or State()
    run = Run(network, recipe, terms, setting, begun, place, report, SAVE_EVERY, saved=now, twin=twin, feeds=feeds)
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
    network, schedule, state = run.network, run.recipe.schedule, run.state
    run.enter(phase)
    whole = network.suffix(phase.cut)
    with fenced(derive(run.recipe.seed, phase.name, "terms")):
        terms = [loss.build(run.setting) for loss in run.recipe.own[phase.loss]] if phase.loss else run.terms
    judged = not (phase.loss or run.settled or run.recipe.blind)
    size = _batch_size(run, phase, parts.training, whole)
    epochs, patience = phase.epochs or schedule.epochs, phase.patience or schedule.patience
    if phase.steps:
        most = max(1, round(phase.steps / max(1, len(parts.training) // size)))
        epochs = min(phase.epochs or most, most)
    last = int(run.settled[0]) if run.settled and not phase.loss else epochs
    course = _course(run, phase, parts, terms, size, epochs)
    if judged and state.best is None:
        judge(run, whole, parts.validation, size)
    with descent.stochastic([one for one in (network, run.twin) if one is not None], phase.stochastic):
        if schedule.find_rate and not state.rate:
            state.rate = ranging.found(run, course)
            course = _course(run, phase, parts, terms, size, epochs)
        while state.epoch < last and (state.waited < patience or not judged):
            order, rates = _order(run, phase, parts.training, size), adaptive.rates(run, course)
            with fenced(derive(run.recipe.seed, phase.name, state.epoch)):
                loss = passes.epoch(run, course, order, rates)
            state.epoch += 1
            if judged:
                judge(run, *_judged(run, course, parts), size)
            note(run, phase, loss, epochs, judged, adaptive.told(run, course))
            course = _frozen(run, course, parts)
            run.keep()
    if judged:
        network.load_state_dict(state.best_weights)
    elif state.average and not phase.loss:
        network.load_state_dict(state.average)
    state.moments, run.moving = run.moving() if run.moving else {}, None
    adaptive.said(run, course)
    run.leave(phase, example(parts.training, whole))
    return (float(state.best_epoch if judged else state.epoch),)


def _judged(run: Run, course: Course, parts: Parts) -> tuple[Network, Feed]:
    """What is judged, and on what: an average of weights has other low stages than those that stand still."""
    if run.state.average:
        return run.network.suffix(course.phase.cut), parts.validation
    return course.suffix, course.parts.validation


def _course(run: Run, phase: Phase, parts: Parts, terms: list[Term], size: int, epochs: int) -> Course:
    """What a phase runs over from here on, with an optimizer that goes on where the state has it.

    `parts`: the inputs at the cut of the phase.
    """
    cut = max(phase.cut, run.state.frozen)
    if cut > phase.cut:
        for one in (run.network, run.twin):
            if one is not None:
                one.move_from(cut, phase.batch_norm)
        parts = run.feeds(replace(phase, cut=cut))
    names = descent.named([*run.network.named_parameters(), *terms_module(run.terms).named_parameters("term")])
    optimizer = _optimizer(run, phase)
    descent.restore_moments(optimizer, run.state.moments, names)
    run.moving = partial(descent.moments_by_name, optimizer, names)  # costly, so only when it is asked for
    found = run.state.rate / run.recipe.optimizer.rate if run.state.rate else 1.0
    rates = tuple(group["lr"] * found for group in optimizer.param_groups)
    sums = Sums(run.network) if phase.freezing else None
    suffix, other = run.network.suffix(cut), (run.twin or run.network).suffix(cut)
    return Course(phase, cut, parts, suffix, other, terms, optimizer, rates, size, epochs, sums)


def _frozen(run: Run, course: Course, parts: Parts) -> Course:
    """The way on after an epoch: the same, or above the stages that stand still from now on."""
    cut = adaptive.frozen(run, course)
    if cut == course.cut:
        return course
    assert run.moving is not None
    run.state.frozen, run.state.moments = cut, run.moving()
    return _course(run, course.phase, parts, course.terms, course.size, course.epochs)


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
