"""What a run found: the routes with their figures, the verdict, what ships. `result.json` is this record.

The shape of `result.json` is described in docs/result.md; other programs read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sterna import files, folder
from sterna.errors import DataError
from sterna.outcomes import CurvePoint, Distilled, Learner, Outcome, PartGain, Score, SharedTask, Sharing, Verdict
from sterna.verdict import in_words


@dataclass(frozen=True)
class Result:
    """Prints as a table with the verdict as its last line."""

    routes: tuple[Outcome, ...]  # one for each route and seed
    shipped: str  # the name of a route
    verdict: Verdict
    comparisons: tuple[Verdict, ...]  # against the floors that are not the verdict's
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    warnings: tuple[str, ...]
    folder: str  # where the run lies; `folder/model` is the shipped model
    task: str = "classify"  # a file of `tasks/`
    curve: tuple[CurvePoint, ...] = ()  # the verdict's route and floor with fewer labels, where that was asked for
    choosing: Verdict | None = None  # the best examples of the source against all of it, where both were tried
    students: Distilled | None = None  # beside their teacher, where there is one
    sharing: Sharing | None = None  # several tasks, each together with the others and alone

    def __str__(self) -> str:
        found, primary = summaries(self.routes), self.verdict.figure
        task = folder.load("tasks", self.task)
        shown = [name for name in task.shown if name in found[0].metrics and name != primary]  # type: ignore[attr-defined]
        seeds = max(one.seeds for one in found)
        spread = [f"sd of {seeds} seeds"] if seeds > 1 else []
        names = [in_words(name).removesuffix(" error") for name in (primary, *shown)]
        head = ("route", names[0], "95 % interval", *spread, *names[1:], "seconds", "")
        lines = [head, *(_row(one, self.shipped, primary, shown, bool(spread)) for one in found)]
        text = _aligned(lines)
        if self.students is not None:
            text += ["", *_aligned(_learners(self.students, names[0])), *self.students.notes]
        if self.sharing is not None:
            text += ["", *_aligned(_shared(self.sharing)), self.sharing.sentence]
        others = [f"Beside it, against {one.floor}: {points(one)}." for one in self.comparisons]
        taught = self.students.verdict if self.students else None
        beside = [one.sentence for one in (self.choosing, taught) if one]
        return "\n".join([*text, "", *others, *beside, self.verdict.sentence])

    def as_json(self) -> dict[str, Any]:
        """The contents of `result.json`."""
        routes = [asdict(outcome) for outcome in self.routes]
        return {
            "task": self.task,
            "routes": routes,
            "shipped": self.shipped,
            "verdict": _entry(self.verdict),
            "comparisons": [_entry(one) for one in self.comparisons],
            "data": dict(self.data),
            "environment": dict(self.environment),
            "warnings": list(self.warnings),
            "curve": [asdict(one) for one in self.curve],
            "choosing": _entry(self.choosing) if self.choosing else None,
            "students": asdict(self.students) if self.students else None,
            "sharing": asdict(self.sharing) if self.sharing else None,
        }

    def save(self) -> None:
        """Write `result.json`, whole or not at all."""
        files.write_json(Path(self.folder) / "result.json", self.as_json())


@dataclass(frozen=True)
class Summary:
    """One route over its seeds: the mean of each figure, and the widest account of its interval."""

    name: str
    floor: bool
    seeds: int
    metrics: Mapping[str, Score]
    seconds: float
    spreads: Mapping[str, float]  # standard deviation of each figure over the seeds; 0 for one seed
    given_up: bool  # at any seed

    def marks(self, shipped: str) -> str:
        """What a table says beside the figures."""
        found = (("floor", self.floor), ("given up", self.given_up), ("ships", self.name == shipped))
        return ", ".join(mark for mark, holds in found if holds)


def summaries(routes: Sequence[Outcome]) -> list[Summary]:
    """The routes with their seeds put together, in the order in which they ran.

    The interval of a mean over seeds is the mean of the seeds' intervals: held-out examples are its main source of
    doubt, and those of different seeds overlap, so dividing by the number of seeds would promise too much.
    """
    found = []
    for name in dict.fromkeys(outcome.name for outcome in routes):
        mine = [outcome for outcome in routes if outcome.name == name]
        metrics = means([one.metrics for one in mine])
        spreads = {metric: _spread([one.metrics[metric].value for one in mine]) for metric in metrics}
        seconds = float(np.mean([one.seconds for one in mine]))
        given_up = any(one.given_up for one in mine)
        found.append(Summary(name, mine[0].floor, len(mine), metrics, seconds, spreads, given_up))
    return found


def means(metrics: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """Each figure's mean over the seeds, and the mean of its intervals; see `summaries`."""
    return {
        name: Score(*(float(np.mean([getattr(one[name], part) for one in metrics])) for part in _PARTS))
        for name in metrics[0]
        if all(name in one for one in metrics)  # one seed's held-out part may leave a figure undefined
    }


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


_PARTS = ("value", "low", "high")


def points(verdict: Verdict) -> str:
    """A gain in points of the primary figure with its interval: `+3.1 points (95 % interval 1.8 to 4.5)`."""
    return f"{100 * verdict.gain:+.1f} points (95 % interval {100 * verdict.low:.1f} to {100 * verdict.high:.1f})"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text, each column as wide as its widest cell."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


ROLES = {"teacher": "teacher", "student": "student", "alone": "student without teacher"}


def _learners(distilled: Distilled, figure: str) -> list[tuple[str, ...]]:
    """Teacher and students as rows of a table, its head first."""
    head = ("", figure, "95 % interval", "weights", "file", "ms an item", "in batches of 32", "")
    return [head, *(_learner(one) for one in distilled.learners)]


def _shared(sharing: Sharing) -> list[tuple[str, ...]]:
    """Each task together and alone as rows of a table, its head first."""
    head = ("task", "figure", "together", "alone", "gain", "95 % interval", "sharing", "route")
    return [head, *(_side_by_side(one) for one in sharing.tasks)]


def _side_by_side(one: SharedTask) -> tuple[str, ...]:
    said = one.verdict
    values = [f"{100 * side[said.figure].value:.1f} %" for side in (one.shared, one.alone)]
    gain = (f"{100 * said.gain:+.1f}", f"{100 * said.low:.1f} to {100 * said.high:.1f}")
    return one.task, in_words(said.figure), *values, *gain, said.answer, one.route


def _learner(one: Learner) -> tuple[str, ...]:
    score = one.figure
    measured = ("-", "-")
    if score is not None:
        measured = (f"{100 * score.value:.1f} %", f"{100 * score.low:.1f} to {100 * score.high:.1f}")
    size = (f"{one.weights:,}", f"{one.bytes / 1e6:.2f} MB", f"{one.single:.3g}", f"{one.batched:.3g}")
    return (ROLES[one.role], *measured, *size, one.name)


def _row(summary: Summary, shipped: str, primary: str, shown: Sequence[str], spread: bool) -> tuple[str, ...]:
    figure = summary.metrics.get(primary)
    measured = ("-", "-")
    if figure is not None:
        measured = (f"{100 * figure.value:.1f} %", f"{100 * figure.low:.1f} to {100 * figure.high:.1f}")
    return (
        summary.name,
        *measured,
        *([f"{100 * summary.spreads[primary]:.1f}" if figure else "-"] if spread else []),
        *(_number(summary.metrics[name].value) if name in summary.metrics else "-" for name in shown),
        f"{summary.seconds:.1f}",
        summary.marks(shipped),
    )


def _number(value: float) -> str:
    """Three decimals, or four digits: errors are in the units of the labels, which may be large or small."""
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def load(place: Path) -> Result:
    """The result of a finished run. Raises `DataError` when there is none."""
    record = place / "result.json"
    if not record.is_file():
        raise DataError(f"{place} holds no finished run: it has no result.json; run sterna fit with --out {place}.")
    kept = json.loads(record.read_text(encoding="utf-8"))
    routes = tuple(outcome_from_json(entry) for entry in kept["routes"])
    verdict, *others = map(_verdict, (kept["verdict"], *kept["comparisons"]))
    return Result(
        routes,
        kept["shipped"],
        verdict,
        tuple(others),
        kept["data"],
        kept["environment"],
        tuple(kept["warnings"]),
        str(place),
        kept["task"],
        tuple(CurvePoint(**one) for one in kept.get("curve", ())),
        _verdict(kept["choosing"]) if kept.get("choosing") else None,
        _distilled(kept["students"]) if kept.get("students") else None,
        _sharing(kept["sharing"]) if kept.get("sharing") else None,
    )


def _distilled(entry: Mapping[str, Any]) -> Distilled:
    learners = [
        Learner(**{**one, "figure": Score(**one["figure"]) if one["figure"] else None}) for one in entry["learners"]
    ]
    compared = _verdict(entry["verdict"]) if entry["verdict"] else None
    return Distilled(tuple(learners), compared, tuple(entry["notes"]))


def _sharing(entry: Mapping[str, Any]) -> Sharing:
    tasks = []
    for one in entry["tasks"]:
        figures = {side: {name: Score(**value) for name, value in one[side].items()} for side in ("shared", "alone")}
        tasks.append(SharedTask(**{**one, **figures, "verdict": _verdict(one["verdict"])}))
    return Sharing(tuple(tasks), entry["sentence"])


def _entry(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "parts": [asdict(part) for part in verdict.parts]}


def _verdict(entry: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**entry, "parts": tuple(PartGain(**part) for part in entry.get("parts", ()))})


def outcome_from_json(entry: Mapping[str, Any]) -> Outcome:
    """An `Outcome` from its entry in `result.json`."""
    metrics = {name: Score(**score) for name, score in entry["metrics"].items()}
    return Outcome(**{**entry, "metrics": metrics})
