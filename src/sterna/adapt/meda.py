"""Manifold embedded distribution alignment: a classifier on the geodesic flow that domains and neighbours agree on.

Paper: Wang, Feng, Chen, Yu, Huang and Yu 2018, "Visual Domain Adaptation with Manifold Embedded Distribution Alignment"
(ACM MM, arXiv 1807.07258), equations 4 to 13 and algorithm 1.

Equation: z = G^1/2 x, G the geodesic flow kernel, of length 1; f(z) = sum_i b_i k(z_i, z) minimises the squared error
on the source + shrinkage |f|^2 + alignment tr f'M f + smoothness tr f'L f: M of Frobenius norm 1 as in `bda`, with
pseudo-labels of the round before, at first of the nearest neighbour; L the normalised Laplacian of the nearest
neighbours by cosine. With explicit features Phi of the kernel f = Phi T,
T = (Phi_S'Phi_S + shrinkage I + alignment Phi'M Phi + smoothness Phi'L Phi)^-1 Phi_S'Y.

The balance of classes against the whole is estimated each round by A-distances, or given. Answers are the nearest
shares, in the Euclidean sense, to what f says.

Cost: as `gfk`, then O(N r^2) for r landmarks and O(r^3) each round; pseudo-labels and neighbours are those of up to
4,000 rows a side, drawn at random beyond.

When not to use: where the first pseudo-labels are mostly wrong; where shares are read as probabilities, which the
squared error makes them only roughly; for values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from sterna.contracts import Answering, Pair
from sterna.errors import DataError
from sterna.maths.subspaces import bases, flow, projected
from sterna.maths.transfer_components import Kernel, Lift
from sterna.maths.transfer_graph import affinities, roughness
from sterna.maths.transfer_rounds import Domains, Pool, answered, conditional, estimated, grouped, pool
from sterna.maths.transfer_shares import nearest_shares
from sterna.records import Labels
from sterna.spec import Choice, Range, method, option


@dataclass(frozen=True)
class _Classifier:
    mean: np.ndarray  # (d,) of the target
    factor: np.ndarray  # (d, 2 k) of the geodesic flow kernel
    lift: Lift
    weight: np.ndarray  # (r, classes)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(m, d) -> (m, classes) shares."""
        found = np.empty((len(rows), self.weight.shape[1]))
        for part, made in self.lift.parts(projected(rows, self.mean, self.factor)):
            found[part] = made @ self.weight
        return nearest_shares(found)


@method
class MEDA:
    """The subspaces, the kernel and the weights of what is asked of the classifier."""

    components: int | None = option(
        20, "principal directions of each domain; none: by their disagreement", Range(1, 2048)
    )
    balance: float | None = option(
        None, "mu: the weight of classes against the domains as wholes; none: estimated each round", Range(0, 1)
    )
    alignment: float = option(10.0, "lambda: of the discrepancy of the domains", Range(0, 1e9))
    smoothness: float = option(1.0, "rho: of the neighbourhoods", Range(0, 1e9))
    shrinkage: float = option(0.1, "eta: of the size of the classifier", Range(0, 1e9, low_open=True))
    neighbours: int = option(10, "p: of each row in the graph", Range(1, 1000))
    rounds: int = option(10, "times that the classifier is fitted", Range(1, 1000))
    kernel: str = option("rbf", "how rows are compared", Choice(("linear", "rbf")))
    width: float | None = option(
        None, "sigma of rbf, rows having length 1; none: by the median distance", Range(0, 1e6, low_open=True)
    )
    landmarks: int = option(1000, "rows that stand for all in a kernel", Range(2, 3000))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def adapt(self, pair: Pair) -> Answering:
        """A classifier of the target. Raises `DataError` for domains without two different rows."""
        source, target = bases("meda", pair.source, pair.target, self.components)
        if not source.basis.shape[1]:
            raise DataError("meda needs rows that vary in both domains, got one where all are the same; add examples.")
        factor = flow(source.basis, target.basis)
        sides = projected(pair.source, source.mean, factor), projected(pair.target, target.mean, factor)
        domains = Domains(sides[0], pair.labels, sides[1], pair.known, pair.known_labels, pair.classes, pair.seed)
        made, notes = pool("meda", domains, Kernel(self.kernel, self.width, True, self.landmarks))
        weight = self._fitted(made, domains)
        return Answering(_Classifier(target.mean, factor, made.lift, weight), notes)

    def _fitted(self, made: Pool, domains: Domains) -> np.ndarray:
        """(r, classes) the classifier after the last round."""
        square, products = _labelled(made.lift, domains)
        square[np.diag_indices_from(square)] += self.shrinkage
        mine = made.from_source
        if self.smoothness > 0:
            near = affinities(np.concatenate([made.rows[0][mine], made.rows[1]]), self.neighbours, "cosine")
            # As if the graph were of all rows: the sums of the other terms are.
            share = self.smoothness * (len(domains.source) + len(domains.target)) / near.shape[0]
            square += share * roughness(np.concatenate([made.learning[mine], made.guessed]), near)
        labels = made.labelled(answered("nearest", made.rows[0], made.learning_labels, made.rows[1]))
        apart = partial(estimated, (made.rows[0][mine], made.rows[1]))
        for _ in range(self.rounds):
            balance = self.balance
            if balance is None:
                balance = apart((made.learning_labels[mine], labels))
            across = conditional(made, labels, balance)
            weight = np.linalg.solve(square + self.alignment * across @ across.T, products)
            given = made.labelled((made.guessed @ weight).argmax(axis=1))
            if (given == labels).all():
                break
            labels = given
        return np.asarray(weight)


def _labelled(lift: Lift, domains: Domains) -> tuple[np.ndarray, np.ndarray]:
    """(r, r) Phi'Phi and (r, classes) Phi'Y over all rows whose labels are known."""
    square, products = np.zeros((1, 1)), np.zeros((1, 1))
    sides: list[tuple[np.ndarray, Labels]] = [
        (domains.source, domains.labels),
        (domains.target[domains.known], domains.known_labels),
    ]
    for side, given in sides:
        for part, made in lift.parts(side):
            square = square + made.T @ made
            products = products + grouped(made, given[part], domains.classes).T
    return square, products
