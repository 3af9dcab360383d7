"""Tables of numbers and categories: CSV, TSV, JSON lines or Parquet -> a checked table of rows.

A folder of tables with the same columns is one table: files called train, validation and test are its parts, others
its domains (four hospitals, say). Columns are numbers, dates or categories by what is in their cells; `?`, NA, NaN and
nothing are missing. Columns that name rows, count them or never change are left out. When not to use: running text in
cells, which is a table of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sterna import checks, columnwise, delimited, dialects, peeking, spec
from sterna.data import _typing
from sterna.errors import DataError
from sterna.maths import parsing, phash
from sterna.records import Column, Columns, Finding, Items, Loaded, Table
from sterna.rows import RowItems, Words, words

GATHERS = "row"  # the modality of the loose tables that `gather` takes

LABELS = ("label", "labels", "target", "class", "y")  # usual names; else the last column is the label

Progress = Callable[[int, int], None]
_ANY = Columns()


def claims(reference: str, columns: Columns) -> bool:
    """A table without images, recordings or running text in it, or a folder of such tables."""
    return peeking.kind(reference, columns) == "tabular"


def load(
    reference: str, *, columns: Columns = _ANY, workers: int | None = None, progress: Progress | None = None
) -> Loaded:
    """Read and check a table.

    Args:
        reference: a file, or a folder of files with the same columns.
        columns: which columns mean what; what is not said is found by looking, and stated.
        workers: not used: there is nothing to decode.
        progress: called with how many bytes of a file are read, of how many.

    Raises `DataError` for a path that does not exist, for columns that are not there, for labels that cannot be
    learnt, and for a table without a column to learn from.
    """
    read = _read(_tables(reference), progress)
    roles, said = _roles(read, columns)
    labelled = columnwise.encode([read.column(name) for name in roles.label], roles.label, columns.task, read.called())
    read = replace(read, rows=labelled.rows)
    features = [name for name in read.names if name not in roles.taken]
    typed = [_typing.typed(name, read.column(name), read.files, _identifying(name)) for name in features]
    items = RowItems(
        [column for one in typed for column in one.columns],
        [values for one in typed for values in one.values],
        read.numbers,
        read.prefixes,
        {name: words(read.column(name)) for name, one in zip(features, typed, strict=True) if not one.columns},
    )
    findings = [
        *(one for raw in read.raws for one in raw.findings),
        *said,
        *labelled.findings,
        *_typing.findings(typed, labelled.labels, labelled.task),
    ]
    if not items.columns:
        raise DataError(
            f"{reference} has no column to learn from besides {', '.join(roles.label)}; "
            f"{findings[-1].sentence if typed else 'add some.'}"
        )
    table = Table(items, np.arange(len(items)), labelled.labels, labelled.classes, labelled.task)
    return _checked(table, read, roles, findings, reference)


def gather(given: Sequence[str], modality: str = GATHERS, columns: Columns = _ANY) -> tuple[Items, tuple[str, ...]]:
    """Tables of new rows -> items whose columns are all words, until `RowItems.aligned` reads them as a model needs.

    Raises `DataError` for a path that does not exist, and for several tables whose columns differ.
    """
    read = _read([path for one in given for path in _tables(one)], None)
    every = [Column(name, "category") for name in read.names]
    return RowItems(every, [words(read.column(name)) for name in read.names], read.numbers, read.prefixes), ()


@dataclass(frozen=True)
class _Read:
    """One or several files as one table of text. Columns are unpacked one at a time, so that memory stays flat."""

    raws: tuple[delimited.Raw, ...]
    stems: tuple[str, ...]  # of the files
    rows: np.ndarray  # (n,) the rows that are used

    @property
    def names(self) -> tuple[str, ...]:
        return self.raws[0].names

    @property
    def numbers(self) -> np.ndarray:
        """(n,) of each row in its file, from 1."""
        return np.concatenate([raw.rows for raw in self.raws])[self.rows]

    @property
    def files(self) -> np.ndarray:
        """(n,) which file a row comes from, ascending."""
        return np.repeat(np.arange(len(self.raws)), [len(raw) for raw in self.raws])[self.rows]

    @property
    def prefixes(self) -> Words | None:
        """What stands before the number of a row where there are several files."""
        return Words(self.files.astype(np.int32), self.stems) if len(self.stems) > 1 else None

    def column(self, name: str) -> list[str | None]:
        cells = [cell for raw in self.raws for cell in raw.columns[name]]
        return cells if len(cells) == len(self.rows) else [cells[row] for row in self.rows.tolist()]

    def called(self) -> list[str]:
        return _called(RowItems((), (), self.numbers, self.prefixes))


@dataclass(frozen=True)
class _Roles:
    label: tuple[str, ...]
    group: str = ""
    part: str = ""
    domain: str = ""

    @property
    def taken(self) -> set[str]:
        return {*self.label, self.group, self.part, self.domain}


def _tables(reference: str) -> list[Path]:
    place = Path(reference).expanduser()
    if not place.exists():
        raise checks.no_such_path(place)
    if not place.is_dir():
        return [place]
    found = sorted(path for path in place.iterdir() if delimited.suffix(path) in delimited.TABLES)
    if not found:
        raise DataError(
            f"{place} holds no tables; give a table, or a folder of tables ({', '.join(delimited.TABLES)})."
        )
    return found


def _read(places: Sequence[Path], progress: Progress | None) -> _Read:
    raws = [delimited.read(place, progress) for place in places]
    first = raws[0]
    for place, raw in zip(places, raws, strict=True):
        odd = sorted(set(raw.names) ^ set(first.names))
        if odd:
            raise DataError(
                f"{place.name} and {places[0].name} differ in columns ({checks.some(odd)}), and files of one data set "
                "must have the same; give one of them, or rename and add columns."
            )
    count = sum(len(raw) for raw in raws)
    if not count:
        raise DataError(f"{places[0]} has column names and no rows; add a line for each example.")
    return _Read(tuple(raws), tuple(place.name.split(".")[0] for place in places), np.arange(count))


def _roles(read: _Read, columns: Columns) -> tuple[_Roles, list[Finding]]:
    """Which column is what: as the person said, else as it is usually called; and what was guessed."""
    for option, names in (("label", columns.label), ("group", (columns.group,)), ("domain", (columns.domain,))):
        for name in filter(None, names):
            if name not in read.names:
                hint = spec.did_you_mean(name, read.names)
                raise DataError(
                    f"there is no column '{name}' for --{option}.{hint} The columns are {checks.some(read.names, 12)}."
                )
    part = next((name for name in _usual(read, "part") if _divides(read.column(name))), "")
    group = columns.group or next((name for name in _usual(read, "group") if _repeats(read.column(name))), "")
    label = columns.label or _label(read, {part, group, columns.domain})
    said = [
        f"{what} from column '{name}'"
        for what, name, given in (
            ("label", label[0], columns.label),
            ("parts", part, ()),
            ("groups", group, columns.group),
        )
        if name and not given
    ]
    found = (
        [
            Finding(
                "inferred",
                f"the table is read with {', '.join(said)}; type --label NAME or --group NAME if that is wrong.",
            )
        ]
        if said
        else []
    )
    return _Roles(tuple(label), group, part, columns.domain), found


def _usual(read: _Read, role: str) -> list[str]:
    return [name for name in read.names if dialects.plain(name) in dialects.USUAL[role]]


def _identifying(name: str) -> bool:
    plain = dialects.plain(name)
    return plain in dialects.USUAL["id"] or plain.endswith(("_id", "_no", "_nr")) or name.endswith(("Id", "ID"))


def _divides(cells: Sequence[str | None]) -> bool:
    """Whether a column says train, validation or test."""
    said = {(cell or "").strip().casefold() for cell in cells}
    return "train" in {checks.PART_NAMES.get(one, "") for one in said} and said <= {"", *checks.PART_NAMES}


def _repeats(cells: Sequence[str | None]) -> bool:
    """Whether a column tells groups of a few rows each; a handful of large ones is something to learn from."""
    different = len(set(cells))
    return max(20, len(cells) / 50) <= different < len(cells)


def _label(read: _Read, taken: set[str]) -> tuple[str, ...]:
    free = [name for name in read.names if name not in taken]
    usual = [name for wanted in LABELS for name in free if dialects.plain(name) == wanted]
    if not usual and not free:
        raise DataError(f"no column is left for the label; the columns are {', '.join(read.names)}.")
    return (usual[0] if usual else free[-1],)


def _checked(table: Table, read: _Read, roles: _Roles, findings: list[Finding], origin: str) -> Loaded:
    items: RowItems = table.items  # type: ignore[assignment]
    same, names = _same(items), _called(items)
    given = phash.by_appearance(_given(read.column(roles.group))) if roles.group else np.arange(len(items))
    parts, said = _parts(read, roles)
    domains = _domains(read, roles)
    if not len(domains) and roles.part == "" and len(read.stems) > 1 and not (parts != "").any():
        domains = np.array(read.stems)[read.files]
    leaked, aside = checks.leaks(same, parts, names)
    kept = np.flatnonzero(~aside)
    table, same, given, parts = table.take(kept), same[kept], given[kept], parts[kept]
    domains = domains[kept] if len(domains) else domains
    names = [names[place] for place in kept.tolist()]
    findings = [*findings, *said, *_told_domains(domains, roles), *leaked]
    if table.task == "classify":
        checks.two_classes(table.labels, table.classes, origin)
        findings += [
            *checks.similar_names(table.classes),
            *checks.singletons(table.labels, table.classes),
            *checks.missing_in_parts(table.labels, parts, table.classes),
            *checks.imbalance(table.labels, table.classes),
        ]
    known = np.zeros(len(table)) if table.task == "several" else table.labels  # which may lack what a copy has
    findings += [*checks.straddling(given, parts), *checks.duplicates(same, same, known, names, "row")]
    return Loaded(table, phash.merged(same, given), parts, tuple(findings), origin, domains)


def _called(items: RowItems) -> list[str]:
    return [items.name(place) for place in range(len(items))]


def _given(cells: Sequence[str | None]) -> np.ndarray:
    """Numbers of the groups as written; a row without one is a group of its own."""
    held = words(cells)
    return np.where(held.codes >= 0, held.codes, len(held.levels) + np.arange(len(cells)))


def _same(items: RowItems) -> np.ndarray:
    """(n,) numbers, equal for rows of the same cells."""
    codes = np.zeros(len(items), dtype=np.int64)
    for values in items.values:
        column = values.codes if isinstance(values, Words) else values
        # Both factors are at most n: their product stays far below 2^63.
        found = np.unique(column, return_inverse=True)[1].ravel()
        codes = np.unique(codes * (int(found.max(initial=0)) + 1) + found, return_inverse=True)[1].ravel()
    return codes


def _parts(read: _Read, roles: _Roles) -> tuple[np.ndarray, list[Finding]]:
    """The given parts: of a column, or of files called train, validation and test."""
    none = np.full(len(read.numbers), "", dtype="<U10")
    if roles.part:
        said = [checks.PART_NAMES.get((cell or "").strip().casefold(), "") for cell in read.column(roles.part)]
        return np.array(said, dtype="<U10"), []
    named = [checks.PART_NAMES.get(stem.casefold(), "") for stem in read.stems]
    if len(read.stems) < 2 or not all(named) or "train" not in named:
        return none, []
    told = ", ".join(f"{stem} as {part}" for stem, part in zip(read.stems, named, strict=True))
    sentence = f"the files are read as given parts ({told}), which are kept; rename them to have them divided anew."
    return np.array(named, dtype="<U10")[read.files], [Finding("inferred", sentence)]


def _domains(read: _Read, roles: _Roles) -> np.ndarray:
    if not roles.domain:
        return np.zeros(0, dtype="<U1")
    cells = read.column(roles.domain)
    empty = [name for name, cell in zip(read.called(), cells, strict=True) if parsing.missing(cell)]
    if empty:
        raise DataError(
            f"column '{roles.domain}' is empty in {checks.counted(len(empty), 'row')} ({checks.some(empty)}), and each "
            "row must say its domain; fill it in."
        )
    return np.array([str(cell).strip() for cell in cells])


def _told_domains(domains: np.ndarray, roles: _Roles) -> list[Finding]:
    if not len(domains):
        return []
    names, counts = np.unique(domains, return_counts=True)
    told = checks.some((f"{name} {count}" for name, count in zip(names.tolist(), counts.tolist(), strict=True)), 8)
    whence = f"column '{roles.domain}'" if roles.domain else "the names of the files"
    sentence = f"domains are told by {whence}: {told}; type --target-domain NAME for the one to learn about."
    return [Finding("domains", sentence)]
