"""What was transferred: how alike each stage's features are before and after tuning, and how far its weights moved.

Paper: Kornblith, Norouzi, Lee and Hinton 2019, "Similarity of Neural Network Representations Revisited", arXiv
1905.00414, equation 4, in its debiased form.
"""

from __future__ import annotations

from typing import Any

from sterna.report import numbers
from sterna.report.drawing import Chart, Scale, Tick
from sterna.report.material import Material
from sterna.report.section import Section, without_evidence

SAME = 0.98  # above it a stage is called unchanged
MOVED = 0.8  # below it, changed much


def section(material: Material) -> Section | None:
    """A bar for each stage."""
    title = "What was transferred"
    if material.evidence is None:
        return without_evidence("stages", title, "Which layers moved is")
    stages = [one for one in material.found("stages") if isinstance(one.get("cka"), (int, float))]
    notes = material.notes("stages")
    if not stages:
        return Section("stages", title, missing=" ".join(notes)) if notes else None
    return Section(
        "stages",
        title,
        {"chart": _chart(stages), "told": _told(stages), "rows": [_row(one) for one in stages], "notes": notes},
    )


def _told(stages: list[dict[str, Any]]) -> str:
    same = [str(one["name"]) for one in stages if one["cka"] >= SAME]
    lowest = min(stages, key=lambda one: one["cka"])
    if len(same) == len(stages):
        return (
            "All stages say what they said before tuning (CKA of 0.98 or more): the source's features were used as "
            "they are."
        )
    kept = f"{numbers.listed(same)} kept what {'it' if len(same) == 1 else 'they'} had learned; " if same else ""
    much = "changed most" if lowest["cka"] < MOVED else "changed most, though little"
    return f"{kept}{lowest['name']} {much} (CKA {lowest['cka']:.2f})."


def _chart(stages: list[dict[str, Any]]) -> Chart:
    scale = Scale(0, 1, 110, 296)
    bottom = 24 * len(stages) + 6
    label = "; ".join(f"{one['name']}: CKA {one['cka']:.2f}" for one in stages)
    ticks = [Tick(scale.at(at), f"{at:g}") for at in (0.0, 0.5, 1.0)]
    chart = Chart(label, bottom + 34, (110, 4, 296, bottom), x=ticks, x_name="CKA before against after; 1 = unchanged")
    for place, one in enumerate(stages):
        y = 24 * place + 6
        value = min(1.0, max(0.0, float(one["cka"])))
        chart.text(104, y + 13, numbers.short(str(one["name"]), 16), "name", "end")
        chart.bar(110, y + 2, scale.at(value) - 110, 14, "stage")
        chart.text(scale.at(value) + 5, y + 13, f"{one['cka']:.2f}", "value")
    return chart


def _row(one: dict[str, Any]) -> list[tuple[str, Any]]:
    moved = one.get("moved")
    return [
        (numbers.short(str(one["name"])), str(one["name"])),
        (f"{one['cka']:.3f}", one["cka"]),
        (numbers.percent(float(moved)), moved) if isinstance(moved, (int, float)) else ("-", ""),
    ]
