"""The verdict: one sentence, its interval drawn, and what the number of held-out examples can tell."""

from __future__ import annotations

from sterna.outcomes import Verdict
from sterna.report import numbers
from sterna.report.drawing import Chart, Scale, padded
from sterna.report.material import Material
from sterna.report.section import Section

WORDS = {
    "helps": "Transfer helps",
    "hurts": "Transfer hurts",
    "equivalent": "Transfer makes no difference",
    "undecided": "Cannot tell yet",
}
BLIND = "Cannot tell"


def section(material: Material) -> Section:
    """The top of the page; its title is the answer in two words."""
    verdict = material.result.verdict
    unit = "right of 0: adaptation is better" if material.adapting else ""
    rows = [(f"{verdict.route} against {verdict.floor}", verdict)]
    values = {
        "answer": verdict.answer,
        "sentence": verdict.sentence,
        "chart": None if material.blind else interval_chart(rows, unit),
        "power": _unmeasured(material) if material.blind else power(verdict, material.held),
        "loss": loss(verdict),
        "facts": _facts(material),
    }
    title = WORDS[verdict.answer]
    if material.adapting:
        title = BLIND if material.blind else title.replace("Transfer", "Adaptation")
    return Section("answer", title, values)


def _unmeasured(material: Material) -> str:
    """What a page without labels of the target leaves out, and how to have it."""
    return (
        f"What needs labels of {material.sides[1]} is not on this page: figures of the routes and their comparison "
        "with the source alone, confusions, the most wrong predictions, and whether the probabilities can be "
        "believed. A labelled part of the target, given as --target, would measure all of it."
    )


def power(verdict: Verdict, held: str = "held-out") -> str:
    """What this many held-out examples can tell apart, and how many would be needed."""
    width = 100 * max(verdict.gain - verdict.low, verdict.high - verdict.gain)
    told = f"With n = {numbers.count(verdict.n)} {held} examples"
    if verdict.answer in ("helps", "hurts"):
        return f"{told} a difference of about {width:.1f} points can be told from none, and this one is larger."
    if verdict.answer == "equivalent":
        return f"{told} a difference larger than {width:.1f} points would have shown."
    ends = f"about {numbers.count(verdict.needed)} would decide" if verdict.needed else "more of them would not decide"
    return f"{told} a difference smaller than about {width:.1f} points cannot be told from none; {ends}."


def loss(verdict: Verdict) -> str:
    """The same comparison in the loss, which also sees how sure the answers are; "" for results without it."""
    if not (verdict.loss_gain or verdict.loss_low or verdict.loss_high):
        return ""
    between = (verdict.loss_low, verdict.loss_high)
    if verdict.loss_gain <= 0:
        between = (-verdict.loss_high, -verdict.loss_low)
    ends = f"95 % interval {numbers.decimal(between[0] + 0.0)} to {numbers.decimal(between[1] + 0.0)}"
    clear = verdict.loss_low > 0 or verdict.loss_high < 0
    side = "lower" if verdict.loss_gain > 0 else "higher"
    doubt = "" if clear else "; the interval holds 0, so this alone would not show a difference"
    return f"The loss of {verdict.route} is {numbers.decimal(abs(verdict.loss_gain))} {side} ({ends}){doubt}."


def interval_chart(rows: list[tuple[str, Verdict]], unit: str = "") -> Chart:
    """Gains with their intervals, one below the other, on one axis in points with a line at 0."""
    first = rows[0][1]
    values = [100 * end for _, one in rows for end in (one.low, one.high, one.gain)]
    low, high = padded([*values, 0.0])
    scale = Scale(low, high, 10, 330)
    bottom = 34 * len(rows) + 6
    unit = f"points of {numbers.named(first.figure)}, {unit or 'right of 0: transfer is better'}"
    label = "; ".join(
        f"{name}: {numbers.points(one.gain)} points, interval {numbers.points_between(one.low, one.high)}"
        for name, one in rows
    )
    chart = Chart(label, bottom + 34, (10, 4, 330, bottom), x=scale.ticks(5, lambda at: f"{at:g}"), x_name=unit)
    chart.segment(scale.at(0), 2, scale.at(0), bottom, "zero")
    for place, (name, one) in enumerate(rows):
        _interval(chart, scale, 34 * place, numbers.short(name, 46), one)
    return chart


def _interval(chart: Chart, scale: Scale, top: float, name: str, one: Verdict) -> None:
    y = top + 26
    chart.text(10, top + 15, name, "name")
    chart.text(330, top + 15, numbers.points(one.gain), "value", "end")
    low, here, high = (scale.at(100 * value) for value in (one.low, one.gain, one.high))
    css = {"helps": "better", "hurts": "worse"}.get(one.answer, "unclear")
    chart.segment(low, y, high, y, f"interval {css}")
    for end in (low, high):
        chart.segment(end, y - 4, end, y + 4, f"interval {css}")
    words = f"{numbers.points(one.gain)} points, 95 % interval {numbers.points_between(one.low, one.high)}"
    chart.dot(here, y, 5, css, words)


def _facts(material: Material) -> list[tuple[str, str]]:
    """What the run was, in a few words each."""
    kept = material.result
    seeds = len({one.seed for one in kept.routes})
    sizes = kept.data.get("sizes") or {}
    named = material.parts if material.adapting else {}
    split = ("; " if named else ", ").join(
        f"{numbers.count(size)} {named.get(part, part)}" for part, size in sizes.items() if isinstance(size, int)
    )
    examples = numbers.plural(int(kept.data.get("n") or 0), "example")
    return [
        ("data", f"{kept.data.get('origin') or '-'}: {examples}{f' ({split})' if split else ''}"),
        ("ships", kept.shipped),
        (
            "compared",
            f"{numbers.plural(len({one.name for one in kept.routes}), 'route')}, {numbers.plural(seeds, 'seed')}",
        ),
    ]
