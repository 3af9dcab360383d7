"""Routes x seeds -> a result: what `sterna fit` does, from the data a person points at to the model that ships.

Everything that decides is done before the held-out labels are opened: routes are trained and chosen on the training
and validation parts, the held-out part is predicted once, and only then scored.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from sterna import (
    across,
    command,
    crossing,
    curve,
    desk,
    files,
    folder,
    intake,
    keeping,
    mixing,
    opening,
    plan,
    portrait,
    route,
    score,
    shipping,
    splitting,
    targeting,
    weighing,
)
from sterna.conclusion import Conclusion, Trial, conclude, losing
from sterna.contracts import Task
from sterna.desk import Desk
from sterna.environment import environment
from sterna.errors import TrainingError
from sterna.evidence import Adapting, Finished
from sterna.outcomes import CurvePoint
from sterna.plan import Route, Subject, Words
from sterna.records import Columns, Encoder, Fitted, Loaded, Sealed, Split, Table, Training
from sterna.result import Result
from sterna.settings import Settings
from sterna.splitting import Strata
from sterna.store import Store
from sterna.watching import Watch
from sterna.weighing import Wanted


def fit(
    data: str | Path,
    *,
    encoder: Any = "",
    tune: Any = "",
    loss: Any = "",
    method: Any = "",
    augment: Any = "none",
    optimizer: Any = "adamw",
    schedule: Any = "",
    source: str | Path | None = None,
    target: str | Path | None = None,
    labels: str | Path | None = None,
    columns: Columns | None = None,
    out: str | Path | None = None,
    settings: Settings | str = "",
    store: Store | None = None,
    watch: Watch | None = None,
) -> Result:
    """Fit a model to `data` by several routes, compare them with no-transfer floors, and ship the best.

    Args:
        data: a folder of class folders (pictures, texts, sounds), a table (.csv, .tsv, .jsonl, .parquet) of texts, of
            paths or of rows, a CoNLL file, an .npz file, or `sklearn:digits`.
        encoder: `"timm:resnet50.a1_in1k"`, `"hf:bert-base-uncased"`, `"sentence:NAME"`, `"local:FOLDER"`, several
            separated by commas, or a list. Tables of rows need none.
        tune: which weights move; alternatives separated by commas, each becomes a route. "probe, partial" where
            neither this nor `method` is given.
        loss: what they are asked for; a sum, alternatives separated by commas. By default what the task names.
        method: methods on features, without training of stages: "prototypes, zero_shot".
        augment: augmentations of training examples, a sum.
        optimizer: one of sgd, momentum, adagrad, rmsprop, adam, adamw, with options.
        schedule: `"epochs=30, patience=5"`; see `sterna.schedule.Schedule`.
        source: a related labelled data set, mixed into the training part of the routes but not of the floors.
        target: data to adapt to, with or without labels, or with a column of domains the name of one; `data` are then
            the source. Labels of the target are looked at once, at the end.
        labels: a data set of some labelled examples of the target, which are learnt from.
        columns: which columns of a table mean what, and the task; what is empty is found by looking.
        out: the folder of the run, `runs/<name of the data>` by default. The same call on the same folder goes on
            where it was interrupted; a finished run is read back.
        settings: `"seeds=3, shots=10"`: seeds, the split, the floors; see `sterna.settings.Settings`.
        store: where activations are kept; the user's cache by default.
        watch: whom to tell about progress.

    Raises `SternaError` with one sentence for anything the caller can mend, before any computation where possible.

    When not to use: to compare encoders alone; a probe of each is enough, and no floor is needed for it.
    """
    chosen, watch = plan.settings(settings), watch or Watch()
    plan.schedule(schedule)
    sides = intake.Sides(str(data), *(str(one) if one else "" for one in (source, target, labels)))
    loaded, related = intake.opened(sides, columns or Columns(), chosen, watch)
    table = loaded.table
    words = Words(encoder, tune, loss, augment, optimizer, schedule, method)
    subject = Subject(table.items.modality, table.task, related is not None)
    adapting = loaded.unlabelled is not None
    routes = across.routes(words, subject, bool(labels)) if adapting else plan.routes(words, chosen, subject)
    mark = plan.fingerprint(routes, chosen, intake.digest(loaded) + (intake.digest(related) if related else ""))
    place = Path(out) if out else Path("runs") / keeping.slug(_called(Path(str(data))))
    finished = keeping.finished(place, mark)
    if finished is not None:
        watch.say(f"{place} holds this very run, finished; its result is read back.")
        return finished
    encoders = {
        reference: route.opened(opening.open_encoder(reference), table)
        for reference in dict.fromkeys(one.encoder for one in routes if not one.raw)
    }
    # Features without weights have nothing that could start at random.
    routes = tuple(one for one in routes if one.raw or one.pretrained or route.weighs(encoders[one.encoder]))
    for one in routes:
        if not one.raw:
            route.check(one, encoders[one.encoder], table, related is not None or adapting)
    for reference, opened in encoders.items():
        for note in opened.notes:
            watch.say(f"{reference}: {note}" if len(encoders) > 1 else note)
    line = command.written(sides.data, {**vars(words), **sides.others}, columns, chosen)
    entries = [one.written() for one in routes]
    files.write_json(place / keeping.PLAN, {"fingerprint": mark, "command": line, "routes": entries})
    study = Study(loaded, related, routes, encoders, chosen, place, mark, store or Store(), watch)
    return study.run()


@dataclass
class Study:
    """A run under way: everything is chosen, nothing is scored."""

    loaded: Loaded
    related: Loaded | None
    routes: tuple[Route, ...]
    encoders: dict[str, Encoder]
    settings: Settings
    place: Path
    mark: str
    store: Store
    watch: Watch
    warnings: list[str] = field(default_factory=list)
    joined: bool = False  # whether it was said what the source adds
    weights: dict[tuple, np.ndarray] = field(default_factory=dict)  # of source examples; see `_source_weights`

    @functools.cached_property
    def task(self) -> Task:
        """What a label of these data is."""
        made: Task = folder.load("tasks", self.loaded.table.task)()
        return made

    def run(self) -> Result:
        """All routes at all seeds, then the conclusion, then the model."""
        trials = self._trials(self.routes)
        for needed, floor in (("route", False), ("floor", True)):
            if not any(one.route.floor == floor for one in trials):
                raise TrainingError(f"no {needed} could be trained: " + " ".join(self.warnings))
        gentle = self.settings.mitigate and self.loaded.unlabelled is None
        lost = losing(trials, self.task, self.loaded.table.classes) if gentle else None
        table = self.loaded.table
        subject = Subject(table.items.modality, table.task, self.related is not None)
        gentler = plan.mitigations(self.routes, lost, subject) if lost else ()
        if lost and gentler:
            names = ", ".join(one.name for one in gentler)
            self._warn(f"On the validation part a floor is better than {lost.name}, so these were tried too: {names}.")
            trials += self._trials(gentler)
        conclusion = conclude(trials, self.settings, self.task, self.loaded.table.classes)
        if conclusion.hidden:
            self._warn(conclusion.hidden)
        return self._ship(conclusion, trials, self._curve(conclusion, trials))

    def _curve(self, conclusion: Conclusion, trials: list[Trial]) -> tuple[CurvePoint, ...]:
        """The verdict's route and floor again, with fewer labels; after everything is chosen."""
        names = (conclusion.verdict.route, conclusion.verdict.floor)
        routes = tuple({one.route.name: one.route for one in trials if one.route.name in names}.values())
        found = []
        for share in (*sorted(self.settings.curve), 1.0) if self.settings.curve and not self.loaded.blind else ():
            thin = trials if share == 1 else self._trials(routes, share)
            route, floor = ([one for one in thin if one.route.name == name] for name in names)
            splits = [self._split(seed, share) for seed in range(self.settings.seeds)]
            labels = round(sum(len(one.train) + len(one.validation) for one in splits) / len(splits))
            found.append(curve.point(share, labels, route, floor, self.task, self.loaded.table.classes))
        points = tuple(one for one in found if one is not None)
        if points:
            self.watch.say(curve.sentence(points, *names))
        return points

    def _trials(self, routes: Sequence[Route], share: float = 1.0) -> list[Trial]:
        """Routes at all seeds, with a share of the labels."""
        trials = []
        labels, domains = self.loaded.table.labels, self.loaded.domains
        domains = domains if len(domains) else np.full(len(labels), "")
        for seed in range(self.settings.seeds):
            split = self._split(seed, share)
            sealed = Sealed(labels[:0] if self.loaded.blind else labels[split.test])
            known = labels[split.validation]
            for chosen in routes:
                ran = self._run(chosen, seed, split, share)
                if ran is not None:
                    trials.append(Trial(chosen, seed, *ran[:3], known, split.test, sealed, domains[split.test], ran[3]))
        return trials

    def _ship(self, conclusion: Conclusion, trials: list[Trial], points: tuple[CurvePoint, ...]) -> Result:
        """Save the model, the held-out predictions and the result, the result last."""
        result = Result(
            conclusion.outcomes,
            conclusion.shipped,
            conclusion.verdict,
            conclusion.others,
            intake.described(self.loaded, self.related, self._split(0), self.task, self.settings),
            environment(),
            tuple(self.warnings),
            str(self.place),
            self.loaded.table.task,
            points,
            conclusion.choosing,
        )
        chosen = next(one for one in trials if one.route.name == conclusion.shipped)
        split = self._split(chosen.seed)
        table = self.loaded.table
        held = table.take(split.test)
        if chosen.route.raw or chosen.route.crosses:
            encoder = self.encoders.get(chosen.route.encoder)
            shipping.ship_estimator(self._folder(chosen.route, chosen.seed), held, self.place, result, encoder)
        else:
            shipping.ship(self._fitted(chosen.route, chosen.seed), held, self.place, result)
        names = [table.items.name(int(row)) for row in held.rows]
        words = [one for row in held.rows for one in table.items.read(int(row), 0)] if table.task == "tag" else ()
        lines = score.held_out_rows(self.task, names, table.classes, chosen.test, chosen.sealed, words)
        shipping.write_predictions(self.place, lines)
        result.save()
        if self.settings.page:
            self.watch.say("looking at what was learnt, for the page")
            portrait.write(self.place, self._finished(chosen, result.verdict.route))
        for name in ("weights.safetensors", shipping.ESTIMATOR):
            for weights in self.place.glob(f"routes/*/{name}"):
                weights.unlink()  # the model that ships is in place/model
        return result

    def _finished(self, chosen: Trial, best: str) -> Finished:
        """What the page is made from; the test is over, so its labels may be looked at. `best`: the best transfer."""
        truth = self.loaded.table.labels[chosen.rows]
        split, given = self._split(chosen.seed), chosen.route
        source = self.related.table if self.related and not given.floor else None
        told = (self.loaded.table, split, chosen.test, truth[:0] if self.loaded.blind else truth, self.store)
        adapting = None
        if self.loaded.unlabelled is not None:
            drawn = next(one for one in self.routes if one.name == (best if given.floor else given.name))
            sight = keeping.sight(self._folder(drawn, chosen.seed))
            adapting = Adapting(drawn.name, sight, self.encoders.get(drawn.encoder))
        if given.raw or given.crosses:
            encoder = self._drawn_by(split) if given.raw else self.encoders[given.encoder]
            return Finished(*told, encoder, source=source, adapting=adapting)
        fitted = self._fitted(given, chosen.seed)
        random = not given.pretrained and not given.shallow
        return Finished(*told, fitted.encoder, fitted.network, source, random, adapting)

    def _drawn_by(self, split: Split) -> Encoder | None:
        """Whose features the page draws where what ships has no network: a pretrained encoder, or columns of rows."""
        known = next((one for one in self.encoders.values() if one.pretrained), None)
        if known is None and self.loaded.table.items.modality == "row":
            known = opening.open_encoder("columns:all")
        return known and route.fitted(known, self.loaded.table.take(split.train))

    def _fitted(self, chosen: Route, seed: int) -> Fitted:
        """The trained network of a route, as it was kept."""
        last = self._desk(chosen, seed, self._split(seed), self._folder(chosen, seed)).last()
        encoder = route.fitted(self.encoders[chosen.encoder], last.training.target)
        network = route.start(chosen, encoder, last)
        network.load_state_dict(load_file(str(self._folder(chosen, seed) / "weights.safetensors")))
        return Fitted(network.eval(), encoder, self.loaded.table.classes, self.loaded.table.task)

    @functools.cached_property
    def _strata(self) -> Strata:
        table = self.loaded.table
        numbers = self.task.strata(table.labels, len(table.classes))
        strict = table.task == "classify"
        names = table.classes if strict else tuple(map(str, range(int(numbers.max(initial=0)) + 1)))
        return Strata(numbers, names, strict)

    def _split(self, seed: int, share: float = 1.0) -> Split:
        if share < 1:
            return splitting.thinned(self._split(seed), self._strata, share)
        kept = self.place / "splits" / f"seed{seed}.json"
        if kept.exists():
            return splitting.from_json(files.read_json(kept), self.loaded)
        wanted = self.settings
        split = splitting.split(
            self.loaded,
            seed=seed,
            test=wanted.test,
            validation=wanted.validation,
            shots=wanted.shots,
            strata=self._strata,
        )
        if self.loaded.unlabelled is not None:
            split = targeting.settled(split, self.loaded)
        files.write_json(kept, splitting.to_json(split, self.loaded))
        return split

    def _run(
        self, chosen: Route, seed: int, split: Split, share: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, float, crossing.Values] | None:
        """Test and validation answers, seconds and what criteria say of one route; None when it cannot be trained."""
        folder = self._folder(chosen, seed, share)
        done = folder / "done.json"
        if not done.exists():
            title = f"{chosen.name}, seed {seed}" if self.settings.seeds > 1 else chosen.name
            title += f", {100 * share:g} % of the labels" if share < 1 else ""
            try:
                ran = route.run(chosen, self._desk(chosen, seed, split, folder, title))
            except TrainingError as error:
                self._warn(f"{title}: {error}")
                return None
            keeping.keep(ran, folder)
        kept = files.read_json(done)
        for note in kept["notes"]:
            self._warn(f"{chosen.name}: {note}")
        judged = tuple((name, float("nan") if value is None else float(value)) for name, value in kept["judged"])
        return (*keeping.answers(folder), float(kept["seconds"]), judged)

    def _desk(self, chosen: Route, seed: int, split: Split, folder: Path, title: str = "") -> Desk:
        table = self.loaded.table
        each = self._source_weights(chosen, seed, split)
        target, weights = self._learnt(split.train, each)
        both = np.union1d(split.train, split.validation)
        whole = self._learnt(both, each) if len(both) <= self.settings.refit else None
        test = replace(table.take(split.test), labels=np.zeros(0, dtype=np.int64))
        return Desk(
            None if chosen.raw else self.encoders[chosen.encoder],
            Training(target, table.take(split.validation), self.loaded.unlabelled),
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
            criteria=crossing.criteria(self.settings.criterion, bool(chosen.encoder)),
            owners=None if self.loaded.unlabelled is None else targeting.owners(self.loaded),
            sources=self.settings.sources,
        )

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
            encoder = route.fitted(self.encoders[reference], target) if reference else None
            wanted = Wanted(self.settings.source_weight, chosen.select)
            found = weighing.weighed(target, self.related.table, (encoder, self.store), seed, wanted)
            self.weights[key] = found.weights
            for sentence in found.told:
                self._warn(f"seed {seed}{f', {reference}' if reference else ''}: {sentence}")
        return self.weights[key]

    def _folder(self, chosen: Route, seed: int, share: float = 1.0) -> Path:
        return keeping.folder(self.place, chosen.name, seed, share)

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.watch.say(sentence)


def _called(data: Path) -> str:
    """What a run is called after its data: a folder by its name, a file without its ending."""
    return data.stem if data.is_file() else data.name


def _where(title: str, at: Any) -> str:
    judged = "" if at.value is None else f", validation {at.figure.replace('_', ' ')} {100 * at.value:.1f} %"
    return f"{title}: {at.phase}, epoch {at.epoch}{judged}"
