"""Relative least-squares importance fitting: source rows weighted by a density ratio that cannot grow without bound.

Paper: Yamada, Suzuki, Kanamori, Hachiya and Sugiyama 2011, "Relative Density-Ratio Estimation for Robust Distribution
Comparison" (NIPS, arXiv 1106.4729), equations 2 to 8.

Equation: r(x) = p_T(x) / (alpha p_T(x) + (1 - alpha) p_S(x)) <= 1 / alpha, as sum_l a_l k(x, c_l) with
a = max(0, (H + penalty I)^-1 h), H = alpha H_T + (1 - alpha) H_S the means of k k' over target and source, h the mean
of k over the target. With alpha 0 it is `ulsif`; with alpha 1 every row would weigh the same.

Coefficients are kept from below 0, as those of ulsif are, so that no weight is negative. Width and penalty are chosen
on a grid (0.1 to 5 times the median width, 0.00001 to 10) by leave-one-out in closed form, over target rows that are no
centres; the paper divides into folds.

Cost: O((n + m) b (d + b)) time for each width, O((n + m) b) memory with b `centres`.

When not to use: where the plain ratio is wanted, such as for an unbiased mean over the target: this one shrinks it
towards 1; where labels mean something else in the target, which weights cannot mend.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.maths import ratios
from sterna.maths.adapted_inputs import unchanged
from sterna.spec import Range, method, option


@method
class RULSIF:
    """How far the ratio is bounded, the kernels and the penalty."""

    alpha: float = option(
        0.1, "share of the target in what the ratio is taken to; no ratio is above 1 / alpha", Range(0, 0.99)
    )
    centres: int = option(100, "target rows that kernels are around; at most half of them", Range(1, 2000))
    width: float | None = option(None, "sigma of the kernels; none: by leave-one-out", Range(0, 1e9, low_open=True))
    penalty: float | None = option(
        None, "of the squared coefficients; none: by leave-one-out", Range(0, 1e9, low_open=True)
    )

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with weights. Raises `DataError` for ratios that are all 0, and beyond memory."""
        given = ratios.compared("rulsif", pair.source, pair.target, self.centres, pair.seed)
        ratio, width, penalty = ratios.least_squares(given, self.alpha, self.width, self.penalty, pair.seed)
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        made, notes = ratios.weighted("rulsif", ratio, sides, labels)
        return Aligned(*made, unchanged, (f"Kernels have the width {width:.4g} and the penalty {penalty:g}.", *notes))
