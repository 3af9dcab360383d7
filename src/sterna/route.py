"""One route at one seed: from a split data set to a trained network and its held-out predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from sterna import (
    augmenting,
    crossing,
    descent,
    domainwise,
    estimating,
    feeds,
    folder,
    footing,
    racing,
    semi_supervised,
    standardising,
    teaching,
    train,
)
from sterna.contracts import Adapted, Feed
from sterna.crossing import Across, Domains
from sterna.desk import LONG, Desk, Tables, ones
from sterna.errors import DataError, TrainingError
from sterna.estimating import Estimated, Points
from sterna.network import Network, device
from sterna.plan import TAUGHT, Route
from sterna.recipe import Choices, Recipe
from sterna.records import Augment, Labels, Phase, Setting, Table, Training
from sterna.sourcewise import Sourcewise

CHUNK = 256  # rows predicted at a time
GIVEN_UP = (
    "given up after {done} of {folds} folds, clearly behind the best route before it; its figures are those of a fit "
    "to the labels of the other folds."
)
ENOUGH = 100  # validation examples from which they choose the epoch where there are others without labels


@dataclass(frozen=True)
class Ran:
    """What running a route gave."""

    model: Any  # the trained `Network`, or the estimator of a method on raw items
    test: np.ndarray  # (n_test, k) answers; for tags, of all words
    validation: np.ndarray  # (n_validation, k)
    seconds: float
    history: list[dict[str, Any]]
    notes: tuple[str, ...]
    judged: crossing.Values = ()  # by criteria that need no label of the target, where there is one to adapt to
    sight: crossing.Sight | None = None  # some examples of both domains, where there are two
    reached: np.ndarray | None = None  # positions that validation answers are for, where it was given up among folds


def run(route: Route, desk: Desk) -> Ran:
    """Train the route, and predict the validation part and the held-out part.

    Where the desk has a whole, the route is fitted twice: on the training part, to be judged on the validation part,
    and then on both with all that was chosen, to predict the held-out part and to ship.
    """
    begin = time.perf_counter()
    desk = _ready(route, desk)
    if desk.folds:
        return _folded(route, desk, begin)
    first = last = _made(route, desk, ())
    validation = first.answer(desk.training.validation)
    if desk.whole is not None and not route.crosses:  # whose first model has learnt from both
        last = _made(_settled(route, first.model), desk.last(), first.choices)
    test = (last.across or last.answer)(desk.test)
    looked = first.look() if first.look else None
    judged = crossing.judged(looked, desk.criteria) if looked else ()
    sight = crossing.sight(looked, desk.training, frozen=route.crosses) if looked else None
    notes = tuple(dict.fromkeys((*first.notes, *last.notes)))
    entries = first.entries + ([{**one, "last": True} for one in last.entries] if last is not first else [])
    return Ran(last.model, test, validation, time.perf_counter() - begin, entries, notes, judged, sight)


def _folded(route: Route, desk: Desk, begin: float) -> Ran:
    """The same by cross-validation: judged on every example of the whole, each by a fit that has not seen it.

    No fit ends where its fold would like it best: few examples cannot tell which epoch that is, and their figure would
    flatter whatever trains for many epochs. A route that was given up ends as its last fold left it.
    """
    parts, answers, places = _by_folds(route, desk)
    lost, last = len(parts) < len(desk.folds), parts[-1]
    notes, entries = [note for part in parts for note in part.notes], parts[0].entries
    if lost:
        notes.append(GIVEN_UP.format(done=len(parts), folds=len(desk.folds)))
    else:
        last = _made(_settled(route, parts[0].model), desk.last(), _middle([part.choices for part in parts]))
        notes += last.notes
        entries = entries + [{**one, "last": True} for one in last.entries]
    order, seconds = np.argsort(places, kind="stable"), time.perf_counter() - begin
    ran = Ran(last.model, last.answer(desk.test), answers[order], seconds, entries, tuple(dict.fromkeys(notes)))
    return replace(ran, reached=places[order]) if lost else ran


def _by_folds(route: Route, desk: Desk) -> tuple[list[_Made], np.ndarray, np.ndarray]:
    """The fits of the folds, as many as it takes to see a route behind its rival; their answers, and to what.

    A fit is not shown what it is judged on, so nothing that it chooses, such as a penalty, flatters it.
    """
    assert desk.whole is not None
    whole, _ = desk.whole
    parts: list[_Made] = []
    answers = places = np.zeros(0, dtype=np.int64)
    for fold, judged in desk.folds:
        parts.append(_made(route, replace(_ready(route, fold), blind=True), ()))
        found = parts[-1].answer(whole.take(judged))
        answers = np.concatenate([answers, found]) if len(answers) else found
        places = np.concatenate([places, judged])
        if len(parts) < len(desk.folds) and _behind(desk, answers, places):
            break
    return parts, answers, places


def _behind(desk: Desk, answers: np.ndarray, places: np.ndarray) -> bool:
    """Whether a route is given up for its rival, by what both answer at some positions of the whole."""
    if desk.rival is None or desk.whole is None:
        return False
    labels = desk.whole[0].labels[places]
    return racing.behind(desk.task, answers, desk.rival[places], labels, desk.training.classes, desk.seed)


def _middle(choices: Sequence[Choices]) -> Choices:
    """Of what several fits have chosen the middle, number by number: one that was chosen, the larger of two."""
    phases = zip(*choices, strict=True)
    return tuple(tuple(sorted(values)[len(values) // 2] for values in zip(*phase, strict=True)) for phase in phases)


def _ready(route: Route, desk: Desk) -> Desk:
    """The desk with what the route may see: a floor, and a route to compare with, have no examples without labels.

    Where these are what is adapted to, criteria look at them for every route, and `Tables.looks` keeps them out of its
    training. Where they stand beside few labels, a handful of validation examples is answered rightly from the start
    and would stop training there, so all routes but the floors end on their last weights, with such examples or not.
    """
    training = desk.training
    if training.crossed or training.unlabelled is None:
        return replace(desk, blind=training.crossed)
    blind = not route.floor and len(training.validation) < ENOUGH
    if not route.floor and any(map(semi_supervised.looks, (route.tune, *route.losses))):
        return replace(desk, blind=blind)
    return replace(desk, training=replace(training, unlabelled=None), blind=blind)


@dataclass(frozen=True)
class _Made:
    """A route after one fit."""

    model: Any  # a network, or the estimator of a method on raw items
    answer: Callable[[Table], np.ndarray]
    choices: Choices
    entries: list[dict[str, Any]]  # of the history
    notes: Sequence[str]
    across: Callable[[Table], np.ndarray] | None = None  # of the target, where it is answered otherwise than the source
    look: Callable[[], Adapted] | None = None  # both domains as criteria see them, where there are two


def _settled(route: Route, model: Any) -> Route:
    """The route without what its method has chosen on the validation part."""
    return replace(route, tune=estimating.settled(route.tune, model))


def _made(route: Route, desk: Desk, settled: Choices) -> _Made:
    if route.crosses:
        return _crossed(route, desk)
    if route.apart:
        return _estimated(desk, estimating.pointed(route, desk))
    if desk.encoder is None:
        return _estimated(desk, estimating.raw(route, desk))
    encoder = footing.fitted(desk.encoder, desk.training.target)
    desk = replace(desk, encoder=encoder, notes=[*desk.notes, *(encoder.notes if encoder is not desk.encoder else ())])
    if any(loss.needs == "statistics" for loss in route.losses):
        desk = _by_domain(desk)
    held = desk.training.validation.labels
    desk, scale = standardising.standardised(desk)
    assert desk.encoder is not None
    network = footing.start(route, desk.encoder, desk).to(device())
    history = _features(route, desk, network) if route.shallow else _trained(route, desk, network, settled)
    if scale is not None:
        scale.fold(network)  # a twin shares the head
    ways = [_Way(network, history.tables, history.low)]
    if history.tables.twin is not None:
        ways.append(_Way(history.tables.twin.network, history.tables.twin, history.low))
    for way in ways:
        way.network.move_from(history.low)
    look = partial(_look, desk, held, *ways) if desk.training.crossed else None
    return _Made(
        ways[-1].network, ways[0].answers, history.choices, history.entries, desk.notes, ways[-1].answers, look
    )


@dataclass(frozen=True)
class _Way:
    """How the examples of one domain go through a trained network."""

    network: Network
    tables: Tables
    low: int  # the number of stages that never moved

    @property
    def _size(self) -> int:
        return LONG if self.tables.encoder.preparation.ragged else CHUNK

    def answers(self, table: Table) -> np.ndarray:
        """(n, k) of all items, or of all words."""
        desk, suffix = self.tables.desk, self.network.suffix(self.low)
        feed = self.tables.feed(self.low, table, training=False)
        return descent.answers(suffix, feed, self._size, desk.task, desk.training.classes)

    def features(self, table: Table) -> np.ndarray:
        """(n, d) as the head reads them."""
        return descent.features(self.network.suffix(self.low), self.tables.feed(self.low, table, False), self._size)


def _look(desk: Desk, labels: Labels, *ways: _Way) -> Adapted:
    """Held-out examples of the source, with labels as they came, and the target, as a trained network sees them."""
    held, target = desk.training.validation, desk.training.unlabelled
    assert target is not None
    after = ways[-1].features(target)
    sides = after[:0] if desk.alone else ways[0].features(held), after
    return crossing.seen(sides, (ways[0].answers(held), ways[-1].answers(target)), labels, desk.seed)


def _by_domain(desk: Desk) -> Desk:
    """The desk with statistics of the training part in the encoder, and of the unlabelled part in its twin."""
    training = desk.training
    assert desk.encoder is not None
    assert training.unlabelled is not None
    if desk.alone:
        return replace(desk, encoder=domainwise.estimated(desk.encoder, training.unlabelled, desk.seed))
    own, twin = (domainwise.estimated(desk.encoder, part, desk.seed) for part in (training.target, training.unlabelled))
    return replace(desk, encoder=own, twin=twin)


def _crossed(route: Route, desk: Desk) -> _Made:
    """A method of `adapt/` on the features of a frozen encoder, or on standardised columns."""
    training = desk.training
    assert training.unlabelled is not None
    features = Points.at(desk)
    places = {int(row): place for place, row in enumerate(training.unlabelled.rows)}
    known = np.array([places.get(int(row), -1) for row in training.target.rows], dtype=np.int64)
    parts = [features(part) for part in (training.target, training.validation, training.unlabelled)]
    classes = len(training.classes) if training.target.task == "classify" else 0
    scale = crossing.Scale.of(parts[0], parts[2])
    train_part, held, target = (scale(part) for part in parts)
    labels = training.target.labels, training.validation.labels
    try:
        found = crossing.crossed(route.tune, Domains(train_part, held, target, labels, known, classes, desk.seed))
    except DataError as error:
        raise TrainingError(str(error)) from error
    model = Across(features.encoding, scale, found.model)

    def answer(table: Table) -> np.ndarray:
        return model.on(features(table)).reshape(len(table), -1)

    return _Made(model, answer, (), [], [*desk.notes, *found.model.notes], look=lambda: found.adapted)


@dataclass(frozen=True)
class _History:
    """How the weights of a network were found."""

    entries: list[dict[str, Any]]
    tables: Tables
    low: int  # the number of stages that never moved
    choices: Choices = ()


def _trained(route: Route, desk: Desk, network: Network, settled: Choices) -> _History:
    """Weights by the phases of the route's policy."""
    phases = route.tune.plan([_count(stage) for stage in network.stages.values()])
    if desk.alone:
        phases = tuple(phase for phase in phases if phase.solver == "descent")  # no label to fit a head to
    augment = augmenting.combine([part.build() for part in route.augment], route.written()["augment"] or "none")
    tables = Tables(route, desk, network, augment)
    if desk.twin is not None:
        tables.twin = _twin(route, desk, network, augment)
        tables.twin.fill(phases)
    tables.fill(phases)
    needs = teaching.needed(route.losses)
    descends = any(phase.solver == "descent" for phase in phases)
    if "views" in needs and descends:
        tables.strong = _strong(route, desk, (tables.twin or tables).network)
        tables.strong.fill(phases)
    target, unlabelled = desk.training.target, desk.training.unlabelled
    own = {phase.loss: folder.resolve("losses", phase.loss) for phase in phases if phase.loss}
    recipe = Recipe(
        phases,
        _by_source(route.losses, desk),
        route.optimizer,
        route.schedule,
        desk.seed,
        desk.task,
        target.task,
        desk.fingerprint,
        own,
        paces=(tables.encoder.head_pace, tables.encoder.pace if route.pretrained else 1.0),
        half=tables.half(phases),
        settled=settled,
        blind=desk.blind,
        ratio=semi_supervised.ratio(route.losses),
    )
    low = min((phase.cut for phase in phases), default=network.depth)
    counts = desk.task.counts(target.labels, len(target.classes))
    words = feeds.word_counts(target)
    many = len(target) if words is None else int(words.sum())
    setting = Setting(
        network,
        counts,
        target.classes,
        many,
        0 if unlabelled is None else len(unlabelled),
        low,
        teaching.taught(desk.teacher, desk, "maps" in needs) if needs & {*TAUGHT} and desk.teacher else None,
        teaching.before(tables.encoder, desk) if "source" in needs else None,
        teaching.sampled(tables, low, CHUNK),
        target.task,
    )
    twin = tables.twin.network if tables.twin else None
    trained = train.train(network, recipe, tables.feeds, setting, twin=twin, place=desk.place, report=desk.report)
    desk.notes.extend(trained.notes)
    return _History(trained.history, tables, low, trained.choices)


def _by_source(losses: tuple[Any, ...], desk: Desk) -> tuple[Any, ...]:
    """Addends that compare domains as a term for each source, where there are several or some labels of the target."""
    if desk.owners is None:
        return losses
    owners = desk.owners[desk.training.target.rows]
    if not owners.any():  # one source and nothing else
        return losses
    return tuple(Sourcewise(one, owners, desk.sources) if one.needs == "unlabelled" else one for one in losses)


def _twin(route: Route, desk: Desk, network: Network, augment: Augment) -> Tables:
    """The inputs of unlabelled examples, through the same weights with statistics of their own."""
    assert desk.twin is not None
    assert desk.training.unlabelled is not None
    part = desk.training.unlabelled
    training = Training(part, part.take(np.zeros(0, dtype=np.int64)))
    other = replace(desk, encoder=desk.twin, twin=None, training=training, weights=ones(part))
    return Tables(route, other, domainwise.tied(network, desk.twin.network), augment)


def _strong(route: Route, desk: Desk, network: Network) -> Tables:
    """The inputs of unlabelled examples, strongly augmented, through the same weights."""
    training = desk.training
    assert training.unlabelled is not None
    part = training.unlabelled
    written = semi_supervised.strong(route.losses, part.items.modality)
    strong = replace(
        augmenting.combine([one.build() for one in folder.resolve("augment", written)], f"strong({written})"), mix=None
    )
    alone = replace(training, target=part, validation=part.take(np.zeros(0, dtype=np.int64)))
    return Tables(route, replace(desk, training=alone, weights=ones(part)), network, strong, every=True)


def _features(route: Route, desk: Desk, network: Network) -> _History:
    """A head by a method on features."""
    assert desk.encoder is not None
    cut = network.depth
    tables = Tables(route, desk, network, Augment())
    tables.fill((Phase("features", cut),))
    given = estimating.given(desk, lambda table: _gathered(tables.feed(cut, table, False)), desk.encoder.describe)
    network.set_weights(route.tune.fit(given))
    return _History([], tables, cut)


def _estimated(desk: Desk, found: Estimated) -> _Made:
    return _Made(found.model, found.answer, (), [], [*desk.notes, *found.notes])


def _gathered(feed: Feed) -> np.ndarray:
    found = [inputs.float().numpy() for inputs in feed.inputs(np.arange(len(feed)), CHUNK, -1)]
    return np.concatenate(found) if found else np.zeros((0, 0), dtype=np.float32)


def _count(stage: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in stage.parameters())
