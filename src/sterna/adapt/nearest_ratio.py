"""Nearest-neighbour density ratio: a source row weighs as much as target rows have it as their nearest one.

Paper: Loog 2012, "Nearest Neighbor-Based Importance Weighting" (IEEE International Workshop on Machine Learning for
Signal Processing), section 3.

Equation: w(x_i) = smoothing + the number of target rows whose nearest source row is x_i, a count over Voronoi cells,
divided by its mean. The paper adds 1, which keeps source rows that no target row is near. With `neighbours` k each
target row counts 1 for each of its k nearest source rows, which is steadier and pulls weights less towards 1.

It has no kernel and nothing to choose. Distances are those of the features as they are.

Cost: O(n m d) time, in float32 beyond 4 million pairs, O(n) memory.

When not to use: with many features, where a few source rows are the nearest ones of most target rows whatever the
densities are; with fewer target than source rows, where nearly all counts are 0 or 1: use more neighbours.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.maths import ratios
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.memory import check
from sterna.maths.samples import blocks
from sterna.spec import Range, method, option

_EXACT = 4_000_000  # pairs up to which distances are kept in float64
_CELLS = 2**22  # of a block of distances


@method
class NearestRatio:
    """How many neighbours count, and what is added."""

    neighbours: int = option(1, "source rows that a target row counts for", Range(1, 1000))
    smoothing: float = option(1.0, "added to every count", Range(0, 1e9))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with weights. Raises `DataError` for a copy of the source that does not fit into memory."""
        n, d = pair.source.shape
        check("nearest_ratio", f"a copy of {n:,} x {d:,} features", 1.5 * n * d, "use fewer rows or features")
        ratio = _counts(pair.source, pair.target, min(self.neighbours, len(pair.source))) + self.smoothing
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        made, notes = ratios.weighted("nearest_ratio", ratio, sides, labels)
        return Aligned(*made, unchanged, notes)


def _counts(source: np.ndarray, target: np.ndarray, neighbours: int) -> np.ndarray:
    """(n,) for how many target rows each source row is among the nearest."""
    kind = np.float64 if len(source) * len(target) <= _EXACT else np.float32
    centre, found = ratios.middle(source, target), np.zeros(len(source))
    places = (source - centre).astype(kind, copy=False)
    lengths = (places * places).sum(axis=1) / 2
    for part in blocks(len(target), max(1, _CELLS // len(source))):
        # The length of the target row is the same for all source rows, and need not be added.
        away = lengths - (target[part] - centre).astype(kind, copy=False) @ places.T
        if neighbours == 1:
            nearest = away.argmin(axis=1)
        else:
            nearest = np.argpartition(away, neighbours - 1, axis=1)[:, :neighbours].ravel()
        found += np.bincount(nearest, minlength=len(source))
    return found
