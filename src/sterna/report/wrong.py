"""The predictions that are most wrong: with the greatest confidence, or by the largest amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.report import numbers, values
from sterna.report.material import Material
from sterna.report.section import Section, without_evidence
from sterna.report.showing import Shown

MOST = 24
LEADS = {
    "classify": "Look at these first: each is either a hard case, a wrong label, or something that the training "
    "examples never showed.",
    "multilabel": "Look at these first: in each, one label was most surely given or left out wrongly.",
    "regress": "Look at these first, the furthest from the truth: hard cases, wrong labels, or ranges that the "
    "training examples never showed.",
}


def section(material: Material) -> Section | None:
    """The most wrong predictions, with what was seen where the evidence has it."""
    task = material.result.task
    if task not in LEADS or material.blind:
        return None
    title = "The most wrong predictions"
    cards = _cards(material) or (_from_predictions(material) if task == "classify" else [])
    if not cards:
        if not (task == "classify" and material.answers) and material.evidence is None:
            return without_evidence("wrong", title, "Mistakes are")
        return Section("wrong", title, missing=f"No {material.held} example was predicted wrongly at the first seed.")
    return Section("wrong", title, {"cards": cards, "bare": material.evidence is None, "lead": LEADS[task]})


def _cards(material: Material) -> list[dict[str, Any]]:
    """Each mistake with what was said and what is true; `no` is false where the answer is a number, merely off."""
    task, found = material.result.task, []
    for one in material.found("wrong")[:MOST]:
        if one.get("item") not in material.shelf:
            continue
        if task == "regress":
            said = values.card(one, material.classes)
        elif task == "multilabel":
            said = _labels(material, one)
        else:
            said = {
                "said": material.called(one.get("prediction")),
                "truth": material.called(one.get("truth")),
                "sure": numbers.percent(float(one.get("probability") or 0.0)),
            }
        found.append({"item": material.shelf.take(one["item"]), "about": "", "missed": "", "false": "", **said})
    return found


def _labels(material: Material, one: Mapping[str, Any]) -> dict[str, str]:
    true, given = (_named(material, one.get(key) or ()) for key in ("truth", "prediction"))
    return {
        "said": "",
        "sure": "",
        "truth": numbers.listed(true) or "no label",
        "missed": numbers.listed([name for name in true if name not in given]),
        "false": numbers.listed([name for name in given if name not in true]),
    }


def _named(material: Material, numbers_: Sequence[Any]) -> list[str]:
    return [material.called(number) for number in numbers_]


def _from_predictions(material: Material) -> list[dict[str, Any]]:
    """By name alone, from predictions.csv."""
    missed = [one for one in material.answers if one.truth != one.prediction]
    missed.sort(key=lambda one: -(one.probability or 0.0))
    return [
        {
            "item": Shown(-1, numbers.short(one.item), "test", "", ""),
            "truth": one.truth,
            "said": one.prediction,
            "sure": numbers.percent(one.probability) if one.probability is not None else "",
            "about": "",
            "missed": "",
            "false": "",
        }
        for one in missed[:MOST]
    ]
