"""Source and target of an adaptation: where they lie, how far apart they are, and what the criteria made of each route.

Paper: Spearman 1904, "The proof and measurement of association between two things" (American Journal of Psychology 15),
for the rank correlation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import correlation
from typing import Any

from sterna.report import mapping, numbers
from sterna.report.material import Material
from sterna.report.section import HOW, Section
from sterna.result import Summary, summaries

RANK = "rank"  # among the validation figures of a route: the mean rank by criteria, 0 for the best
FEWEST = 3  # routes for a rank correlation
NAMES = {"mmd": "maximum mean discrepancy", "energy": "energy distance", "a_distance": "A-distance"}
ANSWERS = 60  # classes whose answers are counted
Cell = tuple[str, Any]


def section(material: Material) -> Section | None:
    """The maps, the distances and the table of routes; only in a run that adapts."""
    if not material.adapting:
        return None
    kept = (material.evidence or {}).get("domains")
    kept = kept if isinstance(kept, Mapping) else {}
    drawn = _maps(material, kept)
    rows, heads = _routes(material)
    listed = kept.get("distances") or []
    apart = [_distance(one) for one in listed]
    values = {
        "lead": _lead(material, kept),
        "sides": material.sides,
        "maps": drawn,
        "method": str((kept.get("map") or {}).get("method") or ""),
        "notes": material.notes("domains") if kept else [_absent(material)],
        "marks": [_mark("plain"), _mark("star")],
        "unknown": material.blind or -1 in ((kept.get("map") or {}).get("labels") or ()),
        "distances": apart,
        "scales": [f"{row[0][0]}: {one.get('scale')}" for row, one in zip(apart, listed, strict=True)],
        "nearer": _nearer(kept),
        "route": str(kept.get("route") or ""),
        "heads": heads,
        "rows": rows,
        "agreed": agreement(material),
        "answers": _answered(material),
    }
    return Section("domains", "Source and target", values)


def _maps(material: Material, kept: Mapping[str, Any]) -> mapping.Maps | None:
    if not (kept.get("map") or {}).get("before"):
        return None
    names = ("before adaptation", f"after {numbers.short(str(kept.get('route')), 40)}")
    return mapping.maps(material, kept["map"], names, stars=True)


def _absent(material: Material) -> str:
    """Why both domains are not drawn."""
    if material.alone:
        return "There is no map of both domains and no distance between them: no example of the source was at hand."
    return f"There is no map and no distance without evidence: {HOW}."


def _mark(kind: str) -> str:
    return mapping.star(9, 9, 5, "circle") if kind == "star" else mapping.outline(9, 9, 5, "circle")


def _lead(material: Material, kept: Mapping[str, Any]) -> str:
    """Who is who, what is drawn, and why where that is not what ships."""
    sizes, (source, target) = material.result.data.get("sizes") or {}, material.sides
    known = int(material.result.data.get("known") or 0)
    learnt = int(sizes.get("train", 0)) + int(sizes.get("validation", 0)) - known
    count = numbers.count(int(material.result.data["target"]) - known)
    if material.alone:
        model = str(material.result.data.get("origin") or "").rpartition(" -> ")[0]
        return f"The saved model {model} was adapted to {count} of {target} without looking at a label."
    few = f" and {numbers.count(known)} of {target}" if known else ""
    told = (
        f"Learnt from {numbers.plural(learnt, 'labelled example')} of {source}{few}, and from {count} of {target} "
        "without looking at a label."
    )
    route = kept.get("route")
    if not route or route == material.result.shipped:
        return told
    return f"{told} {material.result.shipped} ships, which adapts nothing; drawn is {route}."


def _distance(one: Mapping[str, Any]) -> list[Cell]:
    name = str(one.get("name"))
    cells: list[Cell] = [(NAMES.get(name, name), name)]
    for when in ("before", "after"):
        value, times = one.get(when) or (None, None)
        cells += [_number(value, numbers.decimal), _number(times, numbers.rough)]
    return cells


def _number(value: Any, written: Any) -> Cell:
    known = isinstance(value, (int, float)) and math.isfinite(value)
    return (written(value), value) if known else ("-", "")


def _nearer(kept: Mapping[str, Any]) -> str:
    """Whether the route brought the domains together, by all distances."""
    both = [(one["before"][1], one["after"][1]) for one in kept.get("distances") or () if one.get("after")]
    if not both:
        return ""
    less = sum(after < before for before, after in both)
    route = kept.get("route")
    if less == len(both):
        return f"By every distance {route} brought the domains closer together."
    if not less:
        return f"By no distance did {route} bring the domains closer together."
    return f"By {less} of {len(both)} distances {route} brought the domains closer together."


def _routes(material: Material) -> tuple[list[list[Cell]], list[str]]:
    """The routes, best by the criteria first: mean rank, what each criterion says, and the figure on the target."""
    found, figure = summaries(material.result.routes), material.result.verdict.figure
    told = {one.name: one.validation for one in material.result.routes}
    criteria = list(dict.fromkeys(name for one in told.values() for name in one if name != RANK))
    heads = ["route", "mean rank", *map(numbers.named, criteria)]
    heads += [] if material.blind else [f"{numbers.named(figure)} on the target"]
    rows = []
    for one in sorted(found, key=lambda one: told[one.name].get(RANK, 1.0)):
        cells: list[Cell] = [(_said(one, material.result.shipped), one.name)]
        cells += [_number(told[one.name].get(name), numbers.decimal) for name in (RANK, *criteria)]
        if not material.blind:
            value = one.metrics[figure].value if figure in one.metrics else math.nan
            cells.append((numbers.figure(figure, value), value) if math.isfinite(value) else ("-", ""))
        rows.append(cells)
    return rows, heads


def _said(one: Summary, shipped: str) -> str:
    marks = one.marks(shipped)
    return numbers.short(one.name) + (f" ({marks})" if marks else "")


def agreement(material: Material) -> str:
    """How well the order of the criteria is that of the figure on the target; "" where that is not known."""
    if material.blind:
        return ""
    figure = material.result.verdict.figure
    ranks = {one.name: one.validation.get(RANK) for one in material.result.routes}
    both = [
        (-ranks[one.name], one.metrics[figure].value)  # type: ignore[operator]
        for one in summaries(material.result.routes)
        if ranks[one.name] is not None and figure in one.metrics
    ]
    if len(both) < FEWEST:
        return f"How well the criteria agreed with the labels cannot be told from {numbers.plural(len(both), 'route')}."
    found, name = rank_correlation(*zip(*both, strict=True)), numbers.named(figure)
    if found is None:
        return f"All routes are alike by the criteria or in {name}, so there is no agreement to measure."
    chosen, best = max(both, key=lambda one: one[0])[1], max(value for _, value in both)
    lost = (
        "their choice has the best figure"
        if chosen >= best
        else f"their choice has {numbers.figure(figure, chosen)}, the best route {numbers.figure(figure, best)}"
    )
    return (
        f"How well the criteria agreed with the labels: the rank correlation of mean rank and {name} is "
        f"{found:+.2f} over {numbers.plural(len(both), 'route')} (+1 is the same order, 0 none, -1 the reverse); "
        f"{lost}."
    )


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's: Pearson's correlation of the ranks, equal values sharing their mean rank; None without spread."""
    sides = [ranked(one), ranked(other)]
    return None if any(len(set(side)) < 2 for side in sides) else correlation(*sides)


def ranked(values: Sequence[float]) -> list[float]:
    """The rank of each value from 1, equal ones sharing their mean."""
    return [sum(one < value for one in values) + (values.count(value) + 1) / 2 for value in values]


def _answered(material: Material) -> list[list[Cell]]:
    """How often each class is in the source, and how often it is answered on the target; [] for other tasks."""
    if material.result.task != "classify" or not 2 <= len(material.classes) <= ANSWERS:
        return []
    counts = material.result.data.get("counts") or {}
    given = Counter(line.get("prediction", "") for line in material.lines)
    if not sum(given.values()):
        return []
    source: Counter[str] = Counter()
    for part in ("train", "validation"):
        source.update(counts.get(part) or {})
    sides = [source, given, *([Counter(counts["test"])] if "test" in counts else [])]
    return [
        [(numbers.short(name), name), *(_share(side[name], sum(side.values())) for side in sides)]
        for name in material.classes
    ]


def _share(count: int, total: int) -> Cell:
    return (numbers.percent(count / total), count / total) if total else ("-", "")
