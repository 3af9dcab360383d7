"""The gain of transfer at several numbers of labels: where it stops paying.

Every share of the labels is learnt from by the route and the floor that the verdict is about, and both are asked about
the same held-out examples. The shares are nested, so that a step from one to the next is a step in labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from sterna import score, verdict
from sterna.conclusion import Trial
from sterna.contracts import Task
from sterna.outcomes import CurvePoint
from sterna.verdict import Evidence

DRAWS = 4000


def point(
    share: float, labels: int, route: Sequence[Trial], floor: Sequence[Trial], task: Task, classes: tuple[str, ...]
) -> CurvePoint | None:
    """One point of the curve; None where not every seed has both routes.

    Args:
        share: of the training and validation examples.
        labels: how many they are.
        route, floor: their trials, by seed.
        task, classes: of the data.
    """
    if not route or [one.seed for one in route] != [one.seed for one in floor]:
        return None
    sides, figures, primary = [], [], task.primary(classes)
    for trials in (route, floor):
        scored = [score.measure(task, one.test, one.sealed, classes, seed=one.seed, draws=2) for one in trials]
        rows = [one.rows for one in trials]
        sides.append(
            Evidence(trials[0].route.name, rows, [one.merits for one in scored], [one.losses for one in scored])
        )
        figures.append(sum(one.metrics[primary].value for one in scored) / len(scored))
    gain, low, high, n, _ = verdict.difference(sides[0], sides[1], seed=0, draws=DRAWS)
    return CurvePoint(share, labels, figures[0], figures[1], gain, low, high, n)


def sentence(points: Sequence[CurvePoint], route: str, floor: str) -> str:
    """Where transfer stops paying, in a sentence; "" without points."""
    if not points:
        return ""
    told = ", ".join(f"{100 * one.gain:+.1f} points with {one.labels:,} labels" for one in points)
    pays = [one.low > 0 for one in points]
    least, most = points[0].labels, points[-1].labels
    if all(pays):
        ends = f"transfer pays at every number of labels tried, {least:,} to {most:,}"
    elif not any(pays):
        ends = f"at no number of labels tried, {least:,} to {most:,}, can a gain be told"
    elif pays == sorted(pays, reverse=True):
        ends = f"from {points[pays.index(False)].labels:,} labels on a gain can no longer be told"
    else:
        ends = "a gain can be told with " + ", ".join(
            f"{one.labels:,}" for one, paid in zip(points, pays, strict=True) if paid
        )
    return f"{route} against {floor}: {told}; {ends}."
