"""One pass over the training feed: batches, the objective, its gradients, steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sterna import descent, pieces
from sterna.contracts import Feed
from sterna.errors import TrainingError
from sterna.maths.seeds import derive
from sterna.network import Network, copied_state
from sterna.recipe import Parts
from sterna.records import Batch, Output, Phase, Seen, Step, Term
from sterna.relative import Sums
from sterna.spec import name_of
from sterna.underway import Run, example, fenced, terms_module

SHORT = "memory was short"  # how the note on it begins


@dataclass(frozen=True)
class Course:
    """What a phase runs over for as long as the same stages move."""

    phase: Phase
    cut: int  # stages that stand still: the phase's, or more where some have been frozen since
    parts: Parts  # at that cut
    suffix: Network
    other: Network  # the same as unlabelled examples meet it
    terms: list[Term]
    optimizer: torch.optim.Optimizer
    rates: tuple[float, ...]  # of the optimizer's groups at their highest
    size: int  # of a batch
    epochs: int
    sums: Sums | None = None  # of gradients, where stages may freeze

    @property
    def weights(self) -> list[torch.nn.Parameter]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]


@dataclass(frozen=True)
class Drawn:
    """What one step looks at."""

    labelled: Batch
    progress: float
    others: tuple[Batch, ...] = ()  # of the unlabelled part; where there are two, the second strongly augmented


def epoch(run: Run, course: Course, order: np.ndarray, rates: Sequence[float]) -> float:
    """One pass over the training feed; returns the mean objective.

    `rates`: of the optimizer's groups at their highest, in this epoch.
    """
    groups, total = course.optimizer.param_groups, 0.0
    half = 0.5 / (course.epochs * -(-len(order) // course.size))
    for drawn in batches(run, course, order):
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * run.recipe.schedule.factor(drawn.progress + half)
        total += _step(run, course, drawn) * len(drawn.labelled.labels)
    return total / max(len(order), 1)


def batches(run: Run, course: Course, order: np.ndarray) -> Iterator[Drawn]:
    """What each step of a pass looks at; the network is in training mode."""
    run.network.train()  # a term that takes a suffix of it runs in the mode of the step
    course.suffix.train()
    course.other.train()
    feed, current = course.parts.training, run.state.epoch
    steps = -(-len(order) // course.size)
    others = _others(run, course, steps)
    for number, batch in enumerate(feed.batches(order, course.size, current, mixed=not course.phase.loss)):
        progress = (current * steps + number) / (course.epochs * steps)
        yield Drawn(_on(_device(course.suffix), batch), progress, next(others, ()))


def _others(run: Run, course: Course, steps: int) -> Iterator[tuple[Batch, ...]]:
    """Batches of the unlabelled part, one for each step; they begin anew where they end.

    With each, where they are given, the same examples strongly augmented.
    """
    unlabelled = course.parts.unlabelled
    if unlabelled is None or unlabelled is course.parts.training or course.phase.loss:
        return
    suffix = course.other
    generator = np.random.default_rng(derive(run.recipe.seed, course.phase.name, "unlabelled", run.state.epoch))
    views: list[Feed] = [view for view in (unlabelled, course.parts.strong) if view is not None]
    size = min(course.size, len(unlabelled))
    if run.recipe.ratio > 1:
        room = int(descent.room(suffix, example(unlabelled, suffix))) // len(views) - course.size
        size = min(max(size, min(course.size * run.recipe.ratio, room)), len(unlabelled))
    order = descent.repeated_order(len(unlabelled), steps * size, size, generator, unlabelled.lengths)
    device = _device(suffix)
    for found in zip(*(view.batches(order, size, run.state.epoch, mixed=False) for view in views), strict=True):
        yield tuple(_on(device, batch) for batch in found)


def seen(run: Run, course: Course, drawn: Drawn) -> Step:
    """What the network makes of a batch, as the terms are given it."""
    # Batches that are balanced by class hold items of any length.
    ragged = course.phase.loss and course.parts.training.lengths is not None
    forward = partial(descent.by_length, course.suffix) if ragged else course.suffix
    labelled = _seen(run, forward, drawn.labelled)
    found: list[Seen | None] = [labelled] if course.parts.unlabelled is course.parts.training else []
    if drawn.others:
        taught = [True] if any(loss.needs == "unlabelled" for loss in run.recipe.losses) else [False, True]
        for place, batch in enumerate(drawn.others):
            with torch.set_grad_enabled(taught[place % len(taught)]):  # no gradient goes through a weak view alone
                found.append(_seen(run, course.other, batch))
    weak, strong = (*found, None, None)[:2]
    return Step(labelled, run.network, drawn.progress, weak, strong, course.cut)


def _seen(run: Run, forward: Callable[[Tensor], Output], batch: Batch) -> Seen:
    with torch.autocast(batch.inputs.device.type, dtype=torch.bfloat16, enabled=run.recipe.half):
        output = forward(batch.inputs)
    return descent.seen(batch, replace(output, features=output.features.float(), logits=output.logits.float()))


def gradients(run: Run, course: Course, drawn: Drawn, backward: bool = True) -> float:
    """Have the weights carry the gradients of the objective on a batch; returns the objective.

    Without `backward` the objective alone is found. Gradients are on all the same: a term may ask for its own.

    Where memory is too short for the whole batch it is cut in halves, again and again, and the gradients of its pieces
    add up: the step stays one on the whole batch, except for what compares the examples of a batch. What BatchNorm and
    terms with a memory took from an attempt that failed stays with them.

    Raises `TrainingError` where not even one example fits.
    """
    while True:
        try:
            return _summed(run, course, drawn, backward)
        except RuntimeError as error:
            if not pieces.short(error):
                raise
        course.optimizer.zero_grad(set_to_none=True)
        _halve(run, course, len(drawn.labelled.labels))


def _summed(run: Run, course: Course, drawn: Drawn, backward: bool) -> float:
    course.optimizer.zero_grad(set_to_none=True)
    count = min(run.state.pieces, len(drawn.labelled.labels))
    parts = zip(*(pieces.cut(batch, count) for batch in (drawn.labelled, *drawn.others)), strict=True)
    whole, total = pieces.weight(drawn.labelled) if count > 1 else 1.0, 0.0
    for labelled, *others in parts:
        step = seen(run, course, Drawn(labelled, drawn.progress, tuple(others)))
        objective = torch.stack([term(step).float() for term in course.terms]).sum()
        if count > 1:
            objective = objective * (pieces.weight(labelled) / whole)
        total += float(objective.detach())
        if backward and np.isfinite(total):
            objective.backward()
    return total


def _halve(run: Run, course: Course, size: int) -> None:
    """Cut the batches of the phase into twice as many pieces, and say so."""
    state = run.state
    if state.pieces >= size:
        raise TrainingError(
            "a step on a single example does not fit into memory; move fewer stages, such as with --tune "
            "'partial(stages=1)', or choose a smaller --encoder."
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    state.pieces *= 2
    state.notes[:] = [one for one in state.notes if not one.startswith(SHORT)]
    run.say(
        f"{SHORT}, so a step on {course.size} examples takes them in {state.pieces} pieces whose gradients add up; "
        "addends that compare the examples of a batch, and BatchNorm where it follows the data, see a piece at a time."
    )


def _step(run: Run, course: Course, drawn: Drawn) -> float:
    """The gradients of the objective, and one step; returns the objective."""
    value, schedule, state = gradients(run, course, drawn), run.recipe.schedule, run.state
    if not np.isfinite(value):
        rate = state.rate or run.recipe.optimizer.rate
        raise TrainingError(
            f"training diverged: the objective became {value} at step {state.steps}; try a smaller rate, such as "
            f"--optimizer '{name_of(type(run.recipe.optimizer))}(rate={rate / 10:g})'."
        )
    if course.sums is not None:
        course.sums.add()
    descent.total_norm_clipped(course.weights, schedule.clip)
    course.optimizer.step()
    state.steps += 1
    if schedule.average:
        descent.update_average(state.average, run.network, schedule.average, state.steps)
    return value


@contextmanager
def untouched(run: Run, course: Course, *names: str | int) -> Iterator[None]:
    """Inside, weights, statistics and terms may change; outside, every bit of them is as it was.

    Random numbers are drawn from a state of its own, named by the phase and `names`.
    """
    terms = terms_module(course.terms)
    kept = [(one, copied_state(one)) for one in (run.network, run.twin, terms) if one is not None]
    try:
        with fenced(derive(run.recipe.seed, course.phase.name, *names)):
            yield
    finally:
        for one, state in kept:
            one.load_state_dict(state)
        course.optimizer.zero_grad(set_to_none=True)


def _device(suffix: Network) -> torch.device:
    return next(suffix.head.parameters()).device


def _on(device: torch.device, batch: Batch) -> Batch:
    mask = None if batch.mask is None else batch.mask.to(device)
    places = None if batch.places is None else batch.places.to(device)
    return Batch(batch.inputs.to(device), batch.labels.to(device), batch.weights.to(device), mask, places)
