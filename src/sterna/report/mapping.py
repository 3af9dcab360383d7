"""Examples as points of a map, with their legend, and what is shown of each: for the sections that draw one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sterna.report import numbers
from sterna.report.drawing import Chart, Mark, Scale, padded
from sterna.report.material import Material
from sterna.report.showing import PARTS

POINTS = 1500
HUES = 8
SHAPES = ("circle", "square", "triangle", "diamond")
SPOKES = ((4, 45), (4, 0), (3, 90), (6, 0))  # of the star that stands for a shape: how many, and where they begin
TITLE = 60  # characters of an example in a point's title


@dataclass(frozen=True)
class Maps:
    """One map, or one before and one after, of the same examples."""

    charts: list[Chart]
    legend: list[dict[str, Any]]
    labelled: bool  # whether points have classes
    coloured: str  # the column of numbers that gives points their colours; "" for none
    cards: list[list[Any]]


def maps(material: Material, kept: Mapping[str, Any], names: tuple[str, str], stars: bool = False) -> Maps:
    """The maps of an entry of the evidence.

    Args:
        material: of the page.
        kept: the entry, with `before`, `after`, `labels`, `parts`, `items` and, for numbers, `values`.
        names: of the map before and of the map after.
        stars: whether held-out examples are drawn as stars and all others as plain points.
    """
    sides = list(zip(names, (kept["before"], kept.get("after")), strict=True))
    edges = _edges(kept.get("values") or ())
    if edges:
        levels = [-1 if one is None else sum(one > edge for edge in edges) for one in kept["values"]]
        kept = {**kept, "labels": levels}
    how = (bool(edges), stars)
    used = sorted({one for one in kept.get("labels", ())[:POINTS] if material.called(one) != "-"})
    classes = [_entry(numbers.short(material.called(one), 30), one, _css(one)) for one in used]
    return Maps(
        [_chart(material, kept, name, places[:POINTS], how) for name, places in sides if places],
        _fifths(edges) if edges else classes,
        bool(used),
        material.classes[0] if edges and material.classes else "",
        _cards(material, kept),
    )


def _entry(name: str, label: int, css: str) -> dict[str, Any]:
    """A line of the legend, which shows its points alone when it is pressed."""
    return {"name": name, "css": css, "label": label, "shape": outline(9, 9, 5, _shape(label))}


def _edges(values: Sequence[float | None]) -> list[float]:
    """Between the fifths of some numbers; [] for too few different ones."""
    known = sorted(one for one in values if isinstance(one, (int, float)))
    edges = [known[len(known) * fifth // 5] for fifth in range(1, 5)] if known else []
    return edges if len(set(edges)) == 4 else []


def _fifths(edges: Sequence[float]) -> list[dict[str, Any]]:
    ends = [numbers.compact(one) for one in edges]
    names = [f"up to {ends[0]}", *(f"to {end}" for end in ends[1:]), f"above {ends[-1]}"]
    return [_entry(name, level, f"v{level}") for level, name in enumerate(names)]


def _shape(label: int) -> str:
    return SHAPES[label // HUES % len(SHAPES)]


def _css(label: int) -> str:
    return f"k{label % HUES}" if label >= 0 else "none"


def _chart(
    material: Material,
    kept: Mapping[str, Any],
    name: str,
    places: Sequence[Sequence[float]],
    how: tuple[bool, bool],
) -> Chart:
    """A map; `how`: whether colours are those of numbers, and whether held-out examples are stars."""
    graded, stars = how
    across_low, across_high = padded([float(x) for x, _ in places], 0.04)
    up_low, up_high = padded([float(y) for _, y in places], 0.04)
    across, up = Scale(across_low, across_high, 6, 334), Scale(up_low, up_high, 334, 6)
    chart = Chart(f"map of {len(places)} examples {name}", 340, (0, 0, 340, 340), css="map", x_name=name)
    labels, parts, items = (_column(kept, key, len(places)) for key in ("labels", "parts", "items"))
    size = 4.5 if len(places) <= 200 else 3.5 if len(places) <= 700 else 2.8
    for (x, y), label, part, item in zip(places, labels, parts, items, strict=True):
        label = label if isinstance(label, int) else -1
        colour = f"v{label}" if graded and label >= 0 else _css(label)
        part = part if part in PARTS else "test"
        here, shape = (across.at(float(x)), up.at(float(y))), _shape(max(label, 0))
        starred = stars and part == "test"
        path = star(*here, size, shape) if starred else outline(*here, size, shape)
        css = f"{colour} {'star' if starred else 'plain' if stars else part}"
        number = item if item in material.shelf else None
        title = _title(material, number, -1 if graded else label, str(part))
        chart.marks.append(Mark("shape", css, (label,), path, title, item=number))
    return chart


def _column(kept: Mapping[str, Any], key: str, length: int) -> list[Any]:
    given = list(kept.get(key) or ())[:length]
    return given + [None] * (length - len(given))


def outline(x: float, y: float, r: float, shape: str) -> str:
    """The outline of a point, about equal in area whatever its shape."""
    if shape == "square":
        side = 1.7 * r
        return f"M{x - side / 2:.1f} {y - side / 2:.1f}h{side:.1f}v{side:.1f}h-{side:.1f}z"
    if shape == "triangle":
        return f"M{x:.1f} {y - 1.25 * r:.1f}l{1.2 * r:.1f} {2.1 * r:.1f}h-{2.4 * r:.1f}z"
    if shape == "diamond":
        edge = f"{1.3 * r:.1f}"
        return f"M{x:.1f} {y - 1.3 * r:.1f}l{edge} {edge}l-{edge} {edge}l-{edge}-{edge}z"
    return f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 0-{2 * r:.1f} 0"


def star(x: float, y: float, r: float, shape: str) -> str:
    """Spokes from a point, other ones for each shape, a little longer than the shape is wide."""
    count, begin = SPOKES[SHAPES.index(shape)]
    turns = [math.radians(begin + 360 * place / count) for place in range(count)]
    return "".join(f"M{x:.1f} {y:.1f}l{1.3 * r * math.cos(one):.1f} {1.3 * r * math.sin(one):.1f}" for one in turns)


def _title(material: Material, number: int | None, label: int, part: str) -> str:
    item = material.shelf.items[number] if number is not None else {}
    what = numbers.short(str(item.get("text") or item.get("name") or ""), TITLE)
    named = numbers.short(material.called(label), 30) if material.called(label) != "-" else ""
    return " · ".join(filter(None, (named, what, material.parts.get(part, part))))


def _cards(material: Material, kept: Mapping[str, Any]) -> list[list[Any]]:
    """What the tooltip shows of each example on the map: its number, its picture's name, and a text.

    Pictures are taken in strides over the whole map, so that when the budget ends, every region has had some.
    """
    listed = [one for one in dict.fromkeys(list(kept.get("items") or ())[:POINTS]) if one in material.shelf]
    strided = [one for start in range(7) for one in listed[start::7]]
    shown = [material.shelf.take(one) for one in strided]
    return [[one.number, one.picture, numbers.short(one.text, 140)] for one in shown if one.picture or one.text]
