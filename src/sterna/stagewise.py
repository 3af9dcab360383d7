"""Features of the same items before and after training, and what training changed stage by stage.

Stages under the lowest one that changed are run once for both networks, or read from the store where they lie there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sterna import reading, sequences
from sterna.extraction import Work
from sterna.maths.alignment import FEWEST, debiased_cka
from sterna.network import Network
from sterna.records import Encoder, Items
from sterna.store import Activations, Store

CHUNK = 32  # items in memory at a time


@dataclass(frozen=True)
class Moved:
    """What training did to one stage."""

    name: str
    cka: float  # debiased linear CKA of its outputs before and after, pooled over places; NaN where it cannot be had
    moved: float  # |after - before| / |before| over its weights


@dataclass(frozen=True)
class Input:
    """What goes into a network at one cut."""

    items: Items
    encoder: Encoder
    cut: int
    stored: Activations | None  # None: items are prepared anew, and cut is 0

    def chunks(self, rows: np.ndarray) -> Iterator[Tensor]:
        """The inputs of some items, in order."""
        if self.stored is not None:
            return (self.stored.gather(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK))
        frames = reading.frames(self.items, self.encoder.preparation, rows, size=CHUNK)
        return map(self.encoder.preparation.tensor, frames)


def unchanged(before: Network, after: Network) -> int:
    """How many stages from the first on hold the same weights and statistics in both."""
    for place, (one, other) in enumerate(zip(before.stages.values(), after.stages.values(), strict=True)):
        if not _alike(one.state_dict(), other.state_dict()):
            return place
    return before.depth


def source(store: Store, encoder: Encoder, items: Items, rows: np.ndarray | None, highest: int) -> Input:
    """The highest cut up to `highest` at which the activations of these rows lie in the store, else the items.

    Args:
        store: looked at only; nothing is computed for it.
        encoder: whose stages.
        items: of the data set.
        rows: as they were asked for when they were made; None for all.
        highest: the number of stages whose outputs may be taken as they are.
    """
    wanted = np.arange(len(items)) if rows is None else np.unique(rows)
    if highest == 0 or not len(wanted):
        return Input(items, encoder, 0, None)
    digests = [items.digest(int(row)) for row in wanted]
    layout = store.layout(encoder, items, wanted)
    for cut in range(highest, 0, -1):
        order = layout.order(encoder, cut, "clean", digests, items, wanted)
        work = Work(store.folder / "shards", items, wanted, [order], 0, None, layout.densities[1])
        if not work.absent:
            return Input(items, encoder, cut, Activations(work.shards(order), wanted))
    return Input(items, encoder, 0, None)


def features(network: Network, given: Input, rows: np.ndarray) -> np.ndarray:
    """(n, d) float32: what the head of a network reads, for some items (n >= 1)."""
    (found,) = outputs(network, given, rows, every=False).values()
    return found


@torch.no_grad()
def outputs(network: Network, given: Input, rows: np.ndarray, every: bool = True) -> dict[str, np.ndarray]:
    """(n, d) float32 outputs of each stage from the cut on, pooled over their places; of the last one unless `every`.

    A cut at the end gives what went in under the name of the last stage.
    """
    stages = list(network.stages.items())[given.cut :]
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    ragged, lengths = given.encoder.preparation.ragged, given.items.lengths
    order = np.argsort(-lengths[rows], kind="stable") if ragged and lengths is not None else np.arange(len(rows))
    found: dict[str, list[Tensor]] = {}
    for inputs in given.chunks(rows[order]):
        value = inputs.to(device)
        for place, (name, stage) in enumerate(stages):
            value = stage(value)
            if every or place == len(stages) - 1:
                found.setdefault(name, []).append(sequences.pooled(value, ragged))
        if not stages:
            found.setdefault("", []).append(sequences.pooled(value, ragged))
    back = np.argsort(order, kind="stable")
    return {name: torch.cat(parts).cpu().numpy()[back] for name, parts in found.items()}


def changes(before: Network, after: Network, given: Input, rows: np.ndarray) -> list[Moved]:
    """What training did to each stage; exactly CKA 1 and change 0 for those under the first that changed.

    Args:
        before, after: networks of the same stages.
        given: at a cut that lies not above the first stage that changed.
        rows: (n,) items on which outputs are compared; with fewer than 4 CKA is NaN.
    """
    still = unchanged(before, after)
    enough = len(rows) >= FEWEST and still < before.depth
    sides = [outputs(network, given, rows) for network in (before, after)] if enough else [{}, {}]
    found = []
    for place, name in enumerate(before.stages):
        if place < still:
            found.append(Moved(name, 1.0, 0.0))
            continue
        cka = debiased_cka(sides[0][name], sides[1][name]) if enough else float("nan")
        found.append(Moved(name, cka, _change(before.stages[name], after.stages[name])))
    return found


def _alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value.cpu(), other[name].cpu()) for name, value in one.items())


def _change(before: nn.Module, after: nn.Module) -> float:
    pairs = [(one.detach().double().cpu(), other.detach().double().cpu())
             for one, other in zip(before.parameters(), after.parameters(), strict=True)]  # fmt: skip
    size = sum(float(one.pow(2).sum()) for one, _ in pairs)
    apart = sum(float((other - one).pow(2).sum()) for one, other in pairs)
    return (apart / size) ** 0.5 if size > 0 else 0.0
