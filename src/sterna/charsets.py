"""Encodings of texts that are not UTF-8 and do not say what they are, likeliest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import charset_normalizer

UTF_8 = "utf-8-sig"  # with or without the mark that some programs begin a file with
WESTERN = ("cp1252", "latin-1")  # the latter takes every byte
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
ALPHABETS = {  # that are written with bytes beyond ASCII alone or nearly so, and what the encoding is called
    "gb18030": "GB 18030",  # which holds GBK and GB 2312
    "big5": "Big5",
    "shift_jis": "Shift JIS",
    "cp932": "Shift JIS",
    "euc_jp": "EUC-JP",
    "euc_kr": "EUC-KR",
    "cp1251": "Windows-1251",
    "koi8_r": "KOI8-R",
    "cp1253": "Windows-1253",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "cp874": "Windows-874",
}
SPOKEN = {
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "UTF-16"),
    **{"utf-32": "UTF-32", "cp1252": "Windows-1252", "latin-1": "Latin-1"},
    **ALPHABETS,
}
FEWEST = 4  # bytes side by side, two letters of Chinese: «créée» has two
TOGETHER = 2 / 3  # of the bytes beyond ASCII stand side by side: Polish, rich in accents, has 0.44, Big5 0.8 or more

_LOOKED_AT = 1 << 16  # bytes of lines with something beyond ASCII
_BEYOND, _RUNS = re.compile(rb"[\x80-\xff]"), re.compile(rb"[\x80-\xff]{2,}")


def marked(begin: bytes) -> str:
    """The encoding that a file says it has by its first bytes; "" where it says nothing."""
    return next((encoding for mark, encoding in _MARKS if begin.startswith(mark)), "")


def likely(lines: Iterable[bytes]) -> tuple[str, ...]:
    """Encodings of a text that is not UTF-8, from its lines; the last one takes every byte.

    In Latin script accents stand alone, and a few of them look like anything, so other alphabets are only thought of
    where bytes beyond ASCII come in runs.
    """
    seen, size = [], 0
    for line in lines:
        if not line.isascii():
            seen.append(line)
            size += len(line)
            if size > _LOOKED_AT:
                break
    text = b"".join(seen)
    runs = sum(map(len, _RUNS.findall(text)))
    if runs < FEWEST or runs <= TOGETHER * len(_BEYOND.findall(text)):
        return WESTERN
    found = charset_normalizer.from_bytes(text, cp_isolation=list(ALPHABETS)).best()
    return (found.encoding, *WESTERN) if found and found.encoding in ALPHABETS else WESTERN


def plain(content: bytes) -> str:
    """The encoding of a whole text that is UTF-8 or says what it is; "" for any other."""
    return next((one for one in (marked(content), UTF_8) if one and _fits(content, one)), "")


def of(content: bytes, others: Sequence[str]) -> str:
    """The encoding of a whole text.

    Args:
        content: all of it.
        others: what to try where it is not plain, as `likely` gives it for this text and others of the same origin: a
            few words alone look like several languages.
    """
    return plain(content) or next(one for one in others if _fits(content, one))


def _fits(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
