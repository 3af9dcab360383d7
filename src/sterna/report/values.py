"""How far predicted numbers are off: predicted against true, and what is left over, for each column of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from sterna.report import numbers
from sterna.report.drawing import Chart, Scale, padded
from sterna.report.material import Material, number
from sterna.report.section import Section

COLUMNS = 6  # drawn; the figures of a run are means over all
POINTS = 1500  # of a chart; of more, every second or third is drawn
Pairs = Sequence[tuple[float, float]]  # true, predicted


def section(material: Material) -> Section | None:
    """Two charts for each column of numbers."""
    if material.result.task != "regress" or material.blind:
        return None
    title = "How far predictions are off"
    columns = pairs(material)
    if not columns:
        return Section("values", title, missing="No predictions are drawn: this run has no predictions.csv.")
    shown = list(columns.items())[:COLUMNS]
    held = material.held
    values = {
        "columns": [
            {"name": name, "told": _told(name, found), "charts": [_against(name, found, held), _left_over(name, found)]}
            for name, found in shown
        ],
        "left_out": len(columns) - len(shown),
        "n": max(map(len, columns.values())),
    }
    return Section("values", title, values)


def pairs(material: Material) -> Mapping[str, Pairs]:
    """True and predicted number of each held-out item, column by column."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in material.lines:
        for name in (key.removeprefix("truth ") for key in line if key.startswith("truth ")):
            true, guess = number(line[f"truth {name}"]), number(line.get(f"prediction {name}"))
            if true is not None and guess is not None and math.isfinite(true) and math.isfinite(guess):
                found.setdefault(name, []).append((true, guess))
    return found


def _told(name: str, found: Pairs) -> str:
    """The size of the errors beside the spread of the truth, and whether they lean to one side."""
    errors = sorted(abs(guess - true) for true, guess in found)
    lean = fmean(guess - true for true, guess in found)
    mean = fmean(true for true, _ in found)
    spread = math.sqrt(fmean((true - mean) ** 2 for true, _ in found))
    most = errors[min(len(errors) - 1, math.ceil(0.9 * len(errors)) - 1)]
    told = (
        f"Half of the predictions of {name} are within {numbers.rough(median(errors))} of the truth and nine in ten "
        f"within {numbers.rough(most)}, where the truth varies by {numbers.rough(spread)} (standard deviation)"
    )
    doubt = 2 * math.sqrt(fmean((guess - true - lean) ** 2 for true, guess in found) / len(found))
    if abs(lean) <= doubt:
        return f"{told}; they lean to neither side by more than chance."
    return f"{told}; on average they are {numbers.rough(abs(lean))} too {'high' if lean > 0 else 'low'}."


def _against(name: str, found: Pairs, held: str = "held-out") -> Chart:
    low, high = padded([value for pair in found for value in pair])
    across, up = Scale(low, high, 66, 330), Scale(low, high, 288, 10)
    chart = Chart(
        f"predicted against true {name} of {numbers.plural(len(found), f'{held} example')}; on the dashed line both "
        "are the same",
        322,
        (66, 10, 330, 288),
        x=across.ticks(4, numbers.compact),
        y=up.ticks(5, numbers.compact),
        x_name=f"true {numbers.short(name, 30)}",
        y_name="predicted",
    )
    chart.segment(across.at(low), up.at(low), across.at(high), up.at(high), "diagonal")
    chart.points([(across.at(true), up.at(guess)) for true, guess in _sample(found)], "points")
    return chart


def _left_over(name: str, found: Pairs) -> Chart:
    low, high = padded([guess for _, guess in found])
    far = 1.06 * max(abs(guess - true) for true, guess in found) or 1.0
    across, up = Scale(low, high, 66, 330), Scale(-far, far, 288, 10)
    chart = Chart(
        f"error of each prediction of {name} against the prediction; 0 is no error",
        322,
        (66, 10, 330, 288),
        x=across.ticks(4, numbers.compact),
        y=up.ticks(5, numbers.compact),
        x_name=f"predicted {numbers.short(name, 30)}",
        y_name="predicted minus true",
    )
    chart.segment(66, up.at(0), 330, up.at(0), "diagonal")
    chart.points([(across.at(guess), up.at(guess - true)) for true, guess in _sample(found)], "points")
    return chart


def _sample(found: Pairs) -> Pairs:
    return found[:: -(-len(found) // POINTS)]


def card(one: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """What stands below an example that is far off; see `wrong`."""
    column = one.get("column")
    named = isinstance(column, int) and 0 <= column < len(names) and len(names) > 1
    return {
        "said": f"{float(one['prediction']):.5g}",
        "sure": f"off by {numbers.rough(float(one['error']))}",
        "truth": f"{float(one['truth']):.5g}",
        "about": f"{names[column]}: " if named and isinstance(column, int) else "",
    }
