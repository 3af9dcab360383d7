"""Character noise: typing mistakes; letters are left out, doubled, replaced or exchanged with the next.

Paper: Belinkov and Bisk 2018, "Synthetic and Natural Noise Both Break Neural Machine Translation" (arXiv 1711.02173),
section 3.2; its noise breaks models that never saw any, and training on it mends them.

Equation: each letter or digit is hit with probability p, and then one of four things happens to it, all equally
likely: it goes, it is there twice, a letter of the text takes its place, it changes places with what follows. Spaces
and signs are not hit, so words stay words; a word is never left empty.

When not to use: on texts that are always clean, with encoders of whole words (`vectors`), to which every mistake is an
unknown word, and where letters carry the label (product codes, names).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class CharacterNoise:
    """How many mistakes there are."""

    probability: float = option(0.02, "how likely each letter is hit; one in 50 leaves most words whole", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("text",)

    def build(self) -> Augment:
        return Augment(text=Noise(self.probability), written=repr(self))


@dataclass(frozen=True)
class Noise:
    """The change itself: text -> text."""

    probability: float

    def __call__(self, text: str) -> str:
        letters = [letter for letter in text if letter.isalnum()]
        if not letters or not self.probability:
            return text
        hits = (torch.rand(len(text)) < self.probability).tolist()
        made: list[str] = []
        place = 0
        while place < len(text):
            if not hits[place] or not text[place].isalnum():
                made.append(text[place])
                place += 1
                continue
            piece, used = _mistake(text, place, letters)
            made.append(piece)
            place += used
        return "".join(made)


def _mistake(text: str, place: int, letters: list[str]) -> tuple[str, int]:
    """What stands where the letter stood, and how many letters of the text it takes up."""
    kind = int(torch.randint(4, ()))
    follows = text[place + 1 : place + 2]
    if kind == 0:
        alone = not follows.isalnum() and not text[place - 1 : place].isalnum()
        return (text[place] if alone else ""), 1
    if kind == 1:
        return text[place] * 2, 1
    if kind == 2:
        return letters[int(torch.randint(len(letters), ()))], 1
    return (follows + text[place], 2) if follows.isalnum() else (text[place], 1)
