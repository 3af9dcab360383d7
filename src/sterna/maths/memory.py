"""What fits into memory: a sentence in place of a killed process."""

from __future__ import annotations

from sterna.errors import DataError

BOUND = 2**30  # bytes that a method on arrays may take beyond its inputs


def check(method: str, what: str, count: float, advice: str) -> None:
    """Raises `DataError` where `count` float64 numbers do not fit under the bound.

    Args:
        method: that needs them.
        what: they are, such as "a matrix of 50,000 x 50,000".
        count: how many numbers.
        advice: what to type instead.
    """
    if 8 * count > BOUND:
        raise DataError(
            f"{method} needs {what}, {8 * count / 2**30:.1f} GB, and may take {BOUND / 2**30:g} GB; {advice}."
        )
