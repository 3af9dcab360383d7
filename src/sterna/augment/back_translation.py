"""Back-translation: a text goes into another language and back, and comes out in other words.

Papers: Sennrich, Haddow and Birch 2016, "Improving Neural Machine Translation Models with Monolingual Data" (arXiv
1511.06709); Xie et al. 2020, "Unsupervised Data Augmentation for Consistency Training" (arXiv 1904.12848), section
2.2, for its use on labelled texts; Edunov et al. 2018, "Understanding Back-Translation at Scale" (arXiv 1808.09381),
for sampling instead of the likeliest translation.

Equation: x' = backward(forward(x)), each word of both drawn from the model's distribution at the given temperature.

It needs two translation models on this machine, as `transformers` saves them (`config.json`, `model.safetensors` and
the tokenizer's files; Marian, T5, BART and others): `back_translation(model="en-de;de-en")`. They are loaded when the
first text comes, once for each process.

When not to use: without a graphics card on many texts, since each is written word by word, twice; on languages and
subjects that the models do not know; where the exact words carry the label (names, sentiment in fixed phrases).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from sterna.errors import EncoderError, SpecError
from sterna.records import Augment
from sterna.spec import Range, method, option

LONGER = 2.0  # tokens that a translation may have for each of the text
ROOM = 16  # and besides


@method
class BackTranslation:
    """Which models translate, and how freely."""

    model: str = option("", "folders of the two models, there and back: FORWARD;BACKWARD")
    temperature: float = option(0.8, "lower keeps closer to the likeliest words", Range(0.05, 5))

    places: ClassVar[tuple[str, ...]] = ("text",)
    needs: ClassVar[tuple[str, ...]] = ("model",)  # options whose default refuses

    def build(self) -> Augment:
        """Raises `SpecError` unless `model` names two model folders."""
        named = [part.strip() for part in self.model.split(";")]
        folders = [Path(part).expanduser() for part in named]
        if len(named) != 2 or not all((folder / "config.json").is_file() for folder in folders):
            raise SpecError(
                "back_translation needs two folders of translation models, there and back, got "
                f"'{self.model}'; write back_translation(model=\"FORWARD;BACKWARD\"), each with config.json and "
                "model.safetensors."
            )
        forward, backward = (str(folder.resolve()) for folder in folders)
        return Augment(text=There(forward, backward, self.temperature), written=repr(self))


@dataclass(frozen=True)
class There:
    """The change itself, and back: text -> text."""

    forward: str
    backward: str
    temperature: float

    def __call__(self, text: str) -> str:
        if not text.strip():
            return text
        made = _translated(self.backward, _translated(self.forward, text, self.temperature), self.temperature)
        return made if made.strip() else text  # a translation into nothing says less than the text


@lru_cache(maxsize=2)
def _loaded(folder: str) -> tuple[Any, Any]:
    """Tokenizer and model of a folder; weights are read from safetensors alone, and no code in the folder is run."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except Exception as error:  # the library has no class of its own for what may be wrong with a folder
        first = str(error).strip().split("\n", 1)[0]
        raise EncoderError(
            f"{folder} is no translation model that transformers can open ({first}); give the folder of one saved "
            "with save_pretrained."
        ) from error
    return tokenizer, model.eval()


@torch.no_grad()
def _translated(folder: str, text: str, temperature: float) -> str:
    if not text.strip():
        return text
    tokenizer, model = _loaded(folder)
    inputs = tokenizer(text, return_tensors="pt", truncation=True, return_token_type_ids=False)
    longest = int(LONGER * inputs["input_ids"].shape[1]) + ROOM
    made = model.generate(
        **inputs, do_sample=True, temperature=temperature, top_k=0, num_beams=1, max_new_tokens=longest
    )
    return str(tokenizer.decode(made[0], skip_special_tokens=True))
