"""Semi-supervised transfer component analysis: `tca` whose components also follow labels and neighbourhoods.

Paper: Pan, Tsang, Kwok and Yang 2011, "Domain Adaptation via Transfer Component Analysis" (IEEE TNN 22), section IV,
equations 15 to 19.

Equation: W maximises tr W'K H Q H K W subject to W'(K (L + locality G) K + penalty I) W = I, with
Q = dependence Y + (1 - dependence) I; Y is the kernel of the labels, 1 between examples of one class, and the product
of standardised values for values, 0 where a label is not known. G is the normalised Laplacian of the graph of nearest
neighbours, weighted exp(-|x - z|^2 / 2 s^2). L and G have Frobenius norm 1, so that `locality` of 1 weighs them alike.

Rows are scaled as in `tca`.

Cost: as `tca`, with O(N^2 d) more for the graph, of which up to 4,000 rows a side are taken, drawn at random beyond.

When not to use: where labels depend on the features in another way in the target; for its time, where `tca` serves.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.sparse.linalg import norm

from sterna.contracts import Aligned, Pair
from sterna.maths.samples import thinned
from sterna.maths.transfer_components import (
    Kernel,
    Lift,
    Moments,
    components,
    lifted,
    marginal,
    moments,
    solver,
    together,
)
from sterna.maths.transfer_graph import affinities, laplacian
from sterna.maths.transfer_rounds import grouped
from sterna.spec import Choice, Range, method, option

_SAMPLE = 4000  # rows a side in the graph


@method
class SSTCA:
    """The kernel and what is asked of the components."""

    components: int = option(100, "components; fewer where rows vary in fewer directions", Range(1, 2048))
    penalty: float = option(1.0, "of the length of W", Range(0, 1e9, low_open=True))
    dependence: float = option(0.5, "gamma: the weight of the labels against the variance", Range(0, 1))
    locality: float = option(1.0, "lambda: of the neighbourhoods", Range(0, 1e9))
    neighbours: int = option(10, "of each row in the graph", Range(1, 1000))
    kernel: str = option("linear", "how rows are compared", Choice(("linear", "rbf")))
    width: float | None = option(
        None, "sigma of rbf, rows having length 1; none: by the median distance", Range(0, 1e6, low_open=True)
    )
    unit: bool = option(False, "whether each row has length 1, before and after the map")
    landmarks: int = option(1000, "rows that stand for all in a kernel", Range(2, 3000))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Both domains in the same components. Raises `DataError` for what does not fit into memory."""
        kernel = Kernel(self.kernel, self.width, self.unit, self.landmarks)
        lift, notes = lifted("sstca", pair.source, pair.target, kernel, pair.seed)
        found = moments(lift, pair.source, pair.target)
        across = marginal(found)
        constraint = across @ across.T
        if self.locality > 0:
            rough, told = self._rough(lift, pair)
            constraint, notes = constraint + self.locality * rough, (*notes, *told)
        sums = _label_sums(lift, found, pair)
        numerator = self.dependence * sums.T @ sums + (1 - self.dependence) * found.scatter
        weight = solver(found.square, numerator).dense_weights(constraint, self.penalty, self.components)
        made = components(lift, weight)
        sides = (made.view(pair.source), made.view(pair.target[pair.known]))
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), made.view, notes)

    def _rough(self, lift: Lift, pair: Pair) -> tuple[np.ndarray, tuple[str, ...]]:
        """(r, r) Phi'G Phi, with the sentence that says how many rows it is of."""
        chosen = [
            side[thinned(len(side), _SAMPLE, pair.seed, "graph", name)]
            for side, name in ((pair.source, "source"), (pair.target, "target"))
        ]
        rows = lift.scaled(np.concatenate(chosen))
        graph, features = laplacian(affinities(rows, self.neighbours, "heat")), lift.raised(rows)
        total = len(pair.source) + len(pair.target)
        size = float(norm(graph)) or 1.0
        # As the norm grows with the root of the rows and the product with the rows.
        rough = features.T @ (graph @ features) / size * np.sqrt(total / len(rows))
        told = f"Neighbours are those among {len(rows):,} of {total:,} rows." if len(rows) < total else ""
        return (rough + rough.T) / 2, (told,) if told else ()


def _label_sums(lift: Lift, found: Moments, pair: Pair) -> np.ndarray:
    """(c, r) whose columns' products are Phi'H Y H Phi: sums around the mean of all rows, class by class."""
    labels = np.concatenate([pair.labels, pair.known_labels])
    sides = ((pair.source, pair.labels), (pair.target[pair.known], pair.known_labels))
    centre = found.counts @ np.asarray(found.means) / sum(found.counts)
    if pair.classes:
        sums = sum(grouped(made, given[part], pair.classes) for side, given in sides for part, made in lift.parts(side))
        return np.asarray(sums - np.bincount(labels, minlength=pair.classes)[:, None] * centre)
    mean, size = labels.mean(), labels.std() or 1.0
    total = np.zeros((1, len(centre)))
    for side, given in sides:
        for part, made in lift.parts(side):
            total += ((given[part] - mean) / size)[None] @ (made - centre)
    return total
