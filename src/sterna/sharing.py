"""Several tasks learnt together beside each of them alone: whom does sharing help, and whom does it hurt?

Each route that learns all tasks is run once more for every task by itself: the same examples in the same parts, without
those that carry no label for it, the same encoder, policy, augmentation and optimizer, the task's own objective and its
own figure to choose by. The two are compared in pairs on the held-out examples that carry the label. It comes after
everything is decided, and no choice depends on it.

Where the items are words, a task of whole items stays one of `several` by itself, so that the same network, with an
answer for each word, learns it from the mean of an item's words: its objective and its figure to choose by are then
those that `several` has for one task (of a number, R2 is taken as 0 where it is below).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sterna import files, folder, keeping, result, score, splitting, verdict
from sterna.attempts import Attempts
from sterna.conclusion import Conclusion, Trial
from sterna.contracts import Task
from sterna.maths import blocks
from sterna.maths.blocks import Block
from sterna.outcomes import SharedTask, Sharing
from sterna.plan import Route
from sterna.records import Sealed, Split, Table
from sterna.score import Scored

ALONE = "alone"  # in the folder of a run: a folder for each task
SUBJECT = "Sharing"  # what helps or hurts
TASK = "several"

Pair = tuple[Scored, Scored]  # together and alone, on the same examples


def measured(at: Attempts, trials: Sequence[Trial], conclusion: Conclusion, asked: Sequence[str]) -> Sharing | None:
    """Each task together and alone; None for a run of one task.

    `asked`: names of routes, beside the verdict's own, to be told of; none where time is limited.
    """
    if at.loaded.table.task != TASK or at.loaded.blind:
        return None
    named = {one.route.name: one.route for one in trials if not (one.route.floor or one.route.shallow)}
    best = conclusion.verdict.route
    routes = [route for name, route in named.items() if name == best or name in asked]
    found: dict[tuple[str, int], SharedTask] = {}
    for place, block in enumerate(blocks.blocks(at.loaded.table.classes)):
        single, rows = _single(at, block)
        done: dict[Route, list[Trial]] = {}
        for route in routes:
            own = _own(route, single.loaded.table.task, len(at.encoders) > 1)
            if own not in done:
                at.watch.say(f"{block.name} alone, by {own.name}")
                done[own] = [_of_items(one, single.loaded.table, block) for one in single.trials([own])]
            together = [one for one in trials if one.route == route]
            compared = _compared(at, together, done[own], rows, block, blocks.lengths(at.loaded.table.labels))
            if compared is None:
                at.warn(f"{block.name} alone was not measured by {own.name}, so nothing is said of sharing.")
            else:
                found[route.name, place] = compared
        for weights in single.place.glob("routes/*/weights.safetensors"):
            weights.unlink()
    tasks = tuple(found[key] for key in sorted(found, key=lambda key: (list(named).index(key[0]), key[1])))
    return Sharing(tasks, sentence([one for one in tasks if one.route == best] or list(tasks))) if tasks else None


def sentence(tasks: Sequence[SharedTask]) -> str:
    """Which of the tasks of one route sharing helps and hurts."""
    if not tasks:
        return ""
    clauses = []
    for answer, begin in (
        ("hurts", "hurts "),
        ("helps", "helps "),
        ("equivalent", "makes no difference to "),
        ("undecided", "cannot be told to help or hurt "),
    ):
        mine = [one for one in tasks if one.verdict.answer == answer]
        if mine:
            clauses.append(begin + _listed([_told(one) for one in mine]))
    lost = [one.task for one in tasks if one.verdict.answer == "hurts"]
    tags = any(one.task in lost and one.kind == blocks.TAG for one in tasks)  # which no --label names
    advice = f" Fit {_listed(lost)} alone{'' if tags else f': --label {lost[0]}'}." if lost else ""
    return f"{SUBJECT} {_listed(clauses)} ({tasks[0].route}, each task against itself alone).{advice}"


def _told(one: SharedTask) -> str:
    if one.verdict.answer in ("equivalent", "undecided"):
        return one.task
    way = "lower" if one.verdict.gain < 0 else "higher"
    return f"{one.task} ({verdict.in_words(one.verdict.figure)} {100 * abs(one.verdict.gain):.1f} points {way})"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _single(at: Attempts, block: Block) -> tuple[Attempts, np.ndarray]:
    """Where one task is learnt alone, on the same split; and which examples of all carry its label."""
    table, loaded = at.loaded.table, at.loaded
    rows, labels = blocks.own(table.labels, block)
    names, task = block.names, block.task
    if table.labels.dtype == object and block.task != blocks.TAG:
        names, task = table.classes[block.rows], TASK
        labels = np.empty(len(rows), dtype=object)
        labels[:] = [table.labels[row][:, block.columns] for row in rows.tolist()]
    own = replace(
        loaded,
        table=Table(table.items, table.rows[rows], labels, names, task),
        groups=loaded.groups[rows],
        parts=loaded.parts[rows],
        domains=loaded.domains[rows] if len(loaded.domains) else loaded.domains,
    )
    single = replace(at, loaded=own, place=at.place / ALONE / keeping.slug(block.name), warnings=[], weights={})
    for seed in range(at.settings.seeds):
        kept = single.place / "splits" / f"seed{seed}.json"
        if not kept.exists():
            split = at.split(seed)
            train, validation, test = (_places(part, rows) for part in (split.train, split.validation, split.test))
            kept.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(kept, splitting.to_json(Split(train, validation, test, seed), own))
    return single, rows


def _places(part: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The positions in `rows` of those that are in `part`."""
    found: np.ndarray = np.flatnonzero(np.isin(rows, part))
    return found


def _of_items(one: Trial, table: Table, block: Block) -> Trial:
    """What a task of whole items gave alone, an answer for each; answers for words that they are all alike in, once."""
    if table.task != TASK:
        return one
    counts, (alone,) = blocks.lengths(table.labels[one.rows]), blocks.blocks(table.classes)
    labels = blocks.own(table.labels[one.rows], alone)[1]
    test = blocks.picked(one.test, counts, np.arange(len(one.rows)), alone)
    return replace(one, test=test, sealed=Sealed(labels))


def _own(route: Route, task: str, several: bool) -> Route:
    """The route with the objective of one task in place of that of all."""
    (loss,) = folder.resolve("losses", folder.load("tasks", task).loss)  # type: ignore[attr-defined]
    others = tuple(one for one in route.losses if not getattr(one, "balances", False))
    name = " / ".join([*([route.encoder] if several else []), " + ".join(map(repr, (route.tune, *others)))])
    return replace(route, name=name, losses=(loss, *others))


def _compared(
    at: Attempts,
    together: Sequence[Trial],
    alone: Sequence[Trial],
    rows: np.ndarray,
    block: Block,
    counts: np.ndarray | None = None,
) -> SharedTask | None:
    """The verdict on one task. `rows`: the examples that carry its label; `counts`: (n,) words of each of all."""
    task: Task = folder.task(block.task, block.names)
    pairs: list[Pair] = []
    kept: list[np.ndarray] = []
    shared = {one.seed: one for one in together}
    for single in alone:
        both = shared.get(single.seed)
        if both is None or not len(single.sealed):
            continue
        examples = rows[single.rows]
        held = None if counts is None else counts[both.rows]
        answers = blocks.picked(both.test, held, np.searchsorted(both.rows, examples), block)
        given = [
            score.measure(task, one, single.sealed, block.names, seed=single.seed) for one in (answers, single.test)
        ]
        pairs.append((given[0], given[1]))
        kept.append(examples)
    if not pairs:
        return None
    names = (together[0].route.name, f"{block.name} alone")
    sides = [
        verdict.Evidence(name, kept, [pair[side].merits for pair in pairs], [pair[side].losses for pair in pairs])
        for side, name in enumerate(names)
    ]
    loss = "log loss" if "log_loss" in task.metrics else "error"
    claim = verdict.Claim(task.primary(block.names), task.gain, loss, SUBJECT)
    found = verdict.decide(sides[0], sides[1], chosen=None, seed=0, margin=at.settings.margin, claim=claim)
    figures = [result.means([pair[side].metrics for pair in pairs]) for side in (0, 1)]
    return SharedTask(names[0], block.name, block.task, figures[0], figures[1], found)
