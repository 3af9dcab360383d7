"""Optimal transport: each source row goes to the mean of the target rows that the cheapest plan gives it.

Paper: Courty, Flamary, Tuia and Rakotomamonjy 2017, "Optimal Transport for Domain Adaptation" (IEEE TPAMI 39, arXiv
1507.00504), equations 4, 9 and 14; Chizat et al. 2018 (arXiv 1607.05816) for the unbalanced form.

Equation: z_i = sum_j P_ij t_j / sum_j P_ij, P the plan of least <P, C> with uniform margins, C squared distances in
units of their median. `exact`: nothing else; `entropic`: + e KL(P | uniform), e = `regularisation`; `group`: besides +
`group` times the sum over classes and target rows of (the mass that the class sends there)^1/2, so that a target row is
served by one class; `unbalanced`: entropic, the margins not met but paid for, `relaxation` times their KL from uniform,
and a source row weighs in what follows as much as it sends. The target stays as it is, so new rows of it need no map.

Where labels of the target are known, pairs of another class cost ten medians more, and these rows are learnt from too.

Cost: O(n m) a round, one n x m array of float32, iterated in scaled kernels whose factors are taken into the potentials
before they leave what floats hold, and towards small e by way of larger ones. Up to 4,000 rows a side (`rows`) are
coupled; of more, that many, drawn at random, and every source row takes the entropic map of that plan, which it has
for rows that it has not seen. `exact` is solved by POT's network simplex for up to 2,000 rows a side, beyond in
batches of 1,000 drawn twice, of which each row takes the mean.

Office-Caltech10 SURF, mean accuracy of one nearest neighbour over the 12 tasks: exact 36.4, entropic 43.3, group with
regularisation 2 42.1; 31.4 without adaptation.

The strength of `group` has no unit: the roots are of masses that fall with the number of target rows, as published.

When not to use: where classes have other shares in the target, since all mass must go somewhere (`unbalanced` less so);
where classes have traded places, which is what least cost does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import ot

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths import plans
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.memory import check
from sterna.maths.samples import thinned
from sterna.spec import Choice, Range, method, option

EXACT = 2000  # rows a side that are coupled exactly at once
BATCH = 1000
PASSES = 2
LANDMARKS = 4000
_STEPS = 50_000_000  # of the network simplex: far more than 8,000 rows take
_TOLD = 1e-2  # of the mass out of place: from here on it is said


def _exact(made: plans.Cost, target: np.ndarray) -> np.ndarray:
    """(n, d) where the source rows of a cost go; target are its rows."""
    plan = ot.emd([], [], made.block(slice(None)).astype(np.float64, copy=False), numItermax=_STEPS)
    return np.asarray(plan @ target * len(plan))


@method
class OptimalTransport:
    """Which plan, and how it is regularised."""

    form: str = option("entropic", "how the plan is regularised", Choice(("exact", "entropic", "group", "unbalanced")))
    regularisation: float = option(0.1, "weight of the entropy, in the unit of costs", Range(1e-6, 1e6))
    group: float = option(1.0, "of form group: weight of one class a target row", Range(0, 1e6))
    relaxation: float = option(1.0, "of form unbalanced: price of mass out of place", Range(1e-6, 1e6))
    normalise: str = option("median", "unit of costs", Choice(("none", "median", "max")))
    rows: int | None = option(None, "rows a side coupled at once; none: 2,000 exact, 4,000 else", Range(2, 16_000))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows among the target's. Raises `DataError` for group without classes, or for too little memory."""
        if self.form == "group" and not pair.classes:
            raise DataError(
                "optimal_transport with form=group is for labels that are classes, got values; type form=entropic."
            )
        made = plans.cost("optimal_transport", pair.source, pair.target, self.normalise, pair.seed)
        if pair.classes:
            made = plans.classed(made, pair.labels, pair.classes, pair.known, pair.known_labels)
        moved, mass, notes = self._coupled(made, pair) if self.form == "exact" else self._smoothed(made, pair)
        weights = np.concatenate([mass / mass.mean(), np.ones(len(pair.known))])
        features = np.concatenate([moved, pair.target[pair.known]])
        return Aligned(features, np.concatenate([pair.labels, pair.known_labels]), weights, unchanged, notes)

    def _coupled(self, made: plans.Cost, pair: Pair) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        n, m = len(pair.source), len(pair.target)
        limit = self.rows or EXACT
        if max(n, m) <= limit:
            check("optimal_transport", f"five matrices of {n:,} x {m:,}", 5.0 * n * m, "type fewer rows")
            return _exact(made, pair.target), np.ones(n), ()
        size = min(self.rows or BATCH, limit)
        check("optimal_transport", f"five matrices of {size:,} x {size:,}", 5.0 * size * size, "type fewer rows")
        found, times = np.zeros(pair.source.shape), np.zeros(n)
        for rows, columns in plans.batches(n, m, size, PASSES, pair.seed):
            np.add.at(found, rows, _exact(made.part(rows, columns), pair.target[columns]))
            np.add.at(times, rows, 1)
        note = f"Coupled in batches of {size:,} rows a side drawn {PASSES} times, not all {n:,} and {m:,} at once."
        return found / times[:, None], np.ones(n), (note,)

    def _smoothed(self, made: plans.Cost, pair: Pair) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        n, m, limit = len(pair.source), len(pair.target), self.rows or LANDMARKS
        rows, columns = thinned(n, limit, pair.seed, "rows"), thinned(m, limit, pair.seed, "columns")
        columns = np.union1d(columns, pair.known)
        some = made.part(rows, columns)
        check(
            "optimal_transport",
            f"a matrix of {len(rows):,} x {len(columns):,}",
            0.75 * len(rows) * len(columns),
            "type fewer rows",
        )
        relaxed = self.relaxation if self.form == "unbalanced" else math.inf
        if self.form == "group":
            some, plan = plans.grouped(some, self.regularisation, self.group, pair.classes)
        else:
            plan = plans.smoothed(some, self.regularisation, relaxed)
        whole = replace(some, source=made.source, classes=made.classes)
        moved, mass = plans.carried(whole, plan, pair.target[columns], relaxed)
        if not mass.sum() > 0:
            raise DataError("optimal_transport with form=unbalanced sends no mass; type a larger relaxation.")
        return moved, mass, self._notes((n, m), (len(rows), len(columns)), plan.missed)

    def _notes(self, sizes: tuple[int, int], used: tuple[int, int], missed: float) -> tuple[str, ...]:
        notes = []
        if used != sizes:
            notes.append(
                f"The plan is one of {used[0]:,} of {sizes[0]:,} source and {used[1]:,} of {sizes[1]:,} target rows, "
                "drawn at random; the others follow its map."
            )
        if missed > _TOLD:
            notes.append(f"Stopped with {missed:.1%} of the mass out of place: raise regularisation.")
        return tuple(notes)
