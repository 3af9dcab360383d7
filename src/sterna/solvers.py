"""How a phase is solved where that is not one descent: the head to its optimum, and averages of weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sterna import descent, heads
from sterna.contracts import Feed
from sterna.maths.seeds import derive
from sterna.network import copied_state
from sterna.recipe import Parts
from sterna.records import Phase
from sterna.underway import Run, judge, note

CHUNK = 1024  # rows read at a time where order does not matter
MIDDLE = 0.5
LINE = tuple(tenth / 10 for tenth in range(11))  # places between two networks that are tried


def logistic(run: Run, phase: Phase, training: Feed, validation: Feed) -> tuple[float, ...]:
    """Fit the head alone to its optimum; returns the penalties, chosen as `heads` says."""
    recipe, setting = run.recipe, run.setting
    factors = [loss.class_weights(setting.class_counts) for loss in recipe.losses if hasattr(loss, "class_weights")]
    run.network.move_from(phase.cut)  # before: what lies below stands still, also where it has moved in another phase
    seed, classes = derive(recipe.seed, phase.name, "folds"), len(setting.classes)
    rows = setting.classes
    found = heads.solve(recipe.name, training, validation, classes, factors, run.settled, seed, rows)
    run.network.set_weights(found.head)
    if not run.settled:
        known = len(validation) > 0
        if known:
            judge(run, run.network.suffix(phase.cut), validation, CHUNK)
        note(run, phase, found.loss, epochs=1, judged=known)
    return found.penalties


def interpolation(run: Run, phase: Phase, validation: Feed) -> tuple[float, ...]:
    """The best network on the line from the anchor to here; returns its place, 0 at the anchor.

    Without a validation part the middle, which Wortsman et al. 2022 advise where nothing can choose.
    """
    network, start, end = run.network, run.state.anchor, copied_state(run.network)
    suffix = network.suffix(phase.cut)
    best, chosen = None, run.settled[0] if run.settled else MIDDLE
    for place in LINE if len(validation) and not run.settled else ():
        network.load_state_dict(descent.between(start, end, place))
        run.state.best = None
        judge(run, suffix, validation, descent.LARGEST_BATCH)
        if best is None or run.state.judged > best:
            best, chosen = run.state.judged, place
    network.load_state_dict(descent.between(start, end, chosen))
    if best is not None:
        run.state.judged = best
        note(run, phase, -best[1], epochs=1, judged=True)
    return (chosen,)


def soup(
    run: Run, phase: Phase, parts: Parts, descend: Callable[[Run, Phase, Parts], tuple[float, ...]]
) -> tuple[float, ...]:
    """One descent from the same start at each of the rates, then the average of those that the validation part likes.

    The best one is averaged with each other in turn, from the better to the worse, and with those that were kept
    before; what is no worse stays (Wortsman et al. 2022, recipe 1). A blind run averages all.

    Returns the epochs of each member and then, for each, 1 where it is in the average and 0 where not.
    """
    network, state, count = run.network, run.state, len(phase.rates)
    settled = run.recipe.settled[state.phase] if run.recipe.settled else ()
    if not state.start:
        state.start, state.started = copied_state(network), state.moments
    for number in range(len(state.members), count):
        if settled and not settled[count + number]:
            state.next_member({})
            continue
        if not state.epoch:  # else it goes on from a checkpoint
            network.load_state_dict(state.start)
            state.moments = state.started
        rate = phase.rate * phase.rates[number]
        descend(run, replace(phase, name=f"{phase.name} {number + 1}", rate=rate, rates=()), parts)
        state.next_member(copied_state(network))
        run.keep()
    if settled or run.recipe.blind:
        kept = [number for number, weights in enumerate(state.members) if weights]
    else:
        kept = _tasted(run, phase, parts.validation)
    network.load_state_dict(descent.mean([state.members[number] for number in kept]))
    return (*(score[2] for score in state.scores), *(float(number in kept) for number in range(count)))


def _tasted(run: Run, phase: Phase, validation: Feed) -> list[int]:
    """The members whose average the validation part likes."""
    state, suffix = run.state, run.network.suffix(phase.cut)
    keys = [(figure, likelihood) for figure, likelihood, _ in state.scores]
    first, *rest = sorted(range(len(keys)), key=lambda number: keys[number], reverse=True)
    kept, best = [first], keys[first]
    for number in rest:
        run.network.load_state_dict(descent.mean([state.members[one] for one in (*kept, number)]))
        state.best = None
        judge(run, suffix, validation, descent.LARGEST_BATCH)
        if state.judged >= best:
            kept, best = [*kept, number], state.judged
    state.judged = best
    note(run, phase, -best[1], epochs=1, judged=True)
    run.say(f"{phase.name}: the average of {len(kept)} of {len(keys)} fits, at {_rates(phase, kept)} of the rate.")
    return kept


def _rates(phase: Phase, kept: list[int]) -> str:
    return " and ".join(f"{phase.rates[number]:g}" for number in kept)
