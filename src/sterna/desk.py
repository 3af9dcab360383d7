"""Where a route is run: the data at one seed, and the inputs at each of the network's cuts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import descent
from sterna.contracts import Feed, Task
from sterna.feeds import PreparedFeed, RunFeed, StoredFeed, kept
from sterna.network import Network
from sterna.plan import Route
from sterna.recipe import Parts, Progress
from sterna.records import Augment, Encoder, Items, Phase, Table, Teacher, Training
from sterna.store import Activations, Store

CHUNK = 1024  # rows of features read at a time
LAST = "last.pt"  # the checkpoint of the last fit, beside that of the first
LONG = 32  # items of unequal length run at a time, of which each may be long
KEPT = 0.1  # of the machine's memory that the outputs of stages may take which froze while a phase ran

View = tuple[int, Augment | None]  # a number and what is done to the items; 0 is the clean view


@dataclass
class Desk:
    """Where a route is run: the encoder, the data at one seed, the store, and whom to tell."""

    encoder: Encoder | None  # None for methods on raw items
    training: Training
    test: Table  # without labels
    weights: np.ndarray  # (n_train,) float32
    seed: int
    task: Task
    store: Store
    whole: tuple[Table, np.ndarray] | None = None  # training and validation examples, with weights, for a last fit
    place: Path | None = None  # checkpoint
    fingerprint: str = ""
    report: Callable[[Progress], None] = lambda progress: None
    extracting: Callable[[int, int], None] | None = None
    notes: list[str] = field(default_factory=list)
    criteria: tuple[Any, ...] = ()  # that judge an adaptation without labels of the target
    owners: np.ndarray | None = None  # (items,) of which source each is, -1: of the target; see `targeting.owners`
    blind: bool = False  # whether the validation part says nothing about the best epoch; see `recipe`
    sources: str = "equal"  # how several of them are weighed; see `sourcewise`
    twin: Encoder | None = None  # with the statistics of the unlabelled part, where it has its own
    teacher: Teacher | None = None
    folds: tuple[tuple[Desk, np.ndarray], ...] = ()  # of a cross-validation, with the positions in `whole` they judge
    rival: np.ndarray | None = None  # (n_whole, k) answers, by folds too, of a route that this one is raced against

    @property
    def alone(self) -> bool:
        """Whether nothing is labelled: a saved model is adapted, and `target` are the unlabelled examples."""
        return self.training.crossed and not len(self.training.target.labels)

    def last(self) -> Desk:
        """The desk of the last fit, after everything is chosen: it learns from the validation examples too."""
        if self.whole is None:
            return self
        (target, weights), held = self.whole, self.training.validation
        training = replace(self.training, target=target, validation=held.take(np.zeros(0, dtype=np.int64)))
        place = self.place.with_name(LAST) if self.place else None
        return replace(self, training=training, weights=weights, place=place, whole=None, folds=())


def ones(table: Table) -> np.ndarray:
    """(n,) equal weights."""
    return np.ones(len(table), dtype=np.float32)


def features(
    encoder: Encoder, table: Table, store: Store, progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """(n, d) float32: the frozen features of all items of a table, from the store."""
    depth = encoder.network.depth
    if not len(table):
        return torch.zeros(0, encoder.network.width)
    kept = store.activations(encoder, table.items, [depth], rows=table.rows, progress=progress)[depth, 0]
    parts = [kept.gather(table.rows[start : start + CHUNK]) for start in range(0, len(table), CHUNK)]
    return torch.cat([part.reshape(len(part), -1).float() for part in parts])


@dataclass
class Tables:
    """The inputs of a route at each of its cuts."""

    route: Route
    desk: Desk
    network: Network
    augment: Augment
    stored: dict[tuple[int, int, int], Activations] = field(default_factory=dict)  # by items, cut and view
    views: int = 0
    bases: dict[str, int] = field(default_factory=dict)  # by phase, the lowest cut so far; what lies above has moved
    twin: Tables | None = None  # of unlabelled examples, where these have statistics of their own
    strong: Tables | None = None  # of unlabelled examples, strongly augmented
    every: bool = False  # whether the augmentation acts at every cut, and is never left out to save time

    def fill(self, phases: tuple[Phase, ...]) -> None:
        """Have the store compute every frozen cut of the route in one forward pass over the data."""
        desk = self.desk
        lowest = itertools.accumulate((phase.cut for phase in phases), min)
        self.bases = {phase.name: base for phase, base in zip(phases, lowest, strict=True)}
        wanted = sorted(set(self.bases.values()))
        if not self.route.pretrained or self.network.depth == 0:
            wanted = [cut for cut in wanted if cut == 0]
        there = any(cut > 0 for cut in wanted) if self.every else bool(wanted) and wanted[0] > 0
        self.views = self.route.schedule.views if self.augment.single and there else 0
        # Prepared texts are small and are kept too, unless each epoch changes them; pictures are read anew.
        if not self.encoder.preparation.ragged or (self.augment.single and (self.every or not self.views)):
            wanted = [cut for cut in wanted if cut > 0]
        cuts = [cut for cut in wanted if self._affordable(cut)]
        if not cuts:
            return
        target, shared = desk.training.target, desk.training.validation.items
        # All items of the data set, so that every seed finds them, unless most are not used at all; of a source, and of
        # each view, what is trained on.
        self._compute(shared, cuts, ((0, None),), self._used(shared))
        if target.items is not shared:
            self._compute(target.items, cuts, ((0, None),), target.rows)
        views = [(number, self.augment) for number in range(1, self.views + 1)]
        for table in self._learnt(target):
            self._compute(table.items, cuts, views, table.rows)

    def half(self, phases: Sequence[Phase]) -> bool:
        """Whether training may run in bfloat16: for sequences, where the network was seen to agree in it and to gain.

        Networks of pictures stay in float32: small ones were several times slower backward in bfloat16.
        """
        items, preparation = self.desk.training.target.items, self.encoder.preparation
        if not preparation.ragged or all(phase.solver == "logistic" for phase in phases):
            return False
        layout = self.desk.store.layout(self.encoder, items, self.desk.training.target.rows)
        return layout.plan.dtype == "bfloat16"

    @property
    def encoder(self) -> Encoder:
        assert self.desk.encoder is not None
        return self.desk.encoder

    def _used(self, items: Items) -> np.ndarray | None:
        """The rows of the target's items that this seed needs, or None for all of them."""
        training = self.desk.training
        parts = [training.validation, self.desk.test]
        parts += [one for one in (training.target, training.unlabelled) if one is not None and one.items is items]
        rows = np.unique(np.concatenate([part.rows for part in parts]))
        return rows if 2 * len(rows) < len(items) else None

    def _learnt(self, target: Table) -> list[Table]:
        """What training reads of each list of items: a source has its own, and unlabelled examples lie in another."""
        others = self.desk.training.unlabelled if self.looks else None
        if others is None:
            return [target]
        if others.items is not target.items:
            return [target, others]
        return [replace(target, rows=np.union1d(target.rows, others.rows), labels=target.labels[:0])]

    @property
    def looks(self) -> bool:
        """Whether training reads unlabelled examples: a route to compare with does not, whatever there is."""
        return bool({"unlabelled", "views", "statistics"} & {loss.needs for loss in self.route.losses})

    def _compute(self, items: Items, cuts: list[int], views: Sequence[View], rows: np.ndarray | None) -> None:
        desk = self.desk
        found = desk.store.activations(self.encoder, items, cuts, views=views, rows=rows, progress=desk.extracting)
        self.stored.update({(id(items), *key): value for key, value in found.items()})

    def feeds(self, phase: Phase) -> Parts:
        """What a phase reads."""
        training, others = self.desk.training, self.twin or self
        found = Parts(self._moved(phase, training.target, True), self._moved(phase, training.validation, False))
        if training.unlabelled is None or not self.looks:
            return found
        if self.desk.alone:
            return replace(found, unlabelled=found.training)
        strong = self.strong._moved(phase, training.unlabelled, True) if self.strong else None
        return replace(found, unlabelled=others._moved(phase, training.unlabelled, True), strong=strong)

    def _moved(self, phase: Phase, table: Table, training: bool) -> Feed:
        """The inputs of one table at the cut of a phase."""
        base = self.bases[phase.name]
        feed = self.feed(base, table, training)
        if base == phase.cut:
            return feed
        # Stages above `base` have moved in an earlier phase, or in this one: what is stored of them is no longer true.
        stages = _Frozen(self.network, base, phase.cut)
        if not phase.freezing:
            return RunFeed(feed, stages)
        if training and (self.augment.mix or (self.augment.single and not feed.views)):
            self._say("inputs differ from epoch to epoch, so stages that freeze are run anew in each; none are stored.")
            return RunFeed(feed, stages)
        found = kept(feed, stages, LONG, int(KEPT * descent.memory(torch.device("cpu"))))
        if found is None:
            self._say("what stages that froze give takes too much memory, so they are run anew in each epoch.")
        return found or RunFeed(feed, stages)

    def _say(self, note: str) -> None:
        if note not in self.desk.notes:
            self.desk.notes.append(note)

    def feed(self, cut: int, table: Table, training: bool) -> Feed:
        """The inputs of one table at a cut under which nothing has moved."""
        weights = self.desk.weights if table is self.desk.training.target else ones(table)
        augment = self.augment if training else Augment()
        clean = self.stored.get((id(table.items), cut, 0))
        if clean is not None:
            numbers = range(1, self.views + 1) if training else ()
            augmented = [self.stored[(id(table.items), cut, number)] for number in numbers]
            return StoredFeed(clean, augmented, table, weights, augment)
        prefix = _Frozen(self.network, 0, cut) if cut else None
        return PreparedFeed(table, weights, self.encoder.preparation, augment, self.desk.seed, prefix)

    def _affordable(self, cut: int) -> bool:
        """Whether the activations at a cut fit in half of the store; else they are computed anew in every epoch."""
        wanted = self.desk.store.room(self.encoder, self.desk.training.target.items, cut)
        return wanted * (1 + self.views) <= self.desk.store.limit / 2


@dataclass(frozen=True)
class _Frozen:
    """Stages that stand still, run anew for each batch."""

    network: Network
    start: int
    stop: int

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        inputs = inputs.to(next(self.network.parameters()).device)
        stages = self.network.prefix(self.stop)[self.start :]
        found = [stages(part) for part in inputs.split(LONG)]
        if found[0].dim() != 3:
            return torch.cat(found)
        # Words are as many as the longest of a part has.
        return torch.nn.utils.rnn.pad_sequence([row for part in found for row in part], batch_first=True)
