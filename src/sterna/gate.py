"""How much of a source to learn from beside a target: nothing, a little, or as much as from the target itself.

Papers: Wang, Dai, Poczos and Carbonell 2019, "Characterizing and Avoiding Negative Transfer" (arXiv 1811.09751), for
what is to be avoided; Breiman, Friedman, Olshen and Stone 1984, "Classification and Regression Trees", section 3.4.3,
for choosing the simplest of all that are within some standard errors of the best.

Equation: with s_wi the score of target example i under a fit without it, at source weight w, and b the weight of the
best mean, the smallest w is chosen for which mean_i(s_bi - s_wi) <= 1.64 se_i(s_bi - s_wi). Ties go to less source.

No distance between the features of two domains can see that their labels disagree; only fits judged on target labels
can. Scores are log likelihoods and not hits, which tell fewer fits apart, and 1.64 standard errors are one side of a
90 % interval. Over the twelve sources of `bench/gate.py` with 10, 20 and 40 target labels, the worst mean loss was 0.6,
0.6 and 0.4 points, and 2.2, 0.7 and 0.2 where the most hits choose; the mean gain 1.2, 0.2 and -0.1, and 0.5, -0.1 and
-0.1. On ten sources of digits, transformed or wrongly labelled, with 20 labels, the worst loss was 0.6 against 7.5
points and the mean gain 3.7 against 1.7, of 4.8 for who knows the best weight of each source.

When not to use: with fewer than five target labels, where nothing is chosen and the source stays out; where source and
target share examples, since one left out would still be learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sterna.errors import DataError
from sterna.maths.folds import folds
from sterna.maths.probing import coordinates, logistic_path, predictions, probabilities, ridge_path
from sterna.maths.seeds import derive
from sterna.records import Labels

WEIGHTS = (0.0, 0.1, 0.3, 1.0)
ERRORS = 1.64
FEWEST = 5  # target labels; below, a standard error says nothing
LEAVE_ONE_OUT = 40  # target labels up to which each is judged by a fit to all others
REPEATS = 3  # of five folds, beyond that
MANY = 300  # target labels from which five folds are gone through once
MOST = 2000  # source examples that a fit reads; more change the choice little and the time much

FitAndScore = Callable[[float, np.ndarray, np.ndarray], np.ndarray]
"""Of a source weight, target positions to learn from and others to judge: scores (n,), higher is better, or (n, m) of
m variants of the fit, such as penalties, of which each weight is judged by its best."""

Head = Callable[[np.ndarray, Labels, np.ndarray, np.ndarray, Labels], np.ndarray]
"""Of features (n, d), labels and weights to learn from, features (m, d) and labels to judge: scores as above."""


@dataclass(frozen=True)
class Chosen:
    """How much source to use, and what spoke for it."""

    weight: float  # one of those that were tried; 0 leaves the source out
    each: float  # the weight of one source example against one target example, as `mixing.join` takes it
    scores: tuple[tuple[float, float], ...]  # (weight, mean score of the left-out target examples)
    sentence: str


def choose(
    fit_and_score: FitAndScore,
    labels: Labels,
    weights: Sequence[float] = WEIGHTS,
    seed: int = 0,
    errors: float = ERRORS,
    each: float = 1.0,
) -> Chosen:
    """The source weight by cross-validation on the target's labelled training examples.

    Up to `LEAVE_ONE_OUT` labels each is judged by a fit to all others; beyond, in five folds, `REPEATS` times over, or
    once with `MANY` labels.

    Args:
        fit_and_score: see `FitAndScore`; weight 0 means the target alone.
        labels: (n,) class numbers, or (n, k) labels or values; of the target's training part.
        weights: those that are tried.
        seed: of the folds.
        errors: standard errors by which a smaller weight may fall behind the best; 0 takes the best.
        each: the weight of one source example where the weight is 1.

    Raises `ValueError` without weight 0 among the weights.
    """
    order = sorted(set(map(float, weights)))
    if order[:1] != [0.0]:
        raise ValueError(f"weights must be numbers >= 0 with 0 among them, got {tuple(weights)}")
    n = len(labels)
    if n < FEWEST:
        told = f"The source stays out: the gate needs {FEWEST} labelled target examples to judge it by, got {n}."
        return Chosen(0.0, 0.0, (), told)
    scores = _left_out(fit_and_score, order, divisions(labels, seed), n)
    place = smallest(scores, errors)
    means = scores.mean(axis=1)
    told = _sentence(order[place], float(means[0]), float(means[place]), float(means.max()), n)
    return Chosen(order[place], order[place] * each, tuple(zip(order, means.tolist(), strict=True)), told)


def smallest(scores: np.ndarray, errors: float = ERRORS) -> int:
    """The first row (w, n) that is not worse than the best one by more than `errors` paired standard errors."""
    behind = scores[scores.mean(axis=1).argmax()] - scores
    deviation = behind.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])
    return int((behind.mean(axis=1) <= errors * deviation + 1e-12).argmax())


def divisions(labels: Labels, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions, to learn from and to judge on; each position is judged as often as any other."""
    n = len(labels)
    everything = np.arange(n)
    if n <= LEAVE_ONE_OUT:
        return [(np.delete(everything, one), everything[one : one + 1]) for one in everything]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for repeat in range(REPEATS if n < MANY else 1):
        named = derive(seed, "gate", repeat)
        # Where most classes have a single example no folds keep every class; then they are divided without regard.
        by_class = folds(labels, np.ones(n), "classify", named) if _classes(labels) else []
        found += by_class or folds(labels, np.ones(n), "regress", named)
    return found


def on_features(
    target: np.ndarray,
    labels: Labels,
    source: np.ndarray,
    source_labels: Labels,
    *,
    head: Head | None = None,
    weights: Sequence[float] = WEIGHTS,
    seed: int = 0,
    errors: float = ERRORS,
) -> Chosen:
    """The source weight for a head on frozen features.

    The weight is that of the whole source against the whole target, so a large source cannot outvote a few target
    examples; one source example never counts for more than one target example. `Chosen.each` has it by example.

    Args:
        target: (n, d) features of the target's labelled training examples.
        labels: (n,) class numbers, or (n, k) labels or values.
        source: (m, d) features by the same encoder.
        source_labels: as `labels`, in the target's numbers.
        head: fits and scores; without one, logistic regression for classes and ridge regression for labels and values
            in at most 128 principal coordinates of both domains, with a penalty that each weight has to itself.
        weights, seed, errors: see `choose`.

    Raises `DataError` for an empty source.
    """
    if not len(source):
        raise DataError("the gate needs source examples to weigh, got none; leave --source out, or give another one.")
    kept = _some(source_labels, seed)
    source, source_labels, m = source[kept], source_labels[kept], len(source)
    if head is None:
        target, source = coordinates(target, source)
        head = logistic_head(1 + int(max(labels.max(), source_labels.max()))) if _classes(labels) else ridge_head

    def fit_and_score(weight: float, learn: np.ndarray, judge: np.ndarray) -> np.ndarray:
        if weight == 0:
            return head(target[learn], labels[learn], np.ones(len(learn)), target[judge], labels[judge])
        # Of the whole source, also where only some of it is read: what is left out is made up for.
        one = weight * min(1.0, len(learn) / m) * m / len(source)
        both = np.concatenate([target[learn], source]), np.concatenate([labels[learn], source_labels])
        return head(
            *both, np.concatenate([np.ones(len(learn)), np.full(len(source), one)]), target[judge], labels[judge]
        )

    return choose(fit_and_score, labels, weights, seed, errors, each=min(1.0, len(labels) / m))


def logistic_head(classes: int) -> Head:
    """Logistic regression along a path of penalties; the score is the log likelihood, nats.

    One uniformly distributed example is added to what the fit was learnt from, so that no single target example can
    have an unbounded say: ln p >= -ln(k (n + 1)).
    """

    def scores(
        features: np.ndarray, labels: Labels, weights: np.ndarray, judged: np.ndarray, known: Labels
    ) -> np.ndarray:
        columns, mass = [], float(weights.sum())
        for fitted in logistic_path(features, labels, weights, classes):
            own = probabilities(fitted, judged)[np.arange(len(known)), known]
            columns.append(np.log((mass * own + 1 / classes) / (mass + 1)))
        return np.stack(columns, axis=1)

    return scores


def ridge_head(
    features: np.ndarray, labels: Labels, weights: np.ndarray, judged: np.ndarray, known: Labels
) -> np.ndarray:
    """Ridge regression along a path of penalties; the score is minus the squared error, summed over columns."""
    values, truth = (np.asarray(one, dtype=np.float64).reshape(len(one), -1) for one in (labels, known))
    path = ridge_path(features, values, weights)
    return np.stack([-((predictions(one, judged) - truth) ** 2).sum(axis=1) for one in path], axis=1)


def _left_out(
    fit_and_score: FitAndScore, weights: Sequence[float], divided: list[tuple[np.ndarray, np.ndarray]], n: int
) -> np.ndarray:
    """(w, n) the score of each example under each weight, its mean over the repeats."""
    found = []
    for weight in weights:
        total: np.ndarray | float = 0.0
        judged = np.zeros(n)
        for learn, judge in divided:
            scores = np.asarray(fit_and_score(weight, learn, judge), dtype=np.float64).reshape(len(judge), -1)
            part = np.zeros((n, scores.shape[1]))
            part[judge] = scores
            total = total + part
            judged[judge] += 1
        mean = total / judged[:, None]
        found.append(mean[:, mean.mean(axis=0).argmax()])
    return np.stack(found)


def _classes(labels: Labels) -> bool:
    return labels.ndim == 1 and labels.dtype.kind in "iu"


def _some(labels: Labels, seed: int) -> np.ndarray:
    """Positions of at most `MOST` source examples, spread over the classes as they are."""
    n = len(labels)
    if n <= MOST:
        return np.arange(n)
    order = np.random.default_rng(derive(seed, "gate", "source")).permutation(n)
    if _classes(labels):
        order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[np.linspace(0, n - 1, MOST).astype(np.int64)])


def _sentence(weight: float, alone: float, chosen: float, best: float, n: int) -> str:
    judged = f"on {n} left-out target examples"
    if weight > 0:
        return (
            f"The source is used at weight {weight:g}: the mean score {judged} is {chosen:.3f} with it "
            f"and {alone:.3f} without."
        )
    if best > alone:
        return (
            f"The source stays out: the mean score {judged} is {alone:.3f} without it and at best {best:.3f} with it, "
            "which can be chance."
        )
    return f"The source stays out: with it, the mean score {judged} is no better than the {alone:.3f} without."
