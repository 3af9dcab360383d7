"""From the evidence of all routes to a conclusion: chosen on validation, scored once on the held-out part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sterna import breakdown, crossing, score, semi_supervised, verdict
from sterna.contracts import Task
from sterna.outcomes import Outcome, Verdict
from sterna.plan import Route
from sterna.records import Labels, Sealed
from sterna.score import Scored
from sterna.settings import Settings

RANK = "rank"  # by criteria, where they choose; in [0, 1], 0 for the best
ADAPTING = "Adaptation"  # the subject of a verdict against the source alone
CHOOSING = "Choosing among the source's examples"  # the subject of a verdict on it
BEYOND = "Learning from examples without labels"  # the subject of a verdict on it


@dataclass(frozen=True)
class Trial:
    """What one route at one seed left behind."""

    route: Route
    seed: int
    test: np.ndarray  # (n, k) answers; for tag, one row for each word
    validation: np.ndarray  # (m, k) answers
    seconds: float
    validation_labels: Labels  # (m, ...)
    rows: np.ndarray  # (n,) which examples of the data set were held out
    sealed: Sealed  # their labels
    domains: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="<U1"))  # (n,) of them, or (0,) without
    judged: crossing.Values = ()  # by criteria, where the target is another domain than the validation part
    given_up: bool = False  # among its folds, where a route before it was clearly better: it is never chosen


@dataclass(frozen=True)
class Conclusion:
    """Every figure, what ships and why."""

    outcomes: tuple[Outcome, ...]
    shipped: str
    verdict: Verdict  # the best transfer route against the best floor; see `_strongest`
    others: tuple[Verdict, ...]  # the same route against every other floor
    choosing: Verdict | None = None  # chosen examples of the source, or unlabelled ones, against doing without
    hidden: str = ""  # which classes or domains lose, in a sentence; "" where none is seen to


def conclude(trials: Sequence[Trial], settings: Settings, task: Task, classes: tuple[str, ...]) -> Conclusion:
    """Choose a route and a floor by their validation scores, then open the held-out labels, once for each seed.

    A floor that the verdict finds better ships, whatever validation said: the held-out part then decides in one
    direction only, away from a model that was seen to be worse.

    Args:
        trials: every route at every seed.
        settings: of the run.
        task: a file of `tasks/`.
        classes: as in `Table`.
    """
    subject = ADAPTING if any(one.judged for one in trials) else verdict.Claim.subject
    claim = verdict.Claim(
        task.primary(classes), task.gain, "log loss" if "log_loss" in task.metrics else "error", subject
    )
    chosen = _validation(trials, task, classes)
    floors = {one.route.name for one in trials if one.route.floor}
    standing = ordered(_standing(trials, chosen), claim.figure)
    best, transfer, floor = verdict.decide_shipping(standing, floors, claim.figure)
    if not any(len(one.sealed) for one in trials):
        return _unmeasured(trials, chosen, (best, transfer, floor), claim)
    scored = {
        (one.route.name, one.seed): score.measure(task, one.test, one.sealed, classes, seed=one.seed) for one in trials
    }
    outcomes = tuple(_outcome(one, scored[one.route.name, one.seed], chosen[one.route.name]) for one in trials)
    rows = {one.seed: one.rows for one in trials}
    compared = {
        name: verdict.decide(
            *_paired(scored, rows, transfer, name), chosen=best, seed=0, margin=settings.margin, claim=claim
        )
        for name in sorted(floors, key=lambda name: name != floor)
    }
    floor = _strongest(compared, floor)
    shipped = verdict.shipped(compared[floor].answer, best, floor)
    pair = _paired(scored, rows, transfer, floor)
    parts = breakdown.gains(pair[0], pair[1], _parts(trials, (transfer, floor), scored, classes), seed=0)
    said = replace(compared.pop(floor), parts=parts)
    twins, told = _twins(trials, transfer), CHOOSING
    if not twins:
        twins, told = _beyond(trials, transfer, ordered(chosen, claim.figure), claim.figure), BEYOND
    choosing = (
        verdict.decide(
            *_paired(scored, rows, *twins),
            chosen=None,
            seed=0,
            margin=settings.margin,
            claim=replace(claim, subject=told),
        )
        if twins
        else None
    )
    return Conclusion(outcomes, shipped, said, tuple(compared.values()), choosing, breakdown.sentence(parts, transfer))


def ordered(judged: Mapping[str, Mapping[str, float]], figure: str) -> dict[str, Mapping[str, float]]:
    """Validation figures as they order routes: where criteria choose, the rank by them takes the figure's place."""
    return {name: {figure: -one[RANK], "loss": 0.0} if RANK in one else one for name, one in judged.items()}


def _unmeasured(
    trials: Sequence[Trial],
    chosen: Mapping[str, Mapping[str, float]],
    names: tuple[str, str, str],
    claim: verdict.Claim,
) -> Conclusion:
    """What can be said where no label of the target is known: what criteria chose, and no figure."""
    best, transfer, floor = names
    sentence = (
        f"Cannot tell: no label of the target is known, so nothing was measured; {best} ships, chosen by "
        f"{', '.join(name for name, _ in trials[0].judged)}."
    )
    said = Verdict("undecided", transfer, floor, 0.0, -1.0, 1.0, 0, None, 1.0, sentence, claim.figure)
    outcomes = tuple(
        _outcome(one, score.Scored({}, np.zeros(0), np.zeros(0), np.zeros(0)), chosen[one.route.name]) for one in trials
    )
    return Conclusion(outcomes, best, said, ())


def _twins(trials: Sequence[Trial], transfer: str) -> tuple[str, ...]:
    """The verdict's route on chosen source examples and on all of them, or () where one was not run."""
    routes = {one.route.name: one.route for one in trials}
    whole = replace(routes[transfer], name="", select=None)
    chosen = [one for one in routes.values() if one.select and replace(one, name="", select=None) == whole]
    alone = [one for one in routes.values() if replace(one, name="") == whole]
    if not chosen or not alone:
        return ()
    named = next((one for one in chosen if one.name == transfer), chosen[0])
    return named.name, alone[0].name


def _beyond(
    trials: Sequence[Trial], transfer: str, chosen: Mapping[str, Mapping[str, float]], figure: str
) -> tuple[str, ...]:
    """A route with examples without labels, and the same without them; () where no such two were run.

    It is the verdict's route where that is one of the two, else the best on the validation part that looks at them.
    """
    routes = {replace(one.route, name=""): one.route.name for one in trials if not one.route.floor}
    pairs: dict[str, str] = {}
    for one, name in routes.items():
        tune, losses = semi_supervised.twin(one.tune, one.losses)
        alone = routes.get(replace(one, tune=tune, losses=losses), name)
        if alone != name:
            pairs[name] = alone
    if transfer in pairs:
        return transfer, pairs[transfer]
    among = [name for name, alone in pairs.items() if alone == transfer] or list(pairs)
    best = max(among, key=lambda name: (chosen[name][figure], -chosen[name]["loss"]), default="")
    return (best, pairs[best]) if best else ()


def _parts(
    trials: Sequence[Trial], names: Sequence[str], scored: Mapping[tuple[str, int], Scored], classes: tuple[str, ...]
) -> dict[str, list[np.ndarray]]:
    """The classes and the domains of the held-out examples, for each seed at which both routes ran."""
    shared = [one for one in trials if one.route.name == names[0] and all((name, one.seed) in scored for name in names)]
    shared.sort(key=lambda one: one.seed)
    found = {}
    truths = [scored[names[0], one.seed].truth for one in shared]
    if all(truth.ndim == 1 and truth.dtype.kind == "i" for truth in truths):
        found["class"] = [np.asarray(classes)[truth] for truth in truths]
    if all(len(one.domains) for one in shared):
        found["domain"] = [one.domains for one in shared]
    return found


def leading(trials: Sequence[Trial], task: Task, classes: tuple[str, ...]) -> tuple[str, str, str]:
    """The best route, the best transfer route and the best floor on the validation part; nothing held out is read."""
    judged = _standing(trials, _validation(trials, task, classes))
    floors = {one.route.name for one in trials if one.route.floor}
    return verdict.decide_shipping(judged, floors, task.primary(classes))


def losing(trials: Sequence[Trial], task: Task, classes: tuple[str, ...]) -> Route | None:
    """The best transfer route where a floor is better on the validation part, else None; nothing held out is read."""
    best, transfer, floor = leading(trials, task, classes)
    return next(one.route for one in trials if one.route.name == transfer) if best == floor else None


def _strongest(compared: Mapping[str, Verdict], floor: str) -> str:
    """The floor that the verdict is about: the one validation chose, unless transfer helps against it alone.

    Who says that transfer helps must beat every floor, and asking them all makes that claim no easier: an
    intersection-union test (Berger 1982, Technometrics 24(4)). Other answers ask one floor, since asking many would.
    """
    if compared[floor].answer != "helps":
        return floor
    return min(compared, key=lambda name: (compared[name].answer == "helps", compared[name].low))


def _paired(
    scored: Mapping[tuple[str, int], Scored], rows: Mapping[int, np.ndarray], *names: str
) -> tuple[verdict.Evidence, ...]:
    """Two routes on the seeds that both have: the same held-out examples."""
    seeds = [seed for seed in sorted(rows) if all((name, seed) in scored for name in names)]
    return tuple(
        verdict.Evidence(
            name,
            [rows[seed] for seed in seeds],
            [scored[name, seed].merits for seed in seeds],
            [scored[name, seed].losses for seed in seeds],
        )
        for name in names
    )


def _validation(trials: Sequence[Trial], task: Task, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Mean validation figures of each route over its seeds; of an adaptation, how criteria rank it."""
    if any(one.judged for one in trials):
        return _ranked(trials)
    found: dict[str, list[dict[str, float]]] = {}
    for one in trials:
        judged = task.judge(one.validation, one.validation_labels, classes)
        found.setdefault(one.route.name, []).append(judged)
    return {name: {key: float(np.mean([m[key] for m in many])) for key in many[0]} for name, many in found.items()}


def _standing(trials: Sequence[Trial], judged: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Without routes that were given up at any seed: what they were judged on is another part, maybe an easier one.

    Where there is an ensemble, it stands for all transfer: the best of those that cannot be told apart is so by luck.
    """
    joined = any(one.route.members for one in trials)
    hidden = {one.route.name for one in trials if joined and not (one.route.floor or one.route.members)}
    lost = hidden | {one.route.name for one in trials if one.given_up}
    return {name: figures for name, figures in judged.items() if name not in lost}


def _ranked(trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """The mean rank of each route over seeds, 0 for the best, and what each criterion says of it."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in sorted({one.seed for one in trials}):
        mine = [one for one in trials if one.seed == seed]
        for one, rank in zip(mine, crossing.ranks([one.judged for one in mine]), strict=True):
            found.setdefault(one.route.name, []).append({RANK: float(rank), **dict(one.judged)})
    return {name: {key: float(np.mean([m[key] for m in many])) for key in many[0]} for name, many in found.items()}


def _outcome(one: Trial, scored: Scored, validation: Mapping[str, float]) -> Outcome:
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
        validation={key: value for key, value in validation.items() if not np.isnan(value)},
        floor=one.route.floor,
        given_up=one.given_up,
    )
