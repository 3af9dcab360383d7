"""Tags of words: what was found, missed and invented, type by type, and the sentences with the most mistakes.

Of several tasks, each task of tags by itself.

Paper: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task" (CoNLL), for the rule by which
an entity counts: its first word, its last word and its type must all be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sterna.report import numbers, several
from sterna.report.material import Material
from sterna.report.section import Section
from sterna.report.several import Tally, row

SHOWN, WORDS = 24, 60  # sentences; words of one
OUTSIDE = "O"
Span = tuple[int, int, str]  # first word, word after the last, type


@dataclass
class Sentence:
    """One held-out item."""

    item: str
    words: list[str] = field(default_factory=list)
    truth: list[str] = field(default_factory=list)
    prediction: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Words with the wrong tag."""
        return sum(a != b for a, b in zip(self.truth, self.prediction, strict=True))


def section(material: Material) -> Section | None:
    """A table of the types, and the sentences with the most wrong words, of each task of tags."""
    names = [""] if material.result.task == "tag" else [one.name for one in several.tasks(material, "tag")]
    if not names:
        return None
    title = "Type by type"
    found = [_task(name, read) for name in names if (read := sentences(material, name))]
    if not found:
        return Section("tagged", title, missing="No tags are counted: this run has no predictions.csv.")
    return Section("tagged", title, {"tasks": found})


def _task(name: str, read: Sequence[Sentence]) -> dict[str, Any]:
    """What is shown of one task; `name` is "" where it is the only one."""
    entities = any(tag[:2] in ("B-", "I-") for one in read for tag in one.truth)
    found = counted(read, entities)
    order = sorted(found.items(), key=lambda one: (one[1].f1, one[0]))
    worst = sorted((one for one in read if one.wrong), key=lambda one: -one.wrong)[:SHOWN]
    return {
        "name": name,
        "what": "entity" if entities else "tag",
        "told": _told(order, "entity" if entities else "tag"),
        "rows": [row(name, one) for name, one in order],
        "sentences": [{"item": numbers.short(one.item), "wrong": one.wrong, "words": _words(one)} for one in worst],
    }


def sentences(material: Material, name: str = "") -> list[Sentence]:
    """The held-out items with their words and tags, from predictions.csv, which has a line for each word.

    `name`: of one of several tasks; items that are not tagged for it are left out.
    """
    truth, prediction = several.columns(name)
    found: list[Sentence] = []
    for line in material.lines:
        if not {truth, prediction, "place"} <= line.keys():
            return []
        if name and not line[truth]:
            continue
        if not found or line["place"] == "0" or line["item"] != found[-1].item:
            found.append(Sentence(line["item"]))
        found[-1].words.append(line.get("word") or "·")
        found[-1].truth.append(line[truth])
        found[-1].prediction.append(line[prediction])
    return found


def counted(read: Sequence[Sentence], entities: bool) -> dict[str, Tally]:
    """The tally of each type of entity, or of each tag where tags are not of entities."""
    found: dict[str, Tally] = {}
    for one in read:
        true, guess = (spans(tags) if entities else singles(tags) for tags in (one.truth, one.prediction))
        for kind in {kind for *_, kind in true | guess}:
            tally = found.setdefault(kind, Tally())
            mine, given = ({span for span in several if span[2] == kind} for several in (true, guess))
            tally.both += len(mine & given)
            tally.missed += len(mine - given)
            tally.false += len(given - mine)
    return found


def singles(tags: Sequence[str]) -> set[Span]:
    """Each word as a span of its own."""
    return {(place, place + 1, tag) for place, tag in enumerate(tags)}


def spans(tags: Sequence[str]) -> set[Span]:
    """The entities in a row of tags; an I- that follows nothing of its type begins one, IO and BIOES are understood."""
    read = [_read(tag) for tag in tags]
    found, start = set(), 0
    for place, ((letter, kind), (after, following)) in enumerate(pairwise([*read, (OUTSIDE, "")])):
        if place == 0 or _begins(read[place - 1], (letter, kind)):
            start = place
        if letter != OUTSIDE and (kind != following or letter in "ES" or after in "BSO"):
            found.add((start, place + 1, kind))
    return found


def _begins(before: tuple[str, str], here: tuple[str, str]) -> bool:
    return here[0] in "BS" or before[0] in "ESO" or before[1] != here[1]


def _read(tag: str) -> tuple[str, str]:
    letter, dash, kind = tag.partition("-")
    return (letter, kind) if dash and letter in ("B", "I", "E", "S") else (OUTSIDE, "")


def _told(order: Sequence[tuple[str, Tally]], what: str) -> str:
    missed, false = (sum(getattr(one, key) for _, one in order) for key in ("missed", "false"))
    carried = sum(one.both + one.missed for _, one in order)
    several = "entities" if what == "entity" else "tags"
    if not order:
        return f"No held-out sentence has {several}, and none were given."
    name, worst = order[0]
    return (
        f"Of {numbers.plural(carried, what, several)} in the held-out sentences {numbers.count(missed)} were missed, "
        f"and {numbers.count(false)} were given that are not there; the hardest type is {name} "
        f"(F1 {numbers.percent(worst.f1, 0)})."
    )


def _words(one: Sentence) -> list[dict[str, Any]]:
    """Words with their tags where these are wrong."""
    triples = list(zip(one.words, one.truth, one.prediction, strict=True))[:WORDS]
    return [{"word": word, "truth": true, "said": guess, "wrong": true != guess} for word, true, guess in triples]
