"""Did transfer help here? A paired comparison with the best route that uses no pretrained weights, and what ships."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sterna.errors import SpecError
from sterna.maths.seeds import derive
from sterna.outcomes import Verdict
from sterna.stats import (
    Paired,
    align,
    expanded,
    mcnemar,
    needed_examples,
    percentile_interval,
    sign_flips,
    two_level_bootstrap,
)

Answer = Literal["helps", "hurts", "equivalent", "undecided"]
_LOSS_DRAWS = 2000  # the loss stands beside the primary figure
_WORDS = {"r2": "R2", "rmse": "RMSE", "mae": "MAE", "roc_auc": "ROC AUC", "spearman": "Spearman", "mean_r2": "mean R2"}


@dataclass(frozen=True)
class Evidence:
    """One route on the held-out examples of each seed; every sequence has one array a seed."""

    name: str
    rows: Sequence[np.ndarray]  # (n_s,) int64: which examples; seeds may hold out the same ones or others
    merits: Sequence[np.ndarray]  # (n_s,) float64; see `contracts.Sample`
    losses: Sequence[np.ndarray]  # (n_s,) float64


@dataclass(frozen=True)
class Claim:
    """How a task puts a difference into words."""

    figure: str = "accuracy"  # the primary one
    gain: str = "{route} is {points} points {more} accurate than {floor}"  # see `contracts.Task`
    loss: str = "log loss"  # what the losses are called
    subject: str = "Transfer"  # what helps or hurts


CLASSIFY = Claim()


@dataclass(frozen=True)
class _Compared:
    """A comparison in numbers, before it is put into words."""

    answer: Answer
    gain: float
    low: float
    high: float
    n: int
    seeds: int
    needed: int | None
    loss: tuple[float, float, float]  # loss of the floor minus the route's, with its interval
    p_value: float

    @property
    def worse_loss(self) -> float:
        """Loss of the route minus the floor's, where its whole interval contradicts the answer; else 0."""
        contradicts = self.loss[2] < 0 if self.answer == "helps" else self.loss[1] > 0
        return -self.loss[0] if contradicts and self.answer in ("helps", "hurts") else 0.0


def decide(
    route: Evidence,
    floor: Evidence,
    *,
    chosen: str | None,
    seed: int,
    margin: float = 0.005,
    draws: int = 10_000,
    claim: Claim = CLASSIFY,
) -> Verdict:
    """The verdict on a transfer route against a floor, example by example on what both were tested on.

    The gain is the mean over seeds of the difference in merit, for hits and misses in accuracy: the negative transfer
    gap of Wang et al. (2019) with the sign turned. Its 95 % interval comes from `stats.two_level_bootstrap`: over
    examples and, with several seeds, over seeds; smoothed for merits that are zeros and ones, else widened for small
    samples (`stats.expanded`). The p value is that of
    McNemar's exact test for these, else of `stats.sign_flips`.

    helps: the whole interval is above 0. hurts: it is below 0. equivalent: it holds 0 and lies within the margin.
    undecided: else, with the number of held-out examples that would probably decide. An interval without 0 is always a
    helps or hurts, even inside the margin: the sign is then known, and the sentence gives the size.

    Args:
        route: the transfer route.
        floor: the route without pretrained weights, on the same examples in the same order.
        chosen: the name of the route that validation chose; it ships unless transfer hurts (see `shipped`). None where
            the comparison decides nothing about what ships.
        seed: of the run, for the bootstrap.
        margin: a difference that does not matter; half a point, less than most labels are worth.
        draws: bootstrap resamples.
        claim: the words of the task.

    Raises:
        ValueError: route and floor were not tested on the same examples.
    """
    _check_paired(route, floor)
    compared = _compare(route, floor, seed, margin, draws)
    ships = shipped(compared.answer, chosen, floor.name) if chosen else None
    return Verdict(
        answer=compared.answer,
        route=route.name,
        floor=floor.name,
        gain=compared.gain,
        low=compared.low,
        high=compared.high,
        n=compared.n,
        needed=compared.needed,
        p_value=compared.p_value,
        sentence=_sentence(compared, (route.name, floor.name), ships, margin, claim),
        figure=claim.figure,
        loss_gain=compared.loss[0],
        loss_low=compared.loss[1],
        loss_high=compared.loss[2],
    )


def in_words(figure: str) -> str:
    """A figure's name for people: `macro_f1` -> "macro F1"."""
    return _WORDS.get(figure, figure.replace("_f1", " F1").replace("_", " "))


def shipped(answer: Answer, chosen: str, floor: str) -> str:
    """The gate: the route that validation chose ships, except that the floor ships when the verdict is «hurts».

    The held-out labels are used here in one direction only, towards the floor, and never to choose among transfer
    routes, so the figures of a shipped transfer route are not the best of several looks. The floor's own held-out
    figures stay those measured once; that it was let through by them favours it by no more than the verdict's error.
    """
    return floor if answer == "hurts" else chosen


def decide_shipping(
    validation: Mapping[str, Mapping[str, float]], floors: Collection[str], figure: str = "accuracy"
) -> tuple[str, str, str]:
    """The best route overall, the best transfer route and the best floor, by validation figures alone.

    Routes are ordered by the primary figure, ties by loss, further ties by their order. For classes, log loss is the
    less noisy figure among models of one kind, but routes of different kinds differ in how overconfident they are, and
    then it chooses worse: over eight kinds of classifiers on two data sets with 100 and 400 labels and 30, 100 and 300
    validation examples, accuracy lost less test accuracy than log loss in all twelve cases (0.9 against 1.2 points on
    average), and less than log loss among routes within one standard error of the best accuracy. The verdict is in the
    primary figure too.

    Args:
        validation: route -> the primary figure by its name and `loss`, each the mean over seeds.
        floors: the names of the routes that use no pretrained weights.
        figure: the primary one; higher is better.

    Raises:
        SpecError: no transfer route, or no floor, to compare.
    """
    order = sorted(validation, key=lambda name: (-validation[name][figure], validation[name]["loss"]))
    transfer = [name for name in order if name not in floors]
    without = [name for name in order if name in floors]
    if not transfer or not without:
        absent = "route with pretrained weights" if not transfer else "floor without pretrained weights"
        example = "probe" if not transfer else "scratch"
        raise SpecError(
            f"a verdict needs at least one {absent}, got only {', '.join(order) or 'nothing'}: add {example} to --tune."
        )
    return order[0], transfer[0], without[0]


def _check_paired(route: Evidence, floor: Evidence) -> None:
    same = len(route.rows) == len(floor.rows) > 0 and all(
        np.array_equal(a, b) for a, b in zip(route.rows, floor.rows, strict=True)
    )
    if not same:
        raise ValueError(f"{route.name} and {floor.name} were not tested on the same examples in the same order")


def difference(route: Evidence, floor: Evidence, *, seed: int, draws: int) -> tuple[float, float, float, int, float]:
    """The gain, the ends of its 95 % interval, the number of examples and the p value; see `decide`."""
    binary = _binary(route, floor)
    wins = _paired(route.merits, floor.merits, route)
    gain = float(wins.seed_means().mean())
    drawn = two_level_bootstrap(wins, np.random.default_rng(derive(seed, "verdict")), draws, smoothed=binary)
    if not binary:
        drawn = expanded(drawn, gain, int((wins.values != 0).any(axis=1).sum()))
    low, high = percentile_interval(drawn)
    return gain, min(low, gain), max(high, gain), len(wins), _p_value(route.merits[0] - floor.merits[0], binary, seed)


def _binary(route: Evidence, floor: Evidence) -> bool:
    """Whether merits are hits and misses."""
    return all(((part == 0) | (part == 1)).all() for part in (*route.merits, *floor.merits))


def _compare(route: Evidence, floor: Evidence, seed: int, margin: float, draws: int) -> _Compared:
    gain, low, high, n, p_value = difference(route, floor, seed=seed, draws=draws)
    answer = _answer(low, high, margin)
    needed = None
    if answer == "undecided":
        wins = _paired(route.merits, floor.merits, route)
        moment = float(Paired(wins.values**2, wins.present).seed_means().mean())
        moment = max(moment, 1 / (n + 2)) if _binary(route, floor) else moment  # none seen is not none at all
        needed = _rounded(needed_examples(moment, gain, margin), n)
    saved = _paired(floor.losses, route.losses, route)
    generator = np.random.default_rng(derive(seed, "verdict", "log_loss"))
    ends = percentile_interval(two_level_bootstrap(saved, generator, _LOSS_DRAWS))
    loss = (float(saved.seed_means().mean()), *ends)
    return _Compared(answer, gain, low, high, n, len(route.rows), needed, loss, p_value)


def _p_value(differences: np.ndarray, binary: bool, seed: int) -> float:
    if binary:
        return mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    return sign_flips(differences, np.random.default_rng(derive(seed, "verdict", "signs")))


def _paired(route: Sequence[np.ndarray], floor: Sequence[np.ndarray], shared: Evidence) -> Paired:
    return align([a - b for a, b in zip(route, floor, strict=True)], shared.rows)


def _answer(low: float, high: float, margin: float) -> Answer:
    if low > 0:
        return "helps"
    if high < 0:
        return "hurts"
    return "equivalent" if -margin <= low and high <= margin else "undecided"


def _rounded(needed: float, n: int) -> int | None:
    """Up to two leading digits, and never fewer than twice the present examples.

    An interval that reaches 0 needs (2.8 / 1.96)^2 = 2.04 times its examples to leave it with probability 0.8; the
    formula can say less when it is the seeds that differ.
    """
    if math.isinf(needed):
        return None
    needed = max(needed, 2 * n)
    step = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return math.ceil(needed / step) * step


def _sentence(compared: _Compared, names: tuple[str, str], ships: str | None, margin: float, claim: Claim) -> str:
    seeds = f", {compared.seeds} seeds" if compared.seeds > 1 else ""
    examples = f"n = {compared.n:,} held-out example{'s' if compared.n > 1 else ''}"
    # The interval is told in the direction of the claim: «2.0 points less accurate (interval 0.5 to 3.5)».
    low, high = sorted([compared.low, compared.high] if compared.gain >= 0 else [-compared.low, -compared.high])
    evidence = f"(95 % interval {_points(low)} to {_points(high)}, {examples}{seeds})"
    told = f"{_claim(compared, names, margin, claim)} {evidence}{_remark(compared, names[0], claim)}"
    return f"{told}; {'the floor ' if ships == names[1] else ''}{ships} ships." if ships else f"{told}."


def _claim(compared: _Compared, names: tuple[str, str], margin: float, claim: Claim) -> str:
    opening = {
        "helps": f"{claim.subject} helps",
        "hurts": f"{claim.subject} hurts",
        "equivalent": f"{claim.subject} makes no difference beyond {_points(margin)} points",
        "undecided": "Cannot tell" if claim.subject == "Transfer" else f"Cannot tell if {claim.subject.lower()} helps",
    }
    up = compared.gain >= 0
    told = claim.gain.format(
        route=names[0],
        floor=names[1],
        points=_points(abs(compared.gain)),
        figure=in_words(claim.figure),
        more="more" if up else "less",
        higher="higher" if up else "lower",
    )
    return f"{opening[compared.answer]}: {told}"


def _remark(compared: _Compared, route: str, claim: Claim) -> str:
    if compared.needed is not None:
        return f"; about {compared.needed:,} held-out examples would decide"
    if compared.worse_loss:
        word = "worse" if compared.worse_loss > 0 else "better"
        return f", yet the {claim.loss} of {route} is {word} by {abs(compared.worse_loss):.2g}"
    return ""


def _points(share: float) -> str:
    """A share as percentage points with one decimal, without a minus before zero."""
    return f"{round(100 * share, 1) + 0.0:.1f}"
