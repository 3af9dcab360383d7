"""Word swap: pairs of words of a text change places.

Paper: Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks"
(arXiv 1901.11196), section 2, operation RS.

Equation: n times, n = share x words rounded and at least 1 (0 for share = 0), two different places are drawn, all
pairs equally likely, and their words exchanged. Words are what spaces separate; spaces come out as one.

When not to use: where order is the meaning (who did what to whom), and on encoders of averaged word vectors, which do
not see order at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class WordSwap:
    """How many words move."""

    share: float = option(0.1, "swaps for each word of the text (the paper's alpha)", Range(0, 1))

    places: ClassVar[tuple[str, ...]] = ("text",)

    def build(self) -> Augment:
        return Augment(text=Swap(self.share), written=repr(self))


@dataclass(frozen=True)
class Swap:
    """The change itself: text -> text."""

    share: float

    def __call__(self, text: str) -> str:
        words = text.split()
        if len(words) < 2 or not self.share:
            return text
        for _ in range(max(1, round(self.share * len(words)))):
            first, second = torch.randperm(len(words))[:2].tolist()
            words[first], words[second] = words[second], words[first]
        return " ".join(words)
