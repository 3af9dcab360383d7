"""TREC, SST-5 and customer reviews: their files, the names of their classes, their lines."""

from __future__ import annotations

from pathlib import Path

Texts = list[tuple[str, int]]  # text, class
NAMES = {  # what each class of a set is called, in the order of its numbers
    "TREC": ("description", "entity", "abbreviation", "human", "location", "number"),
    "SST-5": ("very negative", "negative", "neutral", "positive", "very positive"),
    "CR": ("negative", "positive"),
}
FILES = {
    "TREC": ("TREC.train.all", "TREC.test.all"),
    "SST-5": ("stsa.fine.train", "stsa.fine.test"),
    "CR": ("custrev.all", "custrev.all"),  # one file, of which the test examples are taken out
}


def lines(place: Path) -> Texts:
    """Lines of class and text, without repeated texts: one text is one example, wherever it is drawn."""
    found: dict[str, tuple[str, int]] = {}
    for line in place.read_text(encoding="latin-1").splitlines():
        number, _, text = line.partition(" ")
        found.setdefault(folded(text), (text, int(number)))
    return list(found.values())


def folded(text: str) -> str:
    return " ".join(text.casefold().split())
