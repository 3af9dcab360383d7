"""Items that carry several labels at once: what was found, missed and invented, label by label."""

from __future__ import annotations

from dataclasses import dataclass

from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section

JOIN = " | "  # between the labels of an item in predictions.csv
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
    """A table of the labels, the hardest first."""
    if material.result.task != "multilabel":
        return None
    title = "Label by label"
    found = tallied(material)
    if not found:
        return Section("several", title, missing="No labels are counted: this run has no predictions.csv.")
    order = sorted(found.items(), key=lambda one: (one[1].f1, one[0]))
    values = {
        "told": _told(order),
        "rows": [row(name, one) for name, one in order[:LABELS]],
        "left_out": max(0, len(order) - LABELS),
    }
    return Section("several", title, values)


def tallied(material: Material) -> dict[str, Tally]:
    """The tally of each label over the held-out items of the first seed, in the order of the labels."""
    found: dict[str, Tally] = {}
    for line in material.lines:
        if not {"truth", "prediction"} <= line.keys():
            return {}
        found = found or {name: Tally() for name in list(line)[3:]}
        true, guess = (set(line[key].split(JOIN)) for key in ("truth", "prediction"))
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
