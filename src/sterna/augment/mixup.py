"""Mixup: train on blends of two examples and of their labels.

Paper: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv 1710.09412), equation 1.

Equation: x' = l x_i + (1 - l) x_j, y' = l y_i + (1 - l) y_j, l ~ Beta(alpha, alpha), one l for each batch, j the
neighbour of i in the shuffled batch. Example weights are blended likewise. On activations at a cut it is manifold
mixup (Verma et al. 2019, arXiv 1806.05236) at that cut.

When not to use: where probabilities must be sharp at once (it underfits when training is short), and where the label
is not a share that can be halved.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.records import Augment
from sterna.spec import Range, method, option
from sterna.transforms import Blend


@method
class Mixup:
    """How evenly two examples are blended."""

    alpha: float = option(
        0.2,
        "parameter of the Beta distribution; larger blends more evenly (the paper: 0.1 to 0.4)",
        Range(0, 100, True),
    )

    places: ClassVar[tuple[str, ...]] = ("mix",)

    def build(self) -> Augment:
        return Augment(mix=Blend(self.alpha), written=repr(self))
