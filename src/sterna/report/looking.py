"""Where the network looks: pictures with a heat map, texts with a weight for each token."""

from __future__ import annotations

import math
from typing import Any

from sterna.report.material import Material
from sterna.report.section import Section, without_evidence

MOST = 12
LEVELS = 6
TOKENS = 120


def section(material: Material) -> Section | None:
    """The attributions, in the order in which the evidence has them."""
    title = "Where the network looks"
    if material.evidence is None:
        return without_evidence("looking", title, "What the network looks at is")
    notes = material.notes("looking")
    pictures, texts = [], []
    for place, one in enumerate(material.found("attention")[:MOST]):
        if one.get("item") not in material.shelf:
            continue
        item = material.shelf.take(one["item"])
        # Of several labels the evidence keeps the first, which is not the truth.
        truth = material.called(item.label) if material.result.task == "classify" else "-"
        label = {"truth": truth, "said": material.called(one.get("prediction"))}
        picture = material.shelf.keep(f"a{place}", one.get("picture"))
        if picture:
            pictures.append({"item": item, "picture": picture, **label})
        elif one.get("tokens"):
            texts.append({"item": item, "tokens": tokens(one["tokens"][:TOKENS]), **label})
    if not pictures and not texts:
        return Section("looking", title, missing=" ".join(notes)) if notes else None
    return Section("looking", title, {"pictures": pictures, "texts": texts, "notes": notes})


def tokens(weighed: list[Any]) -> list[dict[str, str]]:
    """Each token with a class for its weight, the strongest of the text at the highest level."""
    pairs = [(str(word), float(weight)) for word, weight in weighed]
    most = max((abs(weight) for _, weight in pairs if math.isfinite(weight)), default=0.0)
    found = []
    for word, weight in pairs:
        level = round(LEVELS * abs(weight) / most) if most and math.isfinite(weight) else 0
        css = f"{'for' if weight > 0 else 'against'}{level}" if level else ""
        found.append({"word": word, "css": css, "title": f"{weight:+.3g}"})
    return found
