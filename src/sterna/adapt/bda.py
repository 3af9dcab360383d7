"""Balanced distribution adaptation: as `jda`, with a weight between the domains as wholes and their classes.

Paper: Wang, Chen, Hao, Feng and Shen 2017, "Balanced Distribution Adaptation for Transfer Learning" (ICDM, arXiv
1807.00516), equations 5 to 8. The estimate of the balance: Wang, Feng, Chen, Yu, Huang and Yu 2018, "Visual Domain
Adaptation with Manifold Embedded Distribution Alignment" (ACM MM, arXiv 1807.07258), section 3.3.

Equation: as `jda` with M = (1 - mu) C M_0 + mu sum_c M_c of Frobenius norm 1. 0: the wholes alone, `tca`; 1: classes
alone; 0.5: `jda`, to the last bit. The estimate is d_c / (d_0 + d_c), d_0 the A-distance of the domains in the
components of the round before and d_c the mean of the A-distances of the classes. `primal` and `centred` are those of
`jda`.

Cost: as `jda`; an estimated balance adds O(a k^2) each round, for a examples in k components.

Office-Caltech10 SURF, mean accuracy of one nearest neighbour over the 12 tasks: that of `jda` with 0.5.

When not to use: to choose mu on labels that judge the result; as `jda`.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.maths.transfer_components import Kernel, together
from sterna.maths.transfer_rounds import Domains, Rounds, joint, pool
from sterna.spec import Choice, Range, method, option


@method
class BDA:
    """The kernel, what is asked of the components, and the rounds."""

    balance: float | None = option(
        None, "mu: the weight of classes against the domains as wholes; none: estimated each round", Range(0, 1)
    )
    components: int = option(100, "components; fewer where rows vary in fewer directions", Range(1, 2048))
    penalty: float = option(1.0, "of the length of W", Range(0, 1e9, low_open=True))
    rounds: int = option(10, "times that components are made", Range(1, 1000))
    classifier: str = option("nearest", "what gives pseudo-labels: example or class mean", Choice(("nearest", "mean")))
    kernel: str = option("linear", "how rows are compared", Choice(("linear", "rbf")))
    width: float | None = option(
        None, "sigma of rbf, rows having length 1; none: by the median distance", Range(0, 1e6, low_open=True)
    )
    unit: bool = option(True, "whether each row has length 1, before and after the map")
    landmarks: int = option(1000, "rows that stand for all in a kernel", Range(2, 3000))
    primal: bool = option(False, "whether W weighs features, as in the authors' program, instead of rows")
    centred: bool = option(True, "whether the common mean is taken off the rows; the authors' program does not")

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def adapt(self, pair: Pair) -> Aligned:
        """Both domains in the same components. Raises `DataError` for what does not fit into memory."""
        domains = Domains(pair.source, pair.labels, pair.target, pair.known, pair.known_labels, pair.classes, pair.seed)
        kernel = Kernel(self.kernel, self.width, self.unit, self.landmarks, self.centred)
        made, notes = pool("bda", domains, kernel)
        asked = Rounds(self.components, self.penalty, self.rounds, self.classifier, self.balance, self.primal)
        found = joint(made, asked)
        sides = (found.view(pair.source), found.view(pair.target[pair.known]))
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), found.view, notes)
