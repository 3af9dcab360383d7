"""EasyAdapt: every feature three times, for both domains, for the source alone and for the target alone.

Paper: Daumé 2007, "Frustratingly Easy Domain Adaptation" (ACL, arXiv 0907.1815), equations 1 and 2.

Equation: a source row x becomes (x, x, 0), a target row (x, 0, x). A linear head on these is one that both domains
share plus a correction for each, and its penalty decides how much they share: an inner product within a domain is
2 x'z, between domains x'z.

Rows are taken around the middle of both domains' means and get a constant as long as the features are on average, so
that each domain can have a bias of its own; the paper's word counts have neither need.

It needs known target labels: without any, the copy for the target is never learnt, and the head is the source's.

Cost: three times the features.

When not to use: without known target labels; with very many, where the target alone does; before a nearest neighbour,
to which it says no more than that the own domain is near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths.memory import check
from sterna.spec import Range, method, option


@dataclass(frozen=True)
class _Augmented:
    """Rows as those of one domain: 1 the source, 2 the target."""

    centre: np.ndarray  # (d,)
    length: float  # of the constant feature

    def rows(self, rows: np.ndarray, place: int) -> np.ndarray:
        width = rows.shape[1] + 1
        found = np.zeros((len(rows), 3 * width))
        for start in (0, place * width):
            found[:, start : start + width - 1] = rows - self.centre
            found[:, start + width - 1] = self.length
        return found

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self.rows(rows, 2)


@method
class EasyAdapt:
    """How much the few target examples count."""

    weight: float = option(1.0, "of a known target row beside a source row", Range(0, 1e6, low_open=True))

    needs: ClassVar[str] = "labels"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Three times the features. Raises `DataError` without known target labels, or for too little memory."""
        (n, d), count = pair.source.shape, len(pair.known)
        if not count:
            raise DataError("easyadapt needs known labels of the target, got none; label some rows, or type coral.")
        check("easyadapt", f"{n + count:,} x {3 * d + 3:,} features", (n + count) * (3.0 * d + 3), "use fewer features")
        own = pair.target[pair.known]
        centre = (pair.source.mean(axis=0) + own.mean(axis=0)) / 2
        spread = ((pair.source - centre) ** 2).mean() + ((own - centre) ** 2).mean()
        made = _Augmented(centre, float(np.sqrt(spread / 2)) or 1.0)
        features = np.concatenate([made.rows(pair.source, 1), made(own)])
        weights = np.repeat([1.0, self.weight], [n, count])
        return Aligned(features, np.concatenate([pair.labels, pair.known_labels]), weights / weights.mean(), made)
