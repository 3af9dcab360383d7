"""A fitted route as criteria see it, which choose among adaptations without a label of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sterna import adapting, folder, spec
from sterna.contracts import Adapted, Pair
from sterna.errors import DataError, SpecError
from sterna.maths.probing import standardising
from sterna.maths.samples import thinned
from sterna.maths.seeds import derive
from sterna.maths.subspaces import principal, projected
from sterna.records import Labels, Training

SHOWN = 300  # examples a side that are kept to be drawn
ALONE = "entropy + mutual_information + snd"  # criteria that look at answers for the target and at nothing else
MOST = 256  # directions; they hold what a few thousand examples can use, and methods take time by their cube

Values = tuple[tuple[str, float], ...]  # (criterion, value), higher is better; NaN where it cannot judge


@dataclass(frozen=True)
class Domains:
    """Features of both domains as a frozen encoder gives them."""

    train: np.ndarray  # (n, d) labelled examples, of the source and, where some are known, of the target
    validation: np.ndarray  # (v, d) held-out labelled examples
    target: np.ndarray  # (m, d)
    labels: tuple[Labels, Labels]  # of train and validation
    known: np.ndarray  # (n,) the row of `target` that a training example is, or -1
    classes: int  # 0 for values
    seed: int

    @property
    def head(self) -> str:
        return "logistic" if self.classes else "ridge"

    def pair(self) -> Pair:
        """The training examples of the source, then the validation ones, against the target."""
        source, (learnt, held) = self.known < 0, map(self._flat, self.labels)
        features, labels = np.concatenate([self.train[source], self.validation]), np.concatenate([learnt[source], held])
        return Pair(features, labels, self.target, self.classes, self.seed, self.known[~source], learnt[~source])

    def _flat(self, labels: Labels) -> Labels:
        """(n,); raises `DataError` for several values an item."""
        if labels.ndim > 1 and labels.shape[1] > 1:
            raise DataError(f"methods on features adapt one value an item, got {labels.shape[1]}; name one --label.")
        return labels.reshape(len(labels))


@dataclass(frozen=True)
class Crossed:
    """A method of `adapt/` with its head, and what criteria look at."""

    model: adapting.Model
    adapted: Adapted


def crossed(method: Any, domains: Domains) -> Crossed:
    """Fit a method of `adapt/`. Raises `DataError` for what it cannot use."""
    whole, learnt = adapting.checked(domains.pair()), int((domains.known < 0).sum())
    learn, held = np.split(np.arange(len(whole.labels)), [learnt])
    made = adapting.adapt(method, whole)
    model = adapting.model_of(method, made, whole, domains.head)
    return Crossed(model, adapting.looked(method, made, whole, domains.head, learn, held))


def seen(
    sides: tuple[np.ndarray, np.ndarray], answers: tuple[np.ndarray, np.ndarray], labels: Labels, seed: int
) -> Adapted:
    """A trained network as criteria see it: the way back is a head on its features, fitted to its own answers.

    Args:
        sides: (v, d) features of held-out source examples and (m, d) of the target.
        answers: theirs, (v, k) and (m, k).
        labels: (v,) of the source.
        seed: of the run.
    """
    rows = thinned(len(sides[1]), adapting.MOST, seed, "target")
    source, target = (np.asarray(side, dtype=np.float64) for side in (sides[0], sides[1][rows]))
    numbers = answers[0].shape[1] == 1 and labels.dtype.kind == "f"
    told = tuple(one[:, 0] if numbers else one for one in (answers[0], answers[1][rows]))
    values = labels.reshape(len(labels)) if numbers else labels
    classes = 0 if numbers else answers[0].shape[1]

    def back(learnt: np.ndarray, given: Labels, asked: np.ndarray) -> np.ndarray:
        pair = Pair(learnt, given, asked, classes, derive("back", seed))
        return adapting.plain(pair, "logistic" if classes else "ridge").answer(asked)

    return Adapted(source, values, told[0], target, told[1], (source, target), back, seed)


@dataclass(frozen=True)
class Sight:
    """Some examples of both domains as the head of a route sees them, to be drawn."""

    source: np.ndarray  # (n, k) float32, held-out source examples
    target: np.ndarray  # (m, k) float32
    rows: tuple[np.ndarray, np.ndarray]  # (n,) and (m,) which items they are
    before: tuple[np.ndarray, np.ndarray] | None = None  # (n, d) and (m, d) before adaptation, where it was looked at


def sight(adapted: Adapted, training: Training, frozen: bool) -> Sight:
    """At most 300 examples a side of those that criteria looked at.

    Args:
        adapted: what they looked at.
        training: from which it was made.
        frozen: whether `adapted.raw` are the features before adaptation; a network that moves does not keep them.
    """
    assert training.unlabelled is not None
    looked = thinned(len(training.unlabelled), adapting.MOST, adapted.seed, "target")  # as `seen` does
    rows = training.validation.rows, training.unlabelled.rows[looked]
    places = [thinned(len(one), SHOWN, adapted.seed, "shown", side) for side, one in enumerate(rows)]
    whole = [adapted.source, adapted.target, *adapted.raw]
    source, target, *raw = (side[place].astype(np.float32) for side, place in zip(whole, 2 * places, strict=True))
    left, right = (one[place] for one, place in zip(rows, places, strict=True))
    return Sight(source, target, (left, right), (raw[0], raw[1]) if frozen else None)


def judged(adapted: Adapted, criteria: Sequence[Any]) -> Values:
    """What each criterion says."""
    found = []
    for one in criteria:
        try:
            found.append((repr(one), float(one.judge(adapted))))
        except DataError:
            found.append((repr(one), float("nan")))
    return tuple(found)


def criteria(written: str, encoded: bool, alone: bool = False) -> tuple[Any, ...]:
    """The criteria of a sum, by default those that did best. Raises `SpecError` for an unknown one.

    `alone`: there is no example of the source, so that only criteria are left that look at answers for the target;
    the others are refused.

    Features of an encoder keep neighbours together, and `snd`, which asks for that, chose well among them; among
    methods on counts of words it cost seven points on one pair of domains, so rows are judged without it.
    """
    if alone:
        found = folder.resolve("criteria", written or ALONE)
        others = [one for one in found if spec.name_of(type(one)) not in ALONE.split(" + ")]
        if others:
            raise SpecError(
                f"{others[0]!r} looks at labelled examples of the source, and a saved model comes without them; leave "
                f"it out, or type --criterion '{ALONE}'."
            )
        return found
    return folder.resolve("criteria", written or (f"{adapting.ENSEMBLE} + snd" if encoded else adapting.ENSEMBLE))


def ranks(values: Sequence[Values]) -> np.ndarray:
    """(n,) in [0, 1] for each route, 0 for the best by all criteria; see `adapting.mean_ranks`."""
    return adapting.mean_ranks(np.array([[value for _, value in one] for one in values], dtype=np.float64))


@dataclass(frozen=True)
class Scale:
    """Standardised features, and no more of them than `MOST` principal directions of both domains.

    Deviations are those of the training part: to take each domain's own would be an adaptation already.
    """

    mean: np.ndarray  # (d,)
    factor: np.ndarray  # (d, k) one over the deviations, and the directions where there are fewer of them than features

    @classmethod
    def of(cls, train: np.ndarray, target: np.ndarray) -> Scale:
        """From features of the training part and of the target; no label is read."""
        mean, factor = train.mean(axis=0), standardising(train)
        if len(mean) <= MOST:
            return cls(mean, np.diag(factor))
        moved = np.concatenate([train, target]) - mean
        found = principal("the features of an encoder", [moved * factor], MOST)
        return cls(mean, factor[:, None] * found.basis)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, k) of features (n, d)."""
        return projected(features, self.mean, self.factor)


class Across(BaseEstimator):
    """A model of the target's items, as an estimator: what prepares them, their scale, and the adapted model.

    Args:
        encoding: fitted; raw rows -> (n, d). None where items are features already.
        scale: of the features.
        model: of the scaled features.
    """

    def __init__(self, encoding: Any, scale: Scale, model: adapting.Model) -> None:
        self.encoding = encoding
        self.scale = scale
        self.model = model

    @property
    def classes_(self) -> np.ndarray:
        """(k,) the number of each class."""
        return np.arange(self.model.classes)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, items: Any, labels: Any = None) -> Across:
        """Nothing is left to fit."""
        return self

    def on(self, features: np.ndarray) -> np.ndarray:
        """(n, k) shares or (n,) values of features (n, d)."""
        return self.model.answer(self.scale(features))

    def predict(self, items: Any) -> np.ndarray:
        """(n,) the likeliest classes, or values."""
        found = self.predict_proba(items)
        return found.argmax(axis=1) if self.model.classes else found

    def predict_proba(self, items: Any) -> np.ndarray:
        """(n, k) shares."""
        return self.on(np.asarray(items, dtype=np.float64) if self.encoding is None else self.encoding.transform(items))
