"""Ranking and distances, where rank.json or distance.json lies in the run folder: a table of whatever is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.report import numbers
from sterna.report.material import Material
from sterna.report.section import Section

TITLES = {"rank": "Ranking of encoders", "distance": "Distance between source and target"}
ROWS = 200
COLUMNS = 16
CELL = 160
DEPTH = 3


def section(material: Material) -> Section | None:
    """One part for each of the two files that is there."""
    parts = [{"title": TITLES[key], "blocks": blocks(value)} for key, value in material.extras.items()]
    return Section("extras", "Ranking and distances", {"parts": parts}) if parts else None


def blocks(value: Any, title: str = "", depth: int = 0) -> list[dict[str, Any]]:
    """What is there as sentences and tables: known keys are not needed, any JSON is laid out."""
    if isinstance(value, Mapping):
        return _mapping(value, title, depth)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_table(value, title)] if value else []
    return [{"title": title, "sentence": written(value)}]


def _mapping(value: Mapping[str, Any], title: str, depth: int) -> list[dict[str, Any]]:
    plain = {key: one for key, one in value.items() if not isinstance(one, (Mapping, list))}
    nested = {key: one for key, one in value.items() if key not in plain}
    found: list[dict[str, Any]] = []
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


def _table(rows: Sequence[Any], title: str) -> dict[str, Any]:
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
