"""Labelled source data sets, ranked for a target: what a head that was trained on each says of the target's labels.

With one encoder, a head is fitted to a source's features and asked about the target's examples. LEEP and NCE tell how
well the target's labels follow from its answers, whatever the classes are called; where some are called the same, so
does the share of examples that it names rightly. The order is that of LEEP: a head that has learnt nothing, such as one
of shuffled labels, answers alike whatever it is asked, and has the LEEP of no knowledge, minus the entropy of the
target's labels. The probe's score of the head's answers is shown beside it and decides nothing, since any few
projections of good features score well on it.

When not to use: to decide how much of a source to learn from, which takes fits judged on target labels (see `gate`);
to compare sources of very different numbers of classes, of which more come out higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sterna import appraisal, desk, folder, intake, network, splitting
from sterna.appraisal import Asked, Progress
from sterna.contracts import Evidence, Scoring
from sterna.errors import DataError
from sterna.maths.answers import softmax
from sterna.maths.logistic import Slices, choose, fit_path
from sterna.maths.seeds import derive
from sterna.ranked import CHANCE, SourceSet
from sterna.records import Columns, Encoder, Labels, Loaded, Table
from sterna.settings import Settings
from sterna.store import Store
from sterna.watching import Watch

HELD = 0.2  # share of a source by which the penalty of its head is chosen


@dataclass(frozen=True)
class Eye:
    """What sees source and target alike."""

    encoder: Encoder
    store: Store
    progress: Progress | None = None

    def features(self, table: Table) -> np.ndarray:
        """(n, d) float32."""
        return desk.features(self.encoder, table, self.store, self.progress).numpy()


def opened(written: Any, columns: Columns, target: Table, watch: Watch) -> dict[str, Loaded]:
    """The source data sets by name: one, several separated by commas, or a list.

    Raises `DataError` where one cannot be ranked for this target.
    """
    given = written.split(",") if isinstance(written, str) else [str(one) for one in written]
    if target.task != "classify":
        raise DataError(
            f"sources are ranked by the classes of the target, and its labels are for {target.task}; leave --source "
            "out."
        )
    found = {}
    for name in dict.fromkeys(one.strip() for one in given if one.strip()):
        loaded, _ = intake.opened(intake.Sides(name), columns, Settings(), watch)
        kind = loaded.table.items.modality
        if loaded.table.task != "classify" or kind != target.items.modality:
            raise DataError(
                f"the source {name} holds {kind} data for {loaded.table.task}, and the target {target.items.modality} "
                "data for classify; give labelled sources of the same kind with --source."
            )
        found[name] = loaded
    return found


def judged(name: str, loaded: Loaded, asked: Asked, eye: Eye, most: int) -> dict[str, Any]:
    """One source, as the fields of `SourceSet`.

    Args:
        name: as typed.
        loaded: the source; a test part that it brings is not used.
        asked: the target's sample and its permutations.
        eye: what sees both.
        most: examples of the source that are used at most.
    """
    split, table = splitting.split(loaded, seed=0, test=0.0, validation=HELD), loaded.table
    parts = []
    for rows, share in ((split.train, 1 - HELD), (split.validation, HELD)):
        kept = rows[appraisal.stratified(table.labels[rows], round(share * most), derive(0, "source", name))]
        parts.append(table.take(kept))
    logits = _answers(parts, eye, eye.features(asked.table))
    answers, labels = softmax(logits), asked.labels
    leep = _scoring("leep", Evidence(logits, answers, asked.seed))
    null = np.array([leep(labels[order]) for order in asked.orders])
    shared, cross = _crossed(answers, table.classes, asked.table)
    found = SourceSet(
        name=name,
        n=sum(map(len, parts)),
        classes=len(table.classes),
        leep=leep(labels),
        leep_z=appraisal.z_of(leep(labels), null),
        nce=_scoring("nce", Evidence(logits, answers, asked.seed))(labels),
        probe=_scoring("probe", Evidence(logits, answers, asked.seed))(labels),
        shared=shared,
        cross=cross,
    )
    return asdict(found)


def ordered(found: Sequence[SourceSet]) -> tuple[SourceSet, ...]:
    """The sources by LEEP, the best first."""
    return tuple(sorted(found, key=lambda one: -one.leep))


def said(found: Sequence[SourceSet], encoder: str, labels: Labels) -> tuple[str, ...]:
    """What to make of them, in sentences. `found` is in order; `labels` are class numbers of the target's sample."""
    shares = np.bincount(labels) / len(labels)
    nothing = float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
    first = found[0]
    dull = [one.name for one in found if one.leep_z < CHANCE]
    told = [
        f"Of the sources, as {encoder} sees them, {first.name} tells most of the target's labels (LEEP "
        f"{first.leep:.2f}; {nothing:.2f} is no knowledge, 0 is all)."
    ]
    if len(dull) == len(found):
        told = [f"No source tells anything of the target's labels, as {encoder} sees them."]
    elif dull:
        told.append(f"Nothing of them is told by {', '.join(dull)}.")
    return tuple(told)


def _answers(parts: Sequence[Table], eye: Eye, target: np.ndarray) -> np.ndarray:
    """(n, z) logits of the target's examples, by the head of a source; `parts` are to learn from and to choose by."""
    (train, held), classes = parts, len(parts[0].classes)
    path = fit_path(_sliced(eye.features(train)), train.labels, np.ones(len(train)), classes)
    fit = choose(path, _sliced(eye.features(held)), held.labels).fit
    logits: np.ndarray = target.astype(np.float64) @ fit.weight.T + fit.bias
    return logits


def _sliced(features: np.ndarray) -> Slices:
    def slices(size: int) -> Iterator[np.ndarray]:
        return (features[start : start + size] for start in range(0, len(features), size))

    return slices


def _scoring(name: str, evidence: Evidence) -> Scoring:
    made: Scoring = folder.load("ranking", name)().prepare(evidence)  # type: ignore[attr-defined]
    return made


def _crossed(answers: np.ndarray, classes: tuple[str, ...], target: Table) -> tuple[int, float | None]:
    """How many classes share a name, and the accuracy of the answers among those on the target's examples of them."""
    rows = network.matching_rows(target.classes, classes)
    if len(rows) < 2:
        return len(rows), None
    names = np.array(list(rows))
    chosen = np.isin(target.labels, names)
    if not chosen.any():
        return len(rows), None
    guesses = names[answers[chosen][:, list(rows.values())].argmax(axis=1)]
    return len(rows), float((guesses == target.labels[chosen]).mean())
