"""Routes x seeds -> a result: what `sterna fit` does, from the data a person points at to the model that ships.

Everything that decides is done before the held-out labels are opened: routes are trained and chosen on the training
and validation parts, the held-out part is predicted once, and only then scored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sterna import (
    across,
    climb,
    command,
    curve,
    ensemble,
    files,
    footing,
    intake,
    keeping,
    opening,
    plan,
    portrait,
    rungs,
    score,
    sharing,
    shipping,
    students,
    teaching,
    wording,
)
from sterna.attempts import Attempts
from sterna.climb import Climb
from sterna.conclusion import Conclusion, Trial, conclude, losing
from sterna.environment import environment
from sterna.errors import TrainingError
from sterna.evidence import Adapting, Finished
from sterna.outcomes import CurvePoint
from sterna.plan import Route, Subject, Words
from sterna.records import Columns, Encoder, Loaded, Split, Table, Teacher
from sterna.result import Result
from sterna.settings import Settings
from sterna.store import Store
from sterna.watching import Watch

FOLDS = 3  # three fits on two thirds cost what two on the whole do
UNSEEN = (
    "What chooses here looks at answers for the target alone, which adaptation makes sure, right or wrong: it cannot "
    "see one that hurts; name some labelled examples by --labels, to measure it."
)
FEW = 200  # examples, up to which a fifth of them is too few to choose by


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
    unlabelled: str | Path | None = None,
    beside: str | Path | None = None,
    teacher: str | Path = "",
    columns: Columns | None = None,
    out: str | Path | None = None,
    settings: Settings | str = "",
    store: Store | None = None,
    watch: Watch | None = None,
) -> Result:
    """Fit a model to `data` by several routes, compare them with no-transfer floors, and ship the best.

    Args:
        data: a folder of class folders (pictures, texts, sounds), a table (.csv, .tsv, .jsonl, .parquet) of texts, of
            paths or of rows, a CoNLL file, an .npz file, or `sklearn:digits`. With `target` also the folder of a saved
            model, which is then adapted without its source; labels, where there are any, judge and are not learnt from.
        encoder: `"timm:resnet50.a1_in1k"`, `"hf:bert-base-uncased"`, `"sentence:NAME"`, `"local:FOLDER"`, several
            separated by commas, or a list. Tables of rows need none.
        tune: which weights move; alternatives separated by commas, each becomes a route. "auto", also where neither
            this nor `method` is given, climbs a ladder of them within `settings="budget=10m"`; see `sterna.climb`.
        loss: what they are asked for; a sum, alternatives separated by commas. By default what the task names.
        method: methods on features, without training of stages: "prototypes, zero_shot".
        augment: augmentations of training examples, a sum.
        optimizer: one of sgd, momentum, adagrad, rmsprop, adam, adamw, with options.
        schedule: `"epochs=30, patience=5"`; see `sterna.schedule.Schedule`.
        source: a related labelled data set, mixed into the training part of the routes but not of the floors.
        target: data to adapt to, with or without labels, or with a column of domains the name of one; `data` are then
            the source. Labels of the target are looked at once, at the end.
        labels: a data set of some labelled examples of the target, which are learnt from.
        unlabelled: more items of the kind of `data`, whose labels are not looked at, for losses that learn from them.
        beside: another labelled data set with a task of its own, learnt together with that of `data`; several
            separated by commas, each with its column of labels behind a colon where that is not found by looking.
        teacher: the model folder of a run, or an encoder: what losses such as `distill` learn from.
        columns: which columns of a table mean what, and the task; what is empty is found by looking.
        out: the folder of the run, `runs/<name of the data>` by default. The same call on the same folder goes on
            where it was interrupted; a finished run is read back.
        settings: `"seeds=3, shots=10"`: seeds, the split, the floors; see `sterna.settings.Settings`.
        store: where activations are kept; the user's cache by default.
        watch: whom to tell about progress.

    Raises `SternaError` with one sentence for anything the caller can mend, before any computation where possible.

    When not to use: to compare encoders alone; a probe of each is enough, and no floor is needed for it.
    """
    begun = time.monotonic()
    chosen, watch = wording.settings(settings), watch or Watch()
    wording.schedule(schedule)
    sides = intake.Sides(str(data), *(str(one) if one else "" for one in (source, target, labels, unlabelled, beside)))
    loaded, related = intake.opened(sides, columns or Columns(), chosen, watch)
    table = loaded.table
    words = Words(encoder, tune, loss, augment, optimizer, schedule, method, str(teacher))
    limit = chosen.budget or (climb.DEFAULT if plan.climbs(words) and not loaded.crossed else "")
    budget = climb.seconds(limit) if limit else None
    beyond = loaded.unlabelled is not None  # examples without labels
    spare = "" if beyond else intake.spare(loaded)
    few = _labelled(chosen, loaded) <= FEW
    folds = _folds(chosen, loaded, related, bool(budget) and few)
    subject = Subject(table.items.modality, table.task, related is not None, beyond, spare, few)
    routes = across.planned(words, subject, chosen, loaded, bool(labels))
    known = teaching.opened(words.teacher, table) if words.teacher else None
    digests = intake.digest(loaded) + (intake.digest(related) if related else "") + teaching.digest(known)
    mark = plan.fingerprint(routes, chosen, digests)
    place = Path(out) if out else Path("runs") / keeping.slug(_called(Path(str(data))))
    finished = keeping.finished(place, mark)
    if finished is not None:
        watch.say(f"{place} holds this very run, finished; its result is read back.")
        return finished
    for sentence in rungs.absent(table.items.modality) if plan.climbs(words) else ():
        watch.say(f"A rung is left out: {sentence}")
    encoders = _encoders(routes, table)
    routes = tuple(one for one in routes if one.raw or footing.serves(one, encoders[one.encoder], plan.climbs(words)))
    _checked(routes, encoders, loaded, related, known, watch)
    line = command.written(sides.data, {**vars(words), **sides.others}, columns, chosen)
    entries = [one.written() for one in routes]
    files.write_json(place / keeping.PLAN, {"fingerprint": mark, "command": line, "routes": entries})
    attempts = Attempts(loaded, related, encoders, chosen, place, mark, store or Store(), watch, known, folds)
    ladder = Climb(attempts, budget, begun, plan.climbs(words)) if budget else None
    with files.locked(place / keeping.ROUTES):  # two at once would write over one another
        return Study(attempts, routes, ladder).run()


@dataclass(frozen=True)
class Study:
    """A run under way: everything is chosen, nothing is scored."""

    attempts: Attempts
    routes: tuple[Route, ...]
    ladder: Climb | None = None  # where there is a budget

    def run(self) -> Result:
        """All routes at all seeds, then the conclusion, then the model."""
        at = self.attempts
        for doubt in students.doubts(at):
            at.warn(doubt)
        if at.loaded.model is not None and at.loaded.blind:
            at.warn(UNSEEN)
        tried = self.ladder.trials if self.ladder else at.trials
        trials = tried(self.routes)
        for needed, floor in (("route", False), ("floor", True)):
            if not any(one.route.floor == floor for one in trials):
                raise TrainingError(f"no {needed} could be trained: " + " ".join(at.warnings))
        gentle = at.settings.mitigate and not at.loaded.crossed
        lost = losing(trials, at.task, at.loaded.table.classes) if gentle else None
        table = at.loaded.table
        subject = Subject(table.items.modality, table.task, at.related is not None, at.loaded.unlabelled is not None)
        gentler = plan.mitigations([one.route for one in trials], lost, subject) if lost else ()
        if lost and gentler:
            names = ", ".join(one.name for one in gentler)
            at.warn(f"On the validation part a floor is better than {lost.name}, so these were tried too: {names}.")
            trials += tried(gentler)
        trials += ensemble.joined(at, trials) if self.ladder and self.ladder.stops else []
        conclusion = conclude(trials, at.settings, at.task, at.loaded.table.classes)
        if conclusion.hidden:
            at.warn(conclusion.hidden)
        return self._ship(conclusion, trials, self._curve(conclusion, trials))

    def _curve(self, conclusion: Conclusion, trials: list[Trial]) -> tuple[CurvePoint, ...]:
        """The verdict's route and floor again, with fewer labels; after everything is chosen."""
        at = self.attempts
        names = (conclusion.verdict.route, conclusion.verdict.floor)
        routes = tuple({one.route.name: one.route for one in trials if one.route.name in names}.values())
        found = []
        for share in (*sorted(at.settings.curve), 1.0) if at.settings.curve and not at.loaded.blind else ():
            thin = trials if share == 1 else at.trials(routes, share)
            route, floor = ([one for one in thin if one.route.name == name] for name in names)
            splits = [at.split(seed, share) for seed in range(at.settings.seeds)]
            labels = round(sum(len(one.train) + len(one.validation) for one in splits) / len(splits))
            found.append(curve.point(share, labels, route, floor, at.task, at.loaded.table.classes))
        points = tuple(one for one in found if one is not None)
        if points:
            at.watch.say(curve.sentence(points, *names))
        return points

    def _ship(self, conclusion: Conclusion, trials: list[Trial], points: tuple[CurvePoint, ...]) -> Result:
        """Save the model, the held-out predictions and the result, the result last."""
        at = self.attempts
        result = Result(
            conclusion.outcomes,
            conclusion.shipped,
            conclusion.verdict,
            conclusion.others,
            intake.described(at.loaded, at.related, at.split(0), at.task, at.settings),
            environment(),
            tuple(at.warnings),
            str(at.place),
            at.loaded.table.task,
            points,
            conclusion.choosing,
            students.measured(at, trials, conclusion),
            sharing.measured(at, trials, conclusion, () if self.ladder else [one.name for one in self.routes]),
        )
        chosen = next(one for one in trials if one.route.name == conclusion.shipped)
        split = at.split(chosen.seed)
        table = at.loaded.table
        held = table.take(split.test)
        model = at.place / "model"
        for number, one in enumerate(chosen.route.members, start=1):
            self._saved(one, chosen.seed, held, model / str(number), replace(result, shipped=one.name))
        if chosen.route.members:
            shipping.ship_ensemble(held, model, result, [one.name for one in chosen.route.members])
        else:
            self._saved(chosen.route, chosen.seed, held, model, result)
        names = [table.items.name(int(row)) for row in held.rows]
        words = [one for row in held.rows for one in table.items.read(int(row), 0)] if table.by_word else ()
        lines = score.held_out_rows(at.task, names, table.classes, chosen.test, chosen.sealed, words)
        shipping.write_predictions(at.place, lines)
        result.save()
        if at.settings.page:
            at.watch.say("looking at what was learnt, for the page")
            portrait.write(at.place, self._finished(chosen, result.verdict.route))
        for name in ("weights.safetensors", shipping.ESTIMATOR):
            for weights in at.place.glob(f"routes/*/{name}"):
                weights.unlink()  # the model that ships is in place/model
        return result

    def _saved(self, route: Route, seed: int, held: Table, model: Path, result: Result) -> None:
        """Write the model folder of one route."""
        at = self.attempts
        if route.raw or route.apart:
            encoder = at.encoders.get(route.encoder)
            shipping.ship_estimator(at.folder(route, seed), held, model, result, encoder, route.gathers)
        else:
            shipping.ship(at.fitted(route, seed), held, model, result)

    def _finished(self, chosen: Trial, best: str) -> Finished:
        """What the page is made from; the test is over, so its labels may be looked at. `best`: the best transfer."""
        at = self.attempts
        truth = at.loaded.table.labels[chosen.rows]
        split = at.split(chosen.seed)
        # Of an ensemble one network is looked at.
        given = next(filter(footing.moves, chosen.route.members), chosen.route)
        source = at.related.table if at.related and not given.floor else None
        told = (at.loaded.table, split, chosen.test, truth[:0] if at.loaded.blind else truth, at.store)
        adapting = None
        if at.loaded.crossed and at.loaded.model is None:
            drawn = next(one for one in self.routes if one.name == (best if given.floor else given.name))
            sight = keeping.sight(at.folder(drawn, chosen.seed))
            adapting = Adapting(drawn.name, sight, at.encoders.get(drawn.encoder))
        if given.raw or given.apart:
            encoder = self._drawn_by(split) if given.raw else at.encoders[given.encoder]
            return Finished(*told, encoder, source=source, adapting=adapting)
        fitted = at.fitted(given, chosen.seed)
        random = not given.pretrained and not given.shallow
        return Finished(*told, fitted.encoder, fitted.network, source, random, adapting)

    def _drawn_by(self, split: Split) -> Encoder | None:
        """Whose features the page draws where what ships has no network: a pretrained encoder, or columns of rows."""
        at = self.attempts
        known = next((one for one in at.encoders.values() if one.pretrained), None)
        if known is None and at.loaded.table.items.modality == "row":
            known = opening.open_encoder("columns:all")
        return known and footing.fitted(known, at.loaded.table.take(split.train))


def _encoders(routes: Sequence[Route], table: Table) -> dict[str, Encoder]:
    """The encoders of the routes as the data need them, each opened once."""
    return {
        reference: footing.opened(opening.open_encoder(reference), table)
        for reference in dict.fromkeys(one.encoder for one in routes if not one.raw)
    }


def _checked(
    routes: Sequence[Route],
    encoders: Mapping[str, Encoder],
    loaded: Loaded,
    related: Loaded | None,
    known: Teacher | None,
    watch: Watch,
) -> None:
    """Raises for parts of a route that do not fit; then says what the encoders have to say."""
    for one in routes:
        if not one.raw:
            footing.check(one, encoders[one.encoder], loaded.table, related is not None or loaded.crossed, known)
    for reference, encoder in encoders.items():
        for note in encoder.notes:
            watch.say(f"{reference}: {note}" if len(encoders) > 1 else note)


def _folds(settings: Settings, loaded: Loaded, related: Loaded | None, hard: bool) -> int:
    """How many folds choose: as asked for, or where few examples are to tell the rungs of a ladder apart (`hard`).

    A source is weighed on the training part, tags are judged word by word, and a given validation part is there to be
    used: then there is one part.
    """
    if related is not None or loaded.crossed or loaded.table.by_word or "validation" in loaded.parts:
        return 1
    return settings.folds or (FOLDS if hard else 1)


def _labelled(settings: Settings, loaded: Loaded) -> int:
    """How many examples are learnt from and chosen by."""
    if settings.shots and loaded.table.task == "classify":
        return settings.shots * len(loaded.table.classes)
    given = "test" in loaded.parts
    return int((loaded.parts != "test").sum() * (1 if given else 1 - settings.test))


def _called(data: Path) -> str:
    """What a run is called after its data: a folder by its name, a file without its ending, a model after its run."""
    if (data / "config.json").is_file():
        return f"{data.resolve().parent.name}-adapted"
    return data.stem if data.is_file() else data.name
