"""The ladder: routes from the cheapest to the dearest, as far as the time goes.

Every rung is kept in the comparison. What a rung would take is estimated before it begins, from the time of one step;
it gets fewer epochs where its whole schedule does not fit, and is left out where not even a few do. What was decided is
noted in the folder of the run, so that an interrupted run goes on as it began and ends with the same numbers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna import files, footing, pace
from sterna.attempts import Attempts
from sterna.conclusion import Trial
from sterna.errors import SpecError
from sterna.plan import Route
from sterna.schedule import Schedule

DECIDED = "ladder.json"
DEFAULT = "10m"  # long enough for a few hundred photos, short enough to wait for
KEPT_BACK = 0.15  # of the budget for choosing, the model folder and the page
FEWEST = 3  # epochs, below which training is not worth its start
LEARNT = 0.5  # of the epochs are needed by a head that starts at random
HALF = 0.5  # of what is left may go into a rung that is not the last, if that is enough for it to learn
UNPAID = "did not pay"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


Family = tuple[str, tuple[Any, ...], bool]  # routes that differ in what moves: of one encoder, objective and start


def seconds(written: str) -> float:
    """`"90s"`, `"10m"` or `"2h"` in seconds. Raises `SpecError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", written)
    if not found or not float(found[1]):
        raise SpecError(f"a budget is a number above 0 with s, m or h, such as 90s, 10m or 2h, got '{written}'.")
    return float(found[1]) * UNITS[found[2]]


@dataclass
class Climb:
    """A ladder under way."""

    attempts: Attempts
    budget: float  # seconds for the whole run
    begun: float  # by `time.monotonic`, when the run began
    stops: bool = False  # whether more stages move only where some that moved have paid; False for routes asked for
    factor: float = 1.0  # what routes took against what was estimated
    decided: list[dict[str, Any]] = field(default_factory=list)
    best: dict[Family, tuple[float, float]] = field(default_factory=dict)  # so far, on the validation part
    spent: dict[Family, str] = field(default_factory=dict)  # what has not paid where it moved, and by which route
    ahead: dict[int, tuple[tuple[float, float], np.ndarray]] = field(default_factory=dict)  # by seed: key and answers

    def __post_init__(self) -> None:
        if self._place.exists():
            self.decided = files.read_json(self._place)
            self.begun -= max(0.0, self._left - self.decided[-1]["left"])  # what was used before an interruption

    def trials(self, routes: Sequence[Route]) -> list[Trial]:
        """All routes that fit, at all seeds; in the order of the routes, since of equal ones the first is chosen."""
        found: list[Trial] = []
        places = {one.name: place for place, one in enumerate(routes)}
        rungs = sorted(routes, key=_height)
        for number, chosen in enumerate(rungs):
            floored = any(one.route.floor for one in found)
            last = not any(footing.moves(one) for one in rungs[number + 1 :])
            epochs = self._epochs(chosen, last, needed=chosen.floor and not floored)
            if epochs is None:
                continue
            begin = time.monotonic()
            tried = self._tried(_shortened(chosen, epochs))
            found += tried
            self._told(chosen, tried, time.monotonic() - begin)
        return sorted(found, key=lambda one: (one.seed, places.get(one.route.name, len(places))))

    @property
    def _left(self) -> float:
        return self.budget * (1 - KEPT_BACK) - (time.monotonic() - self.begun)

    @property
    def _place(self) -> Path:
        return self.attempts.place / DECIDED

    def _epochs(self, chosen: Route, last: bool, needed: bool) -> int | None:
        """How many epochs each phase of a route gets at most; None where the route is left out."""
        noted = next((one for one in self.decided if one["route"] == chosen.name), None)
        if noted is None:
            noted = {"route": chosen.name, "encoder": chosen.encoder, **self._decision(chosen, last, needed)}
            self.decided.append(noted)
            files.write_json(self._place, self.decided)
        if noted.get("why") == UNPAID:
            self.attempts.warn(
                f"{chosen.name} was not tried: on the validation part {noted['below']}, which moves less, was no "
                "better than the best before it; name it with --tune to try it."
            )
        elif noted["epochs"] is None:
            would = f"would take about {_spoken(noted['estimate'])} and " if noted["estimate"] else "was next when "
            left = _spoken(max(0.0, noted["left"]))
            self.attempts.warn(
                f"{chosen.name} was not tried: it {would}{left} of the budget were left; give more time."
            )
        return None if noted["epochs"] is None else int(noted["epochs"])

    def _decision(self, chosen: Route, last: bool, needed: bool) -> dict[str, Any]:
        """What is noted of a route before it begins."""
        most, seeds = chosen.schedule.epochs, self.attempts.settings.seeds
        if not footing.moves(chosen):
            tried = self._left > 0 or needed or self._cheap(chosen)
            return {"epochs": most if tried else None, "estimate": 0.0, "left": self._left}
        if _family(chosen) in self.spent and not chosen.floor:
            below = self.spent[_family(chosen)]
            return {"epochs": None, "why": UNPAID, "below": below, "estimate": 0.0, "left": self._left}
        cost = pace.measured(chosen, self.attempts.desk(chosen, 0))
        left, unit = self._left, seeds * self.factor
        fewest = min(most, max(FEWEST, round(LEARNT * most)) if _starts_anew(chosen) else FEWEST)
        whole = _within(left, unit, cost, most)
        fits = whole if last else _within(HALF * left, unit, cost, most)
        # What comes later moves more and takes longer, so nothing is gained by saving for it.
        if fits < fewest or (whole == most and _spoilt_by_haste(chosen)):
            fits = whole
        if needed:
            fits = max(fits, 1)
        enough = fits >= fewest or needed
        estimate = unit * cost.of(fits if enough else fewest)
        return {"epochs": fits if enough else None, "estimate": estimate, "left": left}

    def _cheap(self, chosen: Route) -> bool:
        """Whether the features that a head is fitted on are there, or nothing but items is read."""
        seen = {one["encoder"] for one in self.decided if one["epochs"] is not None}
        return not chosen.crosses and (chosen.raw or chosen.encoder in seen or not any(seen))

    def _tried(self, chosen: Route) -> list[Trial]:
        """The trials of a route; of a gentler one where it diverges."""
        raced = self.stops and footing.moves(chosen) and not chosen.floor  # which transfer is measured by
        rivals = {seed: answers for seed, (_, answers) in self.ahead.items()} if raced else {}
        found = self.attempts.trials([chosen], rivals=rivals)
        if found or not footing.moves(chosen):
            return found
        gentler = replace(
            chosen,
            name=f"{chosen.name} at a tenth of the rate",
            optimizer=replace(chosen.optimizer, rate=chosen.optimizer.rate / 10),
        )
        self.attempts.warn(f"{chosen.name} could not be trained, so it is tried again at a tenth of the rate.")
        return self.attempts.trials([gentler])

    def _told(self, chosen: Route, tried: Sequence[Trial], took: float) -> None:
        """Say how a rung went, and learn from how long it took."""
        estimate = next(one["estimate"] for one in self.decided if one["route"] == chosen.name)
        if footing.moves(chosen) and estimate and took > estimate:
            self.factor *= took / estimate
        if not tried or self.attempts.loaded.crossed:
            return
        task, classes = self.attempts.task, self.attempts.loaded.table.classes
        name = task.primary(classes)
        judged = [task.judge(one.validation, one.validation_labels, classes) for one in tried]
        keys = [(one[name], -one["loss"]) for one in judged]
        key = float(np.mean([one for one, _ in keys])), float(np.mean([one for _, one in keys]))
        route, lost = tried[0].route, any(one.given_up for one in tried)
        self.attempts.watch.say(
            f"{route.name}: validation {name.replace('_', ' ')} {100 * key[0]:.1f} %{' so far' if lost else ''}, "
            f"{_spoken(took)}; {_spoken(max(0.0, self._left))} left."
        )
        if lost:
            self.spent.setdefault(_family(route), route.name)
            return
        self._learn(route, key)
        if not route.floor:
            for one, own in zip(tried, keys, strict=True):
                if one.seed not in self.ahead or own > self.ahead[one.seed][0]:
                    self.ahead[one.seed] = own, one.validation

    def _learn(self, tried: Route, key: tuple[float, float]) -> None:
        """Whether a route was better than those before it that move less."""
        if tried.floor or tried.gathers:  # lower stages that say more speak for moving them
            return
        family = _family(tried)
        # Methods on features have no objective; they are what every objective must better.
        alike = [value for one, value in self.best.items() if one[0] == family[0] and one[1] in (family[1], ())]
        before = max(alike, default=None)
        if self.stops and footing.moves(tried) and before is not None and key <= before:
            self.spent[family] = tried.name
        self.best[family] = max(key, self.best.get(family, key))


def _within(allowed: float, unit: float, cost: pace.Cost, most: int) -> int:
    """How many epochs fit into some seconds, of which one of the estimate takes `unit`."""
    if unit * cost.of(most) <= allowed:
        return most
    return min(most, int(max(0.0, (allowed / unit - cost.fixed) / max(cost.epoch, 1e-9))))


def _family(route: Route) -> Family:
    """Where features are moved by an objective of the policy's own, that is the objective.

    What moves under a head that learns along says nothing of what moves under one that is fitted first, nor the other
    way round.
    """
    own = tuple(phase.loss for phase in route.tune.plan([1] * 8) if phase.loss) if footing.moves(route) else ()
    return route.encoder, own or route.losses, _starts_anew(route)


def _starts_anew(route: Route) -> bool:
    """Whether a pretrained network moves under a head that begins at random."""
    first = next(iter(route.tune.plan([1] * 8)), None) if footing.moves(route) and route.pretrained else None
    return first is not None and first.solver == "descent" and not first.loss


def _spoilt_by_haste(route: Route) -> bool:
    """Whether a route is worth little when it is cut short: one that learns its head along, or by comparing."""
    return _starts_anew(route) or hasattr(route.tune, "shortened")


def _height(route: Route) -> tuple[int, int, int]:
    """The order of the ladder: what needs no descent, then the fewest moving stages first; floors before their like.

    A network from random weights comes last: it takes longest and says least about which transfer is best.
    """
    if not footing.moves(route):
        return (0, 0 if route.floor else 1, 0 if route.shallow else 1)
    stages = [1] * 8
    lowest = min(phase.cut for phase in route.tune.plan(stages))
    return (1 if route.pretrained else 2, len(stages) - lowest, 0 if route.floor else 1)


def _shortened(route: Route, epochs: int) -> Route:
    """The route with at most so many epochs in a phase; a policy with a length of its own is shortened as much."""
    most = route.schedule.epochs
    if epochs >= most:
        return route
    own = getattr(route.tune, "shortened", None)
    schedule = Schedule(**{**vars(route.schedule), "epochs": epochs})
    return replace(route, schedule=schedule, tune=own(epochs / most) if own else route.tune)


def _spoken(duration: float) -> str:
    if duration < 90:
        return f"{duration:.0f} s"
    return f"{duration / 60:.0f} min" if duration < 5400 else f"{duration / 3600:.1f} h"
