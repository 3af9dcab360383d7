"""How training went: the objective and the validation loss over the epochs, route by route."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sterna.report import numbers
from sterna.report.drawing import LETTER, Chart, Scale, padded
from sterna.report.material import Material
from sterna.report.section import Section

DRAWN = 12  # routes
SEEDS = 5  # of a route; more lines are not told apart
Epochs = Sequence[Mapping[str, Any]]
REFIT = "refit"  # the last fit, on training and validation examples together
DRAWS = (("objective", "objective"), ("loss", "validation"))  # key of an epoch -> class of its line


def section(material: Material) -> Section:
    """A chart for each route that took more than one epoch."""
    long = {name: seeds for name, seeds in material.histories.items() if any(len(one) > 1 for one in seeds.values())}
    at_once = [name for name in material.histories if name not in long]
    title = "How training went"
    if not material.histories:
        return Section("curves", title, missing="There are no curves: no route of this run was trained epoch by epoch.")
    shown = dict(list(long.items())[:DRAWN])
    levels = [value for seeds in shown.values() for epochs in seeds.values() for value in _values(epochs)]
    told = _unjudged if material.adapting else _told
    charts = [
        {
            "name": name,
            "chart": _chart(name, seeds, levels),
            "told": " ".join(filter(None, (told(seeds), _spans(phases(next(iter(seeds.values()))))))),
        }
        for name, seeds in shown.items()
    ]
    values = {
        "charts": charts,
        "at_once": f"{numbers.listed(at_once)} {'was' if len(at_once) == 1 else 'were'} fitted to the optimum in one "
        "step, so there is no curve to draw."
        if at_once
        else "",
        "left_out": len(long) - len(shown),
        "refit": any(one.get("last") for seeds in shown.values() for epochs in seeds.values() for one in epochs),
    }
    return Section("curves", title, values)


def _values(epochs: Epochs) -> list[float]:
    found = [one.get(key) for one in epochs for key, _ in DRAWS]
    return [float(value) for value in found if isinstance(value, (int, float)) and math.isfinite(value)]


def _told(seeds: Mapping[int, Epochs]) -> str:
    """Where the validation loss was lowest, and whether it then rose."""
    lowest = []
    for epochs in seeds.values():
        losses = [float(one["loss"]) for one in epochs if _is_number(one.get("loss"))]
        if losses:
            best = min(range(len(losses)), key=losses.__getitem__)
            lowest.append((best, len(losses), losses[-1] > 1.1 * losses[best]))
    if not lowest:
        return ""
    span = sorted({best + 1 for best, _, _ in lowest})
    where = f"epoch {span[0]}" if len(span) == 1 else f"epochs {span[0]} to {span[-1]}"
    if sum(rose for *_, rose in lowest) * 2 > len(lowest):
        return f"Validation loss was lowest at {where} and rose after it: overfitting, which early stopping cut off."
    if all(best + 1 == length for best, length, _ in lowest):
        return "Validation loss was still falling at the last epoch: more epochs might help."
    return f"Validation loss was lowest at {where} and then stayed level."


def _unjudged(seeds: Mapping[int, Epochs]) -> str:
    """Of an adaptation nothing: its validation part is the source's, and stops no training."""
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _chart(name: str, seeds: Mapping[int, Epochs], levels: Sequence[float]) -> Chart:
    """One route; the vertical axis is shared by all charts, so that they can be compared."""
    low, high = _range(levels)
    longest = max(len(epochs) for epochs in seeds.values())
    across = Scale(1, max(longest, 2), 58, 330)
    log = low > 0 and high / low > 20
    up = Scale(low, high, 186, 24, log=log)
    chart = Chart(
        f"objective and validation loss of {name} over {longest} epochs",
        220,
        (58, 24, 330, 186),
        x=across.ticks(min(6, longest - 1), lambda at: f"{at:g}"),
        y=up.ticks(4, numbers.compact),
        x_name="epoch",
        y_name="loss",
    )
    _phases(chart, phases(next(iter(seeds.values()))), across)
    for place, epochs in enumerate(list(seeds.values())[:SEEDS]):
        for key, css in DRAWS:
            drawn = [
                (across.at(at + 1), up.at(float(one[key]))) for at, one in enumerate(epochs) if _is_number(one.get(key))
            ]
            if len(drawn) > 1:
                chart.line(drawn, f"curve {css}{'' if place == 0 else ' faint'}")
    return chart


def _range(levels: Sequence[float]) -> tuple[float, float]:
    positive = [value for value in levels if value > 0]
    if len(positive) == len(levels) and max(levels) > 20 * min(levels):
        return min(levels) / 1.2, max(levels) * 1.2
    low, high = padded(levels or [0.0, 1.0])
    return (0.0 if low < 0 <= min(levels, default=0.0) else low), high


def phases(epochs: Epochs) -> list[tuple[str, int, int]]:
    """Name, first epoch and last epoch (from 1) of each phase; the last fit, on all labels, is a phase of its own."""
    found: list[tuple[str, int, int]] = []
    for at, one in enumerate(epochs, start=1):
        name = REFIT if one.get("last") else str(one.get("phase", ""))
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], at)
        else:
            found.append((name, at, at))
    return found


def _phases(chart: Chart, found: Sequence[tuple[str, int, int]], across: Scale) -> None:
    """A line where a new phase begins, and names where there is room for them: those of long phases first."""
    starts = [across.at(first if first == 1 else first - 0.5) for _, first, _ in found]
    for x in starts[1:]:
        chart.segment(x, 24, x, 186, "phase")
    taken: list[tuple[float, float]] = []
    for place in sorted(range(len(found)), key=lambda one: found[one][1] - found[one][2]):
        name = numbers.short(found[place][0], 14)
        left, right = starts[place], starts[place] + LETTER * len(name) + 4
        if right <= 336 and not any(left < end and start < right for start, end in taken):
            taken.append((left, right))
            chart.text(left + 2, 18, name, "faint-text")


def _spans(found: Sequence[tuple[str, int, int]]) -> str:
    """The phases in words, where there are several."""
    if len(found) < 2:
        return ""
    told = [
        f"{name} (epoch {first})" if first == last else f"{name} ({first} to {last})" for name, first, last in found
    ]
    return f"Phases: {', '.join(told)}."
