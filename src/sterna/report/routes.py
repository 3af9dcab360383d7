"""Every route with its interval, against the time it took, and the table of all figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sterna.report import numbers
from sterna.report.drawing import LETTER, Chart, Scale, Tick, padded
from sterna.report.material import Material
from sterna.report.section import Section
from sterna.result import Summary, summaries

DRAWN = 20  # routes in a chart; the table has all
ROUND = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 3 * 3600, 8 * 3600, 24 * 3600, 72 * 3600)  # s


def section(material: Material) -> Section | None:
    """The comparison of routes; None where nothing was measured."""
    if material.blind:
        return None
    figure = material.result.verdict.figure
    found = summaries(material.result.routes)
    ordered = sorted(found, key=lambda one: _better(figure, one.metrics[figure].value))
    drawn = ordered[:DRAWN]
    values = {
        "points": _points(material, drawn, figure),
        "times": _times(drawn, figure, material.result.shipped),
        "figure": numbers.named(figure),
        "conclusion": _conclusion(ordered, figure, material),
        "left_out": len(ordered) - len(drawn),
        "seeds": max(one.seeds for one in found),
        "table": _table(ordered, figure, material.result.shipped),
    }
    return Section("routes", "Routes compared", values)


def _better(figure: str, value: float) -> float:
    """A sort key by which the better comes first."""
    return value if figure in numbers.LOWER else -value


def _kind(one: Summary, shipped: str) -> str:
    return ("ships " if one.name == shipped else "") + ("floor" if one.floor else "transfer")


def _conclusion(ordered: list[Summary], figure: str, material: Material) -> str:
    best, shipped = ordered[0], material.result.shipped
    value = numbers.figure(figure, best.metrics[figure].value)
    held = f"{numbers.named(figure)} on the target" if material.adapting else f"held-out {numbers.named(figure)}"
    told = f"{best.name} has the best {held}, {value}, in {numbers.seconds(best.seconds)}"
    near = [one.name for one in ordered[1:] if _overlap(best, one, figure)]
    if near:
        one = len(near) == 1
        told += (
            f"; the interval{'' if one else 's'} of {numbers.listed(near, 4)} overlap{'s' if one else ''} with its own"
        )
    if best.name != shipped:
        chosen = "by criteria that see no label of the target" if material.adapting else "on the validation part"
        told += f"; {shipped} ships, because the choice is made {chosen} and not here"
    return told + "."


def _overlap(best: Summary, one: Summary, figure: str) -> bool:
    first, second = best.metrics[figure], one.metrics[figure]
    return first.low <= second.high and second.low <= first.high


def _points(material: Material, drawn: list[Summary], figure: str) -> Chart:
    """One row a route: its mean with the interval, each seed faint behind it."""
    ends = [end for one in drawn for end in (one.metrics[figure].low, one.metrics[figure].high)]
    seeds = {one.name: _seeds(material, one.name, figure) for one in drawn}
    low, high = padded([*ends, *(value for several in seeds.values() for value in several)])
    scale = Scale(low, high, 10, 330)
    bottom = 34 * len(drawn) + 6
    label = f"{numbers.named(figure)} of each route with its 95 % interval; the table below has the numbers"
    written = numbers.axis(figure, high - low)
    chart = Chart(label, bottom + 34, (10, 4, 330, bottom), x=scale.ticks(5, written), x_name=numbers.named(figure))
    for place, one in enumerate(drawn):
        _row(chart, scale, 34 * place, one, (figure, seeds[one.name], _kind(one, material.result.shipped)))
    return chart


def _seeds(material: Material, name: str, figure: str) -> list[float]:
    mine = [one for one in material.result.routes if one.name == name and figure in one.metrics]
    return [one.metrics[figure].value for one in mine]


def _row(chart: Chart, scale: Scale, top: float, one: Summary, shown: tuple[str, list[float], str]) -> None:
    figure, seeds, kind = shown
    score, y = one.metrics[figure], top + 26
    mark = " (ships)" if "ships" in kind else " (floor)" if one.floor else ""
    chart.text(10, top + 15, numbers.short(one.name, 40) + mark, "name")
    chart.text(330, top + 15, numbers.figure(figure, score.value), "value", "end")
    chart.segment(scale.at(score.low), y, scale.at(score.high), y, f"interval {kind}")
    for value in seeds if len(seeds) > 1 else ():
        chart.dot(scale.at(value), y, 3.5, f"faint {kind}", f"one seed: {numbers.figure(figure, value)}")
    ends = f"{numbers.figure(figure, score.low)} to {numbers.figure(figure, score.high)}"
    title = f"{one.name}: {numbers.figure(figure, score.value)}, 95 % interval {ends}"
    chart.dot(scale.at(score.value), y, 5, kind, title)


def _times(drawn: list[Summary], figure: str, shipped: str) -> Chart:
    """The figure against seconds, on a logarithmic axis, each point with its interval and its name."""
    spent = [max(one.seconds, 0.01) for one in drawn]
    across = Scale(min(spent) / 1.6, max(spent) * 1.6, 58, 330, log=True)
    ends = [end for one in drawn for end in (one.metrics[figure].low, one.metrics[figure].high)]
    low, high = padded(ends)
    up = Scale(low, high, 216, 10)
    chart = Chart(
        f"{numbers.named(figure)} of each route against the seconds it took",
        250,
        (58, 10, 330, 216),
        x=[Tick(round(across.at(one), 1), numbers.seconds(one)) for one in _times_between(across.low, across.high)],
        y=up.ticks(5, numbers.axis(figure, high - low)),
        x_name="time for one seed",
        y_name=numbers.named(figure),
    )
    places, lines = [], []
    for one, time in zip(drawn, spent, strict=True):
        score, kind = one.metrics[figure], _kind(one, shipped)
        x, y = across.at(time), up.at(score.value)
        chart.segment(x, up.at(score.low), x, up.at(score.high), f"interval {kind}")
        chart.dot(x, y, 5, kind, f"{one.name}: {numbers.figure(figure, score.value)} in {numbers.seconds(one.seconds)}")
        places.append((x, y, numbers.short(one.name, 22)))
        lines.append((x - 3, up.at(score.high), x + 3, up.at(score.low)))
    _label(chart, places, lines)
    return chart


def _times_between(low: float, high: float) -> list[float]:
    """Round durations within an interval, at most four."""
    inside = [one for one in ROUND if low <= one <= high]
    return inside[:: -(-len(inside) // 4) or 1]


def _label(chart: Chart, places: list[tuple[float, float, str]], lines: Sequence[tuple[float, ...]]) -> None:
    """Write each name beside its point where it covers no name and no point, nor, if that can be, an interval.

    A name that finds no room is left to the title of its point.
    """
    left, top, right, bottom = chart.frame
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in places]
    for x, y, name in places:
        width = LETTER * len(name) + 2
        tries = [(x + 9, y + 4), (x - 9 - width, y + 4), (x + 9, y - 9), (x - 9 - width, y - 9)]
        tries += [(x + 9, y + 17), (x - 9 - width, y + 17)]
        boxes = [(start, base - 10, start + width, base + 3) for start, base in tries]
        inside = [
            one for one in boxes if left <= one[0] and one[2] <= right + 8 and top - 6 <= one[1] and one[3] <= bottom
        ]
        free = [one for one in inside if not any(_cover(one, other) for other in taken)]
        free.sort(key=lambda one: sum(_cover(one, other) for other in lines))
        if free:
            taken.append(free[0])
            chart.text(free[0][0], free[0][3] - 3, name, "name")


def _cover(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _table(ordered: list[Summary], figure: str, shipped: str) -> dict[str, Any]:
    """Every figure of every route, as a table to sort."""
    metrics = list(dict.fromkeys([figure, *(name for one in ordered for name in one.metrics)]))
    heads = ["route", *(numbers.named(name) for name in metrics), "time", ""]
    spread = max(one.seeds for one in ordered) > 1
    if spread:
        heads.insert(2, "sd of seeds")
    rows = []
    for one in ordered:
        cells: list[Any] = [(one.name, one.name)]
        cells += [_cell(one, name) for name in metrics]
        cells += [(numbers.seconds(one.seconds), one.seconds), (one.marks(shipped), one.marks(shipped))]
        if spread:
            spared = one.spreads.get(figure, 0.0)
            cells.insert(2, (numbers.figure(figure, spared), spared))
        rows.append(cells)
    return {"heads": heads, "rows": rows}


def _cell(one: Summary, name: str) -> tuple[str, Any]:
    if name not in one.metrics:
        return "-", ""
    value = one.metrics[name].value
    return numbers.figure(name, value), value
