"""Ranking and distances, where rank.json or distance.json lies in the run folder or in one named beside it.

Both are laid out by their known fields; one that has none of these, from another version, becomes tables of whatever is
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section

TITLES = {"rank": "Ranking of encoders", "distance": "Distance between two data sets"}
ROWS = 200
COLUMNS = 16
CELL = 160
DEPTH = 3
Cell = tuple[str, Any]  # what is written, and what it is sorted by
Block = dict[str, Any]


def section(material: Material) -> Section | None:
    """One part for each of the two files that is there."""
    known = {"rank": ranking, "distance": distances}
    parts = [
        {"title": TITLES[key], "blocks": (known[key](value) if isinstance(value, Mapping) else []) or blocks(value)}
        for key, value in material.extras.items()
    ]
    return Section("extras", "Ranking and distances", {"parts": parts}) if parts else None


def ranking(found: Mapping[str, Any]) -> list[Block]:
    """The candidates with each score and its z, and what to make of them; [] for a file of another shape."""
    rows = [one for one in found.get("candidates") or () if isinstance(one, Mapping) and "reference" in one]
    if not rows:
        return []
    names = list(dict.fromkeys(name for one in rows for name in one.get("scores") or {}))
    heads = ["candidate", *(part for name in names for part in (name, "z")), "mean rank", "first in", "weights", "time"]
    table = [
        [
            _cell(one["reference"]),
            *(part for name in names for part in _score((one.get("scores") or {}).get(name) or {})),
            _cell(one.get("mean_rank")),
            _share(one.get("best")),
            _cell(one.get("weights")),
            _seconds(float(one.get("seconds") or 0) + float(one.get("scoring") or 0)),
        ]
        for one in rows
    ]
    sources = [one for one in found.get("sources") or () if isinstance(one, Mapping)]
    told = [{"title": "", "sentence": str(one)} for one in found.get("sentences") or ()]
    note = {
        "title": "",
        "sentence": "z: how far a score lies above its value for shuffled labels, in standard deviations; below 2 it "
        "has seen nothing. First in: share of redrawn examples in which the candidate leads.",
    }
    return [*told, _block("Candidates", heads, table), note, *([_table(sources, "Sources")] if sources else [])]


def distances(found: Mapping[str, Any]) -> list[Block]:
    """Each distance with its test and its size in halves of the first data set, then class by class."""
    rows = [one for one in found.get("metrics") or () if isinstance(one, Mapping) and "name" in one]
    if not rows:
        return []
    given = [one for one in rows if not one.get("reason")]
    heads = ["distance", "value", "p", "times a half's", "time", "what the value is"]
    table = [
        [
            *(_cell(one.get(key)) for key in ("name", "value", "p", "times")),
            _seconds(float(one.get("seconds") or 0)),
            _cell(one.get("scale")),
        ]
        for one in given
    ]
    sides = [numbers.short(str(found.get(side) or side), 40) for side in ("left", "right")]
    moved = [
        [_cell(one.get(key)) for key in ("name", "left", "right", "times", "p", "moved")]
        for one in found.get("classes") or ()
        if isinstance(one, Mapping)
    ]
    told = [{"title": "", "sentence": str(one)} for key in ("sentences", "notes") for one in found.get(key) or ()]
    skipped = [
        {"title": "", "sentence": f"{one['name']} is left out: {str(one['reason']).rstrip('.')}."}
        for one in rows
        if one.get("reason")
    ]
    classes = ["class", f"in {sides[0]}", f"in {sides[1]}", "times a half's", "p", "moved by"]
    return [
        *told,
        *([_block(f"{sides[0]} and {sides[1]}", heads, table)] if table else []),
        *([_block("Class by class", classes, moved)] if moved else []),
        *skipped,
    ]


def _cell(value: Any) -> Cell:
    return written(value), value if isinstance(value, (int, float)) else "" if value is None else str(value)


def _share(value: Any) -> Cell:
    return (numbers.percent(value, 0), value) if isinstance(value, (int, float)) else ("-", "")


def _seconds(value: float) -> Cell:
    return numbers.seconds(value), value


def _score(entry: Mapping[str, Any]) -> list[Cell]:
    value, z = entry.get("value"), entry.get("z")
    shown = (f"{z:.0f}", z) if isinstance(z, (int, float)) else ("-", "")
    return [_cell(value), shown]


def _block(title: str, heads: list[str], rows: list[list[Cell]]) -> Block:
    return {"title": title, "heads": heads, "rows": rows[:ROWS], "left_out": max(0, len(rows) - ROWS)}


def blocks(value: Any, title: str = "", depth: int = 0) -> list[Block]:
    """What is there as sentences and tables: known keys are not needed, any JSON is laid out."""
    if isinstance(value, Mapping):
        return _mapping(value, title, depth)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_table(value, title)] if value else []
    return [{"title": title, "sentence": written(value)}]


def _mapping(value: Mapping[str, Any], title: str, depth: int) -> list[Block]:
    plain = {key: one for key, one in value.items() if not isinstance(one, (Mapping, list))}
    nested = {key: one for key, one in value.items() if key not in plain}
    found: list[Block] = []
    said = [key for key in ("sentence", "conclusion", "verdict") if isinstance(plain.get(key), str)]
    found += [{"title": "", "sentence": plain.pop(key)} for key in said]
    if nested and not plain and all(isinstance(one, Mapping) for one in nested.values()):
        return [*found, _table([{"": key, **one} for key, one in nested.items()], title)]
    if plain:
        found.append(_table([[numbers.named(key), one] for key, one in plain.items()], title))
    for key, one in nested.items():
        name = numbers.named(str(key))
        found += blocks(one, name, depth + 1) if depth < DEPTH else [{"title": name, "sentence": written(one)}]
    return found


def _table(rows: Sequence[Any], title: str) -> Block:
    """Objects become rows under the union of their keys, lists become rows, all else one column."""
    shown = list(rows)[:ROWS]
    heads: list[str] = []
    if all(isinstance(one, Mapping) for one in shown):
        heads = list(dict.fromkeys(str(key) for one in shown for key in one))[:COLUMNS]
        cells = [[one.get(key, "") for key in heads] for one in shown]
    elif all(isinstance(one, (list, tuple)) for one in shown):
        cells = [list(one)[:COLUMNS] for one in shown]
    else:
        cells = [[one] for one in shown]
    return {
        "title": title,
        "heads": [numbers.named(head) for head in heads],
        "rows": [
            [(written(cell), cell if isinstance(cell, (int, float)) else written(cell)) for cell in row]
            for row in cells
        ],
        "left_out": len(rows) - len(shown),
    }


def written(value: Any) -> str:
    """One value in a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return numbers.count(value)
    if isinstance(value, float):
        return numbers.decimal(value)
    if isinstance(value, (list, tuple)):
        return numbers.short(", ".join(written(one) for one in value), CELL)
    if isinstance(value, Mapping):
        return numbers.short("; ".join(f"{key}: {written(one)}" for key, one in value.items()), CELL)
    return numbers.short(str(value), CELL)
