"""The head alone, fitted to its optimum on frozen features: what a probe is, for each kind of label.

Classes and tags: multinomial logistic regression. Several labels: one logistic regression a label. Numbers: ridge
regression. The strength of the penalty is chosen on the validation part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge
from torch import Tensor

from sterna import sequences
from sterna.contracts import Feed, Linear
from sterna.maths import logistic

CHUNK = 1024  # rows read at a time
MEMORY = 2**29  # bytes of features that are held; a pass over them is then a product of matrices
RIDGE = tuple(10.0**power for power in range(5, -6, -1))  # penalties in examples, features being standardised


@dataclass(frozen=True)
class Solved:
    """A head and the validation loss it was chosen by."""

    head: Linear
    loss: float


class _Part:
    """The features and labels of one part, one row for each item, or for each word that carries a tag.

    Features that fit in `MEMORY` are read once; larger ones anew at every pass, so that memory stays flat.

    Args:
        feed: at the last cut, whose inputs are features.
        epochs: augmented views; -1 is the clean one.
    """

    def __init__(self, feed: Feed, epochs: tuple[int, ...]) -> None:
        self.feed, self.epochs = feed, epochs
        self.labels, weights = self._labels_and_weights()
        # Views of one example are not more evidence than the example: together they weigh what it weighs.
        self.labels = np.concatenate([self.labels] * len(epochs))
        self.weights = np.tile(weights.astype(np.float64) / len(epochs), len(epochs))
        width = next(self._read(1)).shape[1]
        fits = 4 * len(self.labels) * width <= MEMORY
        self._kept = np.concatenate(list(self._read(CHUNK))) if fits else None

    def slices(self, size: int) -> Iterator[np.ndarray]:
        """The features in order, in arrays of at most `size` rows where they are items."""
        if self._kept is None:
            return self._read(size)
        return (self._kept[start : start + size] for start in range(0, len(self._kept), size))

    def _read(self, size: int) -> Iterator[np.ndarray]:
        for epoch in self.epochs:
            for batch in self.feed.batches(np.arange(len(self.feed)), size, epoch, mixed=False):
                inputs = batch.inputs
                if batch.mask is not None:
                    inputs = sequences.values(inputs)[_carrying(batch.mask, sequences.mask(inputs))]
                yield inputs.reshape(len(inputs), -1).float().numpy()

    def _labels_and_weights(self) -> tuple[np.ndarray, np.ndarray]:
        if self.feed.words is None:
            return self.feed.labels, self.feed.weights
        found = []
        for batch in self.feed.batches(np.arange(len(self.feed)), CHUNK, -1, mixed=False):
            assert batch.mask is not None
            carrying = _carrying(batch.mask, sequences.mask(batch.inputs))
            wide = batch.weights[:, None].expand(carrying.shape)
            found.append((batch.labels[:, : carrying.shape[1]][carrying].numpy(), wide[carrying].numpy()))
        labels, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return labels, weights


def solve(
    task: str, training: Feed, validation: Feed, classes: int, class_weights: Sequence[np.ndarray] = ()
) -> Solved:
    """The best head on the features of `training`.

    Args:
        task: the kind of label.
        training, validation: feeds at the last cut, whose inputs are features.
        classes: rows of the head.
        class_weights: (k,) factors on the weight of each class, multiplied.
    """
    parts = _Part(training, (-1, *range(training.views))), _Part(validation, (-1,))
    labels, weights, known = parts[0].labels, parts[0].weights, parts[1].labels
    if task == "regress":
        return _ridge(parts, labels, weights, known)
    if task == "multilabel":
        columns = [_logistic(parts, labels[:, j], weights, known[:, j], 2) for j in range(classes)]
        rows = [one.head.weight[1] - one.head.weight[0] for one in columns]
        biases = [one.head.bias[1] - one.head.bias[0] for one in columns]
        return Solved(Linear(np.stack(rows), np.array(biases)), float(np.mean([one.loss for one in columns])))
    for factors in class_weights:
        weights = weights * factors[labels]
    return _logistic(parts, labels, weights, known, classes)


def _logistic(
    parts: tuple[_Part, _Part], labels: np.ndarray, weights: np.ndarray, known: np.ndarray, classes: int
) -> Solved:
    labels, known = labels.astype(np.int64), known.astype(np.int64)
    path = logistic.fit_path(parts[0].slices, labels, weights, classes, memory=MEMORY)
    found = logistic.choose(path, parts[1].slices, known)
    return Solved(Linear(found.fit.weight, found.fit.bias), min(loss for _, loss in found.losses))


def _ridge(parts: tuple[_Part, _Part], labels: np.ndarray, weights: np.ndarray, known: np.ndarray) -> Solved:
    features, held = (np.concatenate(list(part.slices(CHUNK))) for part in parts)
    centre, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-6 * np.abs(centre), scale, np.inf)  # what is flat tells nothing
    standard = (features - centre) / scale
    best: Solved | None = None
    for penalty in RIDGE:
        model = Ridge(alpha=penalty).fit(standard, labels, sample_weight=weights)
        weight = np.atleast_2d(model.coef_) / scale
        bias = np.atleast_1d(model.intercept_) - weight @ centre
        loss = float(np.mean((held @ weight.T + bias - known) ** 2))
        if best is None or loss < best.loss:
            best = Solved(Linear(weight, bias), loss)
    assert best is not None
    return best


def _carrying(labelled: Tensor, there: Tensor) -> Tensor:
    """(b, w) words that carry a tag and were not cut off with the end of a long item."""
    return labelled[:, : there.shape[1]] & there
