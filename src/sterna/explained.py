"""Some items with what the answer of a network rests on in each: heat over pictures, weights of words in texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sterna import attribution, reading, thumbnails
from sterna.contracts import Task
from sterna.network import Network
from sterna.records import Items, Preparation
from sterna.sequences import batches, padded

WORK = 1.5e11  # products of a weight with a word that may be spent on all texts: about ten seconds of one core
RUNS = (8, 64)  # parts of a text left out one at a time: at least, at most
TOKENS = 2048  # of a batch, padding included
SHORTEST = 2  # words


@dataclass(frozen=True)
class Explained:
    """Explanations of some items, and how they were made."""

    found: list[dict[str, Any]]  # for each item "picture" or "tokens"; empty where it has none
    method: str  # a sentence; "" where nothing could be made


@dataclass(frozen=True)
class Reader:
    """A network with what makes its input and what its answers mean."""

    network: Network  # in evaluation mode
    preparation: Preparation
    task: Task

    @torch.no_grad()
    def answer(self, items: Sequence[Any]) -> np.ndarray:
        """(n, k) answers for raw items whose frames have lengths of their own."""
        frames = [self.preparation.frame(item) for item in items]
        device = _device(self.network)
        found: list[np.ndarray] = [np.zeros(0)] * len(frames)
        for places in batches(np.array([len(frame) for frame in frames]), TOKENS, 64):
            inputs = self.preparation.tensor(torch.from_numpy(padded([frames[place] for place in places])))
            for place, row in zip(places, self.network(inputs.to(device)).logits.double().cpu().numpy(), strict=True):
                found[place] = row
        return self.task.answers(np.stack(found))


def pictures(reader: Reader, items: Items, rows: np.ndarray, targets: np.ndarray) -> Explained:
    """Heat over each picture as the network takes it, cropped and resized.

    Args:
        rows: (n,) positions in `items`, a batch.
        targets: (n,) the classes that are explained.
    """
    frames = next(iter(reading.frames(items, reader.preparation, rows, size=len(rows))))
    inputs = reader.preparation.tensor(frames).to(_device(reader.network))
    heat = attribution.visual(reader.network, inputs, targets)
    if heat is None:
        return Explained([{} for _ in rows], "")
    drawn = [thumbnails.heated(frame, map_) for frame, map_ in zip(frames.numpy(), heat.places, strict=True)]
    return Explained(
        [{"picture": one} for one in drawn],
        f"Where the network looks is drawn by {heat.method} on the outputs of the stage {heat.stage}, for the class "
        "it predicts.",
    )


def texts(reader: Reader, items: Items, rows: np.ndarray, targets: np.ndarray) -> Explained:
    """Weights of words, each left out in turn; of long texts, several neighbours at a time.

    What may be spent is bounded: with large networks or long texts, words are left out in longer runs, and then fewer
    texts are explained; at least the first one is.
    """
    found: list[dict[str, Any]] = []
    left, cost = WORK, max(1, _weights_a_word(reader.network))
    runs_seen = 0
    for place, (row, target) in enumerate(zip(rows, targets, strict=True)):
        item = items.read(int(row), 0)
        count = sum(len(text.split()) for text in ((item,) if isinstance(item, str) else item))
        share = left / (len(rows) - place) / cost / max(count, 1)
        runs = int(np.clip(share, *RUNS))
        if count < SHORTEST or (place and runs * count * cost > left):
            found.append({})
            continue
        left -= min(runs, count) * count * cost
        runs_seen = max(runs_seen, -(-count // runs))
        weighed = attribution.words(reader.answer, item, int(target), runs)
        found.append({"tokens": [[word, round(weight, 4)] for word, weight in weighed]})
    if not any(found):
        return Explained(found, "")
    several = f"; in long texts up to {runs_seen} neighbours are left out together" if runs_seen > 1 else ""
    return Explained(
        found,
        "The weight of a word is how far the probability of the predicted class falls where the word is left out, in "
        f"units of the greatest fall in the text{several}.",
    )


def _weights_a_word(network: Network) -> int:
    """Weights that each word meets: all but the tables from which embeddings are looked up."""
    tables = {id(part.weight) for part in network.modules() if isinstance(part, nn.Embedding)}
    return sum(weight.numel() for weight in network.parameters() if id(weight) not in tables)


def _device(network: Network) -> torch.device:
    return next((weight.device for weight in network.parameters()), torch.device("cpu"))
