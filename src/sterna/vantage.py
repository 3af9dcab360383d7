"""Several data sets seen alike: opened, brought to the columns that all have, and turned into features by one encoder.

Rows of tables need no encoder. Numbers are standardised and categories become indicators by the statistics of the first
data set; a cell that is missing becomes its median, and where any data set lacks cells of a column, an indicator says
which: that a hospital does not measure something sets it apart. Vectors are features already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from sterna import appraisal, desk, intake, rows
from sterna.errors import DataError, SpecError
from sterna.maths.samples import thinned
from sterna.records import Columns, Loaded, Table
from sterna.rows import RowPreparation
from sterna.settings import Settings
from sterna.store import Store
from sterna.watching import Watch

MOST = 20_000  # examples of one data set that are looked at; more would tell apart what hardly differs
PLAIN = ("row", "vector")  # kinds of data that need no encoder


@dataclass(frozen=True)
class Seen:
    """Data sets that can be compared item by item."""

    names: tuple[str, ...]  # short, each its own where the data sets are others
    loaded: tuple[Loaded, ...]  # with the columns that all have
    notes: tuple[str, ...]  # what was left out, in sentences

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(one.table for one in self.loaded)


def opened(references: Sequence[str], columns: Columns, watch: Watch) -> Seen:
    """The data sets behind what a person typed; the same words are opened once.

    Raises `DataError` where they hold other kinds of items, tags of words, or tables without a column in common.
    """
    once = {
        name: intake.opened(intake.Sides(name), columns, Settings(), watch)[0] for name in dict.fromkeys(references)
    }
    loaded = [once[name] for name in references]
    first = loaded[0].table
    for reference, one in zip(references, loaded, strict=True):
        if one.table.items.modality != first.items.modality:
            raise DataError(
                f"only data of one kind can be compared, and {references[0]} holds {first.items.modality} items where "
                f"{reference} holds {one.table.items.modality} items; give data sets of one kind."
            )
        if one.table.task == "tag":
            raise DataError(
                f"{reference} has a tag for each word, and whole items are compared; give data sets with one label an "
                "item."
            )
    loaded, notes = _common(references, loaded)
    return Seen(_named(references), tuple(loaded), tuple(notes))


def features(
    tables: Sequence[Table], encoder: str, store: Store, watch: Watch, names: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """(n_i, d) float32 of each table, as one encoder sees it, with statistics of the first where it has any.

    Args:
        tables: of one kind of items.
        encoder: as typed; "" for rows and vectors.
        store: of activations.
        watch: whom to tell.
        names: of the tables.

    Raises `SpecError` for other kinds of items without an encoder, `DataError` for vectors of other lengths.
    """
    kind = tables[0].items.modality
    if not encoder and kind not in PLAIN:
        raise SpecError(
            f"{kind} data are compared as an encoder sees them, got no encoder; type --encoder ORIGIN:NAME."
        )
    if not encoder:
        return _of_rows(tables) if kind == "row" else _of_vectors(tables, names)
    opened = appraisal.opened(encoder, tables[0])
    shown = [partial(watch.advance, f"features of {name}") for name in names]
    return tuple(desk.features(opened, table, store, show).numpy() for table, show in zip(tables, shown, strict=True))


def drawn(table: Table, most: int, *seed: int | str) -> Table:
    """At most so many of its examples, drawn at random."""
    return table if len(table) <= most else table.take(thinned(len(table), most, *seed))


def digests(table: Table) -> list[str]:
    """Of each example, the digest of its bytes."""
    return [table.items.digest(int(row)) for row in table.rows]


def matched(classes: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """(k,) for each of `others` the number of the class of the same name, -1 for none; case and blanks do not count."""
    places = {name.strip().casefold(): number for number, name in enumerate(classes)}
    return np.array([places.get(name.strip().casefold(), -1) for name in others], dtype=np.int64)


def _named(references: Sequence[str]) -> tuple[str, ...]:
    """Names of files and folders, or all that was typed where two are called the same."""
    short = [Path(one).stem or one for one in references]
    alike = len(set(short)) < len(set(references))
    return tuple(references) if alike else tuple(short)


def _common(references: Sequence[str], loaded: list[Loaded]) -> tuple[list[Loaded], list[str]]:
    """Tables with the columns that all of them have, in the order and of the kinds of the first."""
    first = loaded[0].table.items
    if first.modality != "row":
        return loaded, []
    owned = [{column.name: column for column in one.table.items.columns} for one in loaded]  # type: ignore[attr-defined]
    shared = [column for name, column in owned[0].items() if all(name in one for one in owned)]
    if not shared:
        raise DataError(
            f"{' and '.join(dict.fromkeys(references))} have no column in common: the first has "
            f"{', '.join(list(owned[0])[:6])}, another {', '.join(list(owned[-1])[:6])}; rename columns to agree."
        )
    absent = sorted({name for one in owned for name in one} - {column.name for column in shared})
    told = (
        f"Compared are the {len(shared)} columns that all tables have, without {', '.join(absent[:6])}"
        f"{' and more' if len(absent) > 6 else ''} (absent from one, or the same everywhere in it)."
    )
    made = {
        id(one): replace(one, table=replace(one.table, items=one.table.items.aligned(shared)))  # type: ignore[attr-defined]
        for one in loaded
    }
    return [made[id(one)] for one in loaded], [told] if absent else []


def _of_rows(tables: Sequence[Table]) -> tuple[np.ndarray, ...]:
    held = [[table.items.read(int(row), 0) for row in table.rows] for table in tables]
    known = rows.learnt(held[0], tables[0].items.columns)  # type: ignore[attr-defined]
    gaps = [any(row[place] is None for part in held for row in part) for place in range(len(known.statistics))]
    made = RowPreparation(tuple(replace(one, gaps=gap) for one, gap in zip(known.statistics, gaps, strict=True)))
    return tuple(made.frames(part) for part in held)


def _of_vectors(tables: Sequence[Table], names: Sequence[str]) -> tuple[np.ndarray, ...]:
    found = tuple(np.stack([table.items.read(int(row), 0) for row in table.rows]) for table in tables)
    for name, one in zip(names, found, strict=True):
        if one.shape[1] != found[0].shape[1]:
            raise DataError(
                f"vectors of one length can be compared, and {names[0]} has {found[0].shape[1]} numbers where {name} "
                f"has {one.shape[1]}; give features of one encoder."
            )
    return found
