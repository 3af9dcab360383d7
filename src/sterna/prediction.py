"""A saved model and new items -> answers: labels with probabilities, numbers, or a tag for each word."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sterna import artifact, descent, estimators, files, folder, gathering, opening, reading
from sterna.errors import EncoderError
from sterna.network import device
from sterna.records import Column, Encoder, Fitted, Items
from sterna.shipping import ESTIMATOR

CHUNK = 32  # items in memory at a time

Show = Callable[[int, int], None]


@dataclass(frozen=True)
class Predictions:
    """The answers for new items."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    answers: np.ndarray  # (n, k) probabilities or numbers; where words are tagged, one row for each word
    unreadable: tuple[str, ...]  # items that could not be opened, left out
    task: str = "classify"
    words: tuple[str, ...] = ()  # where they are tagged, one for each row of answers

    @property
    def probabilities(self) -> np.ndarray:
        """The answers, where they are probabilities."""
        return self.answers

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each item, or of each word."""
        return tuple(self.classes[number] for number in self.answers.argmax(axis=1))

    def save(self, place: str | Path) -> None:
        """A CSV: the item, what is predicted, and the probability of each class where there are classes."""
        task = folder.task(self.task, self.classes)
        text = io.StringIO()
        none = np.zeros(0, dtype=np.int64)
        csv.writer(text).writerows(task.rows(self.names, self.classes, self.answers, none, self.words))
        files.write_text(Path(place), text.getvalue())


def predict(
    model: str | Path, items: str | Path | Sequence[str | Path], *, progress: Show | None = None
) -> Predictions:
    """Predict new items with the model folder of a run.

    Args:
        model: the folder `runs/x/model`.
        items: files, folders or patterns such as `photos/*.jpg`, tables, or texts; one or several.
        progress: called with how many items are done, of how many.

    Raises `DataError` when nothing is found, `EncoderError` when `model` is no model folder.
    """
    place = Path(model)
    given = [str(items)] if isinstance(items, (str, Path)) else [str(one) for one in items]
    show = progress or (lambda done, total: None)
    if (place / ESTIMATOR).is_file():
        return _by_estimator(place, given, show)
    if members := artifact.members(place):
        return _together(members, given, show)
    fitted = artifact.load(place)
    found, unreadable = opening.gather(given, fitted.encoder.preparation.modality)
    found = _aligned(found, getattr(fitted.encoder.preparation, "columns", ()))
    answers = _answers(fitted, found, show)
    task = folder.task(fitted.task, fitted.classes)
    by_word = found.modality == "words"
    each = [descent.of_words(task, logits) if by_word else task.answers(logits) for logits in answers]
    names, words = _named(found, [len(one) for one in each])
    return Predictions(names, fitted.classes, np.concatenate(each), unreadable, fitted.task, words)


def _together(members: Sequence[Path], given: Sequence[str], show: Show) -> Predictions:
    """The mean of what several models answer for the same items."""

    def asked(number: int) -> Predictions:
        def shown(done: int, total: int) -> None:
            show(number * total + done, len(members) * total)

        return predict(members[number], given, progress=shown)

    each = [asked(number) for number in range(len(members))]
    return replace(each[0], answers=np.mean([one.answers for one in each], axis=0))


def _by_estimator(place: Path, given: Sequence[str], show: Show) -> Predictions:
    config = files.read_json(place / "config.json")
    found, unreadable = opening.gather(given, config["modality"])
    found = _aligned(found, [Column(name, kind) for name, kind in config["columns"]])
    classes, task = tuple(config["label_names"]), config["sterna"]["task"]
    raw = _read(found, config.get("encoder"), show)
    answers = estimators.answers(estimators.load(place / ESTIMATOR), raw, task, len(classes))
    show(len(found), len(found))
    names, words = _named(found, [len(one) if found.modality == "words" else 1 for one in raw])
    return Predictions(names, classes, answers, unreadable, task, words)


def _read(items: Items, encoder: Mapping[str, Any] | None, show: Show) -> Any:
    """What the estimator takes: raw items, or (n, d) features of the encoder that it was fitted behind.

    Raises `EncoderError` where that encoder has other weights now.
    """
    if encoder is None:
        return [items.read(row, 0) for row in range(len(items))]
    opened = opening.open_encoder(encoder["reference"])
    if opened.digest != encoder["digest"]:
        raise EncoderError(
            f"this model was fitted behind {encoder['reference']}, whose weights are others now; put them back, or fit "
            "the model anew."
        )
    if encoder.get("stages"):
        opened = gathering.gathered(opened, items)
    found = []
    for frames in reading.frames(items, opened.preparation, np.arange(len(items)), size=CHUNK):
        with torch.inference_mode():
            output = opened.network.eval().to(device())(opened.preparation.tensor(frames).to(device()))
            found.append(output.features.float().cpu().numpy())
        show(sum(map(len, found)), len(items))
    return np.concatenate(found)


def _aligned(found: Items, columns: Sequence[Column]) -> Items:
    """Rows with the columns of the model, in its order and of its kinds."""
    made: Items = found.aligned(columns) if hasattr(found, "aligned") and columns else found
    return made


@torch.inference_mode()
def _answers(fitted: Fitted, items: Items, show: Show) -> list[np.ndarray]:
    """Logits of each item, in order: (1, k), or (w, k) for its words."""
    encoder: Encoder = fitted.encoder
    network, preparation = fitted.network.eval().to(device()), encoder.preparation
    lengths = items.lengths
    order = np.argsort(-lengths, kind="stable") if preparation.ragged and lengths is not None else np.arange(len(items))
    found: list[np.ndarray] = []
    for frames in reading.frames(items, preparation, order, size=CHUNK):
        output = network(preparation.tensor(frames).to(device()))
        logits = output.logits.double().cpu().numpy()
        masks = [slice(None)] * len(logits) if output.mask is None else list(output.mask.cpu().numpy())
        found += [np.atleast_2d(one)[mask] for one, mask in zip(logits, masks, strict=True)]
        show(len(found), len(items))
    back = np.argsort(order, kind="stable")
    return [found[place] for place in back]


def _named(items: Items, counts: Sequence[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The item of each answer, and its word where words are answered for; those beyond what the network takes are not.

    `counts`: answers of each item.
    """
    names = tuple(items.name(row) for row, count in enumerate(counts) for _ in range(count))
    if items.modality != "words":
        return names, ()
    return names, tuple(word for row, count in enumerate(counts) for word in items.read(row, 0)[:count])
