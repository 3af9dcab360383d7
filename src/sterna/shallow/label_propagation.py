"""Labels spread along a graph of nearest neighbours, over labelled and unlabelled examples alike; nothing is trained.

Papers: Zhou, Bousquet, Lal, Weston and Schölkopf 2004, "Learning with Local and Global Consistency" (Advances in Neural
Information Processing Systems 16), section 2; Delalleau, Bengio and Le Roux 2005, "Efficient Non-Parametric Function
Induction in Semi-Supervised Learning" (AISTATS), equation 6, for new items.

Equation: F = (1 - alpha) (I - alpha S)^-1 Y, S = D^-1/2 W D^-1/2, w_ij = exp(-|x_i - x_j|^2 / 2 s^2) where one of i and
j is among the `neighbours` nearest ones of the other, else 0; s^2 is the median squared distance of neighbours, Y_ic
the weight of example i where its label is c, 0 for examples without a label. A new item is answered by the mean of the
rows of F of its nearest examples, weighted like edges; rows sum to 1.

Points are features of the encoder, moved to their mean and scaled to length 1, or standardised columns as they are.
With `prior`, each class is scaled so that all classes together have the shares that they have among the labelled
examples (class mass normalisation; Zhu, Ghahramani and Lafferty 2003, section 4): a class whose labelled examples lie
in the middle of things would take over. Spreading leaves answers unsure, so they are taken to the power that has the
smallest log loss on the validation examples. Each is mixed with the shares of the classes, at 1 / (n + 1) of n labelled
examples: few labels leave doubt.

The graph is sparse, and conjugate gradients solve for F: seconds for ten thousand examples. Beyond 20,000 unlabelled
ones as many are drawn, and it is said. The examples are part of the model that is kept.

When not to use: where features are no good to tell classes apart, since neighbours are then of any class; where classes
have other shares than their labelled examples have: switch `prior` off.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from sterna.contracts import Examples, Given
from sterna.errors import TrainingError
from sterna.maths import spreading
from sterna.maths.samples import thinned
from sterna.spec import Range, method, option

MOST = 20_000  # unlabelled examples: the graph takes time by the square of their number
POWERS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # of answers, which spreading leaves too unsure
SMALLEST = 1e-12  # below any length that means something


@method
class LabelPropagation:
    """How the graph is made and how far labels spread."""

    neighbours: int = option(10, "nearest examples to which each is tied", Range(1, 1000))
    alpha: float = option(
        0.99, "share that an example takes from its neighbours (the paper's 0.99)", Range(0, 1, high_open=True)
    )
    prior: bool = option(True, "whether classes keep the shares that they have among the labelled examples")
    sharpness: float | None = option(
        None, "power of the answers before they are scaled to sum to 1; none: chosen on validation", Range(1, 100)
    )
    spread: bool = option(True, "false: the nearest labelled examples answer, without any other, to compare with")

    takes: ClassVar[str] = "points"
    pretrained: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    @property
    def spreads(self) -> bool:
        """Whether it looks at examples without labels."""
        return self.spread

    def fit(self, given: Given) -> Spread:
        """The model. Raises `TrainingError` for points that are not finite."""
        own, others = np.asarray(given.target.inputs, dtype=np.float64), given.unlabelled if self.spread else None
        notes: list[str] = []
        if others is not None and len(others) > MOST:
            kept = thinned(len(others), MOST, given.seed, "nodes")
            notes.append(f"Of {len(others)} examples without labels {MOST} were drawn, which a graph can take.")
            others = others[kept]
        points = own if others is None else np.concatenate([own, others])
        if not np.isfinite(points).all():
            raise TrainingError(
                "features must be finite, got some that are not: the encoder overflows on these items, try it in "
                "float32 or another encoder."
            )
        mean = points.mean(axis=0)
        nodes = scaled(points, mean, given.encoded)
        near, width = spreading.graph(nodes, self.neighbours)
        labels = np.zeros((len(nodes), len(given.classes)))
        labels[np.arange(len(own)), given.target.labels] = given.target.weights
        answers, count = self._answers(near, labels), self.neighbours
        if not self.spread:  # more neighbours than a class has examples would outvote it
            count = min(count, int(np.unique(given.target.labels, return_counts=True)[1].min()))
        beforehand = (1 / (len(own) + 1)) * (shares_of(labels) + 1 / labels.shape[1]) / 2
        made = Spread(nodes.astype(np.float32), answers, mean, given.encoded, count, width, beforehand, tuple(notes))
        made.sharpness = self.sharpness or _sharpest(made, given.validation)
        return made

    def settled(self, model: Any) -> LabelPropagation:
        """The same with the sharpness that a fit has chosen."""
        found = model["model"] if isinstance(model, Pipeline) else model
        return replace(self, sharpness=float(found.sharpness))  # type: ignore[type-var]

    def _answers(self, near: Any, labels: np.ndarray) -> np.ndarray:
        """(N, k) the shares of classes of each node."""
        shares = shares_of(labels)
        found = spreading.spread(near, labels, self.alpha) if self.spread else labels.copy()
        if self.prior and self.spread:
            found *= shares / np.maximum(found.sum(axis=0), SMALLEST)
        sums = found.sum(axis=1, keepdims=True)
        return np.where(sums > SMALLEST * sums.max(), found / np.maximum(sums, SMALLEST * SMALLEST), shares)


def shares_of(labels: np.ndarray) -> np.ndarray:
    """(k,) the shares of classes among weighted labels (N, k)."""
    return np.asarray(labels.sum(axis=0) / max(labels.sum(), SMALLEST))


def _sharpest(model: Spread, held: Examples) -> float:
    """The power with the smallest log loss on the validation examples; 1 where there are none."""
    if not len(held.labels):
        return 1.0
    losses = []
    for power in POWERS:
        model.sharpness = power
        found = model.predict_proba(held.inputs)
        losses.append(-np.log(found[np.arange(len(held.labels)), held.labels]).mean())
    return POWERS[int(np.argmin(losses))]


class Spread(BaseEstimator):
    """The examples of the graph with their shares of classes, which answer for new points near them.

    Args:
        nodes: (N, d) float32.
        shares: (N, k).
        mean: (d,) of the points before they were scaled.
        unit: whether points are scaled to length 1.
        neighbours: that answer for a point.
        width: of the edges.
        doubt: (k,) what each answer is mixed with; its sum is the share that it has.
        notes: approximations taken, in sentences.
    """

    def __init__(
        self,
        nodes: np.ndarray,
        shares: np.ndarray,
        mean: np.ndarray,
        unit: bool,
        neighbours: int,
        width: float,
        doubt: np.ndarray,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.nodes = nodes
        self.shares = shares
        self.mean = mean
        self.unit = unit
        self.neighbours = neighbours
        self.width = width
        self.doubt = doubt
        self.notes = notes
        self.sharpness = 1.0

    @property
    def classes_(self) -> np.ndarray:
        """(k,) the number of each class."""
        return np.arange(self.shares.shape[1])

    def fit(self, points: Any, labels: Any = None) -> Spread:
        """Nothing is left to fit; scikit-learn's pipelines ask for it."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, points: Any) -> np.ndarray:
        """(n,) the likeliest class."""
        found: np.ndarray = self.predict_proba(points).argmax(axis=1)
        return found

    def predict_proba(self, points: Any) -> np.ndarray:
        """(n, k) of points (n, d) as they were before they were scaled."""
        given = scaled(np.asarray(points, dtype=np.float64), self.mean, self.unit)
        found = spreading.induced(given, self.nodes.astype(np.float64), self.shares, self.neighbours, self.width)
        found = (found / found.max(axis=1, keepdims=True)) ** self.sharpness
        found /= found.sum(axis=1, keepdims=True)
        mixed: np.ndarray = (1 - self.doubt.sum()) * found + self.doubt
        return mixed


def scaled(points: np.ndarray, mean: np.ndarray, unit: bool) -> np.ndarray:
    """(n, d) points around the origin, of length 1 where wanted."""
    moved: np.ndarray = points - mean
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), SMALLEST) if unit else moved
