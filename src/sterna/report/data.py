"""What the run learned from: sizes, classes, and what looked odd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section

NAMED = 8  # items of a finding
CLASSES = 1000
UNITS = {
    "classify": ("class", "classes"),
    "multilabel": ("label", "labels"),
    "tag": ("tag", "tags"),
    "several": ("row", "rows"),
}


def section(material: Material) -> Section:
    """Sizes, class counts, findings and warnings."""
    data = material.result.data
    findings = [one for one in data.get("findings") or () if isinstance(one, Mapping)]
    counts = {material.parts.get(part, part): dict(one) for part, one in (data.get("counts") or {}).items()}
    rows = _rows(counts) if material.result.task != "regress" else []
    values = {
        "facts": _facts(material),
        "parts": list(counts),
        "rows": rows[:CLASSES],
        "left_out": max(0, len(rows) - CLASSES),
        "told": _told(counts, next(iter(material.parts.values()))),
        "unit": UNITS.get(material.result.task, UNITS["classify"]),
        "findings": [
            {
                "kind": str(one.get("kind", "")),
                "sentence": str(one.get("sentence", "")),
                "items": numbers.listed(_items(one), NAMED),
            }
            for one in findings
        ],
        "warnings": [str(one) for one in material.result.warnings],
    }
    return Section("data", "The data", values)


def _items(finding: Mapping[str, Any]) -> list[str]:
    """The items of a finding, unless its sentence names them already."""
    names = [str(item) for item in finding.get("items") or ()]
    return [] if names and names[0] in str(finding.get("sentence")) else [numbers.short(name) for name in names]


def _rows(counts: Mapping[str, Mapping[str, int]]) -> list[list[tuple[str, Any]]]:
    names = dict.fromkeys(name for one in counts.values() for name in one)
    found = []
    for name in names:
        cells: list[tuple[str, Any]] = [(numbers.short(name), name)]
        cells += [(numbers.count(one.get(name, 0)), one.get(name, 0)) for one in counts.values()]
        found.append(cells)
    return found


def _told(counts: Mapping[str, Mapping[str, int]], part: str) -> str:
    train = counts.get(part) or {}
    if len(train) < 2:
        return ""
    few, many = min(train, key=lambda name: train[name]), max(train, key=lambda name: train[name])
    if train[few] == train[many]:
        return f"Each has {numbers.plural(train[few], 'training example')}."
    return (
        f"Their training examples range from {numbers.count(train[few])} ({few}) to "
        f"{numbers.count(train[many])} ({many})."
    )


def _facts(material: Material) -> list[tuple[str, str]]:
    data = material.result.data
    found = [("origin", str(data.get("origin") or "-")), ("examples", numbers.count(data.get("n") or 0))]
    sizes = data.get("sizes") or {}
    named = {material.parts.get(part, part): size for part, size in sizes.items() if isinstance(size, int)}
    found += [(part, numbers.count(size)) for part, size in named.items()]
    if material.adapting and data["target"] != sizes.get("test"):
        found.append(("adapted to", f"{numbers.count(data['target'])} of the target, with those not held out"))
    if data.get("unlabelled"):
        found.append(("without labels", f"{numbers.count(data['unlabelled'])} more, learnt from where a route says so"))
    if data.get("source"):
        found.append(("source", str(data["source"])))
    if data.get("refit"):
        found.append(("refit", "each route was fitted again on training and validation examples together"))
    return found
