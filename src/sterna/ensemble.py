"""The mean of what several rungs answer, where the validation part cannot tell them apart.

The best of many rungs on a few examples is partly the best by luck. Those that are not clearly worse than it are the
model confidence set of Hansen, Lunde and Nason 2011 (Econometrica 79(2)), here by one test against the best in place of
their elimination; what networks that moved differently answer is averaged, since they err on different examples. It
ships where its figure on the validation part is no lower than that of the best, freed of its luck (`maths/luck`).

When not to use: where one network is all that may be kept or waited for; `--no-ensemble` ships the best one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sterna import footing, racing
from sterna.attempts import Attempts
from sterna.conclusion import Trial, leading
from sterna.contracts import Sample
from sterna.maths import luck
from sterna.maths.seeds import derive
from sterna.plan import Route
from sterna.records import Labels

Groups = dict[str, list[Trial]]  # the trials of each route, by its name

NAME = "ensemble"
TASKS = ("classify", "multilabel", "regress")  # whose answers are one row for each item


def joined(at: Attempts, trials: Sequence[Trial]) -> list[Trial]:
    """The trials of the ensemble, or none: where it is not wanted, has one member, or choosing the best does better.

    Args:
        at: where its members were tried; their answers are read back.
        trials: all routes at all seeds.
    """
    alone = at.teacher is None and at.related is None and at.loaded.unlabelled is None
    if not (at.settings.ensemble and alone and at.loaded.table.task in TASKS):
        return []
    groups = _candidates(trials)
    members = _members(at, trials, groups)
    if len(members) < 2:
        return []
    found = at.trials([replace(members[0], name=NAME, members=members)])
    if _sample(at, found).merits.mean() < _alone(at, groups):
        return []
    names = ", ".join(one.name for one in members)
    at.warn(f"{NAME} is the mean of what {names} answer: the validation part cannot tell them apart.")
    return found


def _members(at: Attempts, trials: Sequence[Trial], groups: Groups) -> tuple[Route, ...]:
    """The best transfer route on the validation part, and all that moved and are not clearly worse."""
    _, best, _ = leading(trials, at.task, at.loaded.table.classes)
    if best not in groups:
        return ()
    moved = [name for name, some in groups.items() if name != best and footing.moves(some[0].route)]
    others = [name for name in moved if not _behind(at, groups[name], groups[best])]
    return tuple(groups[name][0].route for name in (best, *others))


def _candidates(trials: Sequence[Trial]) -> Groups:
    """The trials of each transfer route that has them at every seed and was not given up."""
    lost = {one.route.name for one in trials if one.given_up or one.route.floor}
    groups: Groups = {}
    for one in trials:
        if one.route.name not in lost:
            groups.setdefault(one.route.name, []).append(one)
    seeds = len({one.seed for one in trials})
    return {name: some for name, some in groups.items() if len(some) == seeds}


def _behind(at: Attempts, trials: Sequence[Trial], rival: Sequence[Trial]) -> bool:
    """Whether a route is clearly worse than another on the validation examples of all seeds."""
    (answers, _), (theirs, labels) = _judged(trials), _judged(rival)
    return racing.behind(at.task, answers, theirs, labels, at.loaded.table.classes, 0)


def _alone(at: Attempts, groups: Groups) -> float:
    """What choosing one route by the validation examples of all seeds is worth."""
    samples = [_sample(at, some) for some in groups.values()]
    merits, losses = (np.stack([getattr(one, part) for one in samples]) for part in ("merits", "losses"))
    return luck.of_the_best(merits, losses, np.random.default_rng(derive(0, NAME)))


def _sample(at: Attempts, trials: Sequence[Trial]) -> Sample:
    return at.task.sample(*_judged(trials), at.loaded.table.classes)


def _judged(trials: Sequence[Trial]) -> tuple[np.ndarray, Labels]:
    """Answers to the validation examples of all seeds, and their labels."""
    labels: Labels = np.concatenate([one.validation_labels for one in trials])
    return np.concatenate([one.validation for one in trials]), labels
