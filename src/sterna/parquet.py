"""Parquet files, read in portions. They need pyarrow; nothing else of sterna does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sterna.errors import DataError, MissingPackageError

try:
    from pyarrow import ArrowInvalid
    from pyarrow import parquet as library
except ModuleNotFoundError:  # every other format is read without it
    library = None

_PORTION = 4096  # rows in memory as Python values at a time


def names(place: Path) -> tuple[str, ...]:
    """The names of the columns.

    Raises `MissingPackageError` without pyarrow, and `DataError` for a file that is no Parquet.
    """
    return tuple(_opened(place).schema_arrow.names)


def rows(place: Path) -> Iterator[tuple[Any, ...]]:
    """The rows, as Python values in the order of `names`; raises as `names` does."""
    with _opened(place) as file:
        for batch in file.iter_batches(_PORTION):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _opened(place: Path) -> Any:
    if library is None:
        raise MissingPackageError(
            f"{place} needs the package 'pyarrow', which is not installed: type pip install 'sterna[texts]', or save "
            "the table as .csv."
        )
    try:
        return library.ParquetFile(place)
    except ArrowInvalid as error:
        raise DataError(f"{place} is no readable Parquet file ({error}); write it again.") from error
