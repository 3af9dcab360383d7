"""Joint distribution optimal transport: a model of the target whose answers the cheapest plan finds agreed with.

Paper: Courty, Flamary, Habrard and Rakotomamonjy 2017, "Joint Distribution Optimal Transportation for Domain
Adaptation" (NIPS 30, arXiv 1705.08848), equation 5 and algorithm 1.

Equation: min over plans P with uniform margins and heads f of sum_ij P_ij (|x_i - t_j|^2 / u + weight L(y_i, f(t_j)))
+ pull |f|^2, u the median squared distance; L is -ln f(t_j)_y for classes, the paper's squared error in variances of
the labels for values. In turn: P for the head, by exact transport; the head for P, fitted to the target rows with
shares of classes (or mean values) m sum_i P_ij y_i, which is the optimum given P for both losses. The first head is the
source's, its penalty, by cross-validation on the source, is kept, and rounds end where the sum no longer falls.

A target row gets shares of classes, so nothing is asked of a batch: one without a row of some class gives it a share
of 0. Known target labels take the place of the shares that the plan gives.

Cost: exact transport of up to 2,000 rows a side at once, else of batches of 500, drawn once, by POT's network simplex:
O(n) batches, O(n d) memory; and one head a round.

When not to use: where classes have other shares in the target, since every class must send all its mass; where the
source's head is right about few target rows, as wrong answers then confirm themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import ot

from sterna.contracts import Answering, Pair
from sterna.maths import adapted_heads, plans, soft_heads
from sterna.maths.answers import surprise
from sterna.maths.probing import ridge_path
from sterna.maths.soft_heads import Scale
from sterna.spec import Range, method, option

EXACT = 2000  # rows a side that are coupled at once
BATCH = 500
_STEPS = 10_000_000
_STOP = 1e-4  # relative fall of the sum

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Head:
    """A head on scaled rows: logits of classes, or values in deviations from their mean."""

    weight: np.ndarray  # (k, d + 1), the bias last
    scale: Scale
    classes: int
    middle: float  # mean of the values
    spread: float  # their standard deviation

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        found = soft_heads.logits(self.weight, self.scale.apply(rows))
        return soft_heads.softmax(found) if self.classes else found[:, 0] * self.spread + self.middle


@dataclass(frozen=True)
class _Problem:
    """All that stays the same from round to round, in scaled rows and standardised labels."""

    cost: plans.Cost
    batches: Sequence[Batch]
    wanted: np.ndarray  # (n, k) indicators of classes, or (n, 1) values
    rows: np.ndarray  # (m, d) scaled rows of the target
    known: np.ndarray
    known_wanted: np.ndarray  # (l, k)
    weight: float
    strength: float  # C of the penalty
    classify: bool

    def coupled(self, head: np.ndarray) -> tuple[np.ndarray, float]:
        """(m, k) what the plan wants of each target row, and the mean cost."""
        found, times, total = np.zeros((len(self.rows), self.wanted.shape[1])), np.zeros(len(self.rows)), 0.0
        answers = soft_heads.logits(head, self.rows)
        apart = surprise(soft_heads.softmax(answers)) if self.classify else answers
        for rows, columns in self.batches:
            cost = self.cost.part(rows, columns).block(slice(None)).astype(np.float64)
            if self.classify:
                cost += self.weight * (self.wanted[rows] @ apart[columns].T)
            else:
                cost += self.weight * (self.wanted[rows] - apart[columns].T) ** 2
            plan = ot.emd([], [], cost, numItermax=_STEPS)
            np.add.at(found, columns, len(columns) * plan.T @ self.wanted[rows])
            np.add.at(times, columns, 1)
            total += float((plan * cost).sum())
        found /= times[:, None]
        found[self.known] = self.known_wanted
        return found, total / len(self.batches)

    def fitted(self, wanted: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The head that is best for what the plan wants."""
        if self.classify:
            return soft_heads.fitted(self.rows, wanted, self._pull, start)
        *_, head = ridge_path(self.rows, wanted, np.ones(len(wanted)), [self.strength])
        return head

    @property
    def _pull(self) -> float:
        return 1 / (self.strength * len(self.rows))

    def penalty(self, head: np.ndarray) -> float:
        """What the head costs beside the plan, in the same unit."""
        squares = head**2
        if self.classify:
            return (
                self.weight * self._pull * float((squares[:, :-1].sum() + soft_heads.BIAS * squares[:, -1].sum()) / 2)
            )
        return self.weight * float(squares[:, :-1].sum()) * self._pull


@method
class JointTransport:
    """How much answers count beside features."""

    weight: float = option(
        1.0, "of the loss of answers, beside squared distances in medians", Range(0, 1e6, low_open=True)
    )
    rounds: int = option(10, "plans and heads at most", Range(1, 100))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Answering:
        """The model of the target. Raises `DataError` where both samples do not fit into memory once more."""
        problem, head, notes = self._problem(pair)
        last = np.inf
        weight = head.weight
        for _ in range(self.rounds):
            wanted, mean = problem.coupled(weight)
            total = mean + problem.penalty(weight)
            if total > last - _STOP * abs(last):
                break
            last = total
            weight = problem.fitted(wanted, weight)
        return Answering(replace(head, weight=weight), notes)

    def _problem(self, pair: Pair) -> tuple[_Problem, _Head, tuple[str, ...]]:
        n, m, classes = len(pair.source), len(pair.target), pair.classes
        middle, spread = 0.0, 1.0
        if not classes:
            middle, spread = float(pair.labels.mean()), float(pair.labels.std()) or 1.0
        labels, known = ((one - middle) / spread if not classes else one for one in (pair.labels, pair.known_labels))
        learnt = adapted_heads.Learnt(pair.source, labels, np.ones(n), classes, pair.seed)
        path, grid = (
            (adapted_heads.logistic, adapted_heads.STRENGTHS) if classes else (adapted_heads.ridge, adapted_heads.RIDGE)
        )
        first = adapted_heads.linear(path, learnt, strengths=grid)
        scale = soft_heads.scale(pair.target)
        start = first.weight[:, :-1] / scale.factor
        bias = first.weight[:, -1] + first.weight[:, :-1] @ scale.centre
        head = _Head(np.column_stack([start, bias]), scale, classes, middle, spread)
        whole = max(n, m) <= EXACT
        batches = [(np.arange(n), np.arange(m))] if whole else list(plans.batches(n, m, BATCH, 1, pair.seed))
        notes = () if whole else (f"Coupled in batches of {BATCH} rows a side, not all {n:,} and {m:,} at once.",)
        cost = plans.cost("joint_transport", pair.source, pair.target, "median", pair.seed)
        if classes:
            cost = plans.classed(cost, labels, classes, pair.known, known)
            labels, known = np.eye(classes)[labels], np.eye(classes)[known]
        else:
            labels, known = labels[:, None], known[:, None]
        rows = scale.apply(pair.target)
        made = _Problem(cost, batches, labels, rows, pair.known, known, self.weight, first.strength, bool(classes))
        return made, head, notes
