"""Unconstrained least-squares importance fitting: source rows weighted by a density ratio of closed form.

Paper: Kanamori, Hido and Sugiyama 2009, "A Least-squares Approach to Direct Importance Estimation" (JMLR 10), section
3.1 for the solution, section 4 and figure 2 for leave-one-out.

Equation: w(x) = sum_l a_l k(x, c_l), a = max(0, (H + penalty I)^-1 h), H the mean of k k' over the source, h the mean
of k over the target, centres c_l drawn from the target. It minimises the squared error of the ratio over the source.

Width and penalty are chosen on a grid (0.1 to 5 times the median width, 0.00001 to 10) by the leave-one-out score,
which has a closed form too. Rows that are centres are never judged, since a kernel around a judged row speaks for any
width that is narrow; so at most half of the target become centres. The paper judges them too.

Cost: O((n + m) b (d + b)) time for each width, O((n + m) b) memory with b `centres`; nothing is approximated beyond
the choice of centres.

When not to use: where labels mean something else in the target, which weights cannot mend; where the source has no
rows near the target, as in most sets of more than a few dozen features, since the ratio then is flat or is carried by a
few rows (the notes say how many).
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.maths import ratios
from sterna.maths.adapted_inputs import unchanged
from sterna.spec import Range, method, option


@method
class ULSIF:
    """The kernels and the penalty."""

    centres: int = option(100, "target rows that kernels are around; at most half of them", Range(1, 2000))
    width: float | None = option(None, "sigma of the kernels; none: by leave-one-out", Range(0, 1e9, low_open=True))
    penalty: float | None = option(
        None, "of the squared coefficients; none: by leave-one-out", Range(0, 1e9, low_open=True)
    )

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with weights. Raises `DataError` for ratios that are all 0, and beyond memory."""
        given = ratios.compared("ulsif", pair.source, pair.target, self.centres, pair.seed)
        ratio, width, penalty = ratios.least_squares(given, 0.0, self.width, self.penalty, pair.seed)
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        made, notes = ratios.weighted("ulsif", ratio, sides, labels)
        return Aligned(*made, unchanged, (f"Kernels have the width {width:.4g} and the penalty {penalty:g}.", *notes))
