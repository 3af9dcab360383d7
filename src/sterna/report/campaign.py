"""`study.html`: routes on several data sets as one page, in the style of the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sterna import files
from sterna.contest import ANSWERS, RECORD, Cell, Contest, Entry, Pair, Place
from sterna.outcomes import Score
from sterna.report import TEMPLATES, numbers, policy
from sterna.report.drawing import Chart, Scale, Tick

PAGE = "study.html"
RUN_PAGE = "report.html"
WORDS = {"helps": "better", "equivalent": "no different", "undecided": "cannot tell", "hurts": "worse"}


def write(found: Contest) -> Path:
    """Write `study.html` into the folder of a study and return where it lies."""
    place = Path(found.folder) / PAGE
    files.write_text(place, render(found))
    return place


def render(found: Contest) -> str:
    """The page of a study, as HTML; it loads nothing, and its links lead to the pages of the runs beside it."""
    inline = {name: TEMPLATES.get_template(name).render() for name in ("page.css", "page.js")}
    routes = [*(one.route for one in found.places), *(name for name, _ in found.absent)]
    return TEMPLATES.get_template("campaign.html").render(
        it=found,
        title=_title(found),
        facts=_facts(found),
        chart=_chart(found.places) if len(found.places) > 1 else None,
        routes=[(one, numbers.short(one, 24)) for one in routes],
        figures=[_figures(one, routes) for one in found.data],
        places=[_place(one, len(found.data)) for one in found.places],
        pairs=[_pair(one) for one in found.pairs],
        floors=[_against(one, cell) for one in found.data for cell in one.cells if cell.against],
        counts=[_counted(one) for one in found.places],
        versions=[(str(key), str(value)) for key, value in found.environment.items()],
        record=RECORD,
        words=WORDS,
        policy=policy(inline["page.css"], inline["page.js"]),
        numbers=numbers,
    )


def _title(found: Contest) -> str:
    if len(found.places) < 2:
        return "Nothing to rank"
    best = numbers.short(found.places[0].route, 40)
    return f"{best} is best" if found.answer == "best" else "Cannot tell which route is best"


def _facts(found: Contest) -> list[tuple[str, str]]:
    seeds = sorted({len(cell.seeds) for one in found.data for cell in one.cells})
    told = [
        ("data sets", numbers.listed([one.name for one in found.data], 20)),
        ("routes", numbers.listed(list(found.routes), 20)),
        ("seeds", " to ".join(map(str, dict.fromkeys([seeds[0], seeds[-1]]))) if seeds else "-"),
    ]
    if found.p is None:
        return told
    p = numbers.probability(found.p)
    return [*told, ("Friedman's test", f"p {p}" if p.startswith("<") else f"p = {p}")]


def _chart(places: tuple[Place, ...]) -> Chart:
    """One row a route: its mean rank with the interval over data sets, 1 at the left."""
    most = len(places)
    scale = Scale(0.9, most + 0.1, 10, 330)
    bottom = 34 * most + 6
    label = "; ".join(f"{one.route}: mean rank {one.mean_rank:.2f}, {one.low:.2f} to {one.high:.2f}" for one in places)
    stride = -(-most // 10)
    ticks = [Tick(round(scale.at(at), 1), str(at)) for at in range(1, most + 1, stride)]
    chart = Chart(label, bottom + 34, (10, 4, 330, bottom), x=ticks, x_name="mean rank, 1 is best")
    for place, one in enumerate(places):
        top, y = 34 * place, 34 * place + 26
        chart.text(10, top + 15, numbers.short(one.route, 42), "name")
        chart.text(330, top + 15, f"{one.mean_rank:.2f}", "value", "end")
        chart.segment(scale.at(one.low), y, scale.at(one.high), y, "interval transfer")
        title = f"{one.route}: mean rank {one.mean_rank:.2f}, 95 % interval {one.low:.2f} to {one.high:.2f}"
        chart.dot(scale.at(one.mean_rank), y, 5, "transfer", title)
    return chart


def _figures(entry: Entry, routes: list[str]) -> dict[str, Any]:
    """A row of the table of figures."""
    sign = 1 if entry.higher else -1
    best = max((sign * one.score.value for one in entry.cells), default=0.0)
    cells = []
    for name in routes:
        one = entry.cell(name)
        cells.append({**_score(entry, one.score), "best": sign * one.score.value == best} if one else None)
    return {
        "name": entry.name,
        "figure": numbers.named(entry.figure),
        "n": entry.n,
        "cells": cells,
        "floor": {**_score(entry, entry.floor_score), "name": entry.floor} if entry.floor_score else None,
        "runs": [(_address(where), numbers.listed(list(names), 4)) for where, names in entry.runs.items()],
    }


def _address(where: str) -> str:
    """The page of a run, from the page of the study: slugs need no quoting, as `keeping.slug` makes them."""
    return f"{where}/{RUN_PAGE}"


def _score(entry: Entry, score: Score) -> dict[str, Any]:
    ends = " to ".join(numbers.figure(entry.figure, end).removesuffix(" %") for end in (score.low, score.high))
    return {"text": numbers.figure(entry.figure, score.value), "value": score.value, "ends": ends}


def _place(one: Place, count: int) -> list[tuple[str, Any]]:
    return [
        (one.route, one.route),
        (f"{one.mean_rank:.2f}", one.mean_rank),
        (f"{one.low:.2f} to {one.high:.2f}", one.low),
        (f"{one.best_on} of {count}", one.best_on),
        (f"{100 * one.regret:.1f}", one.regret),
        (f"{100 * one.worst:.1f}", one.worst),
        (one.worst_on if one.worst else "-", one.worst_on),
    ]


def _pair(one: Pair) -> list[tuple[str, Any]]:
    return [
        (f"{one.first} against {one.second}", one.first),
        (numbers.points(one.ahead), one.ahead),
        (numbers.probability(one.p), one.p),
        (numbers.probability(one.adjusted), one.adjusted),
    ]


def _counted(one: Place) -> list[tuple[str, Any]]:
    return [(one.route, one.route), *((str(one.answers[answer]), one.answers[answer]) for answer in ANSWERS)]


def _against(entry: Entry, cell: Cell) -> list[tuple[str, Any]]:
    said = cell.against
    assert said is not None
    return [
        (entry.name, entry.name),
        (cell.route, cell.route),
        (said.floor, said.floor),
        (WORDS[said.answer], said.answer),
        (numbers.points(said.gain), said.gain),
        (numbers.points_between(said.low, said.high), said.low),
    ]
