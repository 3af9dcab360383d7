"""Routes at seeds -> trials: the data are split, each route is run at its desk, and what it gave is kept.

Nothing here is scored: held-out labels pass through sealed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from sterna import (
    addition,
    crossing,
    desk,
    files,
    folder,
    footing,
    keeping,
    mixing,
    route,
    splitting,
    targeting,
    weighing,
)
from sterna.conclusion import Trial
from sterna.contracts import Task
from sterna.desk import Desk
from sterna.errors import DataError, TrainingError
from sterna.plan import Route
from sterna.records import Encoder, Fitted, Loaded, Sealed, Split, Table, Teacher, Training
from sterna.settings import Settings
from sterna.splitting import Strata
from sterna.store import Store
from sterna.watching import Watch
from sterna.weighing import Wanted


@dataclass
class Attempts:
    """Where the routes of a run are tried."""

    loaded: Loaded
    related: Loaded | None
    encoders: dict[str, Encoder]
    settings: Settings
    place: Path
    mark: str
    store: Store
    watch: Watch
    teacher: Teacher | None = None
    folds: int = 1  # of a cross-validation that chooses
    warnings: list[str] = field(default_factory=list)
    joined: bool = False  # whether it was said what the source adds
    weights: dict[tuple, np.ndarray] = field(default_factory=dict)  # of source examples; see `_source_weights`

    @functools.cached_property
    def task(self) -> Task:
        """What a label of these data is."""
        made: Task = folder.task(self.loaded.table.task, self.loaded.table.classes)
        return made

    def trials(
        self, routes: Sequence[Route], share: float = 1.0, rivals: Mapping[int, np.ndarray] | None = None
    ) -> list[Trial]:
        """Routes at all seeds, with a share of the labels.

        `rivals`: by seed, the answers to training and validation examples of a route that they are raced against.
        """
        trials = []
        labels, domains = self.loaded.table.labels, self.loaded.domains
        domains = domains if len(domains) else np.full(len(labels), "")
        for seed in range(self.settings.seeds):
            split = self.split(seed, share)
            sealed = Sealed(labels[:0] if self.loaded.blind else labels[split.test])
            known = labels[np.union1d(split.train, split.validation) if self._folds(split) else split.validation]
            for chosen in routes:
                ran = self._run(chosen, split, share, (rivals or {}).get(seed))
                if ran is None:
                    continue
                lost = ran.reached is not None
                answers = ran.test, ran.validation, ran.seconds, known[ran.reached] if lost else known
                held = split.test, sealed, domains[split.test]
                trials.append(Trial(chosen, seed, *answers, *held, judged=ran.judged, given_up=lost))
        return trials

    def fitted(self, chosen: Route, seed: int) -> Fitted:
        """The trained network of a route, as it was kept."""
        last = self.desk(chosen, seed).last()
        encoder = footing.fitted(self.encoders[chosen.encoder], last.training.target)
        network = footing.start(chosen, encoder, last)
        addition.restore(network, self.folder(chosen, seed) / addition.FOLDER)
        network.load_state_dict(load_file(str(self.folder(chosen, seed) / "weights.safetensors")))
        return Fitted(network.eval(), encoder, self.loaded.table.classes, self.loaded.table.task)

    def desk(self, chosen: Route, seed: int) -> Desk:
        """Where a route is run at a seed."""
        return self._desk(chosen, seed, self.split(seed), self.folder(chosen, seed))

    def _folds(self, split: Split) -> list[tuple[np.ndarray, np.ndarray]]:
        """What a cross-validation learns from and judges on, in positions of training and validation rows together."""
        both = np.union1d(split.train, split.validation)
        return splitting.folds(self.loaded, both, self._strata, self.folds, split.seed) if self.folds > 1 else []

    @functools.cached_property
    def _strata(self) -> Strata:
        table = self.loaded.table
        numbers = self.task.strata(table.labels, len(table.classes))
        strict = table.task == "classify"
        names = table.classes if strict else tuple(map(str, range(int(numbers.max(initial=0)) + 1)))
        return Strata(numbers, names, strict)

    def split(self, seed: int, share: float = 1.0) -> Split:
        if share < 1:
            return splitting.thinned(self.split(seed), self._strata, share)
        kept = self.place / "splits" / f"seed{seed}.json"
        if kept.exists():
            return splitting.from_json(files.read_json(kept), self.loaded)
        split = self._drawn(seed) if self.loaded.model is None else targeting.held(self.loaded, seed)
        files.write_json(kept, splitting.to_json(split, self.loaded))
        return split

    def _drawn(self, seed: int) -> Split:
        """The split of a seed, drawn for the first time."""
        wanted = self.settings
        split = splitting.split(
            self.loaded,
            seed=seed,
            test=wanted.test,
            validation=wanted.validation,
            shots=wanted.shots,
            strata=self._strata,
        )
        if self.loaded.crossed:
            split = targeting.settled(split, self.loaded)
        if not (len(split.validation) or self._folds(split)):
            counts = f"{len(split.train)} to learn from and {len(split.test)} to test on"
            raise DataError(
                f"{len(self.loaded.table)} examples leave none to choose by, beside {counts}; add examples."
            )
        return split

    def _run(self, chosen: Route, split: Split, share: float, rival: np.ndarray | None) -> keeping.Kept | None:
        """What one route leaves; None when it cannot be trained."""
        if chosen.members:
            each = [self._run(one, split, share, None) for one in chosen.members]
            whole = [one for one in each if one is not None]
            return keeping.mean(whole) if len(whole) == len(each) else None
        folder = self.folder(chosen, split.seed, share)
        kept = keeping.found(folder)
        if kept is None:
            title = f"{chosen.name}, seed {split.seed}" if self.settings.seeds > 1 else chosen.name
            title += f", {100 * share:g} % of the labels" if share < 1 else ""
            at = replace(self._desk(chosen, split.seed, split, folder, title), rival=rival)
            try:
                ran = route.run(chosen, at)
            except TrainingError as error:
                self.warn(f"{title}: {error}")
                return None
            keeping.keep(ran, folder)
            kept = keeping.found(folder)
            assert kept is not None
        for note in kept.notes:
            self.warn(f"{chosen.name}: {note}")
        return kept

    def _desk(self, chosen: Route, seed: int, split: Split, folder: Path, title: str = "") -> Desk:
        table = self.loaded.table
        each = self._source_weights(chosen, seed, split)
        learnt = split.train[self.loaded.parts[split.train] == "train"] if chosen.sourceless else split.train
        target, weights = self._learnt(learnt, each)
        both, folds = np.union1d(split.train, split.validation), self._folds(split)
        again = folds or 0 < len(both) <= self.settings.refit
        whole = self._learnt(both, each) if again and not chosen.sourceless else None
        alone = self.loaded.model is not None
        if alone and self.loaded.unlabelled is not None:
            target, weights = self.loaded.unlabelled, desk.ones(self.loaded.unlabelled)
        test = replace(table.take(split.test), labels=np.zeros(0, dtype=np.int64))
        made = Desk(
            None if chosen.raw else self.encoders[chosen.encoder],
            Training(target, table.take(split.validation), self.loaded.unlabelled, self.loaded.crossed),
            test,
            weights,
            seed,
            self.task,
            self.store,
            whole,
            place=folder / keeping.CHECKPOINT,
            fingerprint=self.mark,
            report=lambda at: self.watch.advance(_where(title, at), at.epoch, at.epochs),
            extracting=lambda done, total: self.watch.advance(f"{title}: computing frozen stages", done, total),
            criteria=crossing.criteria(self.settings.criterion, bool(chosen.encoder), alone),
            owners=targeting.owners(self.loaded) if self.loaded.crossed and not alone else None,
            teacher=self.teacher,
            sources=self.settings.sources,
        )
        return replace(made, folds=tuple(self._fold(made, both, number, one) for number, one in enumerate(folds)))

    def _fold(
        self, made: Desk, both: np.ndarray, number: int, fold: tuple[np.ndarray, np.ndarray]
    ) -> tuple[Desk, np.ndarray]:
        """The desk of one fold, which does not hold what is judged, and the positions that are."""
        table, (learnt, judged) = self.loaded.table, fold
        target = table.take(both[learnt])
        training = replace(made.training, target=target, validation=table.take(both[:0]))
        place = made.place.with_name(f"fold{number}.pt") if made.place else None
        return replace(made, training=training, weights=desk.ones(target), whole=None, place=place), judged

    def _learnt(self, rows: np.ndarray, each: np.ndarray) -> tuple[Table, np.ndarray]:
        """Rows of the target to learn from, and the source's at their weights."""
        target = self.loaded.table.take(rows)
        if self.related is None or not each.any():
            return target, desk.ones(target)
        target, weights, finding = mixing.join(target, self.related.table, each)
        if not self.joined:
            self.watch.say(finding.sentence)
        self.joined = True
        return target, weights

    def _source_weights(self, chosen: Route, seed: int, split: Split) -> np.ndarray:
        """(m,) of source examples in this route, once for each encoder, seed, number of labels and choice of them."""
        if self.related is None or chosen.floor:
            return np.zeros(0, dtype=np.float32)
        reference = chosen.encoder or next(iter(self.encoders), "")
        key = (reference, seed, len(split.train), chosen.select)
        if key not in self.weights:
            target = self.loaded.table.take(split.train)
            encoder = footing.fitted(self.encoders[reference], target) if reference else None
            wanted = Wanted(self.settings.source_weight, chosen.select)
            found = weighing.weighed(target, self.related.table, (encoder, self.store), seed, wanted)
            self.weights[key] = found.weights
            for sentence in found.told:
                self.warn(f"seed {seed}{f', {reference}' if reference else ''}: {sentence}")
        return self.weights[key]

    def folder(self, chosen: Route, seed: int, share: float = 1.0) -> Path:
        return keeping.folder(self.place, chosen.name, seed, share)

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.watch.say(sentence)


def _where(title: str, at: Any) -> str:
    judged = "" if at.value is None else f", validation {at.figure.replace('_', ' ')} {100 * at.value:.1f} %"
    return f"{title}: {at.phase}, epoch {at.epoch}{judged}"
