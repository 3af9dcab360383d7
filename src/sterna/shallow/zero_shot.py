"""Zero-shot: an example belongs to the class whose name or description lies nearest to it; no label is used.

Papers: Chang et al. 2008, "Importance of Semantic Representation: Dataless Classification" (AAAI); Radford et al. 2021,
"Learning Transferable Visual Models From Natural Language Supervision" (arXiv 2103.00020), section 3.1, for prompts;
Zhao et al. 2021, "Calibrate Before Use" (arXiv 2102.09690), for taking off what a class gets whatever the text says.

Equation: logit_c = (x - mean) e_c / (t |x|), with e_c the embedding of class c's description put into the template,
brought to length 1 (several descriptions: the mean of theirs); |x| the mean length of the training features; mean
their mean when `centred`, else 0; t the temperature.

Defaults: t = 0.05 is the temperature under which sentence encoders are trained to compare (a scale of 20); CLIP's is
0.01. The template and centring were picked among eight templates by accuracy on TREC, SST-5, customer reviews and IMDB
with one encoder (MiniLM), so figures on those sets flatter them: the best templates lay within a point of each other on
average, and centring, which uses training texts without their labels, gained 3 points with descriptions and none with
bare names.

Descriptions are better than names, and both must be words that a person would use of such an item:
`zero_shot(descriptions="neg: a bad film; pos: a good film")`, or the path of a JSON file {"neg": "a bad film", "pos":
["a good film", "praise"]}.

When not to use: where classes are named by codes or numbers and no descriptions are given; beside 50 labelled
examples a class, which were worth more on every set tried; centred, where one class holds most of the examples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from sterna.contracts import Given, Linear
from sterna.errors import SpecError
from sterna.spec import Range, did_you_mean, method, option

Described = dict[str, tuple[str, ...]]


@method
class ZeroShot:
    """What is said of each class, and how sharply likeness is read."""

    template: str = option(
        "This text is {}.", "what is embedded, with {} for the description, such as 'a photo of {}.' for photos"
    )
    descriptions: str = option("", "'class: text; class: text', or the path of a JSON file; empty: the class names")
    temperature: float = option(0.05, "divides the cosines; smaller is surer", Range(0, 100, low_open=True))
    centred: bool = option(True, "take off the mean of the training texts, so that no class is favoured by all texts")

    takes: ClassVar[str] = "features"
    pretrained: ClassVar[bool] = True
    needs: ClassVar[str] = "descriptions"  # of an encoder that takes texts into the space of its features
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def fit(self, given: Given) -> Linear:
        """The head. Neither labels nor weights are read.

        Raises `SpecError` for an encoder that cannot embed a description, and for descriptions that do not fit.
        """
        if given.describe is None:
            raise SpecError(
                "zero_shot needs an encoder that takes class names into the space of its features, and this one has "
                "none; use sentence:NAME for texts, hf:NAME of a CLIP for photos, or the method prototypes."
            )
        if "{}" not in self.template:
            raise SpecError(
                f"template of zero_shot must hold {{}} where the description goes, got '{self.template}'; write "
                "'This text is {}.'."
            )
        described = self.described(given.classes)
        rows = [self._direction(given, texts) for texts in described.values()]
        inputs = np.asarray(given.target.inputs, dtype=np.float64)
        length = float(np.linalg.norm(inputs, axis=1).mean()) if len(inputs) else 1.0
        weight = np.stack(rows) / (self.temperature * (length or 1.0))
        centre = inputs.mean(axis=0) if self.centred and len(inputs) else np.zeros(weight.shape[1])
        return Linear(weight, -weight @ centre)

    def described(self, classes: tuple[str, ...]) -> Described:
        """The texts for each class, in the order of the classes."""
        if not self.descriptions:
            return {name: (name.replace("_", " "),) for name in classes}
        found = _read(self.descriptions)
        unknown = next((name for name in found if name not in classes), None)
        if unknown is not None:
            raise SpecError(
                f"descriptions of zero_shot name '{unknown}', which is no class.{did_you_mean(unknown, classes)} "
                f"Classes: {', '.join(classes)}."
            )
        missing = [name for name in classes if name not in found]
        if missing:
            raise SpecError(
                f"descriptions of zero_shot must say something of every class, got nothing for {', '.join(missing)}; "
                "write 'class: text; class: text'."
            )
        return {name: found[name] for name in classes}

    def _direction(self, given: Given, texts: tuple[str, ...]) -> np.ndarray:
        """(d,) of length 1."""
        assert given.describe is not None
        embedded = np.asarray(given.describe([self.template.replace("{}", text) for text in texts]), dtype=np.float64)
        mean = _unit(embedded).mean(axis=0)
        return _unit(mean)


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    made: np.ndarray = rows / np.where(length > 0, length, 1)
    return made


def _read(written: str) -> Described:
    """`name: text; name: text`, or what the JSON file of that path says."""
    if written.strip().lower().endswith(".json"):
        return _from_file(Path(written.strip()).expanduser())
    found: Described = {}
    for part in filter(str.strip, written.split(";")):
        name, colon, text = (piece.strip() for piece in part.partition(":"))
        if not (name and colon and text) or name in found:
            raise SpecError(
                f"descriptions of zero_shot must be 'class: text; class: text' with each class once, got "
                f"'{part.strip()}'; write that, or the path of a JSON file."
            )
        found[name] = (text,)
    return found


def _from_file(place: Path) -> Described:
    try:
        given = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"descriptions of zero_shot: there is no file {place}; write 'class: text; ...'.") from error
    except (OSError, ValueError) as error:
        raise SpecError(
            f"descriptions of zero_shot: {place} cannot be read as JSON ({error}); write it anew."
        ) from error
    listed = (
        {name: [text] if isinstance(text, str) else text for name, text in given.items()}
        if isinstance(given, dict)
        else {}
    )
    if not listed or not all(
        isinstance(texts, list) and texts and all(isinstance(one, str) for one in texts) for texts in listed.values()
    ):
        raise SpecError(
            f'descriptions of zero_shot: {place} must hold {{"class": "text", "class": ["text", "text"]}}; write it so.'
        )
    return {name: tuple(texts) for name, texts in listed.items()}
