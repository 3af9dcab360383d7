"""The mistakes made with the greatest confidence: hard examples, or wrong labels."""

from __future__ import annotations

from typing import Any

from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section, without_evidence
from sterna.report.showing import Shown

MOST = 24


def section(material: Material) -> Section | None:
    """The most wrong predictions, with what was seen where the evidence has it."""
    if material.result.task != "classify":
        return None
    title = "The most wrong predictions"
    cards = _cards(material) or _from_predictions(material)
    if not cards:
        if not material.answers and material.evidence is None:
            return without_evidence("wrong", title, "Mistakes are")
        return Section("wrong", title, missing="No held-out example was predicted wrongly at the first seed.")
    return Section("wrong", title, {"cards": cards, "bare": material.evidence is None})


def _cards(material: Material) -> list[dict[str, Any]]:
    return [
        {
            "item": material.shelf.take(one["item"]),
            "truth": material.called(one.get("truth")),
            "prediction": material.called(one.get("prediction")),
            "sure": numbers.percent(float(one.get("probability") or 0.0)),
        }
        for one in material.found("wrong")[:MOST]
        if one.get("item") in material.shelf
    ]


def _from_predictions(material: Material) -> list[dict[str, Any]]:
    """By name alone, from predictions.csv."""
    missed = [one for one in material.answers if one.truth != one.prediction]
    missed.sort(key=lambda one: -(one.probability or 0.0))
    return [
        {
            "item": Shown(-1, numbers.short(one.item), "test", "", ""),
            "truth": one.truth,
            "prediction": one.prediction,
            "sure": numbers.percent(one.probability) if one.probability is not None else "",
        }
        for one in missed[:MOST]
    ]
