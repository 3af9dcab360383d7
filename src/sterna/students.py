"""Teacher and students side by side: how good they are, how large and how fast, and whether having a teacher helped.

Times are measured on this machine after everything is decided. They are told and nothing else: no choice and no
fingerprint depends on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import artifact, intake, plan, reading, result, score, teaching, verdict
from sterna.attempts import Attempts
from sterna.conclusion import Conclusion, Trial
from sterna.network import Network, one_thread
from sterna.outcomes import Distilled, Learner, Score, Verdict
from sterna.plan import Route
from sterna.records import Encoder, Fitted, Sealed, Table, Teacher

SUBJECT = "Distillation"  # what helps or hurts
BATCH = 32
WARM = 2  # passes before any is timed: the first ones allocate
FEWEST, MOST = 5, 50  # passes timed
SPENT = 1.0  # seconds after which no further pass begins


def doubts(at: Attempts) -> list[str]:
    """Sentences on what the teacher may have learnt from that is held out here; nothing where it has not."""
    if at.teacher is None:
        return []
    seen = [seed for seed in range(at.settings.seeds) if _has_seen(at, at.teacher, seed)]
    if not seen:
        return []
    where = f" at seed{'s' if len(seen) > 1 else ''} {', '.join(map(str, seen))}" if at.settings.seeds > 1 else ""
    return [
        f"The teacher {at.teacher.encoder.reference} was fitted to these very data with another held-out part, so it "
        f"has learnt from examples that are held out here{where}: its own figure is not measured there, and the "
        "figures of students that it taught are too kind. Give data that bring their own test part, or a teacher of "
        "the same split."
    ]


def measured(at: Attempts, trials: Sequence[Trial], conclusion: Conclusion) -> Distilled | None:
    """The teacher, and of each encoder the best student on the validation part beside the same one alone.

    None for a run without a teacher. Trained weights must still lie in the folders of their routes.
    """
    if at.teacher is None:
        return None
    figure = at.task.primary(at.loaded.table.classes)
    standing = {one.name: one.validation.get(figure, 0.0) for one in conclusion.outcomes}
    lost = {one.name for one in conclusion.outcomes if one.given_up}  # judged on fewer examples, maybe easier ones
    taught = [one.route for one in trials if plan.learns(one.route.losses)]
    best: dict[str, Route] = {}
    for one in sorted(taught, key=lambda one: (one.name in lost, -standing[one.name])):
        best.setdefault(one.encoder, one)
    pairs = [(one, _alone([trial.route for trial in trials], one)) for one in best.values()]
    scores = {one.name: one.metrics.get(figure) for one in result.summaries(conclusion.outcomes)}
    learners = [_teacher(at, at.teacher, figure)]
    for student, alone in pairs:
        shape = _shape(at, student, trials)
        learners.append(Learner(student.name, "student", scores[student.name], *shape))
        if alone is not None:
            learners.append(Learner(alone.name, "alone", scores[alone.name], *shape))
    compared = [_compared(at, trials, student, alone) for student, alone in pairs[:1] if alone is not None]
    return Distilled(tuple(learners), compared[0] if compared else None, tuple(_notes(at, at.teacher)))


def _has_seen(at: Attempts, teacher: Teacher, seed: int) -> bool:
    """Whether it was fitted to these very data with other items held out."""
    if not teacher.data or teacher.data != intake.digest(at.loaded):
        return False
    return teacher.held != intake.items_digest(at.loaded.table.take(at.split(seed).test))


def _notes(at: Attempts, teacher: Teacher) -> list[str]:
    """What is not known of the teacher."""
    if teacher.head is None:
        return ["The teacher has no answer for these classes; students learn from its features."]
    if teacher.data == intake.digest(at.loaded):
        return []
    told = "was fitted to other data" if teacher.data else "does not say what it was fitted to"
    return [
        f"The teacher {told}: whether it has learnt from examples that are held out here cannot be told, and if it "
        "has, its figure and those of its students are too kind."
    ]


def _teacher(at: Attempts, teacher: Teacher, figure: str) -> Learner:
    table, encoder = at.loaded.table, teacher.encoder
    network = encoder.network.with_head(len(table.classes), {}).cpu().eval()
    fitted = Fitted(network, encoder, table.classes, table.task)
    fair = [seed for seed in range(at.settings.seeds) if not _has_seen(at, teacher, seed)]
    measurable = teacher.head is not None and not at.loaded.blind
    scores = [one for one in (_figure(at, teacher, seed, figure) for seed in fair if measurable) if one is not None]
    parts = ([getattr(one, end) for one in scores] for end in ("value", "low", "high"))
    mean = Score(*(float(np.mean(part)) for part in parts)) if scores else None
    return Learner(encoder.reference, "teacher", mean, *_measured(fitted, table))


def _figure(at: Attempts, teacher: Teacher, seed: int, figure: str) -> Score | None:
    """The teacher's own figure on the part held out at a seed."""
    table, split = at.loaded.table, at.split(seed)
    rows = table.rows[np.concatenate([split.train, split.validation, split.test])]
    held = replace(table.take(split.test), labels=table.labels[:0])
    features = teaching.said(teacher.encoder, held, rows, at.store)
    assert teacher.head is not None
    assert teacher.bias is not None
    answers = at.task.answers((features @ teacher.head.T + teacher.bias).double().numpy())
    found = score.measure(at.task, answers, Sealed(table.labels[split.test]), table.classes, seed=seed)
    return found.metrics.get(figure)


def _alone(routes: Sequence[Route], student: Route) -> Route | None:
    """The route that differs from a student's by the teacher alone, where it was run."""

    def bare(route: Route, losses: tuple[Any, ...]) -> Route:
        return replace(route, name="", floor=False, losses=losses)

    wanted = bare(student, tuple(one for one in student.losses if one.needs not in plan.TAUGHT))
    return next((one for one in routes if bare(one, one.losses) == wanted), None)


def _compared(at: Attempts, trials: Sequence[Trial], student: Route, alone: Route) -> Verdict | None:
    """Whether the teacher helped: the student against itself alone, in pairs; it decides nothing."""
    if at.loaded.blind:
        return None
    classes = at.loaded.table.classes
    found = {(one.route.name, one.seed): one for one in trials}
    seeds = [seed for seed in range(at.settings.seeds) if {(student.name, seed), (alone.name, seed)} <= found.keys()]
    if not seeds:
        return None
    sides = []
    for name in (student.name, alone.name):
        mine = [found[name, seed] for seed in seeds]
        seen = [score.measure(at.task, one.test, one.sealed, classes, seed=one.seed, draws=1) for one in mine]
        sides.append(
            verdict.Evidence(name, [one.rows for one in mine], [s.merits for s in seen], [s.losses for s in seen])
        )
    loss = "log loss" if "log_loss" in at.task.metrics else "error"
    claim = verdict.Claim(at.task.primary(classes), at.task.gain, loss, SUBJECT)
    return verdict.decide(*sides, chosen=None, seed=0, margin=at.settings.margin, claim=claim)


def _shape(at: Attempts, route: Route, trials: Sequence[Trial]) -> tuple[int, int, float, float]:
    """Size and speed of the network of a route."""
    seed = next(one.seed for one in trials if one.route == route)
    return _measured(at.fitted(route, seed), at.loaded.table)


def _measured(fitted: Fitted, table: Table) -> tuple[int, int, float, float]:
    """Weights, bytes of their file, and milliseconds an item, one by one and in batches."""
    network: Network = fitted.network
    rows = np.resize(table.rows, BATCH)
    inputs = _inputs(fitted.encoder, table, rows)
    times = [_milliseconds(network, inputs[:size]) / size for size in (1, BATCH)]
    return sum(weight.numel() for weight in network.parameters()), artifact.size(fitted), times[0], times[1]


def _inputs(encoder: Encoder, table: Table, rows: np.ndarray) -> Tensor:
    preparation = encoder.preparation
    frames = next(iter(reading.frames(table.items, preparation, rows, size=len(rows), workers=0)))
    return preparation.tensor(frames)


@torch.no_grad()
def _milliseconds(
    network: Callable[[Tensor], Any], inputs: Tensor, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The median time of a pass in one thread."""
    took: list[float] = []
    with one_thread():
        for _ in range(WARM):
            network(inputs)
        while len(took) < FEWEST or (len(took) < MOST and sum(took) < SPENT):
            start = clock()
            network(inputs)
            took.append(clock() - start)
    return 1000 * statistics.median(took)
