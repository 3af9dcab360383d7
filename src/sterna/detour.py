"""The way from a source to a target by other data sets, and whether it pays: the whole of `sterna route`.

Half of the target's examples are held out; the others are seen without their labels. See `stepping` for how the way is
found and gone, and for when not to.

The cost of a hop is the energy distance by default, which has no upper bound and so still sees which of two far data
sets is nearer. The proxy A-distance, with which the error of a head that is carried over grows (Ben-David et al. 2006),
is 2 for any two that can be told apart without error, as most real ones can: along clouds that turn by 120 degrees in
steps it found no way where energy found the right one. All data sets are thinned to the same number of examples first,
since the cost depends on it.

When not to use: where target labels can be had for training, which are worth more than any way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna import files, folder, measuring, mixing, spec, splitting, stepping, vantage
from sterna.contracts import Metric, Sides
from sterna.errors import DataError, SpecError
from sterna.maths.samples import thinned
from sterna.records import Columns, Labels, Loaded, Table
from sterna.stepping import Domain, Travelled, Way
from sterna.store import Store
from sterna.watching import Watch

RECORD = "route.json"
METRIC = "energy"
MOST = 10_000  # examples of a data set
COMPARED = 2000  # of them, by which costs are measured
BOUNDED, BLIND = "a_distance", 1.8  # of 2: a proxy A-distance beyond it is an error rate below 5 %
HELD = 0.5  # share of the target: no label of it is learnt from, so all that is not needed to adapt is to judge by
SEED = 0


@dataclass(frozen=True)
class Detour:
    """Prints as a table of costs with the way and what it is worth below."""

    names: tuple[str, ...]  # the source first, the target last
    sizes: tuple[int, ...]  # examples of each that are learnt from
    labelled: tuple[bool, ...]  # whether with their labels
    costs: tuple[tuple[float, ...], ...]  # between every two
    metric: str
    encoder: str
    way: Way
    travelled: Travelled
    notes: tuple[str, ...]
    folder: str = field(default="", compare=False)

    def __str__(self) -> str:
        lines = [["", *self.names, "examples", "labels"]]
        for name, row, size, labelled in zip(self.names, self.costs, self.sizes, self.labelled, strict=True):
            lines.append([name, *(f"{cost:.3g}" for cost in row), f"{size:,}", "known" if labelled else "not used"])
        widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        hops = f"Way: {' -> '.join(self.way.stops)}, hops {', '.join(f'{hop:.3g}' for hop in self.way.hops)}"
        said = [f"{hops} by {self.metric}."]
        said += [self.way.sentence] if self.way.by_others else []
        return "\n".join([*table, "", *said, self.travelled.sentence, *self.notes])

    def as_json(self) -> dict[str, Any]:
        """The contents of `route.json`."""
        kept = {key: value for key, value in asdict(self).items() if key != "folder"}
        kept["travelled"].pop("way")
        return kept

    def save(self) -> None:
        """Write `route.json`, whole or not at all."""
        files.write_json(Path(self.folder) / RECORD, self.as_json())


def way(
    stops: Sequence[str | Path],
    *,
    encoder: str = "",
    metric: str = METRIC,
    in_order: bool = False,
    columns: Columns | None = None,
    out: str | Path | None = None,
    store: Store | None = None,
    watch: Watch | None = None,
) -> Detour:
    """Find the way from a source to a target by other data sets, and measure what it is worth on the target.

    Args:
        stops: the source first, with labels; the target last, whose labels are those of the source; between them the
            data sets that the way may go by. Of these, one whose classes are all the source's is learnt from with its
            labels, any other without.
        encoder: a reference; rows of tables and vectors do without.
        metric: of `distances/`, the cost of a hop.
        in_order: go by all of them in the order given, without asking distances.
        columns: as for `sterna.fit`.
        out: the folder of `route.json`, `runs/SOURCE_to_TARGET` by default.
        store, watch: as for `sterna.fit`.

    Raises `SternaError` with one sentence for anything the caller can mend.
    """
    watch, store, written = watch or Watch(), store or Store(), [str(one) for one in stops]
    cost, name = _metric(metric)
    if len(written) < 3:
        raise SpecError(
            f"a way goes from a source to a target by others, got {len(written)} data sets; type --via A,B,C."
        )
    seen = vantage.opened(written, columns or Columns(), watch)
    asked = _asked(seen)
    features = vantage.features(asked.tables, encoder, store, watch, (*seen.names, "the held-out part"))
    domains = [
        Domain(title, one, labels) for title, one, labels in zip(seen.names, features, asked.labels, strict=False)
    ]
    costs, between = _costs(domains, cost, name, watch)
    search = stepping.given if in_order else stepping.find
    found = search(domains[0], domains[-1], domains[1:-1], between)
    moved, held, head = stepping.on_coordinates(domains, features[-1], asked.classes)
    travelled = stepping.travel(found, moved, held, asked.held, head, SEED)
    made = Detour(
        names=seen.names,
        sizes=tuple(len(one.features) for one in domains),
        labelled=tuple(len(one.labels) > 0 for one in domains),
        costs=tuple(tuple(row) for row in costs.tolist()),
        metric=name,
        encoder=encoder,
        way=found,
        travelled=travelled,
        notes=(*seen.notes, *asked.notes, *_blind(costs, cost)),
        folder=str(Path(out) if out else Path("runs") / f"{Path(written[0]).stem}_to_{Path(written[-1]).stem}"),
    )
    made.save()
    return made


def _metric(written: str) -> tuple[Metric, str]:
    """The distance that hops cost. Raises `SpecError` for several, and for one that does not compare features."""
    made = folder.resolve("distances", written)
    if len(made) != 1:
        raise SpecError(f"a hop has one cost, got {len(made)} distances in '{written}'; type one with --metric.")
    if made[0].needs != "features":
        raise SpecError(
            f"the cost of a hop compares features, and {made[0]!r} needs {made[0].needs}; type --metric {METRIC}."
        )
    return made[0], repr(made[0])


def _blind(costs: np.ndarray, metric: Metric) -> list[str]:
    """What is said where a cost with an upper bound has reached it everywhere, so that near and far look alike."""
    between = costs[~np.eye(len(costs), dtype=bool)]
    if spec.name_of(type(metric)) != BOUNDED or between.min() < BLIND:
        return []
    return [
        f"Any two of these data sets can be told apart almost without error, so {BOUNDED} cannot see which lie "
        "between; leave --metric out, or type --in-order where the order is known."
    ]


@dataclass(frozen=True)
class _Asked:
    """What is learnt from and what is judged."""

    tables: tuple[Table, ...]  # of each domain, and the held-out part of the target behind them
    labels: tuple[Labels, ...]  # of each domain, in the target's numbers; (0,) where not used
    held: Labels  # of the held-out part
    classes: int
    notes: tuple[str, ...]


def _asked(seen: vantage.Seen) -> _Asked:
    """Raises `DataError` where source and target do not share at least two classes."""
    source, target = seen.tables[0], seen.tables[-1]
    for title, one in ((seen.names[0], source), (seen.names[-1], target)):
        if one.task != "classify":
            raise DataError(
                f"a way is judged by classes, and {title} has labels for {one.task}; give data labelled for classify."
            )
    kept, labels = mixing.usable(source, target)
    known = np.unique(labels)
    if len(known) < 2:
        raise DataError(
            f"{seen.names[0]} and {seen.names[-1]} share the class {target.classes[known[0]]} only, and two are needed "
            "to tell apart; rename classes to agree."
        )
    aside, held, told = _held(seen.loaded[-1], known)
    tables, numbers = [source.take(kept)], [labels]
    for one in seen.tables[1:-1]:
        part, own = _stop(one, target, known)
        tables.append(part)
        numbers.append(own)
    chosen = [thinned(len(one), MOST, SEED, "detour") for one in tables]
    tables = [one.take(rows) for one, rows in zip(tables, chosen, strict=True)]
    numbers = [one[rows] if len(one) else one for one, rows in zip(numbers, chosen, strict=True)]
    unknown = np.zeros(0, dtype=np.int64)
    return _Asked(
        tables=(*tables, vantage.drawn(aside, MOST, SEED, "detour"), replace(held, labels=unknown)),
        labels=(*numbers, unknown),
        held=held.labels,
        classes=len(target.classes),
        notes=tuple(told),
    )


def _stop(stop: Table, target: Table, known: np.ndarray) -> tuple[Table, Labels]:
    """A stop with its labels where its classes are all the source's, else without."""
    nothing = np.zeros(0, dtype=np.int64)
    bare = replace(stop, labels=nothing)
    if stop.task != "classify":
        return bare, nothing
    places = vantage.matched(target.classes, stop.classes)
    return (stop, places[stop.labels]) if np.isin(places, known).all() else (bare, nothing)


def _held(loaded: Loaded, known: np.ndarray) -> tuple[Table, Table, list[str]]:
    """The target's examples to adapt to, without labels, and those to judge by, of classes that the source has."""
    split = splitting.split(loaded, seed=SEED, test=HELD, validation=0.0)
    table = loaded.table
    rows = np.union1d(split.train, split.validation)
    judged = split.test[np.isin(table.labels[split.test], known)]
    left = len(split.test) - len(judged)
    told = [f"{left:,} held-out target examples of classes that the source lacks are not judged."] if left else []
    return replace(table.take(rows), labels=np.zeros(0, dtype=np.int64)), table.take(judged), told


def _costs(domains: Sequence[Domain], metric: Metric, name: str, watch: Watch) -> tuple[np.ndarray, stepping.Cost]:
    """(k, k) between every two domains, and the same as a function of their features, measured once.

    Raises `DataError` as the metric does.
    """
    count = min(COMPARED, *(len(one.features) for one in domains))
    thin = [one.features[thinned(len(one.features), count, SEED, one.name)] for one in domains]
    views = measuring.principal(thin, SEED)[0] if metric.reduced else thin
    watch.say(f"Costs are {name} on {count:,} examples of each ({metric.scale}).")
    places = {id(one.features): place for place, one in enumerate(domains)}
    known: dict[tuple[int, int], float] = {}

    def cost(one: np.ndarray, other: np.ndarray) -> float:
        pair = min(places[id(one)], places[id(other)]), max(places[id(one)], places[id(other)])
        if pair not in known:
            left, right = (views[place].astype(float) for place in pair)
            known[pair] = max(float(metric.measure(Sides(left, right, SEED, tested=False)).value), 0.0)
            watch.advance("costs", len(known), len(domains) * (len(domains) - 1) // 2)
        return known[pair]

    return stepping.costs(domains, cost), cost
