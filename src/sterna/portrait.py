"""What a finished run looks like: the evidence a page is drawn from, in `evidence.json` beside the result.

A map of the examples before and after training, the mistakes, likely label errors and near duplicates, where the
network looks, which stages moved, and whether the probabilities can be believed. The test is over by then: held-out
labels count mistakes here, and are learnt from by nothing.

Everything is bounded, whatever the size of the data: features come from the store where they lie there, and of few
items where they do not. What cannot be made is said in `notes`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna import explained, files, folder, overlap, stagewise
from sterna.evidence import LISTED, Finished, Page, class_numbers, failures, short
from sterna.gallery import Part
from sterna.maths import confident
from sterna.maths.seeds import derive
from sterna.maths.twins import near_duplicates
from sterna.planar import planar
from sterna.records import Encoder
from sterna.stagewise import Input

NAME = "evidence.json"
VERSION = 1
STORED, PARTLY, FRESH = 4000, 1500, 300  # items looked at, by how much of the network has to be run for each
PROBED = 200_000  # examples times classes in the search for label errors: one to five seconds
POINTS, RELATED, UNSEEN = 1000, 200, 100  # on the map; of these, of the source, where it is stored or not
COMPARED, FEWER = 256, 64  # held-out items on which stages are compared; where all of the network is run for each
EXPLAINED = 12


def write(place: Path, run: Finished) -> None:
    """Write `evidence.json` into the folder of a run, whole or not at all.

    Seconds, beyond reading features from the store: 2 to 5 for the map of 1,000 points on one core, 1 to 5 for the
    probes that look for label errors, up to 10 for texts with their words left out, and a pass of at most 1,500 items
    through the stages that moved (300 where it starts at the items themselves, and 300 more where not even the
    pretrained features are stored: 8 s each with MobileNetV2 on one core).

    Args:
        place: the folder.
        run: what the run has at its end.
    """
    text = json.dumps(gathered(run), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    files.write_text(place / NAME, text + "\n")


def gathered(run: Finished) -> dict[str, Any]:
    """The document that `write` writes."""
    page = Page(run)
    failures(page)
    seen = _seen(page)
    if seen is not None:
        _doubts(page, seen)
        _stages(page, seen)
    _explanations(page)
    if run.adapting is not None:
        overlap.show(page, run.adapting)
    elif seen is not None:
        _map(page, seen)
    page.gallery.fill(page.wanted)
    page.gallery.fill(page.drawn, brief=True)
    head = {"version": VERSION, "classes": list(run.table.classes), "task": run.table.task}
    return {**head, "items": page.gallery.entries, **page.made, "notes": page.notes}


@dataclass(frozen=True)
class _Seen:
    """The items that are looked at, and their features before training."""

    encoder: Encoder
    given: Input  # from which `features` were made
    above: Input | None  # from which the shipped network can be run; None where nothing in it has changed
    parts: list[Part]
    part: np.ndarray  # (n,) places in `parts`
    place: np.ndarray  # (n,) places in that part
    features: np.ndarray  # (n, d) float32, finite

    def show(self, page: Page, at: int) -> int:
        return page.show(self.parts[self.part[at]], int(self.place[at]))

    @property
    def labels(self) -> np.ndarray:
        return np.array([self.parts[i].labels[j] for i, j in zip(self.part, self.place, strict=True)], dtype=np.int64)

    @property
    def rows(self) -> np.ndarray:
        return np.array([self.parts[i].rows[j] for i, j in zip(self.part, self.place, strict=True)], dtype=np.int64)

    def taken(self, which: np.ndarray) -> _Seen:
        """Some of the items alone."""
        return replace(self, part=self.part[which], place=self.place[which], features=self.features[which])

    def inside(self, *names: str) -> np.ndarray:
        """(n,) bool: whether an item lies in one of these parts."""
        return np.isin([self.parts[i].name for i in self.part], names)


def _seen(page: Page) -> _Seen | None:
    """Features of as many items as can be afforded."""
    run = page.run
    if run.encoder is None or run.table.items.modality == "words":
        what = "each word has features of its own" if run.encoder else "what ships has no network"
        page.note("places", f"There is no map, since {what}; label errors and duplicates were not looked for either.")
        return None
    encoder, parts = run.encoder, list(page.parts.values())
    depth, asked = encoder.network.depth, _asked(run)
    given = stagewise.source(run.store, encoder, run.table.items, asked, depth)
    still = stagewise.unchanged(encoder.network, run.network) if run.network else depth
    above = given
    if still < given.cut:
        above = stagewise.source(run.store, encoder, run.table.items, asked, still)
    limit = STORED if given.cut == depth else PARTLY if given.cut else FRESH
    limit = min(limit, max(PROBED // max(len(run.table.classes), 1), 1000))
    part, place = _sampled([len(one.rows) for one in parts], limit, run.split.seed)
    total = sum(len(one.rows) for one in parts)
    if len(part) < total:
        page.note("doubts", f"Of {total} examples, {len(part)} were looked at for label errors and near duplicates.")
    rows = np.array([parts[i].rows[j] for i, j in zip(part, place, strict=True)], dtype=np.int64)
    found = stagewise.features(encoder.network, given, rows)
    whole = np.isfinite(found).all(axis=1)
    if not whole.all():
        page.note("doubts", f"{int((~whole).sum())} items were left out, since their features are not finite.")
    if not whole.any():
        return None
    moved = above if still < depth else None
    return _Seen(encoder, given, moved, parts, part[whole], place[whole], found[whole])


def _asked(run: Finished) -> np.ndarray | None:
    """The rows for which the run has asked the store: all, unless most of them are not used."""
    used = [run.split.train, run.split.validation, run.split.test]
    rows = run.table.rows[np.concatenate(used)]
    if run.source is not None and run.source.items is run.table.items:
        rows = np.concatenate([rows, run.source.rows])
    rows = np.unique(rows)
    return rows if 2 * len(rows) < len(run.table.items) else None


def _sampled(sizes: Sequence[int], limit: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Parts and places of all items, or of so many of them, drawn evenly."""
    part = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    if len(part) <= limit:
        return part, place
    chosen = np.sort(np.random.default_rng(derive(seed, "portrait")).permutation(len(part))[:limit])
    return part[chosen], place[chosen]


def _doubts(page: Page, seen: _Seen) -> None:
    """Likely label errors, and near duplicates."""
    pairs, cosines = near_duplicates(seen.features)
    crossing = seen.part[pairs[:, 0]] != seen.part[pairs[:, 1]]
    order = np.lexsort((-cosines, ~crossing))[:LISTED]
    judged = seen.taken(~seen.inside("test")) if page.run.adapting else seen
    suspects = _suspects(page, judged) if page.run.classify else None
    if suspects is not None:
        page.made["suspects"] = suspects
    page.made["duplicates"] = [
        {"items": [seen.show(page, int(at)) for at in pairs[which]], "similarity": short(cosines[which])}
        for which in order
    ]


def _suspects(page: Page, seen: _Seen) -> list[dict[str, Any]] | None:
    labels, known = seen.labels, ~seen.inside("test")
    classes = len(page.run.table.classes)
    seed = derive(page.run.split.seed, "portrait", "folds")
    found = confident.judged(seen.features[known], labels[known], classes, seen.features[~known], seed)
    if found is None:
        page.note("doubts", "Label errors were not looked for: some class has too few examples to be left out in turn.")
        return None
    probabilities = np.empty((len(labels), classes))
    probabilities[known], probabilities[~known] = found
    limits = confident.thresholds(found[0], labels[known])
    likely = confident.likely_classes(probabilities, limits)
    doubted = confident.suspects(probabilities, labels, limits)
    # A class can be beyond its threshold and yet less probable than the label, which nobody would call an error.
    doubted = doubted[probabilities[doubted, likely[doubted]] > probabilities[doubted, labels[doubted]]]
    rest = (
        "labels of the target are not judged, since a probe of the source errs there for other reasons."
        if known.all()
        else "held-out labels were judged too, now that the test is over, and learnt from by none."
    )
    page.note(
        "doubts",
        f"Likely label errors are found by confident learning from probes on {_features(seen.encoder)}, "
        f"each label judged by probes that have not seen it; {rest}",
    )
    return [
        {"item": seen.show(page, int(at)), "given": int(labels[at]), "likely": int(likely[at]),
         "probability": short(probabilities[at, likely[at]])}
        for at in doubted[:LISTED]
    ]  # fmt: skip


def _features(encoder: Encoder) -> str:
    """What the map and the probes see, in words."""
    plain = encoder.reference.startswith("columns:")
    return "the columns, standardised" if plain else f"the features of {encoder.reference}"


def _stages(page: Page, seen: _Seen) -> None:
    """What training did to each stage."""
    run = page.run
    if run.network is None:
        return
    held = page.parts["test"].rows
    given = seen.above or seen.given
    most = COMPARED if given.cut else FEWER
    order = np.random.default_rng(derive(run.split.seed, "portrait", "stages")).permutation(len(held))[:most]
    found = stagewise.changes(seen.encoder.network, run.network, given, held[np.sort(order)])
    page.made["stages"] = [
        {"name": one.name, "cka": short(one.cka), "moved": short(one.moved)} for one in found if np.isfinite(one.cka)
    ]
    if len(found) > len(page.made["stages"]):
        page.note(
            "stages", "Stages are left out whose outputs do not vary over the held-out items, or too few to tell."
        )
    first = next((one for one in found if one.cka < 1), None)
    if run.adapting is not None and first is not None and not first.moved:
        page.note(
            "stages",
            f"No weight of {first.name} has moved: its outputs change because what ships has BatchNorm statistics of "
            "the target.",
        )
    if run.random:
        page.note("stages", "What ships began with random weights: «before» is the pretrained network, not its start.")


def _map(page: Page, seen: _Seen) -> None:
    """Where the examples lie before and after training."""
    run, related = page.run, _related(page, seen)
    most = min(POINTS, FRESH) if seen.above is not None and not seen.above.cut else POINTS
    here, _ = _sampled([len(seen.features)], most - (len(related.rows) if related else 0), run.split.seed)[::-1]
    rows, before = seen.rows[here], seen.features[here]
    after = stagewise.features(run.network, seen.above, rows) if seen.above is not None and run.network else None
    numbers = [page.gallery.number(seen.parts[seen.part[at]], int(seen.place[at])) for at in here]
    if related is not None:
        inputs = [_reaching(one, related) for one in (seen.given, seen.above or seen.given)]
        before = np.concatenate([before, stagewise.features(seen.encoder.network, inputs[0], related.rows)])
        if after is not None and run.network is not None:
            after = np.concatenate([after, stagewise.features(run.network, inputs[1], related.rows)])
        numbers += [page.gallery.number(related, at) for at in range(len(related.rows))]
    whole = np.isfinite(before).all(axis=1) & (np.isfinite(after).all(axis=1) if after is not None else True)
    if int(whole.sum()) < 3:
        page.note("places", "There is no map of fewer than three examples.")
        return
    drawn = planar(before[whole], after[whole] if after is not None else None)
    if after is None and run.network is None:
        page.note("places", f"What ships has no network, so the map is that of {_features(seen.encoder)}.")
    elif after is None:
        page.note("places", "The map after training is the one before: no stage of what ships has changed.")
    page.drawn = [number for number, kept in zip(numbers, whole, strict=True) if kept]
    entries = [page.gallery.entries[number] for number in page.drawn]
    page.made["map"] = {
        "method": drawn.method,
        "before": _points(drawn.before),
        "after": _points(drawn.after) if drawn.after is not None else None,
        "items": page.drawn,
        "labels": [-1 if one["label"] is None else one["label"] for one in entries],
        "parts": [one["part"] for one in entries],
    }
    if run.table.task == "regress":
        page.made["map"]["values"] = [_value(page, number) for number in page.drawn]


def _value(page: Page, number: int) -> float | None:
    """The first number to be predicted of an example; None for those of a source."""
    run, (part, place) = page.run, page.gallery.places[number]
    if part.name == "test":
        return short(run.truth[place, 0])
    row = {"train": run.split.train, "validation": run.split.validation}.get(part.name)
    return short(run.table.labels[row[place], 0]) if row is not None else None


def _related(page: Page, seen: _Seen) -> Part | None:
    """Some items of the source, with the target's numbers for its classes."""
    source = page.run.source
    if source is None or not len(source):
        return None
    everything = Part("source", source.items, source.rows, np.zeros(0, dtype=np.int64))
    most = RELATED if _reaching(seen.given, everything).stored is not None else UNSEEN
    _, chosen = _sampled([len(source)], most, page.run.split.seed)
    places = {name.strip().casefold(): number for number, name in enumerate(page.run.table.classes)}
    named = np.array([places.get(name.strip().casefold(), -1) for name in source.classes] + [-1], dtype=np.int64)
    numbers = class_numbers(source.labels[chosen], source.task, len(chosen))
    return Part("source", source.items, source.rows[chosen], named[numbers])


def _reaching(given: Input, part: Part) -> Input:
    """What goes into a network for items that may lie outside what is stored of the target's."""
    stored = given.stored
    inside = stored is not None and part.items is given.items and bool(np.isin(part.rows, stored.rows).all())
    return given if inside else Input(part.items, given.encoder, 0, None)


def _explanations(page: Page) -> None:
    """Where the network looks in some of the items it gets wrong, and in some it gets right."""
    run, held = page.run, page.parts["test"]
    kinds = {"image": explained.pictures, "text": explained.texts}
    make = kinds.get(run.table.items.modality)
    if make is None or run.network is None or run.encoder is None or run.table.task not in ("classify", "multilabel"):
        return
    places = _telling(run)
    reader = explained.Reader(run.network, run.encoder.preparation, folder.load("tasks", run.table.task)())
    predicted = run.answers[places].argmax(axis=1)
    made = make(reader, run.table.items, held.rows[places], predicted)
    if not made.method:
        page.note(
            "looking", "Where the network looks cannot be drawn: no stage keeps places, or texts are single words."
        )
        return
    page.note("looking", made.method)
    page.made["attention"] = [
        {"item": page.show(held, int(at)), "prediction": int(guess), **one}
        for at, guess, one in zip(places, predicted, made.found, strict=True)
        if one and page.gallery.pay(one.get("picture", ""))
    ]


def _telling(run: Finished) -> np.ndarray:
    """Places in the held-out part: half wrong with confidence, half right with confidence, of many classes.

    Where no label is known, all count as right.
    """
    sure, predicted = run.answers.max(axis=1), run.answers.argmax(axis=1)
    hit = np.ones(len(sure), dtype=bool)
    if not run.blind:
        hit = predicted == (run.truth if run.classify else run.truth.argmax(axis=1))
    order = np.argsort(-sure, kind="stable")
    wrong, right = order[~hit[order]], order[hit[order]]
    rank = np.zeros(len(right), dtype=np.int64)  # how many of its class come before
    for name in np.unique(predicted[right]):
        own = predicted[right] == name
        rank[own] = np.arange(int(own.sum()))
    right = right[np.argsort(rank, kind="stable")]
    wrong = wrong[: max(EXPLAINED // 2, EXPLAINED - len(right))]
    return np.concatenate([wrong, right[: EXPLAINED - len(wrong)]])


def _points(places: np.ndarray) -> list[list[float]]:
    made: list[list[float]] = np.round(places, 4).tolist()
    return made
