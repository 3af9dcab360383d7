"""Fréchet distance: how far apart the normal distributions are that have the samples' means and covariances.

Papers: Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions" (Journal of
Multivariate Analysis 12); Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule" (arXiv
1706.08500), for its use on features (FID).

Equation: |m_x - m_z|^2 + tr (C_x + C_z - 2 (C_x^1/2 C_z C_x^1/2)^1/2), covariances divided by n - 1. The product under
the root is symmetric, so there is no imaginary part to drop. All examples are used, whatever their number.

When not to use: with fewer than about ten examples a feature, since its bias goes like d / n and looks like distance;
where the samples are far from normal in ways that mean and covariance do not show.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Distance, Sides
from sterna.maths.samples import check, moments
from sterna.maths.transport import bures
from sterna.spec import method


@method
class Frechet:
    """It has no options."""

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "in squared units of the features, 0 for equal means and covariances"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The squared distance."""
        check("frechet", sides.left, sides.right)
        (mean, covariance), (other, second) = moments(sides.left), moments(sides.right)
        few = min(len(sides.left), len(sides.right)) < 10 * len(mean)
        notes = ("Fewer than ten examples a feature: part of the value is noise.",) if few else ()
        return Distance(float(((mean - other) ** 2).sum() + bures(covariance, second)), None, notes)
