"""Data sets x routes x seeds from one file, and one page that compares the routes; the whole of `sterna study`.

Each data set is an ordinary run of `sterna fit`, in a folder of its own with its own page; routes that cannot share a
run, because they differ in more than in what moves, have a run each, on the same split. A run that is finished is read
back, so an interrupted study goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna import (
    across,
    agenda,
    conclusion,
    contest,
    files,
    folder,
    intake,
    keeping,
    report,
    score,
    splitting,
    study,
    verdict,
)
from sterna.agenda import Agenda, DataSet, Fit
from sterna.contest import Against, Cell, Contest, Entry, Ground
from sterna.contracts import Task
from sterna.environment import environment
from sterna.errors import DataError, SpecError, SternaError, StoreError, TrainingError
from sterna.outcomes import Verdict
from sterna.plan import Subject, Words
from sterna.records import Loaded, Sealed, Split
from sterna.report import campaign as page
from sterna.result import Result, Summary, summaries
from sterna.score import Scored
from sterna.store import Store
from sterna.verdict import Claim, Evidence
from sterna.watching import Watch

ASKED = "asked.json"  # what each data set was asked, by which a study knows its folder
SAID = (*agenda.SHARED, *agenda.ROUTE)  # what a run is asked, by the names of its options
VERDICTS = "verdicts.json"  # of each route of a run against its floor
PAGE = page.PAGE


def run_study(
    file: str | Path,
    *,
    out: str | Path | None = None,
    store: Store | None = None,
    watch: Watch | None = None,
) -> Contest:
    """Run every route of a study file on every data set of it, and compare the routes over the data sets.

    Ranks are taken at each data set and seed and averaged; what is claimed of routes in general rests on the number of
    data sets (Demsar 2006, JMLR 7). The record is `study.json`, the page `study.html`.

    Args:
        file: TOML; docs/study.md describes it.
        out: the folder of the study, `runs/<name of the file>` by default. The same call on the same folder goes on
            where it was interrupted; what is finished is read back, and data sets may be added to the file.
        store: where activations are kept; the user's cache by default.
        watch: whom to tell about progress.

    Raises `SpecError` with one sentence for a file that is wrong, or a route that cannot serve a data set, before
    anything runs. A data set that fails is reported, and the others go on; `TrainingError` where all do.

    When not to use: to find the best model for one data set; `sterna.fit` does that, with the same routes.
    """
    asked, watch = agenda.read(Path(file)), watch or Watch()
    place = Path(out) if out else Path("runs") / keeping.slug(asked.name)
    for one in asked.data:
        if not (place / keeping.slug(one.name)).exists():
            _check_planned(asked, one, watch)
    _own(place, asked)
    work = _Work(asked, place, store or Store(), watch, sum(len(asked.fits(one)) for one in asked.data))
    entries = [entry for one in asked.data for entry in [work.entry(one)] if entry is not None]
    if not entries:
        raise TrainingError("no data set could be run: " + " ".join(f"{name}: {why}" for name, why in work.failed))
    routes = tuple(one.name for one in asked.routes)
    failed, here = tuple(work.failed), environment()
    found = contest.concluded(Ground(asked.name, routes, tuple(entries), failed, asked.text, here, str(place)))
    found.save()
    page.write(found)
    return found


def _check_planned(asked: Agenda, data: DataSet, watch: Watch) -> None:
    """Raises `SpecError` for a route that cannot serve a data set, as its run will plan it.

    Data that cannot be used stop no other data, and are told.
    """
    quiet = Watch(advance=lambda what, done, total: watch.advance(f"{data.name}: {what}", done, total))
    try:
        loaded, related = intake.opened(data.sides, data.columns, data.settings, quiet)
    except SpecError as error:
        raise SpecError(f"{data.name}: {error}") from error
    except SternaError as error:
        watch.say(f"{data.name} cannot be used: {error}")
        return
    if loaded.blind:
        raise SpecError(
            f"{data.name}: no label of its target is known, so routes cannot be compared on it; give a target with "
            "labels, or adapt to this one by sterna fit."
        )
    table = loaded.table
    subject = Subject(table.items.modality, table.task, related is not None, loaded.unlabelled is not None)
    for fit in asked.fits(data):
        title = f"{data.name} / {', '.join(one.name for one in fit.routes)}"
        words = Words(**{**dict.fromkeys(SAID, ""), "augment": "none", "optimizer": "adamw", **fit.words()})
        try:
            routes = across.planned(words, subject, fit.settings, loaded, bool(data.sides.labels))
        except SpecError as error:
            raise SpecError(f"{title}: {error}") from error
        known = {one.written()["tune"]: one.name for one in routes if not one.floor}
        for method, name in fit.named().items():
            if method not in known:
                raise SpecError(
                    f"{data.name} / {name}: {method} is no route for {subject.modality} data there, which has "
                    f"{', '.join(known)}; leave the route out."
                )


def _own(place: Path, asked: Agenda) -> None:
    """Take the folder for this study. Raises `SpecError` where it holds another one, or something else."""
    record = place / ASKED
    if not record.exists() and place.exists() and any(place.iterdir()):
        raise SpecError(f"{place} is not empty and holds no study of sterna; choose another --out.")
    kept = files.read_json(record) if record.exists() else {}
    wanted = {keeping.slug(one.name): asked.asked(one) for one in asked.data}
    for name, entry in wanted.items():
        if name in kept and kept[name] != entry and (place / name).exists():
            raise SpecError(
                f"{place / name} holds the same data set with other routes or options; choose another --out, or remove "
                "that folder."
            )
    if kept != {**kept, **wanted}:
        files.write_json(record, {**kept, **wanted})


@dataclass
class _Work:
    """A study under way."""

    asked: Agenda
    place: Path
    store: Store
    watch: Watch
    runs: int  # of all data sets together
    begun: int = 0
    spent: list[float] = field(default_factory=list)  # seconds of each run that was not read back
    failed: list[tuple[str, str]] = field(default_factory=list)

    def entry(self, data: DataSet) -> Entry | None:
        """What a data set gave; None where nothing could be run on it."""
        fits = self.asked.fits(data)
        results: dict[Path, tuple[Fit, Result]] = {}
        try:
            for fit in fits:
                where = self.place / keeping.slug(data.name)
                where = where / keeping.slug(fit.routes[0].name) if len(fits) > 1 else where
                results.update(self._run(data, fit, where, data.name if len(fits) == 1 else ""))
        except DataError as error:
            self._fail(data.name, error)
            return None
        if not results:
            return None
        try:
            _same_splits(list(results))
            judged = {where: self._judged(data, where, result) for where, (_, result) in results.items()}
        except SternaError as error:
            self._fail(data.name, error)
            return None
        return _entry(data, self.place, results, judged)

    def _run(self, data: DataSet, fit: Fit, where: Path, title: str = "") -> dict[Path, tuple[Fit, Result]]:
        """A run with its folder; a run of several routes that cannot be is taken apart, so that one spoils no other."""
        title = title or f"{data.name} / {', '.join(one.name for one in fit.routes)}"
        try:
            return {where: (fit, self._fitted(data, fit, where, title))}
        except SternaError as error:
            if isinstance(error, DataError):
                raise  # of all routes alike
            if len(fit.routes) == 1 or isinstance(error, StoreError):
                self._fail(title, error)
                return {}
            self.watch.say(f"{title}: {error} The routes are run one by one.")
        self.runs += len(fit.routes)
        alone = [(where / keeping.slug(one.name), replace(fit, routes=(one,))) for one in fit.routes]
        return {place: found for apart, one in alone for place, found in self._run(data, one, apart).items()}

    def _fail(self, title: str, error: SternaError) -> None:
        self.failed.append((title, str(error)))
        self.watch.say(f"{title} failed: {error}")

    def _fitted(self, data: DataSet, fit: Fit, where: Path, title: str) -> Result:
        """One run, read back where it is finished, with its page."""
        self.begun += 1
        self.watch.say(f"{title}: run {self.begun} of {self.runs}{self._left()}.")
        count = f"{title}, run {self.begun} of {self.runs}"
        inner = Watch(
            lambda sentence: self.watch.say(f"{title}: {sentence}"),
            lambda what, done, total: self.watch.advance(f"{count}: {what}", done, total),
        )
        there, start = (where / "result.json").exists(), time.monotonic()
        words: dict[str, Any] = fit.words()
        sides = data.sides
        result = study.fit(
            sides.data,
            **words,
            source=sides.source or None,
            target=sides.target or None,
            labels=sides.labels or None,
            columns=data.columns,
            out=where,
            settings=fit.settings,
            store=self.store,
            watch=inner,
        )
        if not there or not (where / report.PAGE).exists():
            report.write(where)
        if not there:
            self.spent.append(time.monotonic() - start)
        return result

    def _left(self) -> str:
        """How long the rest takes if its runs take as long as those before."""
        if not self.spent:
            return ""
        seconds = (self.runs - self.begun + 1) * sum(self.spent) / len(self.spent)
        minutes = max(1, round(seconds / 60))
        return f"; about {minutes} min left" if minutes < 90 else f"; about {round(minutes / 60)} h left"

    def _judged(self, data: DataSet, where: Path, result: Result) -> dict[str, Verdict]:
        """The verdict on each route of a run, written down at once: it takes opening the data once more."""
        mark = files.read_json(where / keeping.PLAN)["fingerprint"]
        record = where / VERDICTS
        if record.exists():
            kept = files.read_json(record)
            if kept["fingerprint"] == mark:
                return {name: Verdict(**one) for name, one in kept["verdicts"].items()}
        loaded, _ = intake.opened(replace(data.sides, source=""), data.columns, data.settings, Watch())
        found = _verdicts(result, loaded, where, data.settings.margin)
        written = {name: {**vars(one), "parts": []} for name, one in found.items()}
        files.write_json(record, {"fingerprint": mark, "verdicts": written})
        return found


def _same_splits(places: Sequence[Path]) -> None:
    """Runs of one data set must have tested the same examples, or their figures say nothing of one another."""
    first, *others = places
    for other in others:
        for split in sorted((first / "splits").glob("*.json")):
            if files.read_json(split) != files.read_json(other / "splits" / split.name):
                raise TrainingError(
                    f"{first} and {other} divided the data differently at {split.stem}, so their figures cannot be "
                    "compared; remove both folders, and run the study again."
                )


def _verdicts(result: Result, loaded: Loaded, place: Path, margin: float) -> dict[str, Verdict]:
    """Every transfer route of a finished run against its best floor, as a run's own verdict has it for one.

    The floor is the one that the validation part chose, but whoever is said to help must beat every floor; see
    `conclusion.conclude`. What ships is decided by then, and is not touched.
    """
    table = loaded.table
    task: Task = folder.task(table.task, table.classes)
    claim = Claim(task.primary(table.classes), task.gain, "log loss" if "log_loss" in task.metrics else "error")
    seeds = sorted({one.seed for one in result.routes})
    splits = {
        seed: splitting.from_json(files.read_json(place / "splits" / f"seed{seed}.json"), loaded) for seed in seeds
    }
    scored = {
        (one.name, one.seed): _scored(kept, splits[one.seed], loaded, task)
        for one in result.routes
        if (kept := keeping.found(keeping.folder(place, one.name, one.seed))) is not None
    }
    judged = conclusion.ordered({one.name: one.validation for one in result.routes}, claim.figure)
    floors = {one.name for one in result.routes if one.floor}
    _, _, chosen = verdict.decide_shipping(judged, floors, claim.figure)
    found = {}
    for name in dict.fromkeys(one.name for one in result.routes if not one.floor):
        compared = {
            floor: verdict.decide(*pair, chosen=None, seed=0, margin=margin, claim=claim)
            for floor in floors
            for pair in [_paired(scored, splits, name, floor)]
            if pair[0].rows
        }
        if chosen in compared:
            weakest = min(compared.values(), key=lambda one: (one.answer == "helps", one.low))
            found[name] = weakest if compared[chosen].answer == "helps" else compared[chosen]
    return found


def _scored(kept: keeping.Kept, split: Split, loaded: Loaded, task: Task) -> Scored:
    # Merits and losses are all that is asked, so no interval is drawn.
    sealed = Sealed(loaded.table.labels[split.test])
    return score.measure(task, kept.test, sealed, loaded.table.classes, seed=split.seed, draws=1)


def _paired(
    scored: Mapping[tuple[str, int], Scored], splits: Mapping[int, Split], *names: str
) -> tuple[Evidence, Evidence]:
    """Two routes on the seeds that both have."""
    seeds = [seed for seed in splits if all((name, seed) in scored for name in names)]
    first, second = (
        Evidence(
            name,
            [np.asarray(splits[seed].test) for seed in seeds],
            [scored[name, seed].merits for seed in seeds],
            [scored[name, seed].losses for seed in seeds],
        )
        for name in names
    )
    return first, second


def _entry(
    data: DataSet,
    place: Path,
    results: Mapping[Path, tuple[Fit, Result]],
    judged: Mapping[Path, Mapping[str, Verdict]],
) -> Entry:
    """What the runs of one data set gave."""
    cells, runs = [], {}
    for where, (fit, result) in results.items():
        found = {one.name: one for one in summaries(result.routes)}
        # The first of a method is the route itself; on a part of the source, or gentler, it comes after that.
        called = {one.tune: one.name for one in reversed(result.routes) if not one.floor}
        for method, name in fit.named().items():
            route = called.get(method, "")
            if route in found and result.verdict.figure in found[route].metrics:
                seeds = _seeds(result, route, data.settings.seeds)
                cells.append(_cell(name, found[route], result.verdict.figure, seeds, judged[where].get(route)))
        runs[where.relative_to(place).as_posix()] = tuple(fit.named().values())
    first = next(result for _, result in results.values())
    task: Task = folder.task(first.task, tuple(first.data["classes"]))
    figure = first.verdict.figure
    best = next((one for one in summaries(first.routes) if one.name == first.verdict.floor), None)
    floor = best.metrics.get(figure) if best else None
    n = max(one.n for one in first.routes)
    return Entry(data.name, figure, figure not in task.lower, n, tuple(cells), runs, first.verdict.floor, floor)


def _seeds(result: Result, route: str, count: int) -> tuple[float | None, ...]:
    """The primary figure at each seed."""
    figure = result.verdict.figure
    mine = {one.seed: one.metrics[figure].value for one in result.routes if one.name == route and figure in one.metrics}
    return tuple(mine.get(seed) for seed in range(count))


def _cell(name: str, found: Summary, figure: str, seeds: tuple[float | None, ...], said: Verdict | None) -> Cell:
    against = Against(said.floor, said.answer, said.gain, said.low, said.high) if said else None
    return Cell(name, found.metrics[figure], seeds, against)
