"""Where the examples lie, before and after tuning."""

from __future__ import annotations

from collections.abc import Mapping

from sterna.report import mapping
from sterna.report.material import Material
from sterna.report.section import Section, without_evidence


def section(material: Material) -> Section | None:
    """The two maps side by side, their legend, and the examples behind the points.

    A run from a source to a target has both on the map of `domains`.
    """
    title = "Where the examples lie"
    if material.adapting:
        return None
    if material.evidence is None:
        return without_evidence("places", title, "The map of the examples is")
    kept = material.evidence.get("map")
    notes = material.notes("places")
    if not isinstance(kept, Mapping) or not kept.get("before"):
        return Section("places", title, missing=" ".join(notes)) if notes else None
    drawn = mapping.maps(material, kept, ("before tuning", "after tuning"))
    values = {
        "charts": drawn.charts,
        "method": str(kept.get("method") or "two dimensions of the features"),
        "both": len(drawn.charts) == 2,
        "labelled": drawn.labelled,
        "notes": notes,
        "several": material.result.task == "multilabel",
        "legend": drawn.legend,
        "coloured": drawn.coloured,
        "parts": [word for part, word in material.parts.items() if part in set(kept.get("parts", ()))],
        "cards": drawn.cards,
    }
    return Section("places", title, values)
