"""What the text in a cell of a table says: nothing, a number, a date, or a word.

Only forms that can be read in one way are read: 2020-12-31, 2020/12/31 and 31.12.2020 are dates, 3/4/2020 is not; 007
is a code and not a number.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence

import numpy as np

MISSING = frozenset(("", "?", "na", "n/a", "#n/a", "<na>", "nan", "null"))  # in any column, in any case
ALSO_MISSING = frozenset(("none", "nil", "-", "--", ".", "..", "missing", "unknown"))  # where the others are numbers
DATE_PARTS = ("year", "month", "weekday", "days")  # what a date is expanded to

_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_CODE = re.compile(r"[+-]?0\d+(?:\.0*)?")  # 007 and 01234 are names of things, as postcodes are
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_TIME = r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(?:Z|UTC|[+-]\d{2}:?\d{2})?)?"
_YEAR_FIRST = re.compile(r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})" + _TIME)
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})" + _TIME)
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def missing(text: str | None) -> bool:
    """Whether a cell holds nothing: empty, `?`, NA, NaN, null, in any case."""
    return text is None or text.strip().casefold() in MISSING


def numbers(texts: Sequence[str]) -> np.ndarray:
    """(n,) float64; NaN where a text is no finite number.

    A comma is a thousands separator where every text with a comma has it at thousands, else a decimal comma.
    """
    commas = [text for text in texts if "," in text]
    thousands = all(_THOUSANDS.fullmatch(text.strip()) for text in commas)
    return np.array([_number(text.strip(), thousands) for text in texts], dtype=np.float64)


def infinite(text: str) -> bool:
    """Whether a text says infinity, which no method can learn from."""
    return bool(_INFINITE.fullmatch(text.strip()))


def code(text: str) -> bool:
    """Whether a text is made of digits that begin with a needless zero: 007."""
    return bool(_CODE.fullmatch(text.strip()))


def dates(texts: Sequence[str]) -> np.ndarray:
    """(n, 4) float64 in the order of `DATE_PARTS`; NaN where a text is no date.

    Year; month 1 to 12; weekday 0 (Monday) to 6; days since 1970-01-01, the time of day as a fraction. Offsets from
    UTC are not followed: the clock on the wall is what is read.
    """
    return np.array([_date(text.strip()) for text in texts], dtype=np.float64).reshape(len(texts), len(DATE_PARTS))


def _number(text: str, thousands: bool) -> float:
    if "," in text:
        fits = (_THOUSANDS if thousands else _DECIMAL_COMMA).fullmatch(text)
        text = text.replace(",", "" if thousands else ".") if fits else ""
    if not _PLAIN.fullmatch(text) or _CODE.fullmatch(text):
        return math.nan
    value = float(text)
    return value if math.isfinite(value) else math.nan


def _date(text: str) -> tuple[float, ...]:
    none = (math.nan,) * len(DATE_PARTS)
    first, last = _YEAR_FIRST.fullmatch(text), _DAY_FIRST.fullmatch(text)
    if first:
        year, _, month, day, *time = first.groups()
    elif last:
        day, month, year, *time = last.groups()
    else:
        return none
    hour, minute, second = (int(part or 0) for part in time)
    try:
        found = datetime.date(int(year), int(month), int(day))
    except ValueError:
        return none
    days = found.toordinal() - _EPOCH + (hour * 3600 + minute * 60 + second) / 86400
    return float(found.year), float(found.month), float(found.weekday()), days
