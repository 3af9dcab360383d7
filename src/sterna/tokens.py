"""From a text, a pair of texts or a row of words to the tokens that a pretrained network reads.

The rules are those of the network's own `tokenizer.json`; they are kept as bytes, so a preparation can be copied, sent
to other processes and written beside a saved model. Nothing is padded here: each text keeps its own length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from sterna.errors import DataError, EncoderError
from sterna.records import Augment, Preparation
from sterna.sequences import SECOND, TOKEN, WORD, batches, padded

BUDGET = 4096  # tokens of a batch, where texts are embedded outside the store
ENDS = ("[SEP]", "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[UNK]", "<unk>", "[PAD]", "<pad>")


@dataclass(frozen=True, repr=False)
class TextPreparation:
    """Tokens of a text, with the special tokens that the network expects around them.

    A frame is (t, 3) int32: token number, segment (1 for the second text of a pair, else 0), kind (1 a token, 2 the
    first token of a word). What exceeds `longest` is cut off at the end; of a pair, the longer text is cut first.

    Args:
        tokenizer: the bytes of a `tokenizer.json`.
        longest: tokens of a text, special ones included; what the network was made for, or less.
        modality: "text" takes a `str` or a pair of them; "words" takes a tuple of `str`, and marks where each begins.

    Of words, a word in which the tokenizer finds nothing becomes the unknown token, so that words and tags stay side by
    side; words beyond `longest` tokens are not seen.
    """

    tokenizer: bytes
    longest: int
    modality: Literal["text", "words"] = "text"
    ragged: ClassVar[bool] = True
    hint: ClassVar[int] = 0

    def __repr__(self) -> str:
        digest = hashlib.blake2b(self.tokenizer, digest_size=8).hexdigest()
        return f"TextPreparation(tokenizer={digest}, longest={self.longest}, modality='{self.modality}')"

    def __getstate__(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer, "longest": self.longest, "modality": self.modality}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)

    def frame(self, item: Any, augment: Augment | None = None) -> np.ndarray:
        """A text, a pair or words -> (t, 3) int32, t >= 1."""
        change = augment.text if augment is not None else None
        if self.modality == "words":
            words = [change(word) for word in item] if change else list(item)
            return self._framed(self._of_words(words), WORD)
        texts = (item,) if isinstance(item, str) else tuple(item)
        if change:
            texts = tuple(change(text) for text in texts)
        return self._framed(self._tokenizer.encode(*texts), TOKEN)

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, t, 3) int32 -> (b, t, 3) int64."""
        return frames.to(torch.int64)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        made = read(self.tokenizer)
        if self.modality == "text":
            made.enable_truncation(self.longest)
        return made

    @cached_property
    def _filler(self) -> int:
        return filler(self.tokenizer)

    def _of_words(self, words: list[str]) -> Encoding:
        made = self._tokenizer
        found = made.encode(words, is_pretokenized=True, add_special_tokens=False)
        lost = set(range(len(words))) - set(found.word_ids)
        if lost:
            unknown = made.id_to_token(self._filler) or ""
            words = [unknown if place in lost else word for place, word in enumerate(words)]
            found = made.encode(words, is_pretokenized=True, add_special_tokens=False)
        found.truncate(max(1, self.longest - made.num_special_tokens_to_add(False)))
        return made.post_process(found)

    def _framed(self, found: Encoding, first: int) -> np.ndarray:
        if not found.ids:
            return np.array([[self._filler, 0, TOKEN]], dtype=np.int32)
        kinds = np.full(len(found.ids), TOKEN)
        if first == WORD:
            kinds[_starts(found.word_ids)] = WORD
        return np.stack([found.ids, found.type_ids, kinds], axis=1).astype(np.int32)


@dataclass(frozen=True)
class PairPreparation:
    """The tokens of two texts, each as a text by itself, for networks that read the two apart.

    A frame is (t, 3) int32: that of the first text, then that of the second, whose kind is 3 throughout. Each keeps its
    own special tokens and loses what exceeds the limit by itself.

    Args:
        text: prepares one text.
    """

    text: TextPreparation
    modality: ClassVar[Literal["text"]] = "text"
    ragged: ClassVar[bool] = True
    hint: ClassVar[int] = 0

    @property
    def longest(self) -> int:
        """Tokens of an item at most."""
        return 2 * self.text.longest

    def frame(self, item: Any, augment: Augment | None = None) -> np.ndarray:
        """A pair of texts -> (t, 3) int32, t >= 2. Raises `DataError` for anything but a pair."""
        if isinstance(item, str) or len(item) != 2:
            raise DataError(
                "this model compares two texts, and this item is a single one; give a table with two text columns or "
                "both texts with a tab between, or, to read single texts, delete sterna.json from the model's folder."
            )
        first, second = (self.text.frame(text, augment) for text in item)
        second[:, 2] = SECOND
        return np.concatenate([first, second])

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, t, 3) int32 -> (b, t, 3) int64."""
        return self.text.tensor(frames)


def _starts(words: Sequence[int | None]) -> list[int]:
    """The places at which a word begins; special tokens belong to none."""
    before = (None, *words)
    return [place for place, word in enumerate(words) if word is not None and word != before[place]]


def read(data: bytes) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, without the truncation and padding that it was saved with.

    Raises `EncoderError` when it cannot be read.
    """
    try:
        made = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing narrower
        raise EncoderError(f"the tokenizer.json cannot be read ({error}); fetch it again.") from error
    made.no_truncation()
    made.no_padding()
    return made


def filler(data: bytes) -> int:
    """The token that stands for what the tokenizer does not know, else one that ends a text, else the first."""
    made, model = read(data), json.loads(data).get("model", {})
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    named = [model.get("unk_token"), *ENDS]
    known = [made.token_to_id(name) for name in named if name]
    return next((number for number in known if number is not None), 0)


def number(data: bytes, token: str) -> int | None:
    """The number of a token, or None where there is no such token."""
    return read(data).token_to_id(token)


def special(settings: Mapping[str, Any], name: str) -> str:
    """A special token, such as `pad_token`, of a `tokenizer_config.json`; "" where it has none."""
    found = settings.get(name) or ""
    return str(found.get("content", "")) if isinstance(found, dict) else str(found)


def padding(given: int | None, settings: Mapping[str, Any], data: bytes) -> int:
    """The token that a model takes for padding: `given` by its config, else its tokenizer's, else an end of text."""
    named = [special(settings, name) for name in ("pad_token", "eos_token")]
    found = (given, *(number(data, name) for name in named if name), filler(data))
    return next(place for place in found if place is not None)


def token(data: bytes, number: int) -> str:
    """The token of a number, "" where there is none."""
    return read(data).id_to_token(number) or ""


def for_words(data: bytes) -> bytes:
    """The same rules for texts that come as separate words.

    Tokenizers that mark a space, not the start of a word, then treat each word as one that follows a space.
    """
    rules = json.loads(data)
    _space_before(rules.get("pre_tokenizer"))
    return json.dumps(rules, ensure_ascii=False).encode()


def plain(data: bytes) -> bytes:
    """The same rules without truncation and padding, for saving."""
    return read(data).to_str().encode()


def _space_before(step: Any) -> None:
    if not isinstance(step, dict):
        return
    if step.get("type") == "ByteLevel":
        step["add_prefix_space"] = True
    if step.get("type") == "Metaspace":
        step.update(prepend_scheme="always", split=True)
    for inner in step.get("pretokenizers") or ():
        _space_before(inner)


def stacked(preparation: Preparation, items: Sequence[Any]) -> Tensor:
    """Items as one input (b, t, 3) of a network, padded to the longest."""
    return preparation.tensor(torch.from_numpy(padded([preparation.frame(item) for item in items])))


@dataclass(frozen=True)
class Embedding:
    """Texts -> (n, d) float32, what `run` makes of them; texts of like length go together."""

    run: Callable[[Tensor], Tensor]
    preparation: TextPreparation

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        frames = [self.preparation.frame(text) for text in texts]
        found: list[Tensor] = [torch.empty(0)] * len(frames)
        for places in batches(np.array([len(frame) for frame in frames]), BUDGET, len(frames)):
            inputs = self.preparation.tensor(torch.from_numpy(padded([frames[place] for place in places])))
            for place, row in zip(places, self.run(inputs), strict=True):
                found[place] = row
        return torch.stack(found).float().cpu().numpy() if found else np.zeros((0, 0), dtype=np.float32)
