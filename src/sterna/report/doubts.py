"""What may be wrong with the data: labels that contradict everything else, and examples that are there twice.

Paper: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", arXiv
1911.00068, for the rule by which labels are suspected.
"""

from __future__ import annotations

from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section, without_evidence

MOST = 24


def section(material: Material) -> Section | None:
    """Likely label errors and near duplicates."""
    title = "Labels and duplicates to look at"
    if material.evidence is None:
        return without_evidence("doubts", title, "Likely label errors and near duplicates are")
    notes = material.notes("doubts")
    if "duplicates" not in material.evidence:
        # Nothing was looked at, and the note of the map says why.
        return Section("doubts", title, missing=" ".join(notes)) if notes else None
    shelf = material.shelf
    suspects = [one for one in material.found("suspects") if one.get("item") in shelf]
    twins = [
        one
        for one in material.found("duplicates")
        if len(one["items"]) == 2 and all(at in shelf for at in one["items"])
    ]
    values = {
        "judged": "suspects" in material.evidence,
        "notes": notes,
        "suspects": [
            {
                "item": shelf.take(one["item"]),
                "given": material.called(one.get("given")),
                "likely": material.called(one.get("likely")),
                "sure": numbers.percent(float(one.get("probability") or 0.0)),
            }
            for one in suspects[:MOST]
        ],
        "duplicates": [
            {
                "items": [shelf.take(at) for at in one["items"]],
                "labels": [_label(material, at) for at in one["items"]],
                "similarity": numbers.decimal(float(one.get("similarity") or 0.0)),
                "crossing": _crossing([str(shelf.items[at].get("part")) for at in one["items"]]),
            }
            for one in twins[:MOST]
        ],
        "more": [max(0, len(suspects) - MOST), max(0, len(twins) - MOST)],
    }
    return Section("doubts", title, values)


def _label(material: Material, number: int) -> str:
    """The class of an example; a dash where it has several labels, of which the evidence keeps the first."""
    one = material.result.task == "classify"
    return material.called(material.shelf.items[number].get("label")) if one else "-"


def _crossing(parts: list[str]) -> bool:
    """Whether a pair lies on both sides of the split, which flatters every figure."""
    return "test" in parts and parts[0] != parts[1]
