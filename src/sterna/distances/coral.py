"""CORAL distance: how much the covariances of the two samples differ.

Paper: Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation" (arXiv 1607.01719),
equation 1.

Equation: |C_x - C_z|_F^2 / (4 d^2), covariances divided by n - 1. All examples are used, whatever their number.

When not to use: alone, since two samples with other means and the same covariance are at distance 0; with fewer
examples than features, where it mostly measures noise.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Distance, Sides
from sterna.maths.samples import check, moments
from sterna.spec import method


@method
class Coral:
    """It has no options."""

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "in fourth powers of the features, 0 for equal covariances"
    reduced: ClassVar[bool] = False

    def measure(self, sides: Sides) -> Distance:
        """The squared difference of the covariances."""
        check("coral", sides.left, sides.right)
        apart = moments(sides.left)[1] - moments(sides.right)[1]
        return Distance(float((apart * apart).sum()) / (4 * len(apart) ** 2))
