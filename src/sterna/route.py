"""One route at one seed: from a split data set to a trained network and its held-out predictions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import augmenting, descent, train
from sterna.errors import EncoderError
from sterna.feeds import PreparedFeed, StoredFeed
from sterna.maths.seeds import derive
from sterna.network import Network, matching_rows
from sterna.plan import Route
from sterna.records import Augment, Encoder, Feed, Items, Phase, Setting, Table, Training
from sterna.store import Activations, Store

CHUNK = 256  # rows predicted at a time

View = tuple[int, Augment | None]  # a number and what is done to the items; 0 is the clean view


@dataclass(frozen=True)
class Ran:
    """What running a route gave."""

    network: Network
    test: np.ndarray  # (n_test, k) probabilities
    validation: np.ndarray  # (n_validation, k) probabilities
    seconds: float
    history: list[dict[str, Any]]
    notes: tuple[str, ...]


@dataclass
class Desk:
    """Where a route is run: the encoder, the data at one seed, the store, and whom to tell."""

    encoder: Encoder
    training: Training
    test: Table  # without labels
    weights: np.ndarray  # (n_train,) float32
    seed: int
    store: Store
    place: Path | None = None  # checkpoint
    fingerprint: str = ""
    report: Callable[[train.Progress], None] = lambda progress: None
    extracting: Callable[[int, int], None] | None = None
    notes: list[str] = field(default_factory=list)


def run(route: Route, desk: Desk) -> Ran:
    """Train the route and predict the held-out part."""
    begin = time.perf_counter()
    network = start(route, desk).to(_device())
    phases = route.tune.plan([_count(stage) for stage in network.stages.values()])
    augment = augmenting.combine([part.build() for part in route.augment], _written(route))
    tables = _Tables(route, desk, network, augment)
    tables.fill(phases)
    recipe = train.Recipe(phases, route.losses, route.optimizer, route.schedule, desk.seed, desk.fingerprint)
    counts = np.bincount(desk.training.target.labels, minlength=len(desk.training.classes))
    setting = Setting(network, counts, desk.training.classes)
    history = train.train(network, recipe, tables.feeds, setting, place=desk.place, report=desk.report)
    low = min(phase.cut for phase in phases)
    network.move_from(low)
    suffix = network.suffix(low)
    test = descent.probabilities(suffix, tables.feed(low, desk.test, training=False), CHUNK)
    validation = descent.probabilities(suffix, tables.feed(low, desk.training.validation, training=False), CHUNK)
    seconds = time.perf_counter() - begin
    return Ran(network, test, validation, seconds, history, tuple(desk.notes))


def check(route: Route, encoder: Encoder, modality: str) -> None:
    """Raises `EncoderError` when the encoder takes another kind of data, or has nothing to transfer."""
    wanted = encoder.preparation.modality
    if wanted != modality:
        raise EncoderError(
            f"the encoder {encoder.reference} takes {wanted} data, but these data are {modality}; "
            "choose another --encoder."
        )
    if not (route.floor or encoder.pretrained):
        raise EncoderError(
            f"the encoder {encoder.reference} has no pretrained weights to transfer; it runs as a floor anyway, "
            "choose another --encoder."
        )


def start(route: Route, desk: Desk) -> Network:
    """The network as training finds it: source weights or random ones, under a head for the target's classes."""
    classes = desk.training.classes
    with torch.random.fork_rng():
        torch.manual_seed(derive(desk.seed, "network"))
        if not route.tune.pretrained:
            return desk.encoder.fresh().with_head(len(classes), {})
        rows = matching_rows(classes, desk.encoder.source_classes)
        if rows:
            named = ", ".join(classes[number] for number in list(rows)[:5])
            desk.notes.append(f"{len(rows)} of {len(classes)} head rows start from the source's: {named}.")
        return desk.encoder.network.with_head(len(classes), rows)


@dataclass
class _Tables:
    """The inputs of a route at each of its cuts."""

    route: Route
    desk: Desk
    network: Network
    augment: Augment
    stored: dict[tuple[int, int, int], Activations] = field(default_factory=dict)  # by items, cut and view
    views: int = 0

    def fill(self, phases: tuple[Phase, ...]) -> None:
        """Have the store compute every frozen cut of the route in one forward pass over the data."""
        if not self.route.tune.pretrained:
            return
        desk = self.desk
        self.views = self.route.schedule.views if self.augment.crop or self.augment.pixels else 0
        cuts = [cut for cut in sorted({phase.cut for phase in phases if phase.cut > 0}) if self._affordable(cut)]
        if not cuts:
            return
        target, shared = desk.training.target, desk.training.validation.items
        # All items of the data set, so that every seed finds them; of a source, and of each view, what is trained on.
        self._compute(shared, cuts, ((0, None),), None)
        if target.items is not shared:
            self._compute(target.items, cuts, ((0, None),), target.rows)
        views = [(number, self.augment) for number in range(1, self.views + 1)]
        self._compute(target.items, cuts, views, target.rows)

    def _compute(self, items: Items, cuts: list[int], views: Sequence[View], rows: np.ndarray | None) -> None:
        desk = self.desk
        found = desk.store.activations(desk.encoder, items, cuts, views=views, rows=rows, progress=desk.extracting)
        self.stored.update({(id(items), *key): value for key, value in found.items()})

    def feeds(self, phase: Phase) -> tuple[Feed, Feed]:
        """The training and validation inputs of a phase."""
        training = self.desk.training
        return self.feed(phase.cut, training.target, True), self.feed(phase.cut, training.validation, False)

    def feed(self, cut: int, table: Table, training: bool) -> Feed:
        """The inputs of one table at a cut."""
        weights = self.desk.weights if training else np.ones(len(table), dtype=np.float32)
        augment = self.augment if training else Augment()
        clean = self.stored.get((id(table.items), cut, 0))
        if clean is not None:
            numbers = range(1, self.views + 1) if training else ()
            augmented = [self.stored[(id(table.items), cut, number)] for number in numbers]
            return StoredFeed(clean, augmented, table.rows, table.labels, weights, augment, len(table.classes))
        prefix = _Frozen(self.network, cut) if cut else None
        return PreparedFeed(table, weights, self.desk.encoder.preparation, augment, self.desk.seed, prefix)

    def _affordable(self, cut: int) -> bool:
        """Whether the activations at a cut fit in half of the store; else they are computed anew in every epoch."""
        items = self.desk.training.target.items
        _, shapes = self.desk.store.plan(self.desk.encoder, items, np.arange(len(items)))
        wanted = math.prod(shapes[cut]) * 4 * len(items) * (1 + self.views)
        return wanted <= self.desk.store.limit / 2


@dataclass(frozen=True)
class _Frozen:
    """A frozen prefix, run anew for each batch."""

    network: Network
    cut: int

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        inputs = inputs.to(next(self.network.parameters()).device)
        return self.network.prefix(self.cut)(inputs)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _count(stage: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in stage.parameters())


def _written(route: Route) -> str:
    return route.written()["augment"] or "none"
