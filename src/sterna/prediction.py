"""A saved model and new items -> labels with probabilities."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sterna import artifact, files, folder, reading
from sterna.errors import DataError
from sterna.records import Items

CHUNK = 32  # items in memory at a time


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of new items."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray  # (n, k)
    unreadable: tuple[str, ...]  # items that could not be opened, left out

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each item."""
        return tuple(self.classes[number] for number in self.probabilities.argmax(axis=1))

    def save(self, place: str | Path) -> None:
        """A CSV with one line for each item: item, label, probability, and one column for each class."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["item", "label", "probability", *self.classes])
        for name, label, row in zip(self.names, self.labels, self.probabilities, strict=True):
            writer.writerow([name, label, f"{row.max():.6f}", *(f"{value:.6f}" for value in row)])
        files.write_text(Path(place), text.getvalue())


def predict(
    model: str | Path,
    items: str | Path | Sequence[str | Path],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predict new items with the model folder of a run.

    Args:
        model: the folder `runs/x/model`.
        items: files, folders or patterns such as `photos/*.jpg`; one or several.
        progress: called with how many items are done, of how many.

    Raises `DataError` when nothing is found, `EncoderError` when `model` is no model folder.
    """
    fitted = artifact.load(Path(model))
    given = [items] if isinstance(items, (str, Path)) else list(items)
    found, unreadable = _gathered([str(one) for one in given], fitted.encoder.preparation.modality)
    if not len(found):
        raise DataError(f"nothing to predict in {', '.join(map(str, given))}; give image files, folders or patterns.")
    rows = np.arange(len(found))
    network = fitted.network.eval()
    answers = []
    with torch.inference_mode():
        for frames in reading.frames(found, fitted.encoder.preparation, rows, size=CHUNK):
            logits = network(fitted.encoder.preparation.tensor(frames)).logits
            answers.append(torch.softmax(logits.double(), dim=1).numpy())
            if progress:
                progress(min(len(answers) * CHUNK, len(found)), len(found))
    names = tuple(found.name(row) for row in range(len(found)))
    return Predictions(names, fitted.classes, np.concatenate(answers), unreadable)


def _gathered(given: Sequence[str], modality: str) -> tuple[Items, tuple[str, ...]]:
    """The items of the first kind of data that can gather loose items of this modality."""
    for name in folder.names("data"):
        reader = folder.module("data", name)
        if getattr(reader, "GATHERS", None) == modality:
            found: tuple[Items, tuple[str, ...]] = reader.gather(given)
            return found
    raise DataError(f"models of {modality} data cannot predict loose files; give a table that sterna fit reads.")
