"""One pass of items through a frozen network: which shards of activations are missing, and the batches that make them.

Items of unequal length (texts, sounds) go through by length, a few at a time when they are long, so that little of a
batch is padding.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import fastest, files, reading, sequences, shards
from sterna.fastest import Plan
from sterna.maths.seeds import derive
from sterna.records import Augment, Encoder, Items
from sterna.shards import Shard, Writer

FORMAT = 4  # part of every key; to be raised when the meaning of what is kept changes
BATCH = 32  # examples at a time through the network
GRAIN = 2 * BATCH  # shards hold a multiple of this many rows, so that no batch lies in two
SHARD = 64 * 2**20  # bytes of a shard, at two bytes a number
LONGEST = 16 * GRAIN  # rows of a shard: what an interruption can cost
RAGGED = 8 * GRAIN  # rows of a shard of items of unequal length; batches are made within one
ROWS = 4 * GRAIN  # of a batch of such items, at most
POSITIONS = 4096  # of a batch of such items behind the first stage, padding included: tokens, frames of a sound


@dataclass(frozen=True)
class Order:
    """One table of activations to be had: an encoder's outputs at a cut for some items, under one view."""

    encoder: Encoder
    plan: Plan
    cut: int
    shape: tuple[int, ...]
    view: str  # in words, for keys
    digests: Sequence[str]
    mean: float = 1.0  # positions of a row, where rows have their own lengths

    @property
    def length(self) -> int:
        """Rows in a shard."""
        if self.encoder.preparation.ragged:
            return RAGGED
        fitting = SHARD // (2 * max(1, math.prod(self.shape)))
        return min(LONGEST, max(GRAIN, fitting // GRAIN * GRAIN))

    @property
    def bytes(self) -> int:
        return self.room(len(self.digests))

    def room(self, rows: int) -> int:
        """Bytes that so many rows take, roughly where their lengths are not known yet."""
        numbers = math.prod(shards.unit(self.shape)) * (self.mean if self.shape[:1] == (0,) else 1.0)
        return int(rows * numbers) * (4 if self.cut == 0 and self.encoder.preparation.ragged else 2)

    @property
    def spans(self) -> list[range]:
        """The rows of each shard."""
        count = len(self.digests)
        return [range(start, min(start + self.length, count)) for start in range(0, count, self.length)]

    def key(self, span: range) -> str:
        """The name of a shard."""
        stages = list(self.encoder.network.stages)[: self.cut]
        size = POSITIONS if self.encoder.preparation.ragged else BATCH
        made = [FORMAT, self.encoder.digest, repr(self.encoder.preparation), self.cut, stages, size]
        return digested([*made, self.plan.form, self.view, list(self.digests[span.start : span.stop])])


@dataclass(frozen=True)
class Layout:
    """How a network runs, and what comes out."""

    plan: Plan
    shapes: tuple[tuple[int, ...], ...]  # of a row at each cut; (0, c) for rows of their own length
    densities: tuple[float, float]  # positions for each unit of `Items.lengths`, as prepared and behind the first stage

    def order(
        self, encoder: Encoder, cut: int, view: str, digests: Sequence[str], items: Items, rows: np.ndarray
    ) -> Order:
        lengths = items.lengths
        density = self.densities[cut > 0]
        mean = 1.0 if lengths is None or not len(rows) else density * float(lengths[rows].mean())
        return Order(encoder, self.plan, cut, self.shapes[cut], view, digests, mean)


@dataclass(frozen=True)
class _Batch:
    """Items that go through the network together; they lie in one shard of every cut."""

    places: np.ndarray  # positions among the rows wanted
    opens: int  # the first row of the shard that this batch is the first of; -1 for none


class Work:
    """One view of some items at several cuts: which shards are missing, and the pass that makes them."""

    def __init__(
        self,
        folder: Path,
        items: Items,
        rows: np.ndarray,
        orders: Sequence[Order],
        number: int,
        augment: Augment | None,
        density: float,
    ) -> None:
        self.items, self.rows, self.orders, self.number, self.augment = items, rows, orders, number, augment
        self.density = density
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
        return sum(shards.HEADER + order.room(len(span)) for order, span, _ in self.absent)

    @property
    def ragged(self) -> bool:
        return self.orders[0].encoder.preparation.ragged

    @functools.cached_property
    def missing(self) -> int:
        """How many rows must go through the network."""
        return len(set().union(*(span for _, span, _ in self.absent)))

    def shards(self, order: Order) -> list[Shard]:
        """The shards of one cut, all there by now."""
        found = []
        for span, path in self.places[order.cut]:
            shards.mark_used(path)
            said = shards.header(path)
            found.append(Shard(str(path), len(span), said["dtype"], order.shape, said["units"]))
        return found

    def run(self) -> Iterator[int]:
        """Make the missing shards; yields the number of rows after each batch."""
        if not self.absent:
            return
        encoder, plan = self.orders[0].encoder, self.orders[0].plan
        prefix = encoder.network.prefix(max(order.cut for order, _, _ in self.absent))
        waiting = {(order.cut, span.start): (order, span, path) for order, span, path in self.absent}
        open_now: dict[int, _Open] = {}
        form = None
        with contextlib.ExitStack() as stack:
            for batch, frames in self._batches():
                inputs = encoder.preparation.tensor(frames)
                form = form or fastest.prepared(prefix, plan, inputs)
                for order in self.orders:
                    if (order.cut, batch.opens) in waiting:
                        open_now[order.cut] = _Open(stack, *waiting[order.cut, batch.opens])
                for cut, output in form.at(inputs, list(open_now)).items():
                    if open_now[cut].add(output, batch.places):
                        open_now.pop(cut).close()
                yield len(batch.places)

    def _batches(self) -> Iterator[tuple[_Batch, Tensor]]:
        """What must go through the network, in the order in which it goes, with its frames."""
        spans = [span for _, span in sorted({span.start: span for _, span, _ in self.absent}.items())]
        if self.ragged and self.items.in_memory:
            return (one for span in spans for one in self._framed(span))
        found = [one for span in spans for one in self._estimated(span)] if self.ragged else self._even()
        places = np.concatenate([batch.places for batch in found])
        return zip(found, self._frames(places, [len(batch.places) for batch in found]), strict=True)

    def _even(self) -> list[_Batch]:
        starts = {start for _, span, _ in self.absent for start in span[::BATCH]}
        return [_Batch(np.arange(start, min(start + BATCH, len(self.rows))), start) for start in sorted(starts)]

    def _framed(self, span: range) -> Iterator[tuple[_Batch, Tensor]]:
        """A shard of items that are quickly framed: all at once, so that their lengths are known."""
        frames = [one[0].numpy() for one in self._frames(np.array(span), 1)]
        for batch in _by_length(span, np.array([len(one) for one in frames])):
            members = [frames[place - span.start] for place in batch.places]
            yield batch, torch.from_numpy(sequences.padded(members))

    def _estimated(self, span: range) -> list[_Batch]:
        lengths = np.ones(len(span)) if self.items.lengths is None else self.items.lengths[self.rows[span]]
        positions = np.ceil(lengths * self.density)
        longest = getattr(self.orders[0].encoder.preparation, "longest", None)
        return _by_length(span, np.minimum(positions, longest) if longest else positions)

    def _frames(self, places: np.ndarray, sizes: int | Sequence[int]) -> Iterator[Tensor]:
        digests, number = self.orders[0].digests, self.number
        seeds = np.array([derive("view", number, digests[place]) for place in places], dtype=np.int64)
        preparation = self.orders[0].encoder.preparation
        return reading.frames(self.items, preparation, self.rows[places], size=sizes, augment=self.augment, seeds=seeds)


def _by_length(span: range, positions: np.ndarray) -> list[_Batch]:
    """Batches of one shard."""
    found = sequences.cheapest(positions, POSITIONS, ROWS)
    return [_Batch(span.start + places, -1 if number else span.start) for number, places in enumerate(found)]


class _Open:
    """A shard that is being written. Its file takes its place when it is closed, and goes when `stack` ends before."""

    def __init__(self, stack: contextlib.ExitStack, order: Order, span: range, path: Path) -> None:
        self.own = stack.enter_context(contextlib.ExitStack())
        self.span = span
        file = self.own.enter_context(files.replacing(path))
        depth = order.encoder.network.depth
        name = f"{order.encoder.reference}, {order.cut} of {depth} stages, {order.view}"
        # Keeps all that bfloat16 made, and next to all of float32.
        dtype = torch.bfloat16 if order.plan.dtype == "bfloat16" else torch.float16
        self.words, self.dtype = (path.stem, name, order.shape), dtype
        self.rows = len(span) if order.encoder.preparation.ragged else 0
        self.file = file
        self.writer: Writer | None = None

    def add(self, output: Tensor, places: np.ndarray) -> bool:
        """Append the rows of a batch; True when the shard is full."""
        if self.writer is None:
            dtype = self.dtype if output.is_floating_point() else torch.int32
            self.writer = Writer(self.file, *self.words, dtype, self.rows)
        self.writer.add(output, places - self.span.start)
        return self.writer.rows == len(self.span)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.finish()
        self.own.close()


def measured(encoder: Encoder, items: Items, rows: np.ndarray) -> dict[str, Any]:
    """The plan and the shapes at each cut, from items spread over the data."""
    spread = np.unique(rows[np.linspace(0, len(rows) - 1, min(BATCH, len(rows))).astype(int)])
    preparation = encoder.preparation
    frames = next(iter(reading.frames(items, preparation, spread, size=BATCH)))
    inputs, chain = preparation.tensor(frames), encoder.network.prefix(encoder.network.depth)
    outputs = fastest.prepared(chain, Plan()).at(inputs[:1], range(encoder.network.depth + 1))
    shapes = [_row_shape(outputs[cut], preparation.ragged) for cut in sorted(outputs)]
    densities = [1.0, 1.0]
    if preparation.ragged and items.lengths is not None:
        lengths = max(int(items.lengths[spread].sum()), 1)
        ends = [inputs, fastest.prepared(chain[:1], Plan()).at(inputs, (1,))[1]]
        # A network of one stage has no positions behind it.
        densities = [int(sequences.mask(one).sum()) / lengths for one in (ends if ends[1].dim() == 3 else ends[:1] * 2)]
    plan = asdict(fastest.plan(chain, inputs))
    return {"encoder": encoder.reference, "plan": plan, "shapes": shapes, "densities": densities}


def _row_shape(output: Tensor, ragged: bool) -> list[int]:
    """The shape of a row; 0 stands for its own length."""
    shape = list(output.shape[1:])
    return [0, *shape[1:]] if ragged and len(shape) == 2 else shape


def digested(parts: Sequence[Any]) -> str:
    """A digest of anything that JSON can write."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
