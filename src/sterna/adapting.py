"""Domain adaptation on arrays: a method of `adapt/` with a head, and the choice among methods without target labels.

A labelled source and a target of the same features become a model of the target's rows (`fit`). Which method is right
depends on how the domains differ, and most methods do harm somewhere; `choose` holds out a part of the source, looks at
what every method makes of it and of the target by the criteria of `criteria/`, and never sees a label of the target.

    pair = Pair(source, labels, target, classes=10, seed=0)
    model = fit("coral", pair, head="logistic")
    shares = model.answer(rows)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from sterna import folder, spec
from sterna.contracts import Adaptation, Adapted, Aligned, Answering, Criterion, Pair
from sterna.errors import DataError, SpecError
from sterna.maths import adapted_heads as heads
from sterna.maths import adapted_inputs
from sterna.maths.folds import folds
from sterna.maths.samples import thinned
from sterna.maths.seeds import derive
from sterna.records import Labels

HEADS = {"nearest": "", "logistic": "classify", "svm": "classify", "ridge": "regress"}  # what each is for; "": both
ENSEMBLE = "circular + source_risk"  # both take classes and values; bench/criteria.py compares others
MANY = 1000  # source examples from which a fifth is held out; of fewer two fifths, since criteria are means over them
MOST = 5000  # rows a side that criteria look at

Head = heads.Linear | heads.Nearest
Answer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Model:
    """A method fitted to a source and a target, which answers for rows of the target's domain."""

    method: str  # as written
    head: str  # "" where the method answers by itself
    classes: int  # 0 for values
    width: int  # features of a row
    notes: tuple[str, ...]  # approximations taken, in sentences
    respond: Answer  # (m, d) -> (m, classes) or (m,), unchecked

    def answer(self, rows: np.ndarray) -> np.ndarray:
        """(m, d) rows of the target's domain, seen before or not -> (m, classes) shares, or (m,) values.

        Raises `DataError` for rows of another width or that are not finite.
        """
        rows = adapted_inputs.matrix("rows", rows)
        if rows.shape[1] != self.width:
            raise DataError(f"rows must have the {self.width} features of the target, got {rows.shape[1]}.")
        if not len(rows):
            return np.zeros((0, self.classes) if self.classes else 0)
        found = np.asarray(self.respond(rows), dtype=np.float64)
        if not np.isfinite(found).all():
            raise DataError(
                f"{self.method} gave answers that are not finite; scale the features, or use another method."
            )
        return found


@dataclass(frozen=True)
class Judged:
    """One method, as the criteria see it."""

    method: str  # as written
    values: tuple[tuple[str, float], ...]  # (criterion, value), higher is better; NaN where it cannot judge the method
    rank: float  # mean over criteria of the share of methods that are better, in [0, 1]; 0 is best by all


@dataclass(frozen=True)
class Chosen:
    """The method that was chosen without target labels, and what spoke for it."""

    model: Model  # of the best method, its head fitted to the whole source
    ranking: tuple[Judged, ...]  # best first
    left_out: tuple[tuple[str, str], ...]  # (method, sentence)
    sentence: str

    @property
    def best(self) -> str:
        """The chosen method, as written."""
        return self.ranking[0].method


def fit(method: Any, pair: Pair, head: str = "logistic") -> Model:
    """A model of the target.

    Args:
        method: one method of `adapt/`, written as "name" or "name(option=value)", or its option object.
        pair: source, labels and target. Features are not scaled here: standardise them where their units differ.
        head: "nearest" (one nearest neighbour; its weights count only as 0 or not), "logistic" (the penalty by
            importance weighted cross-validation on the examples learnt from), "svm" (linear, hinge loss; its shares
            are the softmax of its margins and no probabilities), or "ridge", for values. Methods that answer by
            themselves have no head.

    Raises:
        DataError: data that the method cannot use, or that do not fit together.
        SpecError: an unknown method or head, or one that is not for these labels.
    """
    return _fit(_single(method), checked(pair), _known_head(head, pair))


def plain(pair: Pair, head: str = "logistic") -> Model:
    """The head alone, fitted to the source as if there were no target; `method` of the model is "". Raises as `fit`."""
    _known_head(head, pair)
    pair = checked(replace(pair, target=pair.source))
    whole = Aligned(pair.source, pair.labels, np.ones(len(pair.labels)), adapted_inputs.unchanged)
    learnt = _learn(whole, np.arange(len(pair.labels)), pair, head)
    return Model("", head, pair.classes, pair.source.shape[1], (), learnt.answers)


def choose(methods: Any, pair: Pair, criterion: Any = "", head: str = "logistic") -> Chosen:
    """The best of several methods by what can be seen without target labels.

    A part of the source is held out from the heads: two fifths, or one fifth from 1,000 examples on. Methods that
    bring domains together see its features, with labels, and their heads do not; methods that answer by themselves are
    fitted without it. Each criterion orders the methods, and the mean of the orders counts; a criterion that cannot
    judge a method has no say about it. Ties go to the method that is written first.

    Args:
        methods: alternatives as text ("none, coral, tca(components=30)"), or a sequence of such or of option objects.
        pair: as for `fit`. Labels in `known` are learnt from; they never judge.
        criterion: one of `criteria/`, a sum of several, or "" for those that did best (docs/adaptation.md).
        head: as for `fit`.

    Raises:
        DataError: no method could be fitted, no source example could be held out, or data that do not fit together.
        SpecError: an unknown method, criterion or head, or one that is not for these labels.

    When not to use: with more than a handful of labelled target examples; judge by those (`Pair.known` left empty for
    them), since no criterion sees labels that mean something else in the target.
    """
    pair, head = checked(pair), _known_head(head, pair)
    listed = alternatives(methods)
    judges = folder.resolve("criteria", criterion or ENSEMBLE)
    learn, held = _division(pair)
    found: list[tuple[Any, list[float]]] = []
    left_out, mute = [], ""
    for method in listed:
        try:
            adapted = looked(method, adapt(method, pair), pair, head, learn, held)
        except DataError as error:
            left_out.append((repr(method), str(error)))
            continue
        values = []
        for judge in judges:
            try:
                values.append(float(judge.judge(adapted)))
            except DataError as error:
                values.append(float("nan"))
                mute = str(error)
        found.append((method, values))
    if not found:
        raise DataError(f"no method could be fitted, give others: {'; '.join(told for _, told in left_out)}")
    ranking = _ranking(found, judges)
    if all(np.isnan(value) for one in ranking for _, value in one.values):
        raise DataError(mute)
    best = next(method for method, _ in found if repr(method) == ranking[0].method)
    return Chosen(_fit(best, pair, head), ranking, tuple(left_out), _sentence(ranking, len(left_out)))


def alternatives(methods: Any) -> tuple[Any, ...]:
    """The option objects of methods written one after another, with commas, each one once.

    Raises `SpecError` for none at all, for an unknown one and for a sum.
    """
    parts = [methods] if isinstance(methods, str) or not isinstance(methods, Sequence) else list(methods)
    found: dict[Any, None] = {}
    for part in parts:
        for one in spec.parse_alternatives(part) if isinstance(part, str) else [part]:
            built = [folder.build("adapt", call) for call in one] if isinstance(one, tuple) else one
            found[_single(built)] = None
    if not found:
        raise SpecError(f"methods must name at least one, got none; type '{folder.names('adapt')[0]}'.")
    return tuple(found)


def checked(pair: Pair) -> Pair:
    """The pair in float64, with int64 class numbers; raises `DataError` where its parts do not fit together."""
    source, target = adapted_inputs.matrix("the source", pair.source), adapted_inputs.matrix("the target", pair.target)
    if source.shape[1] != target.shape[1]:
        raise DataError(
            f"source and target must have the same features, got {source.shape[1]} and {target.shape[1]} of them."
        )
    if min(len(source), len(target), source.shape[1]) < 1:
        raise DataError(
            f"source and target must have an example and a feature each, got {source.shape} and {target.shape}."
        )
    labels = adapted_inputs.labels("labels of the source", pair.labels, len(source), pair.classes)
    known = np.asarray(pair.known, dtype=np.int64)
    if known.ndim != 1 or (len(known) and (known.min() < 0 or known.max() >= len(target))):
        raise DataError(f"known must be rows of the target, from 0 to {len(target) - 1}, got {known}.")
    known_labels = adapted_inputs.labels("known labels of the target", pair.known_labels, len(known), pair.classes)
    return replace(pair, source=source, labels=labels, target=target, known=known, known_labels=known_labels)


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """(n,) in [0, 1]: the mean over columns of the share of rows that are better, ties counting half.

    Args:
        values: (n, k), higher is better; NaN says nothing about a row. A row of nothing but NaN gets 1.
    """
    shares = np.full(values.shape, np.nan)
    for column, place in zip(values.T, range(values.shape[1]), strict=True):
        there = np.flatnonzero(~np.isnan(column))
        known = column[there]
        better = (known > known[:, None]).sum(axis=1) + ((known == known[:, None]).sum(axis=1) - 1) / 2
        shares[there, place] = better / max(len(there) - 1, 1)
    said = ~np.isnan(shares)
    found: np.ndarray = np.where(said, shares, 0.0).sum(axis=1) / np.maximum(said.sum(axis=1), 1)
    return np.where(said.any(axis=1), found, 1.0)


def _fit(method: Any, pair: Pair, head: str) -> Model:
    return model_of(method, adapt(method, pair), pair, head)


def model_of(method: Any, made: Aligned | Answering, pair: Pair, head: str) -> Model:
    """The model of the target from what `adapt` made of a pair, with a head where the method needs one."""
    width = pair.target.shape[1]
    if isinstance(made, Answering):
        return Model(repr(method), "", pair.classes, width, made.notes, made.answer)
    headed = _Headed(made.view, _learn(made, np.arange(len(made.labels)), pair, head))
    return Model(repr(method), head, pair.classes, width, made.notes, headed)


def adapt(method: Adaptation, pair: Pair) -> Aligned | Answering:
    """What a method makes of a pair that is `checked`. Raises `DataError` where it is not for its labels."""
    task = "classify" if pair.classes else "regress"
    if task not in method.tasks:
        kinds = {"classify": "classes", "regress": "values"}
        raise DataError(f"{method!r} is for labels that are {kinds[method.tasks[0]]}, got {kinds[task]}.")
    if method.needs == "labels" and not len(pair.known):
        raise DataError(f"{method!r} needs some known labels of the target, got none.")
    return method.adapt(pair)


@dataclass(frozen=True)
class _Headed:
    """A head behind the view that a method has of the target's rows."""

    view: Answer
    head: Head

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self.head.answers(self.view(rows))


def _learn(made: Aligned, rows: np.ndarray, pair: Pair, head: str) -> Head:
    """A head fitted to some of the aligned examples."""
    learnt = heads.Learnt(made.features[rows], made.labels[rows], made.weights[rows], pair.classes, pair.seed)
    if not np.isfinite(learnt.features).all():
        raise DataError("the method made features that are not finite; scale the features, or use another method.")
    if not learnt.weights.sum() > 0:
        raise DataError("the method gave every example the weight 0; use another method.")
    if head == "nearest":
        return heads.nearest(learnt)
    if head == "svm":
        return heads.linear(_margins, learnt, measure="error")
    if head == "ridge":
        return heads.linear(heads.ridge, learnt, strengths=heads.RIDGE)
    return heads.linear(heads.logistic, learnt)


def _margins(learnt: heads.Learnt, strengths: Sequence[float]) -> Iterator[np.ndarray]:
    """Linear support vector machines as `heads.Path`, one class against the rest."""
    present = np.unique(learnt.labels[learnt.weights > 0])
    for strength in strengths:
        # A class without examples is as far on the other side as one that is seen and fits nothing.
        found = np.zeros((learnt.classes, learnt.features.shape[1] + 1))
        found[:, -1] = -2.0
        found[present, -1] = 0.0
        if len(present) > 1:
            machine = LinearSVC(C=strength, dual="auto", random_state=derive("svm", learnt.seed) % 2**32)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # one that has not quite settled serves as well
                machine.fit(learnt.features, learnt.labels, sample_weight=learnt.weights)
            sides = np.column_stack([machine.coef_, machine.intercept_])
            found[present] = np.concatenate([-sides, sides]) / 2 if len(present) == 2 else sides
        yield found


def _division(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Source rows that heads learn from, and rows that are held out; every class keeps one to learn from."""
    task = "classify" if pair.classes else "regress"
    parts = [part for _, part in folds(pair.labels, np.ones(len(pair.labels)), task, derive("held", pair.seed))]
    if not parts:
        raise DataError(
            f"a part of the source must be held out to choose by, got {len(pair.labels)} examples; "
            "give at least two of most classes."
        )
    held = np.concatenate(parts[: 1 if len(pair.labels) >= MANY or len(parts) < 4 else 2])
    return np.setdiff1d(np.arange(len(pair.labels)), held), np.sort(held)[thinned(len(held), MOST, pair.seed, "held")]


def looked(
    method: Any, made: Aligned | Answering, pair: Pair, head: str, learn: np.ndarray, held: np.ndarray
) -> Adapted:
    """What criteria look at, from what `adapt` made of the whole pair. Raises `DataError` as `adapt`."""
    rows = thinned(len(pair.target), MOST, pair.seed, "target")
    raw = pair.source[held], pair.target[rows]
    count = len(pair.labels)
    respond: Answer
    if isinstance(made, Aligned) and np.array_equal(made.labels[:count], pair.labels):
        fitted = _learn(made, np.concatenate([learn, np.arange(count, len(made.labels))]), pair, head)
        sides, respond = (made.features[held], made.view(raw[1])), fitted.answers
    else:
        # The source's rows cannot be found again, or nothing but answers is to be seen: held-out rows stay out.
        made = adapt(method, replace(pair, source=pair.source[learn], labels=pair.labels[learn]))
        if isinstance(made, Aligned):
            respond = _learn(made, np.arange(len(made.labels)), pair, head).answers
            sides = made.view(raw[0]), made.view(raw[1])
        else:
            sides, respond = raw, made.answer

    def refit(source: np.ndarray, labels: Labels, target: np.ndarray) -> np.ndarray:
        back = Pair(source, labels, target, pair.classes, pair.seed)
        return _fit(method, back, head).answer(target)

    left, right = (np.asarray(respond(side), dtype=np.float64) for side in sides)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise DataError(f"{method!r} gave answers that are not finite; scale the features, or use another method.")
    return Adapted(sides[0], pair.labels[held], left, sides[1], right, raw, refit, pair.seed)


def _ranking(found: Sequence[tuple[Any, list[float]]], judges: Sequence[Criterion]) -> tuple[Judged, ...]:
    ranks = mean_ranks(np.array([values for _, values in found]))
    names = [repr(judge) for judge in judges]
    judged = [
        Judged(repr(method), tuple(zip(names, values, strict=True)), float(rank))
        for (method, values), rank in zip(found, ranks, strict=True)
    ]
    return tuple(judged[place] for place in np.argsort(ranks, kind="stable"))


def _sentence(ranking: Sequence[Judged], left_out: int) -> str:
    best, count = ranking[0], len(ranking)
    values = {name: sorted((dict(one.values)[name] for one in ranking), reverse=True) for name, _ in best.values}
    places = [f"{values[name].index(value) + 1} by {name}" for name, value in best.values if not np.isnan(value)]
    told = (
        f"{best.method} is chosen without a label of the target; of {count} methods it is number {', '.join(places)}."
    )
    if count > 1:
        told += f" {ranking[1].method} follows."
    return told + (f" {left_out} could not be fitted." if left_out else "")


def _single(method: Any) -> Any:
    found = folder.resolve("adapt", method)
    if len(found) != 1:
        raise SpecError(f"one method of adaptation at a time, got '{spec.write(found)}'; write several with commas.")
    return found[0]


def _known_head(head: str, pair: Pair) -> str:
    """The head, where it exists and is for these labels."""
    if head not in HEADS:
        raise SpecError(folder.unknown("head", head, tuple(HEADS)))
    task = "classify" if pair.classes else "regress"
    if HEADS[head] not in ("", task):
        fitting = ", ".join(f"'{name}'" for name, what in HEADS.items() if what in ("", task))
        raise SpecError(f"head {head} is not for {'classes' if pair.classes else 'values'}; type one of {fitting}.")
    return head
