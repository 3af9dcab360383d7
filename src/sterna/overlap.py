"""How source and target of an adaptation lie to one another, before and after it: what the page of a run shows of them.

Both maps and all distances are of the same examples, a few hundred a side, which the criteria have looked at too: held
out of the source, and the target's. Before are the features of the frozen encoder, or standardised columns; after are
those that the head of the route reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sterna import folder, measuring, stagewise
from sterna.crossing import Sight
from sterna.errors import DataError
from sterna.evidence import Adapting, Page, short
from sterna.gallery import Part
from sterna.maths.samples import thinned
from sterna.planar import planar
from sterna.records import Encoder

DISTANCES = ("mmd", "energy", "a_distance")  # of kernels, of pairs, of a classifier: three ways to be apart
UNSEEN = 100  # examples a side where none of their frozen features are stored
FEWEST = 3  # points of a map

Sides = tuple[np.ndarray, np.ndarray]


def show(page: Page, given: Adapting) -> None:
    """Enter the map and the distances of both domains; what cannot be made is said."""
    page.made["domains"] = {"route": given.route, "map": None, "distances": []}
    if given.sight is None:
        page.note("domains", f"There is no map, since no features of {given.route} were kept.")
        return
    sight, before = _before(page, given.sight, given.encoder)
    if before is None:
        page.note("domains", "There is no map, since the features are not those of one encoder.")
        return
    after: Sides | None = (sight.source, sight.target)
    if all(np.array_equal(one, other) for one, other in zip(before, (sight.source, sight.target), strict=True)):
        after = None
        page.note(
            "domains",
            f"{given.route} moves no features: it weighs examples or answers by itself, so there is no other map after "
            "it.",
        )
    _map(page, sight, before, after)
    page.made["domains"]["distances"] = _distances(page, before, after)


def _before(page: Page, sight: Sight, encoder: Encoder | None) -> tuple[Sight, Sides | None]:
    """The features before adaptation, and what is kept where these cost too much for all examples."""
    run = page.run
    if sight.before is not None or encoder is None:
        return sight, sight.before
    rows = np.concatenate(sight.rows)
    given = stagewise.source(run.store, encoder, run.table.items, rows, encoder.network.depth)
    if given.cut == 0:
        few = [thinned(len(one), UNSEEN, run.split.seed, "unseen") for one in sight.rows]
        left, right = (one[place] for one, place in zip(sight.rows, few, strict=True))
        sight, rows = Sight(sight.source[few[0]], sight.target[few[1]], (left, right)), np.concatenate([left, right])
    found = stagewise.features(encoder.network, given, rows)
    return sight, (found[: len(sight.source)], found[len(sight.source) :])


def _map(page: Page, sight: Sight, before: Sides, after: Sides | None) -> None:
    """Points of both domains, and the examples that they stand for."""
    first, second = np.concatenate(before), None if after is None else np.concatenate(after)
    whole = np.isfinite(first).all(axis=1)
    if second is not None:
        whole &= np.isfinite(second).all(axis=1)
    if int(whole.sum()) < FEWEST:
        page.note("domains", "There is no map of fewer than three examples.")
        return
    drawn = planar(first[whole], second[whole] if second is not None else None)
    chosen = [one for one, kept in zip(_numbered(page, sight), whole, strict=True) if kept]
    page.drawn = [number for number, _ in chosen]
    entries = [page.gallery.entries[number] for number in page.drawn]
    made = {
        "method": drawn.method,
        "before": _points(drawn.before),
        "after": _points(drawn.after) if drawn.after is not None else None,
        "items": page.drawn,
        "labels": [-1 if one["label"] is None else one["label"] for one in entries],
        "parts": ["test" if target else "source" for _, target in chosen],
    }
    if page.run.table.task == "regress":
        values = _values(page)
        rows = np.concatenate(sight.rows)[whole].tolist()
        made["values"] = [values.get(row) for row in rows]
    page.made["domains"]["map"] = made


def _numbered(page: Page, sight: Sight) -> list[tuple[int, bool]]:
    """The number of each example on the page, and whether it is one of the target."""
    items, found = page.run.table.items, []
    known = {
        int(row): int(label)
        for name in ("test", "validation", "train")
        for row, label in zip(page.parts[name].rows, page.parts[name].labels, strict=True)
    }
    for name, rows in zip(("validation", "test"), sight.rows, strict=True):
        part = Part(name, items, rows, np.array([known.get(int(row), -1) for row in rows], dtype=np.int64))
        found += [(page.gallery.number(part, place), name == "test") for place in range(len(rows))]
    return found


def _values(page: Page) -> dict[int, float]:
    """The first number to be predicted of each example, by its row; without those that are not known."""
    run = page.run
    sides = [(rows, run.table.labels[rows]) for rows in (run.split.validation, run.split.train)]
    if not run.blind:
        sides.append((run.split.test, run.truth))
    return {
        int(run.table.rows[place]): short(value[0])
        for places, labels in sides
        for place, value in zip(places, labels.reshape(len(places), -1), strict=True)
    }


def _distances(page: Page, before: Sides, after: Sides | None) -> list[dict[str, Any]]:
    """Each distance with its value and its size in distances of halves of the source, before and after."""
    found = []
    sides = {"before": before, **({"after": after} if after is not None else {})}
    for name in DISTANCES:
        (metric,) = folder.resolve("distances", name)
        entry: dict[str, Any] = {"name": name, "scale": metric.scale, "before": None, "after": None}
        for when, (source, target) in sides.items():
            try:
                given = measuring.samples(source, target, seed=page.run.split.seed)
            except DataError as error:
                page.note("domains", f"Distances are left out: {error}")
                return []
            one = measuring.measured(name, metric, given, tested=False)
            if one.value is not None and one.times is not None:
                entry[when] = [short(one.value), short(one.times)]
        found.append(entry)
    return [one for one in found if one["before"]]


def _points(places: Sequence[Sequence[float]] | np.ndarray) -> list[list[float]]:
    made: list[list[float]] = np.round(places, 4).tolist()
    return made
