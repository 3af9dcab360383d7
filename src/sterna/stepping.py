"""Stepping stones: from a source to a target by way of other domains, each near the one before.

Papers: Tan, Song, Zhong and Yang 2015, "Transitive Transfer Learning" (KDD); Kumar, Ma and Liang 2020, "Understanding
Self-Training for Gradual Domain Adaptation" (ICML, arXiv 2002.11361), section 2, for going along domains without
labels; Dijkstra 1959, "A Note on Two Problems in Connexion with Graphs".

Equation: the way is the one with the least sum of squared costs of its hops. Squared, because distances obey the
triangle inequality and by their plain sum the direct way is never longer. It is taken only where its longest hop is
below 0.8 of the direct one. At a stop without labels the head labels the stop's examples, the nine tenths it is surest
of become its training examples, and it is fitted anew; a stop with labels joins what is learnt from, which then counts
half. The direct way is the same with no stop between, so both see the target's examples.

When not to use: where stops lie no nearer than the target, as `travel` then says; where a hop is so long that most of
its labels would be wrong, since every later stop learns from them.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sterna.errors import DataError
from sterna.maths.answers import surprise
from sterna.maths.probing import coordinates, logistic_path, probabilities
from sterna.records import Labels
from sterna.verdict import Evidence, difference

Cost = Callable[[np.ndarray, np.ndarray], float]
"""Of features (n, d) and (m, d): how far apart the two samples are, 0 for alike; such as a proxy A-distance."""

Head = Callable[[np.ndarray, Labels, np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""Of features (n, d), labels and weights: a function from features (m, d) to probabilities (m, k)."""

SHORT = 0.8  # the longest hop of a way that is taken, against the direct one
KEPT = 0.9  # share of a stop's own labels that is learnt from, the surest
# C of the head. Without a penalty nothing is learnt from one's own labels (Kumar et al. 2020, section 4): along two
# moons that turn by 60 degrees in six steps, 91 % are reached with 1, 61 % with 0.1, 62 % with 10 and 63 % with 100.
STRENGTH = 1.0
DRAWS = 10_000


@dataclass(frozen=True)
class Domain:
    """Features of one domain, with labels where they are known."""

    name: str
    features: np.ndarray  # (n, d)
    labels: Labels  # (n,) class numbers in the target's numbers, or (0,) where they are not known


@dataclass(frozen=True)
class Way:
    """The stops from a source to a target, and why these."""

    stops: tuple[str, ...]  # source and target included
    hops: tuple[float, ...]  # the cost of each
    direct: float  # the cost from source to target
    sentence: str

    @property
    def by_others(self) -> bool:
        return len(self.stops) > 2


@dataclass(frozen=True)
class Travelled:
    """The way against the direct one on held-out target examples."""

    way: Way
    direct: float  # accuracy
    reached: float  # accuracy by the way
    gain: float
    low: float  # of the 95 % interval of the gain
    high: float
    p_value: float
    helps: bool
    sentence: str


def costs(domains: Sequence[Domain], cost: Cost) -> np.ndarray:
    """(k, k) symmetric: the cost between every two domains, at least 0."""
    found = np.zeros((len(domains), len(domains)))
    for one in range(len(domains)):
        for other in range(one):
            value = float(cost(domains[other].features, domains[one].features))
            # A distance that is not biased may fall below 0 for samples that are alike.
            found[one, other] = found[other, one] = max(value, 0.0)
    return found


def shortest(between: np.ndarray, start: int, end: int) -> tuple[int, ...]:
    """The places on the way with the least sum of squared costs; ties go to fewer hops, then to earlier places.

    Args:
        between: (k, k) costs >= 0; infinite where there is no way.
        start, end: places in it.
    """
    waiting: list[tuple[float, int, tuple[int, ...]]] = [(0.0, 0, (start,))]
    done: set[int] = set()
    while waiting:
        length, hops, way = heapq.heappop(waiting)
        here = way[-1]
        if here == end:
            return way
        if here in done:
            continue
        done.add(here)
        for there in range(len(between)):
            step = float(between[here, there])
            if there not in done and math.isfinite(step):
                heapq.heappush(waiting, (length + step**2, hops + 1, (*way, there)))
    return (start, end)


def find(source: Domain, target: Domain, others: Sequence[Domain], cost: Cost) -> Way:
    """The way from source to target by those of the others that make its hops short.

    Raises `DataError` when two domains have one name, or one has no examples or features of another width.
    """
    domains = [source, *others, target]
    _check(domains)
    between = costs(domains, cost)
    places = shortest(between, 0, len(domains) - 1)
    direct = float(between[0, -1])
    hops = tuple(float(between[a, b]) for a, b in itertools.pairwise(places))
    names = [domains[place].name for place in places]
    if len(places) > 2 and max(hops) >= SHORT * direct:
        told = f"the longest hop by {', '.join(names[1:-1])} is {max(hops):.2g}, against {direct:.2g} directly"
        return _direct(source, target, direct, f"{told}, and below {SHORT:g} of that is asked for")
    if len(places) == 2:
        return _direct(source, target, direct, f"no other domain lies between, at a cost of {direct:.2g} directly")
    told = f"By {', '.join(names[1:-1])} the longest hop is {max(hops):.2g}, against {direct:.2g} directly."
    return Way(tuple(names), hops, direct, told)


def given(source: Domain, target: Domain, others: Sequence[Domain], cost: Cost) -> Way:
    """The way by all of the others in the order given, for who knows it: no distance can see labels change places.

    Half a turn brings two classes onto each other, and source and target look alike. Errors as `find`.
    """
    domains = [source, *others, target]
    _check(domains)
    hops = tuple(max(float(cost(a.features, b.features)), 0.0) for a, b in itertools.pairwise(domains))
    direct = max(float(cost(source.features, target.features)), 0.0)
    told = f"The way goes by {', '.join(one.name for one in others)}, in the order given."
    return Way(tuple(one.name for one in domains), hops, direct, told)


def follow(stops: Sequence[Domain], head: Head) -> Callable[[np.ndarray], np.ndarray]:
    """The head after the last stop: a function from features to probabilities.

    Args:
        stops: in order, the first with labels.
        head: fits once; see `Head`.

    Raises `DataError` when the first stop has no labels.
    """
    first = stops[0]
    if not len(first.labels):
        raise DataError(f"the way starts at labelled examples, and {first.name} has none; start at another domain.")
    features, labels, weights = first.features, first.labels, np.ones(len(first.features))
    fitted = head(features, labels, weights)
    for stop in stops[1:]:
        if len(stop.labels):
            # Each stop weighs as much as all before it together.
            older = weights * len(stop.labels) / weights.sum()
            features, labels = np.concatenate([features, stop.features]), np.concatenate([labels, stop.labels])
            weights = np.concatenate([older, np.ones(len(stop.labels))])
        else:
            features, labels = _own_labels(stop.features, fitted(stop.features))
            weights = np.ones(len(labels))
        fitted = head(features, labels, weights)
    return fitted


def travel(
    way: Way, domains: Sequence[Domain], held: np.ndarray, held_labels: Labels, head: Head, seed: int = 0
) -> Travelled:
    """Go both ways and compare them, in pairs, on target examples that neither has seen.

    Args:
        way: as `find` gives it.
        domains: those it names, the target with labels or without.
        held: (n, d) features of held-out target examples.
        held_labels: (n,) their class numbers.
        head: fits once; see `Head`, and `on_coordinates`.
        seed: of the interval.

    Raises `DataError` without held-out examples.
    """
    if not len(held_labels):
        raise DataError("a way is judged on held-out target examples, got none; label more of the target.")
    by_name = {domain.name: domain for domain in domains}
    stops = [by_name[name] for name in way.stops]
    rows = np.arange(len(held_labels))

    def evidence(name: str, chosen: Sequence[Domain]) -> Evidence:
        answers = follow(chosen, head)(held)
        hits = (answers.argmax(axis=1) == held_labels).astype(np.float64)
        return Evidence(name, [rows], [hits], [surprise(answers[rows, held_labels])])

    straight = evidence("direct", [stops[0], stops[-1]])
    going = evidence("way", stops) if way.by_others else straight
    gain, low, high, n, p_value = difference(going, straight, seed=seed, draws=DRAWS)
    direct, reached = float(straight.merits[0].mean()), float(going.merits[0].mean())
    helps = way.by_others and low > 0
    told = _sentence(way, (direct, reached), (gain, low, high), n)
    return Travelled(way, direct, reached, gain, low, high, p_value, helps, told)


def on_coordinates(
    domains: Sequence[Domain], held: np.ndarray, classes: int, strength: float = STRENGTH
) -> tuple[list[Domain], np.ndarray, Head]:
    """Domains and held-out features in principal coordinates of the domains' own examples, and a head for them.

    The held-out features have no part in finding the coordinates. The head is logistic regression with one penalty.
    """
    found = coordinates(*(domain.features for domain in domains), unseen=held)
    moved = [Domain(one.name, features, one.labels) for one, features in zip(domains, found, strict=False)]

    def head(features: np.ndarray, labels: Labels, weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = next(logistic_path(features, labels, weights / weights.mean(), classes, (strength,)))
        return lambda judged: probabilities(fitted, judged)

    return moved, found[-1], head


def _own_labels(features: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, Labels]:
    """The examples of which the head is surest, with the labels it gives them (Kumar et al. 2020, section 4.2)."""
    order = np.argsort(-answers.max(axis=1), kind="stable")[: max(1, math.ceil(KEPT * len(features)))]
    kept = np.sort(order)
    return features[kept], answers[kept].argmax(axis=1)


def _check(domains: Sequence[Domain]) -> None:
    names = [domain.name for domain in domains]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(f"every domain of a way needs a name of its own, got {doubled[0]} twice; rename one folder.")
    for domain in domains:
        if not len(domain.features):
            raise DataError(f"every domain of a way needs examples, and {domain.name} has none; leave it out.")


def _direct(source: Domain, target: Domain, cost: float, why: str) -> Way:
    return Way((source.name, target.name), (cost,), cost, f"The direct way is taken: {why}.")


def _sentence(way: Way, accuracies: tuple[float, float], interval: tuple[float, float, float], n: int) -> str:
    direct, reached = (f"{100 * one:.1f} %" for one in accuracies)
    if not way.by_others:
        return f"{way.sentence} It reaches {direct} of {n} held-out target examples."
    gain, low, high = (100 * one for one in interval)
    by = ", ".join(way.stops[1:-1])
    verdict = "helps" if low > 0 else "hurts" if high < 0 else "makes no difference that can be told"
    return (
        f"Going by {by} {verdict}: {reached} against {direct} directly, a gain of {gain:.1f} points "
        f"(95 % interval {low:.1f} to {high:.1f}, n = {n:,} held-out target examples)."
    )
