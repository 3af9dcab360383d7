"""Tables in files: CSV, TSV and other delimited text, JSON lines, Parquet; packed with gzip or not.

Encoding, delimiter, quotes and the line of column names are found by looking, and what is not plain is said. Cells stay
text: what they mean is for others to say.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sterna import charsets, dialects, parquet
from sterna.cells import Builder, gathered
from sterna.errors import DataError
from sterna.records import Finding

Progress = Callable[[int, int], None]

TABLES = (".csv", ".tsv", ".tab", ".psv", ".jsonl", ".ndjson", ".parquet")  # what can only be a table
LINES = (".jsonl", ".ndjson")

RAGGED = 0.05  # share of rows of another width above which a file is refused

_SAMPLE = 500  # lines from which the dialect is told
_SAMPLE_LETTERS = 1 << 20
_BEGIN = 1 << 16  # bytes from which the encoding is told
_STRIDE = 2048  # lines between two tellings of progress
_TOLD = 4  # lines named in a sentence


@dataclass(frozen=True)
class Raw:
    """A table as read: every cell is text, or None where it is empty."""

    names: tuple[str, ...]
    columns: Mapping[str, Sequence[str | None]]
    findings: tuple[Finding, ...]
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # (n,) the number of each row, from 1

    def __len__(self) -> int:
        return len(self.rows)


def suffix(place: Path) -> str:
    """The suffix in small letters, without that of a packed file: `.tsv` for `reviews.tsv.gz`."""
    return Path(place.stem if place.suffix.lower() == ".gz" else place.name).suffix.lower()


def read(place: Path, progress: Progress | None = None) -> Raw:
    """A whole table.

    Args:
        place: an existing file.
        progress: called with how many bytes of the file are read, of how many.

    Raises `DataError` for a file that is empty or not text, whose quotes do not fit, with an unequal number of cells in
    more than 5 % of its rows (fewer are set aside and named), and, in JSON lines, for a line that is no object.
    """
    return _read(place, None, progress)


def head(place: Path, rows: int = 200) -> Raw:
    """The first rows of a table, read as `read` does."""
    return _read(place, rows, None)


def lines(place: Path, rows: int | None = None) -> Raw:
    """The lines of a text file as one column called `line`; a blank one is None. Raises `DataError` as `read` does."""

    def made(file: _File) -> Raw:
        cells = gathered(islice(file.lines, rows))
        return Raw(("line",), {"line": cells}, file.said, np.arange(1, len(cells) + 1))

    return _decoded(place, made, None)


def is_text(place: Path) -> bool:
    """Whether a file begins like text rather than like a picture, a recording or an archive."""
    try:
        return bool(_encoding(place))
    except (OSError, EOFError):
        return False


def _read(place: Path, limit: int | None, progress: Progress | None) -> Raw:
    if suffix(place) == ".parquet":
        return _parquet(place, limit)
    try:
        return _decoded(place, partial(_table, limit=limit, loose=False), progress)
    except csv.Error as error:
        wrong = error
    # What looked like quotes in the first lines may be inch marks and the like further down.
    try:
        return _decoded(place, partial(_table, limit=limit, loose=True), progress)
    except DataError as error:
        raise DataError(
            f"{place} cannot be read as a table ({wrong}); look there for a quote that is not closed."
        ) from error


def _decoded(place: Path, made: Callable[[_File], Raw], progress: Progress | None) -> Raw:
    """What `made` makes of a file in the first encoding that fits it."""
    try:
        first = _encoding(place)
        if not first:
            raise DataError(f"{place} is not a file of text; give a .csv, .tsv, .jsonl or .parquet file.")
        for encoding in _tried(place, first):
            with open(place, "rb") as bare, _unpacked(bare, place) as packed, dialects.long_cells():
                text = io.TextIOWrapper(packed, encoding=encoding, newline="")
                try:
                    return made(_File(place, _watched(text, bare, progress), _spoken(place, encoding)))
                except UnicodeDecodeError:
                    continue
                finally:
                    text.detach()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{place} is damaged ({error}); fetch it or pack it again.") from error
    raise DataError(f"{place} is not the UTF-16 or UTF-32 text that it begins like; save it as UTF-8.")


@dataclass(frozen=True)
class _File:
    """An open file of text."""

    place: Path
    lines: Iterator[str]
    said: tuple[Finding, ...]  # of its encoding


def _table(file: _File, limit: int | None, loose: bool) -> Raw:
    first, letters = [], 0
    for line in file.lines:
        first.append(line)
        letters += len(line)
        if len(first) == _SAMPLE or letters > _SAMPLE_LETTERS:
            break
    begin = next((line.lstrip() for line in first if line.strip()), "")
    if not begin:
        raise DataError(f"{file.place} is empty; give it a line of column names and a line for each example.")
    kind = suffix(file.place)
    every = chain(first, file.lines)
    if kind in LINES or (begin.startswith(("{", "[{")) and kind not in TABLES):
        return _objects(replace(file, lines=every), limit)
    dialect = dialects.detect(first, kind in TABLES, len(first) < _SAMPLE and letters <= _SAMPLE_LETTERS)
    if loose:
        dialect = replace(dialect, quoted=False)
    return _delimited(replace(file, lines=every), dialect, limit)


def _delimited(file: _File, dialect: dialects.Dialect, limit: int | None) -> Raw:
    table, width = _Growing(dialect.names), len(dialect.names)
    ragged: list[tuple[int, int]] = []  # line, cells
    rows = islice(dialects.split(file.lines, dialect), int(dialect.header), None)
    for number, (line, row) in enumerate(islice(rows, limit), start=1):
        if len(row) == width:
            table.add(row, number)
        else:
            ragged.append((line, len(row)))
    if len(ragged) > RAGGED * (len(table) + len(ragged)):
        line, cells = ragged[0]
        raise DataError(
            f"line {line} of {file.place} has {cells} cells where {width} are expected, and {len(ragged)} of its "
            f"{len(table) + len(ragged)} rows are like it; give each row one cell for each column, with quotes around "
            "cells that hold the delimiter."
        )
    return table.done(
        (*file.said, *_dialect_findings(file.place, dialect), *_ragged_finding(file.place, ragged, width))
    )


def _objects(file: _File, limit: int | None) -> Raw:
    """JSON lines."""
    table = _Growing(())
    filled = ((number, line) for number, line in enumerate(file.lines, start=1) if line.strip())
    for row, (number, line) in enumerate(islice(filled, limit), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"line {number} of {file.place} is not JSON; write one object a line.") from error
        if not isinstance(value, dict):
            raise DataError(
                f"line {number} of {file.place} is not a JSON object; write one a line, such as "
                '{"text": "...", "label": "..."}.'
            )
        table.add_named({key.strip(): _cell(one) for key, one in value.items()}, row)
    return table.done(file.said)


def _parquet(place: Path, limit: int | None) -> Raw:
    table = _Growing(dialects.distinct(parquet.names(place)))
    for number, row in enumerate(islice(parquet.rows(place), limit), start=1):
        table.add([_cell(value) for value in row], number)
    return table.done(())


class _Growing:
    """A table that grows row by row."""

    def __init__(self, names: Sequence[str]) -> None:
        self._columns = {name: Builder() for name in names}
        self._order = list(self._columns.values())
        self._numbers = array("q")

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, row: Sequence[str | None], number: int) -> None:
        for column, cell in zip(self._order, row, strict=True):
            column.add(cell)
        self._numbers.append(number)

    def add_named(self, row: Mapping[str, str | None], number: int) -> None:
        for name in row:
            if name not in self._columns:
                self._columns[name] = Builder(missing=len(self))
        for name, column in self._columns.items():
            column.add(row.get(name))
        self._numbers.append(number)

    def done(self, findings: tuple[Finding, ...]) -> Raw:
        made = {name: column.done() for name, column in self._columns.items()}
        return Raw(tuple(made), made, findings, np.array(self._numbers, dtype=np.int64))


def _cell(value: Any) -> str | None:
    """A value of JSON or Parquet as text; lists and objects as JSON."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _encoding(place: Path) -> str:
    """The encoding a file begins like; "" for one that is not text."""
    with open(place, "rb") as bare, _unpacked(bare, place) as packed:
        begin = packed.read(_BEGIN)
    if marked := charsets.marked(begin):
        return marked
    zeros = begin[0::2].count(0), begin[1::2].count(0)
    if any(zeros):
        # Of the two bytes of a letter of most alphabets' plain signs, one is zero, and always the same one.
        likely = {1: "utf-16-le", 0: "utf-16-be"}[int(zeros[1] > zeros[0])]
        return likely if min(zeros) == 0 and max(zeros) > len(begin) // 8 else ""
    control = sum(begin.count(byte) for byte in range(32) if byte not in b"\t\n\v\f\r\x1b\x1a")
    return "" if control > len(begin) // 100 else charsets.UTF_8


def _tried(place: Path, first: str) -> Iterator[str]:
    """An encoding, and what to try where a file that is not marked does not fit it."""
    yield first
    if first == charsets.UTF_8:
        with open(place, "rb") as bare, _unpacked(bare, place) as packed:
            others = charsets.likely(packed)
        yield from others


def _unpacked(bare: BinaryIO, place: Path) -> BinaryIO:
    if place.suffix.lower() == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=bare))  # type: ignore[arg-type]
    return bare


def _watched(lines: Iterable[str], bare: BinaryIO, progress: Progress | None) -> Iterator[str]:
    """The lines of a file, telling now and then how far it is read."""
    size = os.fstat(bare.fileno()).st_size
    for number, line in enumerate(lines, start=1):
        yield line
        if progress is not None and number % _STRIDE == 0:
            progress(bare.tell(), size)
    if progress is not None:
        progress(size, size)


def _spoken(place: Path, encoding: str) -> tuple[Finding, ...]:
    if encoding == charsets.UTF_8:
        return ()
    sentence = (
        f"{place.name} is read as {charsets.SPOKEN[encoding]}, not as UTF-8; save it as UTF-8 if letters look wrong."
    )
    return (Finding("encoding", sentence),)


def _dialect_findings(place: Path, dialect: dialects.Dialect) -> Iterator[Finding]:
    if dialect.delimiter == dialects.LABEL_TEXT:
        yield Finding(
            "inferred",
            f"each line of {place.name} is read as a label, a space and a text; put a tab between the two, and "
            "label<TAB>text above them, if that is wrong.",
        )
        return
    usual = {".csv": ",", ".psv": "|"}.get(suffix(place), "\t")
    if dialect.delimiter and dialect.delimiter != usual:
        yield Finding(
            "inferred",
            f"the cells of {place.name} are taken to be divided by {dialects.DELIMITERS[dialect.delimiter]}; save it "
            "with commas as .csv if that is wrong.",
        )
    if not dialect.header:
        yield Finding(
            "inferred",
            f"{place.name} has no line of column names, so they are called {_range(dialect.names)}; put names above "
            "them to choose your own.",
        )


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _ragged_finding(place: Path, ragged: Sequence[tuple[int, int]], width: int) -> Iterator[Finding]:
    if ragged:
        told = [f"line {line} (of {cells})" for line, cells in ragged]
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        yield Finding(
            "ragged",
            f"{len(told)} {'row' if len(told) == 1 else 'rows'} of {place.name} with another number of cells than "
            f"{width} set aside: {', '.join(told[:_TOLD])}{more}; mend them to use them.",
            tuple(told),
        )
