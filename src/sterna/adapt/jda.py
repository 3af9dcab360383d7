"""Joint distribution adaptation: components in which the domains agree as wholes and class by class.

Paper: Long, Wang, Ding, Sun and Yu 2013, "Transfer Feature Learning with Joint Distribution Adaptation" (ICCV),
equations 6 to 10 and algorithm 1.

Equation: W maximises tr W'K H K W subject to W'(K M K + penalty I) W = I, M = C M_0 + sum_c M_c of Frobenius norm 1,
M_0 of the means of both domains and M_c of the means of class c, which the target has by pseudo-labels: of one nearest
neighbour in the components of the round before, none in the first. Columns of W have length 1.

M_0 counts C times, C the number of classes, as in the authors' program; their equation 10 counts it once. A class that
no pseudo-label names is left out, where that program draws the mean of the source's class to the origin. Labels that
are known take the place of pseudo-labels.

Rows have length 1 before and after the map, as in the program (`unit`). Before that they are centred around their
common mean, which the program leaves out (`centred`). The program also has a primal form, that of the published figures
of digits: tr W'X'H X W under W'(X'M X + penalty I) W = I for rows X, so that W weighs features and the penalty is on
the length of the map (`primal`). H stays in either form. `primal=true, centred=false` is that program.

Cost: as `tca`, and each round O(r^3) for r features or landmarks with up to 4,000 pseudo-labels of the target by as
many rows of the source; beyond that, both are drawn at random. Rounds end where pseudo-labels come back unchanged.

Office-Caltech10 SURF, mean accuracy of one nearest neighbour over the 12 tasks: 46.3 with the defaults, the published
figure (46.31).

Digits, USPS to MNIST and back, penalty 0.1: 59.65 and 67.28 in this way, both as published; 53.65 and 68.33 by default.

When not to use: where the first pseudo-labels are mostly wrong, since later rounds hold on to them; for values.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.maths.transfer_components import Kernel, together
from sterna.maths.transfer_rounds import Domains, Rounds, joint, pool
from sterna.spec import Choice, Range, method, option


@method
class JDA:
    """The kernel, what is asked of the components, and the rounds."""

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
        made, notes = pool("jda", domains, kernel)
        asked = Rounds(self.components, self.penalty, self.rounds, self.classifier, 0.5, self.primal)
        found = joint(made, asked)
        sides = (found.view(pair.source), found.view(pair.target[pair.known]))
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), found.view, notes)
