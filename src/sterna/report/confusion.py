"""Which classes are taken for which: the matrix, and the pairs confused most often with their examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sterna.report import numbers
from sterna.report.material import Answered, Material
from sterna.report.section import Section, without_evidence

CLASSES = 20  # rows and columns; of more, those with the most mistakes
PAIRS = 8
EXAMPLES = 6  # of a pair
Matrix = list[list[int]]


def section(material: Material) -> Section | None:
    """The matrix and the most confused pairs; only where each item has one class."""
    title = "What is confused with what"
    if material.result.task != "classify" or not material.classes or material.blind:
        return None
    matrix = material.found("confusion") or counted(material.answers, material.classes)
    if not any(map(any, matrix)):
        return without_evidence("confusion", title, "The confusion matrix is")
    shown = _chosen(matrix)
    pairs = _pairs(material, matrix)
    values = {
        "names": [numbers.short(material.called(one), 24) for one in shown],
        "tall": any(len(material.called(one)) > 3 for one in shown),
        "rows": [_row(material, matrix, truth, shown) for truth in shown],
        "hidden": len(matrix) - len(shown),
        "conclusion": _conclusion(material, matrix),
        "pairs": pairs,
        "bare": material.evidence is None,
    }
    return Section("confusion", title, values)


def counted(answers: Sequence[Answered], classes: Sequence[str]) -> Matrix:
    """Truths against predictions, from the held-out predictions; names that are no class are left out."""
    index = {name: place for place, name in enumerate(classes)}
    matrix = [[0] * len(classes) for _ in classes]
    for one in answers:
        if one.truth in index and one.prediction in index:
            matrix[index[one.truth]][index[one.prediction]] += 1
    return matrix


def _chosen(matrix: Matrix) -> list[int]:
    """The classes shown, in their order."""
    if len(matrix) <= CLASSES:
        return list(range(len(matrix)))
    down = [sum(column) for column in zip(*matrix, strict=True)]
    wrong = [sum(row) + down[place] - 2 * row[place] for place, row in enumerate(matrix)]
    return sorted(sorted(range(len(matrix)), key=lambda one: (-wrong[one], one))[:CLASSES])


def _row(material: Material, matrix: Matrix, truth: int, shown: Sequence[int]) -> dict[str, Any]:
    """A row: counts, and a level of shade for the share of the row."""
    total = sum(matrix[truth])
    cells = []
    for guess in shown:
        count = matrix[truth][guess]
        level = 0 if not count else 1 + min(5, int(6 * (count / total) ** 0.5))
        cells.append({"count": count, "css": f"{'right' if guess == truth else 'wrong'}{level}"})
    recall = numbers.percent(matrix[truth][truth] / total, 0) if total else "-"
    return {"name": numbers.short(material.called(truth), 24), "cells": cells, "recall": recall}


def _conclusion(material: Material, matrix: Matrix) -> str:
    total = sum(map(sum, matrix))
    wrong = total - sum(row[place] for place, row in enumerate(matrix))
    asked = numbers.plural(total, f"{material.held} example")
    if not wrong:
        return f"Of {asked} at the first seed none was taken for another class."
    recalls = [(row[place] / sum(row), material.called(place)) for place, row in enumerate(matrix) if sum(row)]
    worst, name = min(recalls)
    return (
        f"{numbers.count(wrong)} of {asked} at the first seed were taken for "
        f"another class; the hardest is {name}, recognized in {numbers.percent(worst, 0)} of cases."
    )


def _pairs(material: Material, matrix: Matrix) -> list[dict[str, Any]]:
    given = [one for one in material.found("confused") if isinstance(one, dict)]
    if not given:
        flat = [
            {"truth": truth, "prediction": guess, "count": count}
            for truth, row in enumerate(matrix)
            for guess, count in enumerate(row)
            if guess != truth and count
        ]
        given = sorted(flat, key=lambda one: -one["count"])
    return [
        {
            "truth": material.called(one.get("truth")),
            "prediction": material.called(one.get("prediction")),
            "count": one.get("count", 0),
            "items": [material.shelf.take(item) for item in one.get("items", ()) if item in material.shelf][:EXAMPLES],
        }
        for one in given[:PAIRS]
    ]
