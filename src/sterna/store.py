"""Activations of frozen stages, computed once and kept on disk; the only writer of the cache.

What lies under the lowest moving weight is a fixed function of the input, so its outputs are data. They are kept in
shards of up to 64 MB, each a file named by a digest of everything it depends on: weights, preparation, stages, the form
in which the network ran, view and item bytes. A shard is there whole or not at all, so an interrupted extraction goes
on after the last finished one, and two processes that compute the same thing write the same file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import fastest, files, reading, shards
from sterna.errors import StoreError
from sterna.fastest import Plan
from sterna.maths.seeds import derive
from sterna.records import Augment, Encoder, Items
from sterna.shards import IDLE, Activations, Shard, Writer, in_use

FORMAT = 1  # part of every key; to be raised when the meaning of what is kept changes
BATCH = 32  # examples at a time through the network
GRAIN = 2 * BATCH  # shards hold a multiple of this many rows, so that no batch lies in two
SHARD = 64 * 2**20  # bytes of a shard, at two bytes a number
LONGEST = 16 * GRAIN  # rows of a shard: what an interruption can cost
ABANDONED = 86400.0  # seconds after which an unfinished file has been left behind by a killed process


@dataclass(frozen=True)
class Entry:
    """A kept file, for showing."""

    name: str  # what it holds
    bytes: int
    used: float  # seconds since 1970


@dataclass(frozen=True)
class Order:
    """One table of activations to be had: an encoder's outputs at a cut for some items, under one view."""

    encoder: Encoder
    plan: Plan
    cut: int
    shape: tuple[int, ...]
    view: str  # in words, for keys
    digests: Sequence[str]

    @property
    def length(self) -> int:
        """Rows in a shard."""
        fitting = SHARD // (2 * max(1, math.prod(self.shape)))
        return min(LONGEST, max(GRAIN, fitting // GRAIN * GRAIN))

    @property
    def bytes(self) -> int:
        return len(self.digests) * (2 * math.prod(self.shape))

    @property
    def spans(self) -> list[range]:
        """The rows of each shard."""
        count = len(self.digests)
        return [range(start, min(start + self.length, count)) for start in range(0, count, self.length)]

    def key(self, span: range) -> str:
        """The name of a shard."""
        stages = list(self.encoder.network.stages)[: self.cut]
        made = [FORMAT, self.encoder.digest, repr(self.encoder.preparation), self.cut, stages, BATCH]
        return _digest([*made, self.plan.form, self.view, list(self.digests[span.start : span.stop])])


class Store:
    """The cache of activations.

    Args:
        folder: where; default the environment variable STERNA_CACHE, else the platform's folder for caches. It is made
            when first written to.
        limit: bytes it may take. Beyond, what was used longest ago goes first; what this process reads, or another one
            read in the last two minutes, stays.
    """

    def __init__(self, folder: Path | None = None, limit: int = 20 * 2**30) -> None:
        self.folder = Path(folder) if folder is not None else _default_folder()
        self.limit = limit

    def activations(
        self,
        encoder: Encoder,
        items: Items,
        cuts: Sequence[int],
        *,
        views: Sequence[tuple[int, Augment | None]] = ((0, None),),
        rows: np.ndarray | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[tuple[int, int], Activations]:
        """The outputs of the first `cut` stages for each cut and view; what is missing is computed in one pass a view.

        Args:
            encoder: its network, in evaluation mode, with its own weights.
            items: of the modality that the encoder prepares.
            cuts: numbers of stages, each in [0, depth].
            views: numbers and augmentations. View 0 is the clean one; view k >= 1 draws its augmentation of an item
                from the view's number and the item's digest, so it is the same in every run.
            rows: the positions of the items wanted; None takes all.
            progress: called with how many rows have been computed, of how many.

        Returns:
            Activations by (cut, view number).

        Raises `StoreError` when the folder cannot be written, the disk is full or the limit is too small for them.
        """
        wanted = np.arange(len(items)) if rows is None else np.unique(rows)
        _check_cuts(cuts, encoder)
        if not len(wanted) or not cuts:
            return {(cut, number): Activations((), wanted) for cut in cuts for number, _ in views}
        digests = [items.digest(int(row)) for row in wanted]
        plan, shapes = self.plan(encoder, items, wanted)
        works = []
        for number, augment in views:
            words = f"{number} {augment.written}" if augment is not None else "clean"
            orders = [Order(encoder, plan, cut, shapes[cut], words, digests) for cut in sorted(set(cuts))]
            works.append(_Work(self.folder / "shards", items, wanted, orders, number, augment))
        self._make_room(works)
        total, done = sum(work.missing for work in works), 0
        found: dict[tuple[int, int], Activations] = {}
        for work in works:
            for count in work.run():
                done += count
                if progress is not None:
                    progress(done, total)
            for order in work.orders:
                found[order.cut, work.number] = Activations(work.shards(order), wanted)
        return found

    def plan(self, encoder: Encoder, items: Items, rows: np.ndarray) -> tuple[Plan, list[tuple[int, ...]]]:
        """The form in which this network runs on this machine, and the shape of a row at each cut.

        Which form is fastest is found by timing, so it is found once and remembered: a second run gives the same bits.
        """
        key = _digest([FORMAT, encoder.digest, repr(encoder.preparation), *_machine(), fastest.TOLERANCE])
        place = self.folder / "plans" / f"{key}.json"
        # The lock also keeps two processes from spoiling each other's timing.
        with files.locked(place.parent, wait=True):
            if not place.exists():
                files.write_json(place, _measured(encoder, items, rows))
            kept = files.read_json(place)
        return Plan(**kept["plan"]), [tuple(shape) for shape in kept["shapes"]]

    def entries(self) -> tuple[Entry, ...]:
        """What is kept, the most recently used first."""
        found = []
        for path in self._paths():
            with contextlib.suppress(OSError, ValueError):
                stat, header = path.stat(), shards.header(path)
                # Looking is no use, but it may move the stamp of the last one.
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
                found.append(Entry(header["name"], stat.st_size, stat.st_atime))
        return tuple(sorted(found, key=lambda entry: (-entry.used, entry.name)))

    def clear(self) -> None:
        """Remove all activations.

        Remembered forms stay: they are a few bytes, and found by timing, so that finding them anew could choose another
        and change results in their last digits.
        """
        for path in [*self._paths(), *self._paths(files.UNFINISHED)]:
            shards.remove(path)

    def _paths(self, ending: str = ".act") -> list[Path]:
        # Not a plain glob: unfinished files begin with a dot.
        folder = self.folder / "shards"
        return [folder / name for name in os.listdir(folder) if name.endswith(ending)] if folder.is_dir() else []

    def _make_room(self, works: Sequence[_Work]) -> None:
        """Evict what was used longest ago until the missing shards fit."""
        wanted = sum(order.bytes for work in works for order in work.orders)
        if wanted > self.limit:
            raise StoreError(
                f"the activations asked for take {wanted / 2**30:.3g} GiB, and the cache in {self.folder} may hold "
                f"{self.limit / 2**30:.3g} GiB; keep fewer views, or freeze more stages."
            )
        kept = {shard.path for active in list(in_use) for shard in active.shards}
        kept |= {str(path) for work in works for path in work.paths}
        for path in self._paths(files.UNFINISHED):
            if time.time() - path.stat().st_mtime > ABANDONED:
                shards.remove(path)
        present = {path: path.stat() for path in self._paths() if path.exists()}
        excess = sum(stat.st_size for stat in present.values()) + sum(work.bytes for work in works) - self.limit
        for path, stat in sorted(present.items(), key=lambda pair: pair[1].st_atime_ns):
            if excess <= 0:
                break
            if str(path) not in kept and time.time() - stat.st_atime > IDLE:
                shards.remove(path)
                excess -= stat.st_size


class _Work:
    """One view of some items at several cuts: which shards are missing, and the pass that makes them."""

    def __init__(
        self,
        folder: Path,
        items: Items,
        rows: np.ndarray,
        orders: Sequence[Order],
        number: int,
        augment: Augment | None,
    ) -> None:
        self.items, self.rows, self.orders, self.number, self.augment = items, rows, orders, number, augment
        self.places = {
            order.cut: [(span, folder / f"{order.key(span)}.act") for span in order.spans] for order in orders
        }
        self.absent = [
            (order, span, path)
            for order in orders
            for span, path in self.places[order.cut]
            if not shards.whole(path, len(span), order.shape)
        ]

    @property
    def paths(self) -> list[Path]:
        return [path for places in self.places.values() for _, path in places]

    @property
    def bytes(self) -> int:
        """What the missing shards will take."""
        return sum(shards.HEADER + 2 * math.prod(order.shape) * len(span) for order, span, _ in self.absent)

    @property
    def batches(self) -> list[range]:
        """The rows that must go through the network, a batch at a time; each batch lies in one shard of every cut."""
        starts = {start for _, span, _ in self.absent for start in span[::BATCH]}
        return [range(start, min(start + BATCH, len(self.rows))) for start in sorted(starts)]

    @property
    def missing(self) -> int:
        return sum(map(len, self.batches))

    def shards(self, order: Order) -> list[Shard]:
        """The shards of one cut, all there by now."""
        found = []
        for span, path in self.places[order.cut]:
            shards.mark_used(path)
            found.append(Shard(str(path), len(span), shards.header(path)["dtype"], order.shape))
        return found

    def run(self) -> Iterator[int]:
        """Make the missing shards; yields the number of rows after each batch."""
        batches, encoder, plan = self.batches, self.orders[0].encoder, self.orders[0].plan
        if not batches:
            return
        prefix = encoder.network.prefix(max(order.cut for order, _, _ in self.absent))
        waiting = {(order.cut, span.start): (order, span, path) for order, span, path in self.absent}
        open_now: dict[int, _Open] = {}
        form = None
        with contextlib.ExitStack() as stack:
            for batch, frames in zip(batches, self._frames(np.concatenate([*map(np.asarray, batches)])), strict=True):
                inputs = encoder.preparation.tensor(frames)
                form = form or fastest.prepared(prefix, plan, inputs)
                for order in self.orders:
                    if (order.cut, batch.start) in waiting:
                        open_now[order.cut] = _Open(stack, *waiting[order.cut, batch.start])
                for cut, output in form.at(inputs, list(open_now)).items():
                    open_now[cut].writer.add(output)
                    if open_now[cut].writer.rows == open_now[cut].length:
                        open_now.pop(cut).close()
                yield len(batch)

    def _frames(self, positions: np.ndarray) -> Iterator[Tensor]:
        digests, number = self.orders[0].digests, self.number
        seeds = np.array([derive("view", number, digests[place]) for place in positions], dtype=np.int64)
        preparation = self.orders[0].encoder.preparation
        return reading.frames(
            self.items, preparation, self.rows[positions], size=BATCH, augment=self.augment, seeds=seeds
        )


class _Open:
    """A shard that is being written. Its file takes its place when it is closed, and goes when `stack` ends before."""

    def __init__(self, stack: contextlib.ExitStack, order: Order, span: range, path: Path) -> None:
        self.own = stack.enter_context(contextlib.ExitStack())
        self.length = len(span)
        file = self.own.enter_context(files.replacing(path))
        depth = order.encoder.network.depth
        name = f"{order.encoder.reference}, {order.cut} of {depth} stages, {order.view}"
        # Keeps all that bfloat16 made, and next to all of float32.
        dtype = torch.bfloat16 if order.plan.dtype == "bfloat16" else torch.float16
        self.writer = Writer(file, path.stem, name, order.shape, dtype)

    def close(self) -> None:
        self.writer.finish()
        self.own.close()


def _measured(encoder: Encoder, items: Items, rows: np.ndarray) -> dict[str, Any]:
    """The plan and the shapes at each cut, from items spread over the data."""
    spread = np.unique(rows[np.linspace(0, len(rows) - 1, min(BATCH, len(rows))).astype(int)])
    frames = next(iter(reading.frames(items, encoder.preparation, spread, size=BATCH)))
    inputs, chain = encoder.preparation.tensor(frames), encoder.network.prefix(encoder.network.depth)
    outputs = fastest.prepared(chain, Plan()).at(inputs[:1], range(encoder.network.depth + 1))
    shapes = [list(outputs[cut].shape[1:]) for cut in sorted(outputs)]
    return {"encoder": encoder.reference, "plan": asdict(fastest.plan(chain, inputs)), "shapes": shapes}


def _check_cuts(cuts: Sequence[int], encoder: Encoder) -> None:
    depth = encoder.network.depth
    for cut in cuts:
        if not 0 <= cut <= depth:
            raise StoreError(f"a cut of {encoder.reference} must be in [0, {depth}], its number of stages, got {cut}.")


def _machine() -> tuple[str, ...]:
    """What decides how fast a form runs here."""
    described = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    models = [line for line in described.splitlines() if line.startswith("model name")]
    return (
        *(torch.__version__, platform.machine(), platform.processor(), *models[:1]),
        *(torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())),
    )


def _default_folder() -> Path:
    chosen = os.environ.get("STERNA_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    places = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    other = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(places.get(sys.platform, other)).expanduser() / "sterna"


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
