"""Activations on disk: files of a header and the numbers of consecutive rows, which are mapped to be read.

The rows of a ragged table, each of its own length, are kept without padding. They are computed in the order of their
lengths, so such a file ends with an index: where each row begins, and how long it is. Its shape begins with 0.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from sterna import sequences
from sterna.errors import StoreError
from sterna.network import deviation

HEADER = 4096  # bytes before the numbers: JSON, padded
NAME = 1000  # letters of a name, so that a header always fits
ROUNDING = 1e-3  # relative change that keeping a batch in 16 bits may make; float16 makes 2e-4. Else it takes 32 bits
IDLE = 120.0  # seconds without a reading after which a file may be evicted by another process
MAPPED = 16  # files mapped at a time in a process
_NUMPY = {"bfloat16": np.int16, "float16": np.float16, "float32": np.float32, "int32": np.int32}


@dataclass(frozen=True)
class Shard:
    """A run of consecutive rows in one file."""

    path: str
    rows: int
    dtype: str
    shape: tuple[int, ...]  # of a row; (0, c) for rows of their own length
    units: int = 0  # with an index: arrays of shape `unit` in the file; 0 without

    @property
    def unit(self) -> tuple[int, ...]:
        """The shape of what is counted by the index: a row, or a position of a ragged row."""
        return unit(self.shape)


def unit(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a row, or of a position where rows have their own lengths."""
    return shape[1:] if shape[:1] == (0,) else shape


class Activations:
    """The outputs of a frozen prefix for the items of a data set, read from disk as they are asked for.

    Memory holds only what is asked for. It can be sent to other processes: each maps the files for itself.

    Args:
        shards: in the order of the rows.
        rows: (n,) the positions in `items` that are kept, ascending.
    """

    def __init__(self, shards: Sequence[Shard], rows: np.ndarray) -> None:
        self.shards = tuple(shards)
        self.rows = rows
        self._ends = np.cumsum([shard.rows for shard in self.shards])
        self._touched = time.monotonic()
        in_use.add(self)

    def __reduce__(self) -> tuple[type[Activations], tuple[Any, ...]]:
        return Activations, (self.shards, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.shards[0].shape if self.shards else ()

    @property
    def dtype(self) -> str:
        """The number format in which they are kept, the wider one where a shard needed it."""
        kinds = {shard.dtype for shard in self.shards}
        return "float32" if len(kinds) != 1 else kinds.pop()

    @functools.cached_property
    def lengths(self) -> np.ndarray | None:
        """(n,) int64: positions of each row; None where all are alike."""
        if not self.shards or self.shape[:1] != (0,):
            return None
        return np.concatenate([index(shard)[:, 1] for shard in self.shards])

    def gather(self, rows: np.ndarray) -> Tensor:
        """(b, ...) float32: the activations of the items at positions `rows`, in that order.

        Ragged ones are padded with zeros to the longest asked for. Whole numbers, such as tokens, come as int64.

        Raises `StoreError` when another process has removed them, `IndexError` for an item that is not kept.
        """
        rows = np.asarray(rows)
        places = np.searchsorted(self.rows, rows)
        if not np.array_equal(self.rows[np.minimum(places, len(self.rows) - 1)], rows):
            raise IndexError("an item without activations was asked for")
        self._touch()
        owners = np.searchsorted(self._ends, places, side="right")
        starts = self._ends - [shard.rows for shard in self.shards]
        return self._wide(
            self._ragged(places, owners, starts) if self.shape[:1] == (0,) else self._even(places, owners, starts)
        )

    def _even(self, places: np.ndarray, owners: np.ndarray, starts: np.ndarray) -> np.ndarray:
        # In numpy, and widened at the end: torch would wake all its threads for each small piece.
        found = np.empty((len(places), *self.shape), dtype=_NUMPY[self.dtype])
        for number in np.unique(owners):
            shard, wanted = self.shards[number], np.flatnonzero(owners == number)
            inside = places[wanted] - starts[number]
            found[wanted] = mapped(shard)[index(shard)[inside, 0] if shard.units else inside]
        return found

    def _ragged(self, places: np.ndarray, owners: np.ndarray, starts: np.ndarray) -> np.ndarray:
        spans = [index(self.shards[owner])[place - starts[owner]] for place, owner in zip(places, owners, strict=True)]
        longest = max((int(length) for _, length in spans), default=0)
        found = np.zeros((len(places), longest, *self.shape[1:]), dtype=_NUMPY[self.dtype])
        for row, owner, (start, length) in zip(found, owners, spans, strict=True):
            row[:length] = mapped(self.shards[owner])[start : start + length]
        return found

    def _wide(self, found: np.ndarray) -> Tensor:
        made = torch.from_numpy(found).view(dtype_named(self.dtype))
        return made.long() if self.dtype == "int32" else made.float()

    def slices(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time, as float32."""
        for start in range(0, len(self), size):
            yield self.gather(self.rows[start : start + size])

    def _touch(self) -> None:
        """Tell other processes, now and then, that these are being read."""
        if time.monotonic() - self._touched > IDLE / 4:
            self._touched = time.monotonic()
            for shard in self.shards:
                mark_used(shard.path)


in_use: weakref.WeakSet[Activations] = weakref.WeakSet()  # what this process may still read; never evicted


class Writer:
    """Fills a new file with rows, a batch at a time. It is complete once `finish` has been called.

    Args:
        file: empty, open for writing and reading.
        key: what the file is named by.
        name: what it holds, for people.
        shape: of a row; (0, c) for rows of their own length, whose last column tells padding (0) from the rest.
        dtype: the 16-bit format to keep. Where float16 would change a batch by more than `ROUNDING`, because its
            numbers are too large or too small, the whole file goes over to float32. int32 keeps whole numbers.
        rows: how many there will be, where they come in another order than they are counted in; such a file has an
            index.
    """

    def __init__(
        self, file: BinaryIO, key: str, name: str, shape: tuple[int, ...], dtype: torch.dtype, rows: int = 0
    ) -> None:
        self.file, self.key, self.name, self.shape, self.dtype = file, key, name, shape, dtype
        self.rows, self.units = 0, 0
        self._index = np.zeros((rows, 2), dtype=np.int64)
        self._digest = hashlib.blake2b(digest_size=16)
        file.write(b" " * HEADER)

    def add(self, batch: Tensor, places: np.ndarray) -> None:
        """Append the rows of a batch (b, *shape), or (b, t, c) for ragged ones.

        `places`: (b,) which rows of the file they are; without an index they come in order.
        """
        count = len(batch)
        if len(self._index):
            ragged = self.shape[:1] == (0,)
            lengths = sequences.lengths(batch).cpu().numpy() if ragged else np.ones(count, dtype=np.int64)
            self._index[places, 0] = self.units + np.cumsum(lengths) - lengths
            self._index[places, 1] = lengths
            self.units += int(lengths.sum())
            batch = batch[sequences.mask(batch)] if ragged else batch
        self._keep(batch)
        self.rows += count

    def _keep(self, batch: Tensor) -> None:
        kept = batch.to(self.dtype)
        if self.dtype == torch.float16 and not deviation(kept, batch) <= ROUNDING:
            self._widen()
            kept = batch.float()
        self._append(kept)

    def finish(self) -> None:
        """Write the index and the header, and stamp the file with the time that the header gives."""
        self._append(torch.from_numpy(self._index))
        written = int(time.time()) // 2 * 2  # some file systems keep every other second
        header = {
            "key": self.key,
            "rows": self.rows,
            "units": self.units,
            "shape": self.shape,
            "dtype": str(self.dtype).removeprefix("torch."),
            "digest": self._digest.hexdigest(),
            "written": written,
            "name": self.name[:NAME],
        }
        self.file.seek(0)
        self.file.write(json.dumps(header).encode().ljust(HEADER))
        self.file.flush()
        os.utime(self.file.name, (time.time(), written))

    def _append(self, kept: Tensor) -> None:
        data = kept.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data
        self._digest.update(data)
        self.file.write(data)

    def _widen(self) -> None:
        self.file.seek(HEADER)
        before = torch.frombuffer(bytearray(self.file.read()), dtype=self.dtype) if self.rows else torch.zeros(0)
        self.dtype, self._digest = torch.float32, hashlib.blake2b(digest_size=16)
        self.file.seek(HEADER)
        self._append(before.float())


def whole(path: Path, rows: int, shape: tuple[int, ...]) -> bool:
    """Whether a file is there and undamaged; one that is damaged is removed.

    The stamp of the file is noted in its header. A file whose stamp has moved was written to or copied since: only then
    are its numbers compared with their digest.
    """
    try:
        stat, said = path.stat(), header(path)
        indexed = said["units"] > 0
        count = said["units"] if indexed else rows
        size = HEADER + count * math.prod(unit(shape)) * dtype_named(said["dtype"]).itemsize + 16 * rows * indexed
        same = (said["key"], said["rows"], tuple(said["shape"]), stat.st_size) == (path.stem, rows, shape, size)
        if same and int(stat.st_mtime) != said["written"]:
            same = _payload(path) == said["digest"]
            os.utime(path, (time.time(), said["written"]))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        same = False
    if not same:
        remove(path)
    return same


def header(path: Path) -> dict[str, Any]:
    """What a file says of itself. Raises `ValueError` when that is damaged."""
    with open(path, "rb") as file:
        said = json.loads(file.read(HEADER))
    wanted = {
        "key": str,
        "rows": int,
        "units": int,
        "shape": list,
        "dtype": str,
        "digest": str,
        "written": int,
        "name": str,
    }
    if not isinstance(said, dict) or not all(isinstance(said.get(name), kind) for name, kind in wanted.items()):
        raise ValueError(f"{path} does not hold activations")
    return said


@functools.lru_cache(maxsize=MAPPED)
def mapped(shard: Shard) -> np.ndarray:
    """The rows of a shard, mapped; the operating system reads what is touched and drops it when memory is short.

    bfloat16, which numpy does not know, comes as int16 of the same bits. Raises `StoreError` when the file is gone.
    """
    shape = (shard.units or shard.rows, *shard.unit)
    try:
        return np.memmap(shard.path, dtype=_NUMPY[shard.dtype], mode="r", offset=HEADER, shape=shape)
    except (OSError, ValueError) as error:
        raise _gone(shard) from error


@functools.lru_cache(maxsize=MAPPED)
def index(shard: Shard) -> np.ndarray:
    """(rows, 2) int64: where each row of an indexed shard begins, and how many units it has. Raises as `mapped`."""
    size = math.prod(shard.unit) * dtype_named(shard.dtype).itemsize
    try:
        with open(shard.path, "rb") as file:
            file.seek(HEADER + shard.units * size)
            return np.frombuffer(file.read(16 * shard.rows), dtype=np.int64).reshape(shard.rows, 2)
    except (OSError, ValueError) as error:
        raise _gone(shard) from error


def _gone(shard: Shard) -> StoreError:
    return StoreError(
        f"activations in {Path(shard.path).parent} were removed or damaged while they were in use; "
        "run the same command again."
    )


def dtype_named(name: str) -> torch.dtype:
    """The format of this name. Raises `ValueError` for anything but those in which activations are kept."""
    if name not in _NUMPY:
        raise ValueError(f"activations are kept in one of {', '.join(_NUMPY)}, not in {name}")
    found: torch.dtype = getattr(torch, name)
    return found


def remove(path: Path) -> None:
    """Take a file out of the cache; one that another process has just removed is no error."""
    mapped.cache_clear()
    index.cache_clear()
    with contextlib.suppress(OSError):
        path.unlink()


def mark_used(path: str | Path) -> None:
    """Note the time of use without moving the stamp of the last writing."""
    with contextlib.suppress(OSError):
        os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))


def _payload(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        file.seek(HEADER)
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
