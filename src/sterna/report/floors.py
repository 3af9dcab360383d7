"""Transfer against each floor, and which classes or subgroups gain and lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sterna.outcomes import PartGain, Verdict
from sterna.report import numbers
from sterna.report.answer import interval_chart
from sterna.report.drawing import Chart, Scale, padded
from sterna.report.material import Material
from sterna.report.section import Section

PARTS = 24  # drawn; those with the largest differences, the table has all
LEVEL = 0.05


def section(material: Material) -> Section | None:
    """The comparisons with every floor; None where nothing was measured."""
    if material.blind:
        return None
    verdict = material.result.verdict
    several = [verdict, *material.result.comparisons]
    named = [(f"{one.route} against {one.floor}", one) for one in several]
    values = {
        "chart": interval_chart(named, "right of 0: adaptation is better" if material.adapting else ""),
        "rows": [_row(one) for one in several],
        "conclusion": _conclusion(several, material),
        "choosing": material.result.choosing.sentence if material.result.choosing else "",
        "kinds": [_kind(kind, verdict) for kind in dict.fromkeys(part.kind for part in verdict.parts)],
    }
    return Section("floors", "Against each floor", values)


def _conclusion(several: Sequence[Verdict], material: Material) -> str:
    beaten = [one.floor for one in several if one.answer == "helps"]
    lost = [one.floor for one in several if one.answer == "hurts"]
    open_ = [one.floor for one in several if one.answer in ("undecided", "equivalent")]
    parts = [
        (beaten, "better than"),
        (lost, "worse than"),
        (open_, "not told apart from"),
    ]
    told = [f"{word} {numbers.listed(names)}" for names, word in parts if names]
    floor = "A floor is trained on the same examples without pretrained weights."
    if material.adapting:
        floor = "A floor learns from the labelled examples of one domain alone and adapts nothing."
    if material.alone:
        floor = "The floor is the saved model as it is."
    return f"{several[0].route} is {', and '.join(told)}. {floor}"


def _row(one: Verdict) -> list[tuple[str, Any]]:
    return [
        (one.floor, one.floor),
        (one.answer, one.answer),
        (numbers.points(one.gain), one.gain),
        (numbers.points_between(one.low, one.high), one.low),
        (numbers.probability(one.p_value), one.p_value),
        (numbers.decimal(one.loss_gain), one.loss_gain),
        (numbers.count(one.n), one.n),
    ]


def _kind(kind: str, verdict: Verdict) -> dict[str, Any]:
    """The gains of the classes, or of the subgroups of one kind."""
    parts = sorted((one for one in verdict.parts if one.kind == kind), key=lambda one: -one.gain)
    drawn = sorted(sorted(parts, key=lambda one: -abs(one.gain))[:PARTS], key=lambda one: -one.gain)
    return {
        "kind": kind,
        "conclusion": _told(kind, parts),
        "chart": _chart(kind, drawn, verdict),
        "left_out": len(parts) - len(drawn),
        "rows": [
            [
                (numbers.short(one.name), one.name),
                (numbers.points(one.gain), one.gain),
                (numbers.points_between(one.low, one.high), one.low),
                (numbers.count(one.n), one.n),
                (numbers.probability(one.p_value), one.p_value),
                (numbers.probability(one.adjusted), one.adjusted),
            ]
            for one in parts
        ],
    }


def _told(kind: str, parts: Sequence[PartGain]) -> str:
    up = [one.name for one in parts if one.gain > 0 and one.adjusted < LEVEL]
    down = [one.name for one in reversed(parts) if one.gain < 0 and one.adjusted < LEVEL]
    told = [f"{numbers.listed(names, 5)} {word}" for names, word in ((up, "gain"), (down, "lose")) if names]
    if not told:
        return f"No single {kind} is seen to gain or lose (Holm's correction, p < {LEVEL})."
    return f"{' and '.join(told)} by more than chance (Holm's correction, p < {LEVEL}); the others could be either."


def _chart(kind: str, parts: Sequence[PartGain], verdict: Verdict) -> Chart:
    """One row a part: its gain with the interval, filled where it is more than chance."""
    ends = [100 * end for one in parts for end in (one.low, one.high, one.gain)]
    low, high = padded([*ends, 0.0])
    scale = Scale(low, high, 104, 330)
    bottom = 20 * len(parts) + 8
    label = f"gain of {verdict.route} over {verdict.floor} in each {kind}; the table below has the numbers"
    name = f"points of {numbers.named(verdict.figure)}"
    chart = Chart(label, bottom + 34, (104, 4, 330, bottom), x=scale.ticks(4, lambda at: f"{at:g}"), x_name=name)
    chart.segment(scale.at(0), 2, scale.at(0), bottom, "zero")
    for place, one in enumerate(parts):
        y = 20 * place + 14
        css = "unclear" if one.adjusted >= LEVEL else "better" if one.gain > 0 else "worse"
        chart.text(98, y + 4, numbers.short(one.name, 15), "name", "end")
        chart.segment(scale.at(100 * one.low), y, scale.at(100 * one.high), y, f"interval {css}")
        told = f"{one.name}: {numbers.points(one.gain)} points, n = {numbers.count(one.n)}"
        chart.dot(scale.at(100 * one.gain), y, 4, css, told)
    return chart
