"""The page of evidence in the making: what a run has at its end, the items it shows, and what it got wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sterna.crossing import Sight
from sterna.gallery import Gallery, Part
from sterna.maths import mistakes
from sterna.network import Network
from sterna.records import Encoder, Labels, Split, Table
from sterna.store import Store

LISTED = 24  # mistakes, suspects, pairs of near duplicates
PAIRS, EXAMPLES = 12, 6  # confused pairs, and items shown for each
CLASSES = 200  # beyond, a matrix of confusions cannot be read and is left out


@dataclass(frozen=True)
class Adapting:
    """What a run from a labelled source to a target leaves for its page."""

    route: str  # whose features are drawn: what ships, or the best adaptation where that has not looked at the target
    sight: Sight | None
    encoder: Encoder | None = None  # whose frozen features are those before


@dataclass(frozen=True)
class Finished:
    """What a run has at its end.

    Attributes:
        table: all examples of the target. Of the held-out ones, `labels` is not looked at.
        split: of the seed whose model ships.
        answers: (n_test, k) of what ships on the held-out part, in the order of `split.test`.
        truth: (n_test, ...) the held-out labels, in that order; (0,) where they are not known.
        store: where activations lie; nothing is added to it.
        encoder: the pretrained one, with statistics of the training rows where it has any; its features are the map
            before training. None where there is none, such as for rows.
        network: what ships, of the same stages, in evaluation mode. None where that is no network of this encoder.
        source: a related data set that was learnt from.
        random: whether the network that ships began with random weights.
        adapting: where the training and validation parts are a source's and the held-out part is the target.
    """

    table: Table
    split: Split
    answers: np.ndarray
    truth: Labels
    store: Store
    encoder: Encoder | None = None
    network: Network | None = None
    source: Table | None = None
    random: bool = False
    adapting: Adapting | None = None

    @property
    def blind(self) -> bool:
        """Whether no held-out label is known."""
        return not len(self.truth)

    @property
    def classify(self) -> bool:
        """Whether each item has one class."""
        return self.table.task == "classify"


@dataclass
class Page:
    """The document in the making."""

    run: Finished
    gallery: Gallery = field(default_factory=Gallery)
    made: dict[str, Any] = field(default_factory=dict)
    notes: list[dict[str, str]] = field(default_factory=list)  # see `note`
    wanted: list[int] = field(default_factory=list)  # numbers of items to be shown, those that matter most first
    drawn: list[int] = field(default_factory=list)  # numbers of items on the map
    parts: dict[str, Part] = field(init=False)

    def __post_init__(self) -> None:
        run, items = self.run, self.run.table.items
        places = {"test": run.split.test, "validation": run.split.validation, "train": run.split.train}
        self.parts = {
            name: Part(name, items, run.table.rows[rows], class_numbers(run.truth if name == "test" else
                       run.table.labels[rows], run.table.task, len(rows)))
            for name, rows in places.items()
        }  # fmt: skip

    def note(self, about: str, sentence: str) -> None:
        """Say how something was made, or why it is not there; `about` is the section of the page that says it."""
        self.notes.append({"about": about, "sentence": sentence})

    def show(self, part: Part, place: int) -> int:
        """The number of an example, which is to be seen and not only named."""
        number = self.gallery.number(part, place)
        self.wanted.append(number)
        return number


def class_numbers(labels: Labels, task: str, count: int) -> np.ndarray:
    """(n,) class numbers; the first label of several, and -1 where there is none."""
    if not len(labels):
        return np.full(count, -1, dtype=np.int64)
    if task == "multilabel":
        return np.where((labels > 0).any(axis=1), (labels > 0).argmax(axis=1), -1).astype(np.int64)
    return labels.astype(np.int64) if task == "classify" else np.full(count, -1, dtype=np.int64)


def failures(page: Page) -> None:
    """What the shipped model answered wrongly on the held-out part; nothing where its labels are not known."""
    run, held = page.run, page.parts["test"]
    if run.blind:
        return
    if run.table.task == "regress":
        errors = np.abs(run.answers - run.truth) / np.maximum(run.truth.std(axis=0), 1e-12)
        worst = np.argsort(-errors.max(axis=1), kind="stable")[:LISTED]
        columns = errors[worst].argmax(axis=1)
        page.made["wrong"] = [
            {"item": page.show(held, at), "truth": float(run.truth[at, j]), "prediction": float(run.answers[at, j]),
             "column": int(j), "error": float(abs(run.answers[at, j] - run.truth[at, j]))}
            for at, j in zip(worst, columns, strict=True)
        ]  # fmt: skip
    if run.table.task == "multilabel":
        surprise = np.abs(run.answers - run.truth)
        worst = np.argsort(-surprise.max(axis=1), kind="stable")[:LISTED]
        page.made["wrong"] = [
            {"item": page.show(held, at), "truth": np.flatnonzero(run.truth[at]).tolist(),
             "prediction": np.flatnonzero(run.answers[at] > 0.5).tolist(), "error": short(surprise[at].max())}
            for at in worst
            if surprise[at].max() > 0.5
        ]  # fmt: skip
    if run.classify:
        _confusions(page)


def _confusions(page: Page) -> None:
    run, held = page.run, page.parts["test"]
    predicted, sure = run.answers.argmax(axis=1), run.answers.max(axis=1)
    wrong = np.flatnonzero(predicted != run.truth)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    page.made["wrong"] = [
        {"item": page.show(held, at), "truth": int(run.truth[at]), "prediction": int(predicted[at]),
         "probability": short(sure[at])}
        for at in wrong[:LISTED]
    ]  # fmt: skip
    matrix = mistakes.confusion(predicted, run.truth, len(run.table.classes))
    if len(matrix) <= CLASSES:
        page.made["confusion"] = matrix.tolist()
    else:
        page.note("confusion", f"The matrix of confusions is left out for more than {CLASSES} classes.")
    page.made["confused"] = []
    for truth, prediction, count in mistakes.confused(matrix, PAIRS):
        own = wrong[(run.truth[wrong] == truth) & (predicted[wrong] == prediction)][:EXAMPLES]
        entry = {"truth": truth, "prediction": prediction, "count": count}
        page.made["confused"].append({**entry, "items": [page.show(held, at) for at in own]})
    found = mistakes.reliability(sure, predicted == run.truth)
    bins = [[short(confidence), short(accuracy), count] for confidence, accuracy, count in found.bins]
    page.made["reliability"] = {"bins": bins, "ece": short(found.error)}


def short(value: Any) -> float:
    """A number as it is written down."""
    return round(float(value), 5)
