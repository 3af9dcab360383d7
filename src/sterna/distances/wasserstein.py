"""Wasserstein distance: the least work of moving one sample onto the other.

Papers: Peyré and Cuturi 2019, "Computational Optimal Transport" (arXiv 1803.00567), equation 2.11 for samples; Feydy et
al. 2019, "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences" (arXiv 1810.08278), equation 3.

Equation: exact, min over plans P of sum P_ij |x_i - z_j|^2, the squared 2-Wasserstein distance; entropic, the Sinkhorn
divergence OT(x, z) - OT(x, x) / 2 - OT(z, z) / 2, with OT the same plus e times the relative entropy of P to the
independent plan, and e = `regularisation` times the median squared distance of the pooled sample. Both are |v|^2
for a shift by v.

The exact distance of two samples of one distribution is far from 0 in many dimensions and falls like n^(-2/d), so only
values at the same n can be compared; the divergence has had that bias taken off. `auto` takes the exact distance up to
2,000 examples a side, where POT solves it in two seconds, and the divergence beyond.

When not to use: where one outlier matters little, since squared distances make it matter a lot; for samples of other
sizes than those that it is compared with.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import ot

from sterna.contracts import Distance, Sides
from sterna.maths import kernels
from sterna.maths.samples import check, thin
from sterna.spec import Choice, Range, method, option

EXACT = 2000
_STEPS = 10_000_000  # of the network simplex: far more than 2,000 rows take
_ROUNDS = 2000
_STOP = 1e-9


@method
class Wasserstein:
    """Which of the two, and how much it is smoothed."""

    form: str = option("auto", "exact, or smoothed by entropy; auto: by size", Choice(("auto", "exact", "entropic")))
    regularisation: float = option(0.05, "weight of the entropy, in median squared distances", Range(0.005, 100))
    limit: int = option(3000, "examples a side, drawn at random; 2,000 at most where exact", Range(2, 20_000))

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "in squared units of the features, 0 for the same sample"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The squared distance or the divergence."""
        check("wasserstein", sides.left, sides.right, 1)
        form = self.form
        if form == "auto":
            form = "exact" if max(len(sides.left), len(sides.right)) <= EXACT else "entropic"
        limit = min(self.limit, EXACT) if form == "exact" else self.limit
        left, right, notes = thin(sides.left, sides.right, limit, sides.seed)
        centre = right.mean(axis=0)
        left, right = left - centre, right - centre
        if form == "exact":
            cost = kernels.squared_distances(left, right)
            return Distance(float(ot.emd2([], [], cost, numItermax=_STEPS)), None, notes)
        weight = self.regularisation * kernels.median_of(np.concatenate([left, right]), sides.seed)
        own = (_entropic(left, left, weight) + _entropic(right, right, weight)) / 2
        note = f"The Sinkhorn divergence with entropy {self.regularisation:g} of the median squared distance."
        return Distance(max(_entropic(left, right, weight) - own, 0.0), None, (*notes, note))


def _entropic(left: np.ndarray, right: np.ndarray, weight: float) -> float:
    """min over plans of their cost plus `weight` times their relative entropy to the independent plan.

    Costs are first lowered by potentials that leave a 0 in every row and column, which moves the minimum by a known
    amount: exp(-cost / weight) then has a 1 in each, and no row or column is lost to underflow.
    """
    cost = kernels.squared_distances(left, right)
    columns = (cost - cost.min(axis=1, keepdims=True)).min(axis=0)
    rows = (cost - columns).min(axis=1)
    cost -= rows[:, None]
    cost -= columns
    _, log = ot.sinkhorn(
        [], [], cost, weight, method="sinkhorn", numItermax=_ROUNDS, stopThr=_STOP, log=True, warn=False
    )
    # At the optimum the plan is u K v, and its entropy to the independent one is that of u n and v m.
    gained = np.log(log["u"] * len(left)).mean() + np.log(log["v"] * len(right)).mean()
    return float(rows.mean() + columns.mean() + weight * gained)
