"""Files of word vectors: GloVe's text, word2vec's text and binary formats, JSON, each also gzipped.

What a file is, is read off its first bytes and not off its name. A file is read line by line and held as one float32
matrix; of files with more words than `MOST` the first are used, which are the most frequent ones in the files that
GloVe, word2vec and fastText publish.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sterna.errors import EncoderError

MOST = 400_000  # words; 480 MB at 300 numbers each
LONGEST = 1 << 12  # bytes of a word in a binary file; more means that it is no such file
CHUNK = 1 << 20
FORMS = "GloVe or word2vec text, word2vec binary, or JSON {word: [numbers]}"


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors, in the order of the file."""

    places: dict[str, int]
    matrix: np.ndarray  # (n, d) float32
    complete: bool  # False: the file holds more words

    @property
    def lowercase(self) -> bool:
        """Whether no word of the file has a capital."""
        return all(word == word.lower() for word in self.places)


def digest(place: Path) -> str:
    """A digest of the file's bytes."""
    found = hashlib.blake2b(digest_size=16)
    with place.open("rb") as stream:
        while block := stream.read(CHUNK):
            found.update(block)
    return found.hexdigest()


def read(place: Path) -> WordVectors:
    """The words and vectors of a file. Raises `EncoderError` with the line where it stops making sense."""
    try:
        with place.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(place, "rb") if zipped else place.open("rb") as stream:
            return _gathered(place, stream)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise EncoderError(f"{place} cannot be read ({error}); fetch it again.") from error


def _gathered(place: Path, stream: BinaryIO) -> WordVectors:
    start = stream.read(1 << 16)
    stream.seek(0)
    if not start.strip():
        raise EncoderError(f"{place} is empty; it must be {FORMS}.")
    if start.lstrip()[:1] == b"{":
        pairs = _json(place, stream)
    else:
        header = re.match(rb"\s*(\d+)[ \t]+(\d+)[ \t]*\r?\n", start)
        if header is None:
            pairs = _text(place, stream, 0, 1)
        else:
            count, width = int(header[1]), int(header[2])
            stream.read(header.end())
            plain = _is_text(start[header.end() :], width)
            pairs = _text(place, stream, width, 2) if plain else _binary(place, stream, count, width)
    places: dict[str, int] = {}
    rows: list[np.ndarray] = []
    for word, vector in pairs:
        if len(rows) == MOST:
            return WordVectors(places, np.stack(rows), complete=False)
        if word not in places:  # some published files hold a word twice; the first is the more frequent
            places[word] = len(rows)
            rows.append(vector)
    if not rows:
        raise EncoderError(f"{place} is empty; it must be {FORMS}.")
    return WordVectors(places, np.stack(rows), complete=True)


def _is_text(body: bytes, width: int) -> bool:
    """Whether what follows a header starts with a line `word number number ...`."""
    line = body.split(b"\n", 1)[0]
    try:
        return len(np.array(line.decode("utf-8").split()[-width:], dtype=np.float32)) == width
    except ValueError:
        return False


def _text(place: Path, stream: BinaryIO, width: int, first: int) -> Iterator[tuple[str, np.ndarray]]:
    """`word number number ...`, one a line; `width` 0 takes the first line's."""
    for number, line in enumerate(stream, start=first):
        if not line.strip():
            continue
        words = line.decode("utf-8", errors="replace").rstrip().split(" ")
        width = width or len(words) - 1
        values = _numbers(words[-width:]) if len(words) > width > 0 else None
        if values is None:
            raise EncoderError(
                f"line {number} of {place} must be a word and {width or 'some'} numbers, got '{_short(line)}'; it is "
                f"damaged or not {FORMS}."
            )
        yield " ".join(words[: len(words) - width]), values


def _numbers(words: list[str]) -> np.ndarray | None:
    try:
        values = np.array(words, dtype=np.float32)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _binary(place: Path, stream: BinaryIO, count: int, width: int) -> Iterator[tuple[str, np.ndarray]]:
    """`word`, a space, `width` little-endian float32; a line break may stand before a word."""
    held, at, size = b"", 0, 4 * width
    for number in range(count):
        while (end := held.find(b" ", at)) < 0 or len(held) < end + 1 + size:
            more = stream.read(CHUNK)
            if not more or (end < 0 and len(held) - at > LONGEST):
                raise EncoderError(
                    f"{place} says that it holds {count} vectors of {width} numbers and breaks off or goes wrong at "
                    f"word {number + 1}; fetch it again."
                )
            held, at = held[at:] + more, 0
        values = np.frombuffer(held, "<f4", width, end + 1).astype(np.float32)
        if not np.isfinite(values).all():
            raise EncoderError(f"word {number + 1} of {place} has numbers that are not finite; fetch it again.")
        word = held[at:end].lstrip(b"\n").decode("utf-8", errors="replace")
        at = end + 1 + size
        yield word, values


def _json(place: Path, stream: BinaryIO) -> Iterator[tuple[str, np.ndarray]]:
    try:
        given = json.loads(stream.read())
    except ValueError as error:
        raise EncoderError(f"{place} is not JSON ({error}); fetch or write it again.") from error
    width = 0
    for word, listed in given.items():
        values = _numbers(listed) if isinstance(listed, list) and listed else None
        width = width or (0 if values is None else len(values))
        if values is None or len(values) != width:
            raise EncoderError(
                f"the entry '{word}' of {place} must be a list of {width or 'some'} numbers, got "
                f"'{_short(json.dumps(listed).encode())}'; write {{word: [numbers]}}."
            )
        yield word, values


def _short(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace").strip()
    return text if len(text) <= 40 else text[:40] + "..."
