"""What kind of data a reference is, told from names, suffixes and the first rows; files are not read in full."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from sterna import delimited, dialects
from sterna.errors import SternaError
from sterna.records import Columns

IMAGES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib"),
        *("gif", "tif", "tiff", "avif", "ppm", "pgm", "pbm", "pnm"),
    )
)
SOUNDS = frozenset((".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au"))
TAGGED = (".conll", ".bio", ".iob", ".iob2")
TEXTS = (".txt",)

_ROWS = 200  # of a table that are looked at
_FILES = 2000  # of a folder that are looked at
_TABLES = 20
_SCHEME = re.compile(r"[A-Za-z]\w+:")  # two letters at least: a drive such as C: is no scheme
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_WORDS = 3  # on average, from which cells are texts
_LETTERS = 12  # on average, from which cells in a script without spaces are texts
_SHARE = 0.5  # of a table's letters that are in texts, from which it is a table of texts


def kind(reference: str, columns: Columns) -> str:
    """`images`, `audio`, `text`, `tabular`, or "" for what is none of them.

    A folder is what most of its files are. A table is images or audio where a column names such files, text where a
    person named a text column or most of its letters stand in running text, and tabular otherwise. What does not exist
    and has no scheme can only be a misspelt path, and goes to `images`, which says so.
    """
    place = Path(reference).expanduser()
    if reference.lower().endswith(".npz"):
        return ""
    if place.is_dir():
        return _folder(place, columns)
    if not place.exists():
        return "" if _SCHEME.match(reference) else "images"
    suffix = delimited.suffix(place)
    if suffix in IMAGES | SOUNDS or (suffix != ".parquet" and not delimited.is_text(place)):
        return ""
    return "text" if is_tagged(place) else _table(place, columns)


def is_tagged(place: Path) -> bool:
    """Whether a file holds a word and its tag a line, with blank lines between sentences."""
    suffix = delimited.suffix(place)
    if suffix in TAGGED:
        return True
    if suffix in delimited.TABLES or not delimited.is_text(place):
        return False
    lines = list(delimited.lines(place, _ROWS).columns["line"])
    while lines and lines[-1] is None:
        lines.pop()
    words = [line.split() for line in lines if line and not line.startswith("-DOCSTART-")]
    if len(words) < 2 or len({len(word) for word in words}) > 1 or len(words[0]) < 2:
        return False
    tags = sum(_TAG.fullmatch(word[-1]) is not None for word in words)
    return tags == len(words) and (None in lines or len({word[-1] for word in words}) > 1)


def texts(names: Sequence[str], columns: Sequence[Sequence[str | None]]) -> list[int]:
    """The places of columns that hold running text, by usual names and by what stands in them."""
    found = []
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        cells = [cell for cell in column if cell]
        if cells and _running(cells, 2 if dialects.plain(name) in dialects.USUAL["text"] else _WORDS):
            found.append(place)
    return found


def _running(cells: Sequence[str], words: float) -> bool:
    """Whether cells are texts of about so many words, most of them different and none of them numbers or dates."""
    if len(set(cells)) <= 0.3 * len(cells) or sum(map(_has_letters, cells)) < 0.9 * len(cells):
        return False
    many = sum(len(cell.split()) for cell in cells) >= words * len(cells)
    # Chinese and Japanese have no spaces between words.
    wide = sum(sum(letter >= "\u2e80" for letter in cell) for cell in cells) >= _LETTERS * len(cells)
    return many or wide


def _has_letters(cell: str) -> bool:
    return sum(map(str.isalpha, cell)) >= 0.4 * len(cell)


def _folder(place: Path, columns: Columns) -> str:
    if columns.text:
        return "text"
    counts: Counter[str] = Counter()
    tables: list[Path] = []
    for path, depth in islice(_files(place), _FILES):
        suffix = delimited.suffix(path)
        if suffix in IMAGES:
            counts["images"] += 1
        elif suffix in SOUNDS:
            counts["audio"] += 1
        elif suffix in TEXTS and depth:
            counts["text"] += 1
        elif not depth:
            tables.append(path)
    if counts:
        return counts.most_common(1)[0][0]
    kinds = Counter(kind(str(path), columns) for path in tables[:_TABLES])
    return max(("images", "text", "tabular"), key=lambda one: kinds[one])


def _files(place: Path) -> Iterator[tuple[Path, int]]:
    """Files in a folder and below with their depth, sorted, some of each folder; hidden ones are left out."""
    waiting = [(place, 0)]
    while waiting:
        current, depth = waiting.pop(0)
        inner = sorted(path for path in current.iterdir() if not path.name.startswith("."))
        files = [path for path in inner if path.is_file()]
        yield from ((path, depth) for path in files[: _FILES // 20])
        if depth < 4:
            waiting.extend((path, depth + 1) for path in inner if path.is_dir())


def _table(place: Path, columns: Columns) -> str:
    if columns.text:
        return "text"
    try:
        raw = delimited.head(place, _ROWS)
    except SternaError:  # whoever reads it in full says what is wrong
        return "tabular"
    cells = [[cell for cell in raw.columns[name] if cell] for name in raw.names]
    for column in cells:
        if found := _paths(column, place):
            return found
    if not len(raw):
        return (
            "images"
            if {"path", "image", "file", "filename"} & {dialects.plain(name) for name in raw.names}
            else "tabular"
        )
    if columns.task == "tag" or (len(raw.names) == 1 and delimited.suffix(place) not in delimited.TABLES):
        return "text"
    running = texts(raw.names, cells)
    letters = [sum(map(len, column)) for column in cells]
    if running and sum(letters[one] for one in running) >= _SHARE * sum(letters):
        return "text"
    return "text" if _short_texts(raw.names, cells) else "tabular"


def _paths(column: Sequence[str], table: Path) -> str:
    """`images` or `audio` where the cells of a column are paths of such files."""
    for name, suffixes in (("images", IMAGES), ("audio", SOUNDS)):
        if column and sum(Path(cell).suffix.lower() in suffixes for cell in column) >= 0.8 * len(column):
            return name
    # Paths without a suffix count where they are there.
    there = [cell for cell in column[:3] if "\n" not in cell and len(cell) < 256 and (table.parent / cell).is_file()]
    return "images" if column and len(there) == len(column[:3]) else ""


def _short_texts(names: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    """Whether a table of two columns is one of short texts and their labels."""
    if len(names) != 2:
        return False
    return any(
        dialects.plain(name) in dialects.USUAL["text"]
        and column
        and sum(map(_has_letters, column)) >= 0.9 * len(column)
        and len(set(column)) > 0.5 * len(column)
        for name, column in zip(names, cells, strict=True)
    )
