"""Teacher and students: what the small network keeps of the large one, and what it saves."""

from __future__ import annotations

from typing import Any

from sterna.outcomes import Learner
from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section
from sterna.result import ROLES

HEADS = ("95 % interval", "weights", "file", "one at a time", "in batches of 32", "")


def section(material: Material) -> Section | None:
    """A table with a row for each; None for a run without a teacher."""
    found = material.result.students
    if found is None:
        return None
    figure = material.result.verdict.figure
    teacher, *others = found.learners
    student = next((one for one in others if one.role == "student"), None)
    values = {
        "told": _told(teacher, student, figure) if student else "",
        "verdict": found.verdict.sentence if found.verdict else "",
        "heads": ["", numbers.named(figure), *HEADS],
        "rows": [_row(one, figure) for one in found.learners],
        "notes": found.notes,
    }
    return Section("students", "Teacher and students", values)


def _told(teacher: Learner, student: Learner, figure: str) -> str:
    """How much smaller and faster, and how good."""
    smaller = f"{numbers.percent(student.weights / teacher.weights)} of the teacher's weights"
    faster = f"{teacher.single / student.single:.1f} times its speed one item at a time"
    told = f"The student has {smaller} and {faster}"
    if teacher.figure is None or student.figure is None:
        return told + "."
    values = [numbers.figure(figure, one.value) for one in (student.figure, teacher.figure)]
    return f"{told}; its {numbers.named(figure)} is {values[0]}, the teacher's {values[1]}."


def _row(one: Learner, figure: str) -> list[tuple[str, Any]]:
    score = one.figure
    measured: list[tuple[str, Any]] = [("-", ""), ("-", "")]
    if score is not None:
        ends = f"{numbers.figure(figure, score.low)} to {numbers.figure(figure, score.high)}"
        measured = [(numbers.figure(figure, score.value), score.value), (ends, ends)]
    return [
        (ROLES[one.role], ROLES[one.role]),
        *measured,
        (numbers.count(one.weights), one.weights),
        (f"{one.bytes / 1e6:.2f} MB", one.bytes),
        (f"{one.single:.3g} ms", one.single),
        (f"{one.batched:.3g} ms", one.batched),
        (one.name, one.name),
    ]
