"""The known examples of the target alone: no transfer at all, the floor where some labels of the target are known.

Paper: Daumé III 2007, "Frustratingly Easy Domain Adaptation" (ACL), section 3.1, for the baselines of supervised
adaptation, of which it is the one called TgtOnly.

Equation: a head learns from (x_i, y_i) of the target whose y_i is known; the source counts for nothing.

When not to use: as more than a floor; with a handful of labels the source almost always knows something.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths.adapted_inputs import unchanged
from sterna.spec import method


@method
class TargetOnly:
    """It has no options."""

    needs: ClassVar[str] = "labels"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """The known rows as they are. Raises `DataError` for none."""
        if not len(pair.known):
            raise DataError("target_only needs known labels of the target, got none; label some, or type none.")
        return Aligned(pair.target[pair.known], pair.known_labels, np.ones(len(pair.known)), unchanged)
