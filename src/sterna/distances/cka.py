"""Centred kernel alignment: how unlike two views of the same items are, up to rotation and scale.

Papers: Kornblith, Norouzi, Lee and Hinton 2019, "Similarity of Neural Network Representations Revisited" (arXiv
1905.00414), section 3, with linear kernels; Song, Smola, Gretton, Bedo and Borgwardt 2012, "Feature Selection via
Dependence Maximization" (JMLR 13), theorem 2, for the unbiased estimate of the criterion; Murphy, Zylberberg and Fyshe
2024, "Correcting Biased Centered Kernel Alignment Measures" (arXiv 2405.01012), for why it is needed.

Equation: 1 - H(x, z) / sqrt(H(x, x) H(z, z)) over rows that are the same item on both sides, with H the unbiased
Hilbert-Schmidt independence criterion of linear kernels. The biased one finds independent features of 100 dimensions
and 100 items to be half alike.

The two sides may have other numbers of features: two encoders, or one before and after tuning. All items are used,
whatever their number: nothing of size (n, n) is made.

When not to use: on samples of different items, where row i of one side has nothing to do with row i of the other;
as proof that two encoders do alike work, since a few directions of large variance decide it.
"""

from __future__ import annotations

import math
from typing import ClassVar

from sterna.contracts import Distance, Sides
from sterna.errors import DataError
from sterna.maths.kernels import alignment
from sterna.spec import method, option


@method
class CKA:
    """Which estimate of the criterion."""

    debiased: bool = option(True, "whether items are kept from being compared with themselves")

    needs: ClassVar[str] = "pairs"
    scale: ClassVar[str] = "1 - alignment: 0 for the same up to rotation and scale, about 1 for unrelated"
    reduced: ClassVar[bool] = False

    def measure(self, sides: Sides) -> Distance:
        """One minus the alignment, which is in the notes.

        Raises `DataError` for sides that are not the same items, or too few of them, or that do not vary.
        """
        if len(sides.left) != len(sides.right):
            raise DataError(
                f"cka needs the same items on both sides, got {len(sides.left)} and {len(sides.right)}; "
                "compare two encoders on one data set."
            )
        found = alignment(sides.left, sides.right, self.debiased)
        if math.isnan(found):
            raise DataError(
                f"cka needs features that vary over at least 4 items, got {len(sides.left)} items whose features say "
                "nothing beyond noise on one side; add items or take another encoder."
            )
        return Distance(1 - found, None, (f"The alignment itself is {found:.4f}.",))
