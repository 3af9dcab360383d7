"""The learning rate of a phase by a range test; whatever it does to the network is undone.

Paper: Smith 2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), section 3.3.
"""

from __future__ import annotations

import numpy as np

from sterna import descent, passes
from sterna.maths import range_test
from sterna.maths.seeds import derive
from sterna.passes import Course
from sterna.underway import Run

BATCHES = 60  # about nine to each tenfold rise of the rate


def found(run: Run, course: Course) -> float:
    """A rate for the optimizer: that of the steepest fall of the loss while the rate rises from step to step.

    All groups keep their rates relative to one another, so a policy's own factor on all of them is in what is found.
    The optimizer's own rate stays where the loss does not fall by more than its noise. Weights, statistics, terms and
    the optimizer are as before afterwards, bit for bit, and the optimizer of `course` takes no part in later training.
    """
    own, order = run.recipe.optimizer.rate, _order(run, course)
    tried = range_test.rising(BATCHES)
    # Some batches are harder than others: each is compared with itself before any step, under the same random numbers.
    with passes.untouched(run, course, "range test"):
        before = [passes.gradients(run, course, drawn, False) for drawn in passes.batches(run, course, order)]
    losses: list[float] = []
    with passes.untouched(run, course, "range test"):
        for rate, drawn in zip(tried, passes.batches(run, course, order), strict=False):
            for group, peak in zip(course.optimizer.param_groups, course.rates, strict=True):
                group["lr"] = peak * float(rate) / own
            losses.append(passes.gradients(run, course, drawn))
            if range_test.exploded(losses):
                break
            descent.total_norm_clipped(course.weights, run.recipe.schedule.clip)
            course.optimizer.step()
    usable = np.array([one for one in losses if np.isfinite(one)])
    usable += np.mean(before) - np.array(before[: len(usable)])
    suggested = range_test.suggested(tried[: len(usable)], usable)
    if suggested is None:
        run.say(
            f"{course.phase.name}: learning rate {own:.2g} as given, since the loss did not fall in a range test of "
            f"{len(losses)} batches."
        )
        return own
    run.say(f"{course.phase.name}: learning rate {suggested:.2g}, found by a range test of {len(losses)} batches.")
    return suggested


def _order(run: Run, course: Course) -> np.ndarray:
    feed = course.parts.training
    generator = np.random.default_rng(derive(run.recipe.seed, course.phase.name, "range test order"))
    if course.phase.loss:
        drawn = [descent.balanced_order(feed.labels, course.size, generator) for _ in range(BATCHES)]
        return np.concatenate(drawn)[: BATCHES * course.size]
    size = min(course.size, len(feed))
    return descent.repeated_order(len(feed), BATCHES * size, size, generator, feed.lengths)
