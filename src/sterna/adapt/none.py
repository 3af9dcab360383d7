"""Nothing is adapted: a head learns from the source as it is, the floor for every other method.

Paper: Blitzer, Crammer, Kulesza, Pereira and Wortman 2007, "Learning Bounds for Domain Adaptation" (NIPS 20), for what
a head that is trained on the source alone may lose on the target: the distance of the domains.

Equation: z = x for both domains. Target examples whose labels are known are learnt from with the source's.

When not to use: never as the end of a comparison, always in it: on many pairs of domains half of the methods do worse.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.transfer_components import together
from sterna.spec import method


@method
class Nothing:
    """It has no options."""

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """The rows as they are."""
        sides = (pair.source, pair.target[pair.known])
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), unchanged)
