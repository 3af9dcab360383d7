"""Two samples that are compared: what they must be, and which part of them is looked at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sterna.errors import DataError
from sterna.maths.seeds import derive


def check(name: str, left: np.ndarray, right: np.ndarray, least: int = 2) -> None:
    """Two samples of `least` examples or more that have the same features; else a `DataError`.

    Args:
        name: of the distance, for the message.
        left: (n, d).
        right: (m, d).
        least: examples needed on each side.
    """
    if left.shape[1] != right.shape[1]:
        raise DataError(
            f"{name} compares samples that have the same features, got {left.shape[1]} and {right.shape[1]} of them; "
            "use one encoder for both."
        )
    if min(len(left), len(right)) < least:
        examples = "example" if least == 1 else "examples"
        raise DataError(
            f"{name} needs at least {least} {examples} on each side, got {len(left)} and {len(right)}; add examples."
        )


def thinned(count: int, limit: int, *parts: int | str) -> np.ndarray:
    """(min(count, limit),) positions drawn without replacement with the seed made of `parts`, ascending."""
    if count <= limit:
        return np.arange(count)
    found: np.ndarray = np.random.default_rng(derive("thinned", *parts)).choice(count, limit, replace=False)
    found.sort()
    return found


def thin(left: np.ndarray, right: np.ndarray, limit: int, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """At most `limit` rows of each side, and the sentence that says so where some are left out."""
    first, second = thinned(len(left), limit, seed, "left"), thinned(len(right), limit, seed, "right")
    notes: tuple[str, ...] = ()
    if max(len(left), len(right)) > limit:
        notes = (
            f"Measured on {len(first)} of {len(left)} and {len(second)} of {len(right)} examples, drawn at random.",
        )
    return left[first], right[second], notes


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `count` rows in order."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def moments(features: np.ndarray, size: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """(d,) the mean and (d, d) the covariance, divided by n - 1, in float64 and block by block."""
    mean = features.mean(axis=0)
    return mean, scatter(features, mean, size) / max(len(features) - 1, 1)


def scatter(rows: np.ndarray, centre: np.ndarray, size: int) -> np.ndarray:
    """(d, d) the sum of (x - centre)(x - centre)' over rows (n, d), of which `size` are copied at a time."""
    space = np.empty((min(size, len(rows)), rows.shape[1]), dtype=np.result_type(rows, centre))
    found = np.zeros((rows.shape[1], rows.shape[1]))
    for part in blocks(len(rows), size):
        # One space for all blocks: fresh pages cost as much as the subtraction.
        moved = np.subtract(rows[part], centre, out=space[: part.stop - part.start])
        found += moved.T @ moved
    return found
