"""What arrays must be before domains are adapted: finite matrices, and labels that fit them."""

from __future__ import annotations

import numpy as np

from sterna.errors import DataError
from sterna.records import Labels


def matrix(what: str, values: np.ndarray) -> np.ndarray:
    """(n, d) float64; raises `DataError` for another shape, and for numbers that are not finite."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2:
        raise DataError(f"{what} must be a matrix of rows and features, got {found.ndim} dimensions.")
    if not np.isfinite(found).all():
        raise DataError(f"{what} must be finite numbers, got some that are not; fill them in or leave their rows out.")
    return found


def labels(what: str, given: Labels, count: int, classes: int) -> Labels:
    """(count,) int64 class numbers below `classes`, or float64 values where that is 0; else a `DataError`."""
    found = np.asarray(given)
    if found.shape != (count,):
        raise DataError(f"{what} must be {count}, one for each row, got {found.shape}.")
    if not classes:
        found = found.astype(np.float64)
        if not np.isfinite(found).all():
            raise DataError(f"{what} must be finite numbers, got some that are not.")
        return found
    if count and (found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= classes):
        raise DataError(f"{what} must be class numbers from 0 to {classes - 1}, got {found.min()} to {found.max()}.")
    return found.astype(np.int64)


def unchanged(rows: np.ndarray) -> np.ndarray:
    """Rows of the target as they are: the view of a method that moves the source, or weighs it.

    By name and not as a lambda, so that a model that holds it can be kept.
    """
    return rows
