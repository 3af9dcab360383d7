"""One tag for each word of an item: names in texts, parts of speech.

Papers: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task" (CoNLL), for entities and the
rule by which they count; Ramshaw and Marcus 1995 for the tags.

Equation: the primary figure is entity_f1 = 2 hits / (true + predicted) over all entities of all items; an entity is a
hit when its first word, its last word and its type are all right. As in seqeval's default mode, a predicted I- that
follows nothing of its type begins an entity, IO and BIOES tags are understood, and F1 is 0 where there is no entity.

The other figures: entity_precision and entity_recall; token_accuracy, the share of words with the right tag; log_loss,
the mean of -ln p(true tag) over words, nats. Where no tag begins with B- or I- (parts of speech), nothing is an entity:
those figures are left out and the primary one is token_accuracy.

Intervals resample items, because the words of one item are not independent. An item's merit is the linearised figure,
F + (2 hits_i - F (true_i + predicted_i)) / mean(true + predicted), whose mean over items is F itself.

When not to use: when whole items have labels; that is `classify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from sterna.maths import answers as maths
from sterna.records import Labels
from sterna.spec import method


@method
class Tag:
    """Labels (n,) object, an int64 array of tag numbers for each item; answers (all words, k) probabilities."""

    loss: ClassVar[str] = "cross_entropy"
    metrics: ClassVar[tuple[str, ...]] = (
        "entity_f1",
        "entity_precision",
        "entity_recall",
        "token_accuracy",
        "log_loss",
    )
    lower: ClassVar[frozenset[str]] = frozenset({"log_loss"})
    shares: ClassVar[frozenset[str]] = frozenset(metrics[:4])
    shown: ClassVar[tuple[str, ...]] = ("entity_precision", "entity_recall", "token_accuracy", "log_loss")
    gain: ClassVar[str] = "the {figure} of {route} is {points} points {higher} than that of {floor}"

    def primary(self, classes: tuple[str, ...]) -> str:
        return "entity_f1" if _has_entities(classes) else "token_accuracy"

    def strata(self, labels: Labels, classes: int) -> np.ndarray:
        """The rarest tag of each item, by the number of items that hold it."""
        held = np.zeros((len(labels), classes), dtype=bool)
        words, items = _flat(labels)
        held[items, words] = True
        rarity = np.where(held, held.sum(axis=0), len(labels) + 1)
        return np.where(held.any(axis=1), rarity.argmin(axis=1), classes)

    def counts(self, labels: Labels, classes: int) -> np.ndarray:
        return np.bincount(_flat(labels)[0], minlength=classes)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        return maths.softmax(logits)

    def sample(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> Measured:
        truth, items = _flat(labels)
        probabilities = maths.checked_shares(answers, truth, len(classes))
        predicted, n = probabilities.argmax(axis=1), len(labels)
        surprise = maths.surprise(probabilities[np.arange(len(truth)), truth])
        words = np.bincount(items, minlength=n).astype(float)
        right = np.bincount(items, weights=predicted == truth, minlength=n)
        losses = np.bincount(items, weights=surprise, minlength=n)
        entities = np.zeros((n, 3))
        if _has_entities(classes):
            entities = _entity_counts(truth, predicted, items, classes, n)
            merits = _linearised(2 * entities[:, 0], entities[:, 1] + entities[:, 2])
        else:
            merits = _linearised(right, words)
        sums = np.column_stack([entities, right, words, losses])
        return Measured(sums, _has_entities(classes), merits, losses / words.mean())

    def judge(self, answers: np.ndarray, labels: Labels, classes: tuple[str, ...]) -> dict[str, float]:
        sample = self.sample(answers, labels, classes)
        return {self.primary(classes): float(sample.merits.mean()), "loss": float(sample.losses.mean())}

    def rows(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        answers: np.ndarray,
        labels: Labels,
        words: Sequence[str] = (),
    ) -> list[list[str]]:
        known = len(labels) > 0
        names = [name for name, tags in zip(names, labels, strict=True) for _ in tags] if known else list(names)
        truth = [[classes[tag]] for tag in _flat(labels)[0]] if known else [[] for _ in names]
        places = _places([len(tags) for tags in labels] if known else _runs(names))
        spelt = [[word] for word in words] if words else [[] for _ in names]
        head = ["item", "place", *(["word"] if words else []), *(["truth"] if known else [])]
        lines = [[*head, "prediction", "probability"]]
        for name, place, word, true, row in zip(names, places, spelt, truth, answers, strict=True):
            best = int(row.argmax())
            lines.append([name, str(place), *word, *true, classes[best], f"{row[best]:.6f}"])
        return lines


@dataclass(frozen=True)
class Measured:
    """Sums over the words of each item, from which every figure follows."""

    sums: np.ndarray  # (n, 6): entities hit, true, predicted; words right, words; nats
    entities: bool  # whether there are any to speak of
    merits: np.ndarray  # (n,)
    losses: np.ndarray  # (n,) nats over the mean number of words, so that their mean is that of all words

    def metrics(self, chosen: np.ndarray, quick: bool = False) -> np.ndarray:
        hits, true, predicted, right, words, losses = self.sums[chosen].sum(axis=0)
        shares = [2 * hits / max(true + predicted, 1), hits / max(predicted, 1), hits / max(true, 1)]
        shares = shares if self.entities else [np.nan] * 3
        return np.array([*shares, right / max(words, 1), losses / max(words, 1)])


def _flat(labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """All tags one after another, and the item of each."""
    lengths = [len(tags) for tags in labels]
    together = np.concatenate([*labels, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    return together, np.repeat(np.arange(len(labels)), lengths)


def _linearised(hits: np.ndarray, out_of: np.ndarray) -> np.ndarray:
    """A ratio of sums as a mean over items: R + (a_i - R b_i) / mean b."""
    ratio = hits.sum() / max(out_of.sum(), 1)
    merits: np.ndarray = ratio + (hits - ratio * out_of) / max(out_of.mean(), 1 / len(out_of))
    return merits


def _has_entities(classes: Sequence[str]) -> bool:
    return any(name.startswith(("B-", "I-")) for name in classes)


def _entity_counts(
    truth: np.ndarray, predicted: np.ndarray, items: np.ndarray, classes: Sequence[str], n: int
) -> np.ndarray:
    """(n, 3): entities hit, true and predicted of each item."""
    true, guessed = (_entities(tags, items, classes) for tags in (truth, predicted))
    parts = (np.intersect1d(true, guessed), true, guessed)
    words = len(truth)
    return np.column_stack([np.bincount(items[part % words], minlength=n) for part in parts]).astype(float)


def _entities(tags: np.ndarray, items: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """A number for each entity, from which (type, last word, first word) can be read; first word = number % words."""
    if not len(tags):
        return np.zeros(0, dtype=np.int64)
    letters, kinds = _read(classes)
    # One place outside all entities follows each item, so that no entity runs from one item into the next.
    places = np.arange(len(tags)) + items
    letter, kind = np.full(places[-1] + 2, ord("O")), np.full(places[-1] + 2, -1)
    letter[places], kind[places] = letters[tags], kinds[tags]
    before, changed = np.roll(letter, 1), kind != np.roll(kind, 1)
    ends = _among(before, "ES") | (_among(before, "BI") & _among(letter, "BSO")) | (~_among(before, "O.") & changed)
    begins = _among(letter, "BS") | (_among(before, "ESO") & _among(letter, "EI")) | (~_among(letter, "O.") & changed)
    begun = np.maximum.accumulate(np.where(begins, np.arange(len(letter)), 0))
    last = np.flatnonzero(ends) - 1
    word = np.zeros(len(letter), dtype=np.int64)
    word[places] = np.arange(len(tags))
    found = (kind[last] * len(tags) + word[last]) * len(tags) + word[begun[last]]
    return np.unique(found)


def _read(classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The first letter of each tag, and a number for what follows it: its type."""
    kinds = [name[1:].split("-", 1)[-1] for name in classes]
    known = sorted(set(kinds))
    return np.array([ord(name[0]) for name in classes]), np.array([known.index(kind) for kind in kinds])


def _among(letter: np.ndarray, some: str) -> np.ndarray:
    return np.isin(letter, [ord(one) for one in some])


def _runs(names: Sequence[str]) -> list[int]:
    """The lengths of the runs of equal names."""
    starts = [place for place, name in enumerate(names) if place == 0 or name != names[place - 1]]
    return [end - start for start, end in pairwise([*starts, len(names)])]


def _places(lengths: Sequence[int]) -> list[int]:
    return [place for length in lengths for place in range(length)]
