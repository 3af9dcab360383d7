"""How far two data sets are from one another, and along which class: the whole of `sterna distance`.

All distances of the folder `distances/` are measured on the features of one encoder, each in units of the distance
between halves of the first data set (see `measuring`). Two encoders on one data set are compared by the distances of
pairs.

When not to use: to learn if a source helps, which no distance can tell, since labels may mean something else there;
only fits judged on target labels can (`sterna fit --source`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from sterna import compared, folder, measuring, spec, vantage
from sterna.compared import FAR, RECORD, Compared, Labelling
from sterna.contracts import Metric
from sterna.errors import MissingPackageError, SpecError
from sterna.measuring import Measured, Moved, Samples
from sterna.records import Columns, Table
from sterna.store import Store
from sterna.watching import Watch

__all__ = ["RECORD", "Compared", "distance"]

SEED = 0
CLASSES = 50  # classes whose distances are measured, the most frequent


def distance(
    left: str | Path,
    right: str | Path,
    *,
    encoder: str = "",
    metric: str = "",
    columns: Columns | None = None,
    out: str | Path | None = None,
    store: Store | None = None,
    watch: Watch | None = None,
) -> Compared:
    """Measure how far `right` is from `left`.

    At most 20,000 examples of each are looked at, whatever part of a split they belong to: nothing is learnt that could
    be judged on them. Labels serve `otdd`, the distance of each class, and the shares of the classes.

    Args:
        left, right: as `sterna.fit` takes its data; of one kind.
        encoder: a reference, which rows of tables and vectors do without; two, separated by a comma, are compared on
            one data set, which is then given twice.
        metric: methods of `distances/` separated by commas; all by default. Those that are slow and test nothing see
            2,000 examples a side, unless they are named.
        columns: as for `sterna.fit`.
        out: the folder of `distance.json`, `runs/LEFT_vs_RIGHT` by default.
        store, watch: as for `sterna.fit`.

    Raises `SternaError` with one sentence for anything the caller can mend.
    """
    watch, store = watch or Watch(), store or Store()
    metrics, absent = _metrics(metric)
    encoders = [one.strip() for one in encoder.split(",") if one.strip()]
    if len(encoders) > 2:
        raise SpecError(f"one encoder sees two data sets, or two see one, got {', '.join(encoders)}; type one or two.")
    seen = vantage.opened((str(left), str(right)), columns or Columns(), watch)
    place = Path(out) if out else Path("runs") / f"{Path(str(left)).stem}_vs_{Path(str(right)).stem}"
    if len(encoders) == 2:
        found = _encoders(seen, (encoders[0], encoders[1]), metrics, (store, watch))
    else:
        found = _data(seen, "".join(encoders), metrics, None if metric.strip() else measuring.SHOWN, (store, watch))
    found = replace(found, metrics=(*found.metrics, *absent), folder=str(place))
    found = replace(found, sentences=compared.said(found))
    found.save()
    return found


def _metrics(written: str) -> tuple[dict[str, Metric], tuple[Measured, ...]]:
    """Distances by how they are written, and those that no one named and whose package is not installed.

    Raises `SpecError` for unknown ones.
    """
    if not written.strip():
        made = {name: _loaded(name) for name in folder.names("distances")}
        absent = tuple(one for one in made.values() if isinstance(one, Measured))
        return {name: one for name, one in made.items() if not isinstance(one, Measured)}, absent
    found: dict[str, Metric] = {}
    for calls in spec.parse_alternatives(written):
        if len(calls) != 1:
            raise SpecError(
                f"--metric takes distances separated by commas, got a sum in '{written}'; type a comma for +."
            )
        one = folder.build("distances", calls[0])
        found.setdefault(repr(one), one)
    return found, ()


def _loaded(name: str) -> Metric | Measured:
    """A distance with its defaults, or why it cannot be had."""
    try:
        made: Metric = folder.load("distances", name)()
    except MissingPackageError as error:
        return Measured(name, "", reason=str(error))
    return made


def _data(
    seen: vantage.Seen, encoder: str, metrics: Mapping[str, Metric], most: int | None, aids: tuple[Store, Watch]
) -> Compared:
    """Two data sets as one encoder sees them."""
    tables = [vantage.drawn(one, vantage.MOST, SEED, "compared") for one in seen.tables]
    copies, same = _copies(tables[0], tables[1])
    features = vantage.features(tables, encoder, *aids, seen.names)
    labelling, labels = _labels(tables[0], tables[1])
    given = measuring.samples(features[0], features[1], labels, SEED)
    smaller = min(map(len, tables))
    tested = not same and compared.testable(copies, smaller, tables[0].items.modality == "row")
    rows = _measured(metrics, given, tested, most, aids[1])
    if same:  # a half would be held against itself in part
        rows = tuple(replace(one, within=None, across=None, times=None) for one in rows)
    moved = () if same else _moved(given, labelling, tested, aids[1])
    assert given.reduced is not None
    return Compared(
        left=seen.names[0],
        right=seen.names[1],
        n_left=len(tables[0]),
        n_right=len(tables[1]),
        encoder=encoder,
        metrics=rows,
        classes=moved,
        labelling=labelling,
        half=given.half,
        components=given.reduced[0].shape[1],
        share=given.share,
        copies=copies,
        same=same,
        notes=(*seen.notes, *_drawn(seen, tables)),
    )


def _encoders(
    seen: vantage.Seen, encoders: tuple[str, str], metrics: Mapping[str, Metric], aids: tuple[Store, Watch]
) -> Compared:
    """One data set as two encoders see it. Raises `SpecError` for two data sets."""
    if vantage.digests(seen.tables[0]) != vantage.digests(seen.tables[1]):
        raise SpecError(
            f"two encoders are compared on one data set, got {seen.names[0]} and {seen.names[1]}; give the same data "
            "twice, or one encoder."
        )
    table = vantage.drawn(seen.tables[0], vantage.MOST, SEED, "compared")
    views = [vantage.features([table], one, *aids, seen.names[:1])[0] for one in encoders]
    given = Samples(views[0], views[1], paired=True, seed=SEED)
    return Compared(
        left=encoders[0],
        right=encoders[1],
        n_left=len(table),
        n_right=len(table),
        encoder=", ".join(encoders),
        metrics=_measured(metrics, given, False, None, aids[1]),
        classes=(),
        labelling=Labelling(),
        half=0,
        components=0,
        share=1.0,
        copies=len(table),
        same=True,
        notes=(*seen.notes, *_drawn(seen, [table])),
    )


def _measured(
    metrics: Mapping[str, Metric], given: Samples, tested: bool, most: int | None, watch: Watch
) -> tuple[Measured, ...]:
    found = []
    for number, (name, metric) in enumerate(metrics.items()):
        watch.advance("distances", number, len(metrics))
        found.append(measuring.measured(name, metric, given, tested, most))
    return tuple(found)


def _copies(left: Table, right: Table) -> tuple[int, bool]:
    """How many examples of the right side are in the left, and whether both hold the same ones."""
    own, other = Counter(vantage.digests(left)), Counter(vantage.digests(right))
    return sum(count for one, count in other.items() if one in own), own == other


def _labels(left: Table, right: Table) -> tuple[Labelling, tuple[np.ndarray | None, np.ndarray | None]]:
    """What the labels say, and both in one numbering: shared classes first, then those of one side."""
    if not left.task == right.task == "classify":
        return Labelling(), (None, None)
    places = vantage.matched(left.classes, right.classes)
    shared = sorted(set(places[places >= 0].tolist()))
    order = [*shared, *(number for number in range(len(left.classes)) if number not in shared)]
    renumbered = np.argsort(order)
    beyond = np.cumsum(places < 0) - 1 + len(order)
    own, other = renumbered[left.labels], np.where(places < 0, beyond, renumbered[places])[right.labels]
    count = len(order) + int((places < 0).sum())
    counts = [np.bincount(one, minlength=count) for one in (own, other)]
    fractions = [tuple((one / one.sum())[: len(shared)].tolist()) for one in counts]
    return Labelling(
        shared=tuple(left.classes[number] for number in shared),
        left_only=tuple(left.classes[number] for number in order[len(shared) :]),
        right_only=tuple(name for name, place in zip(right.classes, places, strict=True) if place < 0),
        left_shares=fractions[0],
        right_shares=fractions[1],
        p=measuring.shares(counts[0], counts[1], SEED) if shared else None,
    ), (own, other)


def _moved(given: Samples, labelling: Labelling, tested: bool, watch: Watch) -> tuple[Moved, ...]:
    """How far each class has moved. Enough permutations are drawn for one class to be told among all of them."""
    names = labelling.shared
    if not names:
        return ()
    watch.advance("classes", 0, len(names))
    draws = max(499, 100 * min(len(names), CLASSES)) if tested else 0
    (metric,) = folder.resolve("distances", f"{FAR}(permutations={draws}, limit={measuring.HALF})")
    return measuring.classes(given, names, metric, CLASSES)


def _drawn(seen: vantage.Seen, tables: list[Table]) -> list[str]:
    return [
        f"Of {name}, {len(part):,} of {len(whole):,} examples are looked at, drawn at random."
        for name, whole, part in zip(seen.names, seen.tables, tables, strict=False)
        if len(part) < len(whole)
    ]
