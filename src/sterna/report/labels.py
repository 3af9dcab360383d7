"""Transfer with fewer labels: route and floor at several numbers of labels, where `--curve` asked for it."""

from __future__ import annotations

from sterna import curve
from sterna.outcomes import CurvePoint
from sterna.report import numbers
from sterna.report.drawing import LETTER, Chart, Scale, Tick, padded
from sterna.report.material import Material
from sterna.report.section import Section


def section(material: Material) -> Section | None:
    """The two curves, the gain between them, and where it stops."""
    points = material.result.curve
    if not points:
        return None
    verdict = material.result.verdict
    names = (verdict.route, verdict.floor)
    return Section(
        "labels",
        "With fewer labels",
        {
            "told": curve.sentence(points, *names),
            "chart": _figures(points, names, verdict.figure),
            "gain": _gains(points, verdict.figure),
            "names": names,
            "figure": numbers.named(verdict.figure),
            "rows": [_row(one, verdict.figure) for one in points],
        },
    )


def _across(points: tuple[CurvePoint, ...], start: float) -> tuple[Scale, list[Tick]]:
    """A logarithmic axis of labels, marked where there are points."""
    counts = [one.labels for one in points]
    scale = Scale(min(counts) / 1.2, max(counts) * 1.2, start, 330, log=True)
    ticks: list[Tick] = []
    for count in counts:
        tick = Tick(round(scale.at(count), 1), numbers.count(count))
        if not ticks or tick.at - ticks[-1].at > LETTER * (len(tick.label) + 1):
            ticks.append(tick)
    return scale, ticks


def _figures(points: tuple[CurvePoint, ...], names: tuple[str, str], figure: str) -> Chart:
    values = [value for one in points for value in (one.route, one.floor)]
    low, high = padded(values, 0.12)
    (across, ticks), up = _across(points, 64), Scale(low, high, 186, 10)
    label = f"{numbers.named(figure)} of {names[0]} and {names[1]} against the number of labels"
    written = numbers.axis(figure, high - low)
    chart = Chart(label, 220, (64, 10, 330, 186), x=ticks, y=up.ticks(4, written), x_name="labels")
    for key, css, name in (("floor", "floor", names[1]), ("route", "transfer", names[0])):
        drawn = [(across.at(one.labels), up.at(getattr(one, key))) for one in points]
        chart.line(drawn, f"curve {css}")
        for one, (x, y) in zip(points, drawn, strict=True):
            told = f"{name}: {numbers.figure(figure, getattr(one, key))} with {numbers.count(one.labels)} labels"
            chart.dot(x, y, 4.5, css, told)
    return chart


def _gains(points: tuple[CurvePoint, ...], figure: str) -> Chart:
    low, high = padded([0.0, *(100 * end for one in points for end in (one.low, one.high))])
    (across, ticks), up = _across(points, 64), Scale(low, high, 186, 10)
    label = "; ".join(f"{one.labels} labels: {numbers.points(one.gain)} points" for one in points)
    chart = Chart(
        label, 220, (64, 10, 330, 186), x=ticks, y=up.ticks(4, numbers.compact), x_name="labels", y_name="points gained"
    )
    chart.segment(64, up.at(0), 330, up.at(0), "zero")
    for one in points:
        x, css = across.at(one.labels), "better" if one.low > 0 else "worse" if one.high < 0 else "unclear"
        chart.segment(x, up.at(100 * one.low), x, up.at(100 * one.high), f"interval {css}")
        told = f"{numbers.points(one.gain)} points, 95 % interval {numbers.points_between(one.low, one.high)}"
        chart.dot(x, up.at(100 * one.gain), 5, css, told)
    return chart


def _row(one: CurvePoint, figure: str) -> list[tuple[str, float]]:
    return [
        (numbers.count(one.labels), one.labels),
        (numbers.percent(one.share, 0), one.share),
        (numbers.figure(figure, one.route), one.route),
        (numbers.figure(figure, one.floor), one.floor),
        (numbers.points(one.gain), one.gain),
        (numbers.points_between(one.low, one.high), one.low),
    ]
