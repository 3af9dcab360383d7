"""CutMix: a rectangle of each picture comes from another, and the labels are mixed by area.

Paper: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features"
(arXiv 1905.04899), equations 1 and 2.

Equation: x' = M x_i + (1 - M) x_j, y' = l y_i + (1 - l) y_j, with M one outside a rectangle of relative area 1 - l,
l ~ Beta(alpha, alpha), corrected for the part of the rectangle that falls outside the picture. Example weights are
mixed likewise.

When not to use: where the class shows in a small place (the label then says what the picture does not). Inputs that
are not (b, c, h, w), such as the tokens of a transformer at a cut, are left unmixed.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.records import Augment
from sterna.spec import Range, method, option
from sterna.transforms import Paste


@method
class Cutmix:
    """How large the rectangles are."""

    alpha: float = option(
        1.0, "parameter of the Beta distribution; 1 makes every area equally likely (the paper's)", Range(0, 100, True)
    )

    places: ClassVar[tuple[str, ...]] = ("mix",)

    def build(self) -> Augment:
        return Augment(mix=Paste(self.alpha), written=repr(self))
