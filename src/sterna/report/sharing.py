"""Several tasks: what learning them together gave each of them."""

from __future__ import annotations

from typing import Any

from sterna.outcomes import SharedTask
from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section

HEADS = ("task", "figure", "together", "alone", "gain, points", "95 % interval", "sharing", "route")


def section(material: Material) -> Section | None:
    """A row for each task and route; None for a run of one task."""
    found = material.result.sharing
    if found is None:
        return None
    values = {
        "told": found.sentence,
        "heads": HEADS,
        "rows": [_row(one) for one in found.tasks],
        "verdicts": [(one.task, one.verdict.sentence) for one in found.tasks],
        "figures": [_figures(one) for one in found.tasks],
    }
    return Section("sharing", "Together or alone", values)


def _row(one: SharedTask) -> list[tuple[str, Any]]:
    said = one.verdict
    sides = [side[said.figure].value for side in (one.shared, one.alone)]
    ends = numbers.points_between(said.low, said.high)
    return [
        (numbers.short(one.task), one.task),
        (numbers.named(said.figure), said.figure),
        *((numbers.figure(said.figure, value), value) for value in sides),
        (numbers.points(said.gain), said.gain),
        (ends, ends),
        (said.answer, said.answer),
        (one.route, one.route),
    ]


def _figures(one: SharedTask) -> str:
    """All figures of a task, together and alone, in a sentence."""
    each = [
        f"{numbers.named(name)} {_score(name, one.shared[name])} together, {_score(name, one.alone[name])} alone"
        for name in one.shared
        if name in one.alone
    ]
    return f"{one.task}, {one.route}: {'; '.join(each)}."


def _score(name: str, score: Any) -> str:
    ends = f"{numbers.figure(name, score.low)} to {numbers.figure(name, score.high)}"
    return f"{numbers.figure(name, score.value)} ({ends})"
