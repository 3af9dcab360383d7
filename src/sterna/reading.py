"""Many items, read and framed in order by several workers while the caller computes.

What comes out does not depend on the number of workers: frames come in the order of the rows, and an augmented frame
depends on the item and its seed alone.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sterna import sequences
from sterna.errors import DataError, SternaError
from sterna.records import Augment, Items, Preparation

AHEAD = 1  # chunks being made while the caller works on one


def frames(
    items: Items,
    preparation: Preparation,
    rows: np.ndarray,
    *,
    size: int | Sequence[int],
    augment: Augment | None = None,
    seeds: np.ndarray | None = None,
    workers: int | None = None,
) -> Iterator[Tensor]:
    """Stacked frames of consecutive chunks of `rows`, in order.

    Args:
        items: what to read.
        preparation: what makes a frame of an item.
        rows: (m,) positions in `items`.
        size: rows in a chunk; the last may have fewer. A sequence gives the rows of each chunk in turn.
        augment: what it does to single items is applied; None, or nothing of the kind, gives the plain frames.
        seeds: (m,) one for each row; needed with `augment`. The same item and seed give the same frame.
        workers: how many read at a time; 0 reads in the calling thread; None takes the cores this process may use.

    Yields:
        (b, ...) frames with b = `size`, or fewer at the end; ragged ones padded with zeros to the longest of the chunk.

    Raises `DataError` with the item's name when one cannot be read. Plain frames are made by threads, since decoding
    and resizing run outside Python's lock. Augmented ones are made by processes, or in the calling thread where the
    items are in memory: augmentations draw from torch's global generator, which threads would share.
    """
    augmented = augment is not None and augment.single
    given = np.zeros(0, dtype=np.int64) if seeds is None or not augmented else np.asarray(seeds)
    if augmented and len(given) != len(rows):
        raise ValueError(f"augmented frames need one seed for each row, got {len(given)} for {len(rows)} rows")
    sizes = [size] * -(-len(rows) // size) if isinstance(size, int) else list(size)
    ends = np.minimum(np.cumsum([0, *sizes]), len(rows))
    job = _Job(items, preparation, np.asarray(rows), ends, augment if augmented else None, given)
    count = min(available_cores() if workers is None else workers, len(rows))
    if augmented:
        alone = count == 0 or (workers is None and (items.in_memory or len(job) < 2))
        return map(job.chunk, range(len(job))) if alone else _by_processes(job, count)
    return map(job.chunk, range(len(job))) if count == 0 or items.in_memory else _by_threads(job, count)


def available_cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Job:
    """The chunks to make, by number; sent whole to worker processes."""

    items: Items
    preparation: Preparation
    rows: np.ndarray
    ends: np.ndarray  # (chunks + 1,) where chunks begin and end among the rows
    augment: Augment | None
    seeds: np.ndarray  # (m,), or (0,) without augmentation

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, number: int) -> Tensor | Exception:
        """A chunk, or what went wrong: torch's loader would bury an exception's sentence in a worker's traceback."""
        try:
            return self.chunk(number)
        except SternaError as error:
            return error
        except Exception as error:
            return RuntimeError(f"{error}\n\nIn the worker process:\n{traceback.format_exc()}")

    def places(self, number: int) -> range:
        return range(int(self.ends[number]), int(self.ends[number + 1]))

    def chunk(self, number: int) -> Tensor:
        if self.augment is None:
            return torch.from_numpy(sequences.padded([self.frame(place) for place in self.places(number)]))
        # One thread, as in a worker process: how a sum is split between threads decides its last bits.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return torch.from_numpy(sequences.padded([self.seeded(place) for place in self.places(number)]))
        finally:
            torch.set_num_threads(threads)

    def seeded(self, place: int) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(self.seeds[place]))
            return self.frame(place)

    def frame(self, place: int) -> np.ndarray:
        row = int(self.rows[place])
        try:
            item = self.items.read(row, self.preparation.hint)
        except SternaError:
            raise
        # Damaged files raise whatever their decoder stumbles over: OSError, SyntaxError, struct.error, EOFError, ...
        except Exception as error:
            raise DataError(
                f"cannot read {self.items.name(row)}: {error}; mend it or take it out of the data and run again."
            ) from error
        try:
            return self.preparation.frame(item, self.augment)
        except Exception as error:
            kind = type(error) if isinstance(error, SternaError) else RuntimeError
            raise kind(f"cannot prepare {self.items.name(row)}: {error}") from error


def _by_threads(job: _Job, count: int) -> Iterator[Tensor]:
    """Items of a chunk go to the threads one by one, so that the first chunk too is made by all of them."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="reading")
    try:
        begun: deque[list[Future[np.ndarray]]] = deque()
        for number in range(len(job) + AHEAD):
            if number < len(job):
                begun.append([pool.submit(job.frame, place) for place in job.places(number)])
            if number >= AHEAD:
                yield torch.from_numpy(sequences.padded([one.result() for one in begun.popleft()]))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _by_processes(job: _Job, count: int) -> Iterator[Tensor]:
    """Torch's loader, whose workers end with this process however it ends."""
    # Its own generator: left to itself, the loader draws from the global one.
    loader = DataLoader(job, batch_size=None, num_workers=min(count, len(job)), generator=torch.Generator())  # type: ignore[arg-type, var-annotated]
    for made in loader:
        if isinstance(made, Exception):
            raise made
        yield made
