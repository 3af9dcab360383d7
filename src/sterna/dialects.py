"""How a file of text is written: its delimiter, its quotes, and whether it begins with the names of its columns.

Everything is told from the first lines, so that a file is read in one pass.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas"}  # by strength of evidence
LABEL_TEXT = " "  # the delimiter of lines that are a label, a space and a text

# Usual names of columns by what they hold, in order of preference; compared in `plain` form.
USUAL: dict[str, tuple[str, ...]] = {
    role: tuple(names.split())
    for role, names in {
        "text": "text sentence review comment content body message tweet question document description headline title "
        "abstract utterance query sms post string words tokens",
        "label": "label labels class target category sentiment intent topic emotion polarity stars rating score gold "
        "gold_label similarity relatedness diagnosis species y tag tags ner_tags quality class_name label_name",
        "part": "split part subset partition",
        "group": "group group_id groups patient patient_id subject subject_id individual author author_id",
        "id": "id ids index idx key uid uuid guid row row_id",
    }.items()
}
_KNOWN = frozenset(name for names in USUAL.values() for name in names)

_CONSISTENT = 0.9  # share of lines with one number of cells from which a character is a delimiter
_LETTERS = 1 << 26  # the longest cell; beyond it a quote was left open
_NAME = re.compile(r"[^\W\d][\w #.\-/()%:&]{0,39}")
_LABELLED = re.compile(r"((?:__label__\S+\s+)+|\S{1,30} )(?=\S)")
_FAST_TEXT = "__label__"


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file become cells."""

    delimiter: str  # "" for one column, " " for a label, a space and a text
    quoted: bool  # quotes hold a cell together
    header: bool  # the first line names the columns
    names: tuple[str, ...]


def detect(lines: Sequence[str], table: bool, whole: bool) -> Dialect:
    """The dialect of a file that begins with these lines.

    Args:
        lines: the first lines, with their ends.
        table: the file's name says that it is a table, so no line of it is a label, a space and a text.
        whole: these are all the lines.
    """
    readings = [_reading(lines, delimiter, whole) for delimiter in DELIMITERS]
    best = max(readings, key=lambda one: one.share)
    if best.share < _CONSISTENT:
        if not table and _label_first(lines):
            return Dialect(LABEL_TEXT, False, False, ("label", "text"))
        best = max(readings, key=lambda one: (bool(one.rows) and len(one.rows[0]) > 1, one.share))
        if not table or not best.rows or len(best.rows[0]) < 2:
            best = _Reading("", False, [[line.strip()] for line in lines if line.strip()], 1.0)
    header = _names_columns(best.rows)
    width = len(best.rows[0]) if best.rows else 1
    return Dialect(best.delimiter, best.quoted, header, distinct(best.rows[0] if header else [""] * width))


def plain(name: str) -> str:
    """A column's name for comparing: small letters, `_` for all that is neither letter nor digit."""
    return re.sub(r"\W+", "_", name.casefold()).strip("_")


def distinct(first: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, each there once; a nameless one is called after its place."""
    given: list[str] = []
    for place, name in enumerate(first, start=1):
        name = name.strip() or f"column{place}"
        given.append(name if name not in given else f"{name}_{place}")
    return tuple(given)


def split(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The number of the line a row begins at, and its cells; blank lines are left out.

    Raises `csv.Error` where quotes do not fit.
    """
    return _split(lines, dialect.delimiter, dialect.quoted)


@contextmanager
def long_cells() -> Iterator[None]:
    """The csv module refuses cells of more than 128 KiB; within this block the limit is 64 Mi letters."""
    before = csv.field_size_limit(_LETTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


@dataclass(frozen=True)
class _Reading:
    """The first rows as one delimiter makes them."""

    delimiter: str
    quoted: bool
    rows: list[list[str]]
    share: float  # of rows as wide as the first, where most are and it has several cells; else less


def _reading(lines: Sequence[str], delimiter: str, whole: bool) -> _Reading:
    quoted, rows = True, []
    try:
        for _, row in _split(lines, delimiter, True):
            rows.append(row)
    except csv.Error as error:
        # A quoted cell that the sample cuts off is no mistake of the file's.
        if whole or "unexpected end" not in str(error):
            quoted, rows = False, [row for _, row in _split(lines, delimiter, False)]
    if not rows:
        return _Reading(delimiter, quoted, rows, 0.0)
    widths = Counter(len(row) for row in rows)
    share = widths[len(rows[0])] / len(rows) if len(rows[0]) > 1 else 0.0
    return _Reading(delimiter, quoted, rows, share)


def _split(lines: Iterable[str], delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    if delimiter in ("", LABEL_TEXT):
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _parted(line) if delimiter else [line.strip()]
        return
    if quoted:
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, skipinitialspace=True)
    begins = 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {begins}: {error}") from error


def _parted(line: str) -> list[str]:
    """Label and text of a line; several `__label__` become labels joined by `|`."""
    found = _LABELLED.match(line)
    if found is None:
        return [line.strip()]
    labels = found[1].replace(_FAST_TEXT, "").split()
    return ["|".join(labels), line[found.end() :].strip()]


def _label_first(lines: Sequence[str]) -> bool:
    """Whether all lines begin with one of a few words, which are then labels."""
    heads = [(_LABELLED.match(line) or [""])[0].strip() for line in lines if line.strip()]
    if not heads or not all(heads):
        return False
    sure = all(head.startswith(_FAST_TEXT) or is_number(head) for head in heads)
    return len(set(heads)) <= max(2, len(heads) // 5) and (sure or len(heads) >= 10) and len(set(heads)) <= 200


def _names_columns(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns rather than being an example."""
    if not rows:
        return False
    first = [cell.strip() for cell in rows[0]]
    named = [cell for cell in first if cell]
    # A table saved with its row numbers has no name for that column.
    if len(named) < len(first) - (not first[0]) or len(set(named)) < len(named) or any(map(is_number, named)):
        return False
    columns = list(zip(*(row for row in rows[1:] if len(row) == len(first)), strict=True))
    if any(cell and cell in {one.strip() for one in column} for cell, column in zip(first, columns, strict=False)):
        return False
    if any(plain(cell) in _KNOWN for cell in named):
        return True
    if any(_mostly_numbers(column) for column in columns):
        return True
    return len(first) > 1 and all(_NAME.fullmatch(cell) and len(cell.split()) <= 4 for cell in named)


def _mostly_numbers(column: Sequence[str]) -> bool:
    filled = [cell for cell in column if cell.strip()]
    return len(filled) > 0 and sum(map(is_number, filled)) > 0.5 * len(filled)
