"""Word dropout: each word of a text is replaced by a stand-in that says nothing.

Papers: Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", section 3.1,
for the idea; Wei et al. 2021, "Few-Shot Text Classification with Triplet Networks, Data Augmentation, and Curriculum
Learning" (arXiv 2103.07552), for its use as an augmentation.

Equation: each word is replaced with probability p by `token`; at least one word stays. Unlike deletion it keeps how
many words there are and where they stand. Words are what spaces separate; spaces come out as one.

The stand-in is raw text, so it must be what the encoder's tokenizer reads as one: `[MASK]` for BERT and its kin (also
MiniLM and DistilBERT), `<mask>` for RoBERTa, `[UNK]` where there is no mask. Other encoders would read it as letters.

When not to use: with GPT-2, word vectors and other encoders that know no stand-in (`word_deletion` suits them); where
one small word turns the meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class WordDropout:
    """How many words are hidden, and behind what."""

    probability: float = option(0.1, "how likely each word is replaced", Range(0, 1))
    token: str = option("[MASK]", "what replaces it; the mask or unknown token of the encoder's tokenizer")

    places: ClassVar[tuple[str, ...]] = ("text",)

    def build(self) -> Augment:
        return Augment(text=Dropout(self.probability, self.token), written=repr(self))


@dataclass(frozen=True)
class Dropout:
    """The change itself: text -> text."""

    probability: float
    token: str

    def __call__(self, text: str) -> str:
        words = text.split()
        if len(words) < 2:
            return text
        hidden = torch.rand(len(words)) < self.probability
        if hidden.all():
            hidden[int(torch.randint(len(words), ()))] = False
        return " ".join(self.token if gone else word for word, gone in zip(words, hidden.tolist(), strict=True))
