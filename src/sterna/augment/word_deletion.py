"""Word deletion: each word of a text is left out with a small probability.

Paper: Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks"
(arXiv 1901.11196), section 2, operation RD.

Equation: each word stays with probability 1 - p; where none would stay, one of them does, all equally likely. Words
are what spaces separate; spaces come out as one.

When not to use: where one small word turns the meaning (negations, numbers, short questions), and on single words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class WordDeletion:
    """How many words go."""

    probability: float = option(0.1, "how likely each word is left out (the paper's alpha)", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("text",)

    def build(self) -> Augment:
        return Augment(text=Deletion(self.probability), written=repr(self))


@dataclass(frozen=True)
class Deletion:
    """The change itself: text -> text."""

    probability: float

    def __call__(self, text: str) -> str:
        words = text.split()
        if len(words) < 2:
            return text
        stays = torch.rand(len(words)) >= self.probability
        if not stays.any():
            return words[int(torch.randint(len(words), ()))]
        return " ".join(word for word, there in zip(words, stays.tolist(), strict=True) if there)
