"""Items that carry several labels at once: what was found, missed and invented, label by label.

Of several tasks, each task of several labels by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sterna.maths.blocks import Block, blocks
from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section

JOIN = " | "  # between the labels of an item in predictions.csv
NONE = "[]"  # of several tasks, an item that carries none of the labels of one
LABELS = 500


@dataclass
class Tally:
    """Held-out items by whether they carry a label and whether it was predicted."""

    both: int = 0
    missed: int = 0  # carried, not predicted
    false: int = 0  # predicted, not carried

    @property
    def f1(self) -> float:
        """2 hits / (carried + predicted); 0 where there is neither."""
        out_of = 2 * self.both + self.missed + self.false
        return 2 * self.both / out_of if out_of else 0.0


def section(material: Material) -> Section | None:
    """A table of the labels, the hardest first, of each task of several labels."""
    every: list[Block | None] = [None] if material.result.task == "multilabel" else [*tasks(material, "multilabel")]
    if not every:
        return None
    title = "Label by label"
    found = [_task(block.name if block else "", tally) for block in every if (tally := tallied(material, block))]
    if not found:
        return Section("several", title, missing="No labels are counted: this run has no predictions.csv.")
    return Section("several", title, {"tasks": found})


def tasks(material: Material, kind: str) -> list[Block]:
    """Those of several tasks whose labels are of one kind."""
    rows = material.result.data.get("classes") or () if material.result.task == "several" else ()
    return [block for block in blocks(tuple(map(str, rows))) if block.task == kind]


def columns(name: str) -> tuple[str, str]:
    """The columns of predictions.csv that hold the truth and what was predicted; of one of several tasks by name."""
    return (f"truth {name}", f"prediction {name}") if name else ("truth", "prediction")


def _task(name: str, found: Mapping[str, Tally]) -> dict[str, Any]:
    """What is shown of one task; `name` is "" where it is the only one."""
    order = sorted(found.items(), key=lambda one: (one[1].f1, one[0]))
    return {
        "name": name,
        "told": _told(order),
        "rows": [row(label, one) for label, one in order[:LABELS]],
        "left_out": max(0, len(order) - LABELS),
    }


def tallied(material: Material, block: Block | None = None) -> dict[str, Tally]:
    """The tally of each label over the held-out items of the first seed, in the order of the labels.

    `block`: one of several tasks; items that are not labelled for it are left out.
    """
    keys = columns(block.name if block else "")
    found: dict[str, Tally] = {}
    for line in material.lines:
        if not set(keys) <= line.keys():
            return {}
        if block and (not line[keys[0]] or line.get("place", "0") != "0"):
            continue
        found = found or {name: Tally() for name in (block.classes if block else list(line)[3:])}
        true, guess = (set() if block and line[key] == NONE else set(line[key].split(JOIN)) for key in keys)
        for name, one in found.items():
            one.both += name in true and name in guess
            one.missed += name in true and name not in guess
            one.false += name in guess and name not in true
    return found


def _told(order: list[tuple[str, Tally]]) -> str:
    missed, false = (sum(getattr(one, key) for _, one in order) for key in ("missed", "false"))
    carried = sum(one.both + one.missed for _, one in order)
    name, worst = order[0]
    return (
        f"Of {numbers.plural(carried, 'label')} that held-out examples carry, {numbers.count(missed)} were missed, and "
        f"{numbers.count(false)} were given that are not there; the hardest label is {name} "
        f"(F1 {numbers.percent(worst.f1, 0)})."
    )


def row(name: str, one: Tally) -> list[tuple[str, float | str]]:
    """Counts, precision, recall and F1 of a label, as cells of a table."""
    carried, given = one.both + one.missed, one.both + one.false
    cells: list[tuple[str, float | str]] = [(numbers.short(name), name)]
    cells += [(numbers.count(value), value) for value in (carried, one.both, one.missed, one.false)]
    shares = (one.both / given if given else None, one.both / carried if carried else None, one.f1)
    return cells + [(numbers.percent(share), share) if share is not None else ("-", "") for share in shares]
