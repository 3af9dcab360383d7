"""Which stages move, chosen while they are trained: by relative gradient norm, and by gradients that have settled."""

from __future__ import annotations

import numpy as np

from sterna import passes, relative
from sterna.contracts import Feed
from sterna.descent import epoch_order
from sterna.maths import gradients
from sterna.maths.seeds import derive
from sterna.passes import Course
from sterna.underway import Run


def rates(run: Run, course: Course) -> tuple[float, ...]:
    """The rates of the optimizer's groups in the coming epoch, at their highest.

    With `Phase.relative` each stage learns at its share of the largest relative gradient norm, smoothed over the epochs
    of the phase; the head, and terms with weights of their own, at their full rate.
    """
    phase, state = course.phase, run.state
    if not phase.relative:
        return course.rates
    if not (phase.single and state.relative):
        measured = gradients.shares(_measured(run, course))
        if phase.single:
            measured = [float(place == int(np.argmax(measured))) for place in range(len(measured))]
        state.relative = gradients.smoothed(state.relative, measured, phase.memory)
    factors = gradients.shares(state.relative)
    owner = {id(one): place for place, stage in enumerate(relative.weights(run.network)) for one in stage}
    found = []
    for group, rate in zip(course.optimizer.param_groups, course.rates, strict=True):
        place = owner.get(id(group["params"][0]))
        found.append(rate if place is None else rate * factors[place])
    return tuple(found)


def _measured(run: Run, course: Course) -> list[float]:
    """(s,) the relative gradient norm of each stage, the mean over a few batches of the training part; no step."""
    feed, phase = course.parts.training, course.phase
    generator = np.random.default_rng(derive(run.recipe.seed, phase.name, "relative order", run.state.epoch))
    order = _some(feed, course.size, phase.relative, generator)
    found = []
    with passes.untouched(run, course, "relative", run.state.epoch):
        for drawn in passes.batches(run, course, order):
            passes.gradients(run, course, drawn)
            found.append(relative.norms(run.network))
    return [float(value) for value in np.mean(found, axis=0)]


def _some(feed: Feed, size: int, batches: int, generator: np.random.Generator) -> np.ndarray:
    return epoch_order(len(feed), size, generator, feed.lengths)[: batches * size]


def told(run: Run, course: Course) -> dict[str, object]:
    """What an entry of the history says of the stages in the epoch that is done."""
    if course.phase.relative:
        return {"shares": [round(one, 4) for one in gradients.shares(run.state.relative)]}
    return {"frozen": course.cut} if course.phase.freezing else {}


def said(run: Run, course: Course) -> None:
    """Note which stages moved, at the end of a phase; a last fit, after everything is chosen, has its history alone."""
    phase, names, history = course.phase, list(run.network.stages), run.state.history
    if run.settled:
        return
    if phase.relative and run.state.relative:
        moved = zip(names, gradients.shares(run.state.relative), relative.weights(run.network), strict=True)
        shown = ", ".join(f"{name} {share:.2f}" for name, share, weights in moved if weights)
        run.say(f"{phase.name}: rates of the stages by relative gradient norm, the largest 1: {shown}.")
    if phase.freezing:
        cuts = [one["frozen"] for one in history if one["phase"] == phase.name and "frozen" in one]
        steps = [f"{cut} from epoch {place + 1}" for place, cut in enumerate(cuts) if place and cut > cuts[place - 1]]
        what = (
            f"stood still, from below, {', '.join(steps)}" if steps else f"none stood still within {len(cuts)} epochs"
        )
        run.say(f"{phase.name}: of {len(names)} stages {what}.")


def frozen(run: Run, course: Course) -> int:
    """How many stages stand still from now on, after an epoch.

    With `Phase.freezing`: those from below whose summed gradients changed less, since the epoch before, than the
    percentile of all moving stages (see `maths.gradients.settled`).
    """
    if course.sums is None:
        return course.cut
    state, before = run.state, run.state.norms
    state.norms = course.sums.taken()
    if not before:
        return course.cut
    weighs = [bool(stage) for stage in course.sums.stages]
    changes = gradients.changes(before, state.norms)
    return gradients.settled(changes, weighs, course.cut, course.phase.freezing)
