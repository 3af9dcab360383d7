"""A column of text held as one block of bytes, so that a table takes about as much memory as its file."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Cells(Sequence["str | None"]):
    """Cells of a column, in UTF-8 one after another. An empty cell is None: a table cannot tell nothing from missing.

    Args:
        block: all cells.
        ends: (n + 1,) int64: cell i lies from ends[i] to ends[i + 1].
    """

    def __init__(self, block: bytes | bytearray, ends: np.ndarray) -> None:
        self._block, self._ends = block, ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[str | None]: ...
    def __getitem__(self, index: int | slice) -> str | list[str | None] | None:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self.raw(place).decode("utf-8") or None

    def __iter__(self) -> Iterator[str | None]:
        start = 0
        for end in self._ends[1:]:
            yield self._block[start:end].decode("utf-8") or None
            start = end

    def raw(self, index: int) -> bytes:
        """The bytes of one cell."""
        return bytes(self._block[self._ends[index] : self._ends[index + 1]])

    def take(self, rows: np.ndarray) -> Cells:
        """The cells at `rows`, copied."""
        return gathered(self[row] for row in rows.tolist())


class Builder:
    """A column that grows at its end."""

    def __init__(self, missing: int = 0) -> None:
        self._block, self._ends = bytearray(), array("q", [0] * (missing + 1))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, cell: str | None) -> None:
        """One cell more; spaces around it are left out."""
        if cell:
            # JSON can spell half a surrogate pair, which is no letter and which tokenizers refuse: it becomes "?".
            self._block += cell.strip().encode("utf-8", "replace")
        self._ends.append(len(self._block))

    def done(self) -> Cells:
        """The column as it stands."""
        return Cells(self._block, np.array(self._ends, dtype=np.int64))


def gathered(cells: Iterable[str | None]) -> Cells:
    """Any cells as a compact column."""
    builder = Builder()
    for cell in cells:
        builder.add(cell)
    return builder.done()
