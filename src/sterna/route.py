"""One route at one seed: from a split data set to a trained network and its held-out predictions."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import augmenting, descent, estimators, folder, train
from sterna.contracts import Examples, Feed, Given, Linear, Task
from sterna.errors import EncoderError, SpecError
from sterna.feeds import PreparedFeed, RunFeed, StoredFeed
from sterna.maths.seeds import derive
from sterna.network import Network, matching_rows
from sterna.plan import Route
from sterna.records import Augment, Encoder, Items, Phase, Setting, Table, Training
from sterna.store import Activations, Store

CHUNK = 256  # rows predicted at a time
LONG = 32  # the same for items of unequal length, of which each may be long

View = tuple[int, Augment | None]  # a number and what is done to the items; 0 is the clean view


@dataclass(frozen=True)
class Ran:
    """What running a route gave."""

    model: Any  # the trained `Network`, or the estimator of a method on raw items
    test: np.ndarray  # (n_test, k) answers; for tags, of all words
    validation: np.ndarray  # (n_validation, k)
    seconds: float
    history: list[dict[str, Any]]
    notes: tuple[str, ...]


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
    place: Path | None = None  # checkpoint
    fingerprint: str = ""
    report: Callable[[train.Progress], None] = lambda progress: None
    extracting: Callable[[int, int], None] | None = None
    notes: list[str] = field(default_factory=list)


def run(route: Route, desk: Desk) -> Ran:
    """Train the route and predict the held-out part."""
    begin = time.perf_counter()
    if desk.encoder is None:
        return _raw(route, desk, begin)
    encoder = fitted(desk.encoder, desk.training.target)
    desk = replace(desk, encoder=encoder, notes=[*desk.notes, *(encoder.notes if encoder is not desk.encoder else ())])
    desk, scale = _standardised(desk)
    network = start(route, encoder, desk).to(_device())
    history = _features(route, desk, network) if route.shallow else _trained(route, desk, network)
    low = history.low
    network.move_from(low)
    if scale is not None:
        scale.fold(network)
    suffix, classes = network.suffix(low), desk.training.classes
    size = LONG if encoder.preparation.ragged else CHUNK
    test, validation = (
        descent.answers(suffix, history.tables.feed(low, table, training=False), size, desk.task, classes)
        for table in (desk.test, desk.training.validation)
    )
    seconds = time.perf_counter() - begin
    return Ran(network, test, validation, seconds, history.entries, tuple(desk.notes))


def check(route: Route, encoder: Encoder, table: Table, helped: bool) -> None:
    """Raises `EncoderError` or `SpecError` when the parts of a route do not fit the data or one another.

    `helped`: whether a source data set is given, which can be transferred without pretrained weights.
    """
    wanted, modality = encoder.preparation.modality, table.items.modality
    if table.task == "tag" and encoder.words is not None:
        wanted = "words"
    if wanted != modality:
        raise EncoderError(
            f"the encoder {encoder.reference} takes {wanted} data, but these data are {modality}; "
            "choose another --encoder."
        )
    if not (route.floor or encoder.pretrained or helped):
        raise EncoderError(
            f"the encoder {encoder.reference} has no pretrained weights to transfer; it runs as a floor anyway, "
            "choose another --encoder, or give --source."
        )
    ragged = encoder.preparation.ragged
    for part in route.augment:
        fits = [_fitting(place, modality, ragged) for place in part.places]
        if fits and not any(fits):
            raise SpecError(f"the augmentation {part!r} does nothing to {modality} data; leave it out.")


def _fitting(place: str, modality: str, ragged: bool) -> bool:
    """Whether an augmentation that acts at a place acts on this kind of data."""
    if place == "mix":
        return not ragged
    kinds = {"crop": ("image",), "pixels": ("image",), "text": ("text", "words"), "row": ("row",), "sound": ("audio",)}
    return modality in kinds[place]


def opened(encoder: Encoder, task: str) -> Encoder:
    """The encoder as the task needs it: with features for each word, to tag words.

    Raises `EncoderError` for one that has none.
    """
    if task != "tag":
        return encoder
    if encoder.words is None:
        raise EncoderError(
            f"the encoder {encoder.reference} gives one answer for an item, and tags need one for each word; choose "
            "one whose stages keep the words, such as hf:bert-base-cased."
        )
    return encoder.words()


def weighs(encoder: Encoder) -> bool:
    """Whether the encoder's stages hold weights."""
    return any(True for _ in encoder.network.stages.parameters())


def fitted(encoder: Encoder, table: Table) -> Encoder:
    """The encoder with statistics of these training rows, where it has any."""
    return encoder if encoder.fitted is None else encoder.fitted(table)


def start(route: Route, encoder: Encoder, desk: Desk) -> Network:
    """The network as training finds it: source weights or random ones, under a head for the target's classes."""
    classes = desk.training.classes
    with torch.random.fork_rng():
        torch.manual_seed(derive(desk.seed, "network"))
        if not route.tune.pretrained and not route.shallow:
            return encoder.fresh().with_head(len(classes), {})
        rows = matching_rows(classes, encoder.source_classes)
        if rows:
            named = ", ".join(classes[number] for number in list(rows)[:5])
            desk.notes.append(f"{len(rows)} of {len(classes)} head rows start from the source's: {named}.")
        return encoder.network.with_head(len(classes), rows)


@dataclass(frozen=True)
class _Scale:
    """The mean and spread of numbers that are learnt, from the training part."""

    mean: np.ndarray  # (k,)
    spread: np.ndarray  # (k,)

    def fold(self, network: Network) -> None:
        """Have the head answer in the units of the labels."""
        weight, bias = (part.detach().cpu().double().numpy() for part in network.head.parameters())
        network.set_weights(Linear(weight * self.spread[:, None], bias * self.spread + self.mean))


def _standardised(desk: Desk) -> tuple[Desk, _Scale | None]:
    """For numbers: labels of mean 0 and spread 1 over the training part."""
    training = desk.training
    if training.target.task != "regress":
        return desk, None
    own = training.target.labels[desk.weights > 0]
    spread = own.std(axis=0)
    scale = _Scale(own.mean(axis=0), np.where(spread > 0, spread, 1.0))
    target, validation = (
        replace(part, labels=(part.labels - scale.mean) / scale.spread)
        for part in (training.target, training.validation)
    )
    return replace(desk, training=replace(training, target=target, validation=validation)), scale


@dataclass(frozen=True)
class _History:
    """How the weights of a network were found."""

    entries: list[dict[str, Any]]
    tables: _Tables
    low: int  # the number of stages that never moved


def _trained(route: Route, desk: Desk, network: Network) -> _History:
    """Weights by the phases of the route's policy."""
    phases = route.tune.plan([_count(stage) for stage in network.stages.values()])
    augment = augmenting.combine([part.build() for part in route.augment], _written(route))
    tables = _Tables(route, desk, network, augment)
    tables.fill(phases)
    target = desk.training.target
    own = {phase.loss: folder.resolve("losses", phase.loss) for phase in phases if phase.loss}
    recipe = train.Recipe(
        phases,
        route.losses,
        route.optimizer,
        route.schedule,
        desk.seed,
        desk.task,
        target.task,
        desk.fingerprint,
        own,
        paces=(tables.encoder.head_pace, tables.encoder.pace if route.tune.pretrained else 1.0),
        half=tables.half(phases),
    )
    counts = desk.task.counts(target.labels, len(target.classes))
    many = len(target) if target.task != "tag" else int(counts.sum())
    setting = Setting(network, counts, target.classes, many)
    entries = train.train(network, recipe, tables.feeds, setting, place=desk.place, report=desk.report)
    return _History(entries, tables, min(phase.cut for phase in phases))


def _features(route: Route, desk: Desk, network: Network) -> _History:
    """A head by a method on features."""
    assert desk.encoder is not None
    cut = network.depth
    tables = _Tables(route, desk, network, Augment())
    tables.fill((Phase("features", cut),))
    given = _given(desk, lambda table: _gathered(tables.feed(cut, table, False)), desk.encoder.describe)
    network.set_weights(route.tune.fit(given))
    return _History([], tables, cut)


def _raw(route: Route, desk: Desk, begin: float) -> Ran:
    """An estimator on raw items."""
    training = desk.training
    task, count = training.target.task, len(training.classes)
    model = route.tune.fit(_given(desk, _items, None))
    test, validation = (
        estimators.answers(model, _items(table), task, count) for table in (desk.test, training.validation)
    )
    return Ran(model, test, validation, time.perf_counter() - begin, [], tuple(desk.notes))


def _given(desk: Desk, inputs: Callable[[Table], Any], describe: Callable[[Sequence[str]], np.ndarray] | None) -> Given:
    """What a method of `shallow/` may see."""
    target, validation = desk.training.target, desk.training.validation
    return Given(
        target=Examples(inputs(target), target.labels, desk.weights),
        validation=Examples(inputs(validation), validation.labels, _ones(validation)),
        classes=target.classes,
        task=target.task,
        seed=desk.seed,
        columns=getattr(target.items, "columns", ()),
        describe=describe,
    )


def _items(table: Table) -> list[Any]:
    return [table.items.read(int(row), 0) for row in table.rows]


def _ones(table: Table) -> np.ndarray:
    return np.ones(len(table), dtype=np.float32)


def _gathered(feed: Feed) -> np.ndarray:
    return np.concatenate([inputs.float().numpy() for inputs in feed.inputs(np.arange(len(feed)), CHUNK, -1)])


@dataclass
class _Tables:
    """The inputs of a route at each of its cuts."""

    route: Route
    desk: Desk
    network: Network
    augment: Augment
    stored: dict[tuple[int, int, int], Activations] = field(default_factory=dict)  # by items, cut and view
    views: int = 0
    bases: dict[Phase, int] = field(default_factory=dict)  # the lowest cut so far; what lies above has moved

    def fill(self, phases: tuple[Phase, ...]) -> None:
        """Have the store compute every frozen cut of the route in one forward pass over the data."""
        desk = self.desk
        lowest = itertools.accumulate((phase.cut for phase in phases), min)
        self.bases = dict(zip(phases, lowest, strict=True))
        wanted = sorted(set(self.bases.values()))
        if not self.route.tune.pretrained or self.network.depth == 0:
            wanted = [cut for cut in wanted if cut == 0]
        self.views = self.route.schedule.views if self.augment.single and wanted and wanted[0] > 0 else 0
        # Prepared texts are small and are kept too, unless each epoch changes them; pictures are read anew.
        if not self.encoder.preparation.ragged or (self.augment.single and not self.views):
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
        self._compute(target.items, cuts, views, target.rows)

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
        parts += [training.target] if training.target.items is items else []
        rows = np.unique(np.concatenate([part.rows for part in parts]))
        return rows if 2 * len(rows) < len(items) else None

    def _compute(self, items: Items, cuts: list[int], views: Sequence[View], rows: np.ndarray | None) -> None:
        desk = self.desk
        found = desk.store.activations(self.encoder, items, cuts, views=views, rows=rows, progress=desk.extracting)
        self.stored.update({(id(items), *key): value for key, value in found.items()})

    def feeds(self, phase: Phase) -> tuple[Feed, Feed]:
        """The training and validation inputs of a phase."""
        training = self.desk.training
        base = self.bases[phase]
        feeds = self.feed(base, training.target, True), self.feed(base, training.validation, False)
        if base == phase.cut:
            return feeds
        # Stages above `base` have moved in an earlier phase: what is stored of them is no longer true.
        between = _Frozen(self.network, base, phase.cut)
        return RunFeed(feeds[0], between), RunFeed(feeds[1], between)

    def feed(self, cut: int, table: Table, training: bool) -> Feed:
        """The inputs of one table at a cut under which nothing has moved."""
        weights = self.desk.weights if training else _ones(table)
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


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _count(stage: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in stage.parameters())


def _written(route: Route) -> str:
    return route.written()["augment"] or "none"
