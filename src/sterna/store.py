"""Activations of frozen stages, computed once and kept on disk; the only writer of the cache.

What lies under the lowest moving weight is a fixed function of the input, so its outputs are data. They are kept in
shards of up to 64 MB, each a file named by a digest of everything it depends on: weights, preparation, stages, the form
in which the network ran, view and item bytes. A shard is there whole or not at all, so an interrupted extraction goes
on after the last finished one, and two processes that compute the same thing write the same file.

Items of unequal length (texts, sounds) go through the network by length, a few at a time when they are long, so that
little of a batch is padding; what is kept has none. At cut 0 the prepared items themselves are kept: tokens.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sterna import extraction, fastest, files, shards
from sterna.errors import StoreError
from sterna.extraction import Layout, Work, digested, measured
from sterna.fastest import Plan
from sterna.records import Augment, Encoder, Items
from sterna.shards import IDLE, Activations, in_use

ABANDONED = 86400.0  # seconds after which an unfinished file has been left behind by a killed process


@dataclass(frozen=True)
class Entry:
    """A kept file, for showing."""

    name: str  # what it holds
    bytes: int
    used: float  # seconds since 1970


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
        layout = self.layout(encoder, items, wanted)
        works = []
        for number, augment in views:
            words = f"{number} {augment.written}" if augment is not None else "clean"
            orders = [layout.order(encoder, cut, words, digests, items, wanted) for cut in sorted(set(cuts))]
            works.append(Work(self.folder / "shards", items, wanted, orders, number, augment, layout.densities[1]))
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

    def layout(self, encoder: Encoder, items: Items, rows: np.ndarray) -> Layout:
        """The form in which this network runs on this machine, and the shape of a row at each cut.

        Found once for an encoder and remembered, so that a second run need not try the forms, and other data of the
        same encoder take the same one.
        """
        key = digested([extraction.FORMAT, encoder.digest, repr(encoder.preparation), *_machine(), fastest.TOLERANCE])
        place = self.folder / "plans" / f"{key}.json"
        with files.locked(place.parent, wait=True):
            if not place.exists():
                files.write_json(place, measured(encoder, items, rows))
            kept = files.read_json(place)
        return Layout(Plan(**kept["plan"]), tuple(tuple(shape) for shape in kept["shapes"]), tuple(kept["densities"]))

    def room(self, encoder: Encoder, items: Items, cut: int) -> int:
        """Bytes that the activations of all items at a cut take, roughly."""
        rows = np.arange(len(items))
        layout = self.layout(encoder, items, rows)
        return layout.order(encoder, cut, "", [""] * len(rows), items, rows).bytes

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

        Remembered forms stay: they are a few bytes, and other data could lie on the other side of the tolerance.
        """
        for path in [*self._paths(), *self._paths(files.UNFINISHED)]:
            shards.remove(path)

    def _paths(self, ending: str = ".act") -> list[Path]:
        # Not a plain glob: unfinished files begin with a dot.
        folder = self.folder / "shards"
        return [folder / name for name in os.listdir(folder) if name.endswith(ending)] if folder.is_dir() else []

    def _make_room(self, works: Sequence[Work]) -> None:
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


def _check_cuts(cuts: Sequence[int], encoder: Encoder) -> None:
    depth = encoder.network.depth
    for cut in cuts:
        if not 0 <= cut <= depth:
            raise StoreError(f"a cut of {encoder.reference} must be in [0, {depth}], its number of stages, got {cut}.")


def _machine() -> tuple[str, ...]:
    """What decides which form is fast here."""
    described = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    models = [line for line in described.splitlines() if line.startswith("model name")]
    return (
        *(torch.__version__, platform.machine(), platform.processor(), *models[:1]),
        torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        *(torch.backends.cpu.get_cpu_capability(), str(fastest.multiplies_bfloat16()), str(torch.get_num_threads())),
    )


def _default_folder() -> Path:
    chosen = os.environ.get("STERNA_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    places = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    other = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(places.get(sys.platform, other)).expanduser() / "sterna"
