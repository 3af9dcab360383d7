"""From the evidence of all routes to a conclusion: chosen on validation, scored once on the held-out part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sterna import score, verdict
from sterna.plan import Route
from sterna.records import Outcome, Sealed, Verdict
from sterna.score import Scored
from sterna.settings import Settings


@dataclass(frozen=True)
class Evidence:
    """What one route at one seed left behind."""

    route: Route
    seed: int
    test: np.ndarray  # (n, k) probabilities
    validation: np.ndarray  # (m, k) probabilities
    seconds: float
    validation_labels: np.ndarray  # (m,)
    sealed: Sealed  # the n test labels


@dataclass(frozen=True)
class Conclusion:
    """Every figure, what ships and why."""

    outcomes: tuple[Outcome, ...]
    shipped: str
    verdict: Verdict


def conclude(evidence: Sequence[Evidence], settings: Settings) -> Conclusion:
    """Choose a route and a floor by their validation scores, then open the held-out labels, once for each seed.

    A floor that the verdict finds better ships, whatever validation said: the held-out part then decides in one
    direction only, away from a model that was seen to be worse.
    """
    chosen = _validation(evidence)
    floors = {one.route.name for one in evidence if one.route.floor}
    best, transfer, floor = verdict.decide_shipping(chosen, floors)
    scored = {(one.route.name, one.seed): _scored(one) for one in evidence}
    outcomes = tuple(_outcome(one, scored[one.route.name, one.seed], chosen[one.route.name]) for one in evidence)
    compared = _paired(scored, transfer, floor)
    found = verdict.decide(
        transfer,
        floor,
        [one.correct for one, _ in compared],
        [other.correct for _, other in compared],
        [one.log_losses for one, _ in compared],
        [other.log_losses for _, other in compared],
        seed=0,
        margin=settings.margin,
        ships=best,
    )
    shipped = floor if found.answer == "hurts" else best
    return Conclusion(outcomes, shipped, found)


def _validation(evidence: Sequence[Evidence]) -> dict[str, dict[str, float]]:
    """Mean validation figures of each route over its seeds."""
    found: dict[str, list[dict[str, float]]] = {}
    for one in evidence:
        found.setdefault(one.route.name, []).append(score.validation_metrics(one.validation, one.validation_labels))
    return {name: {key: float(np.mean([m[key] for m in many])) for key in many[0]} for name, many in found.items()}


def _scored(one: Evidence) -> Scored:
    return score.measure(one.test, one.sealed, seed=one.seed)


def _outcome(one: Evidence, scored: Scored, validation: dict[str, float]) -> Outcome:
    written = one.route.written()
    return Outcome(
        name=one.route.name,
        encoder=one.route.encoder,
        tune=written["tune"],
        loss=written["loss"],
        seed=one.seed,
        n=len(one.sealed),
        seconds=one.seconds,
        metrics=scored.metrics,
        validation=validation,
        floor=one.route.floor,
    )


def _paired(scored: dict[tuple[str, int], Scored], transfer: str, floor: str) -> list[tuple[Scored, Scored]]:
    """Both routes at each seed that has both: the same held-out examples."""
    seeds = sorted(seed for name, seed in scored if name == transfer and (floor, seed) in scored)
    return [(scored[transfer, seed], scored[floor, seed]) for seed in seeds]
