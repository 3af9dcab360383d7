"""Transfer component analysis: components of large variance in which the means of both domains agree.

Paper: Pan, Tsang, Kwok and Yang 2011, "Domain Adaptation via Transfer Component Analysis" (IEEE TNN 22), equations 6
to 13.

Equation: W maximises tr W'K H K W subject to W'(K L K + penalty I) W = I, K the kernel on the pooled rows, H the
centring matrix, L = e e' with e_i = 1 / n for the source and -1 / m for the target, here of Frobenius norm 1, so that
the penalty means the same for any number of rows. Columns of W have length 1.

Rows are centred around their common mean. By default they are divided by one number so that their mean squared length
is 1, and the penalty does not depend on units; with `unit` every row has length 1, before and after the map.

With `primal`, W weighs features instead of rows: W maximises tr W'X'H X W subject to W'(X'L X + penalty I) W = I for
rows X, or for the features of another kernel. The penalty is then on the length of the map. Pan et al. write the dual
form, by the kernel, as the programs of ADAPT and skada do; Long et al. 2013 compare with the primal one. With `centred`
off, rows keep their place; without `unit`, that changes nothing in the primal form but the origin.

Digits of MNIST and USPS, penalty 0.1 (Long et al. 2013): 51.05 and 56.28, both as published, with `primal`.

Cost: the linear kernel of up to 2,048 features is solved in features, exactly, in O(N d^2 + d^3) time and O(d^2)
memory beyond the result; other problems by comparison with q = `landmarks` rows, exactly where there are no more rows
than that, else by Nystrom's approximation, in O(N q d + N q^2 + q^3) time and O(q^2) memory.

Office-Caltech10 SURF, mean accuracy of one nearest neighbour over the 12 tasks, 100 components: 43.61, the published
figure in all 12 tasks, with rows as long as they are and a penalty that is nothing (1 for rows of squared length 800);
45.57 with `unit`, as in the programs of later papers. The lengths of the rows make the difference, not the centring.

When not to use: where classes have other shares in the target, since means then should differ; where what separates
the domains separates the classes.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Aligned, Pair
from sterna.maths.transfer_components import Kernel, components, lifted, marginal, moments, solver, together
from sterna.spec import Choice, Range, method, option


@method
class TCA:
    """The kernel and what is asked of the components."""

    components: int = option(100, "components; fewer where rows vary in fewer directions", Range(1, 2048))
    penalty: float = option(1.0, "of the length of W", Range(0, 1e9, low_open=True))
    kernel: str = option("linear", "how rows are compared", Choice(("linear", "rbf")))
    width: float | None = option(
        None, "sigma of rbf, rows having length 1; none: by the median distance", Range(0, 1e6, low_open=True)
    )
    unit: bool = option(False, "whether each row has length 1, before and after the map")
    landmarks: int = option(1000, "rows that stand for all in a kernel", Range(2, 3000))
    primal: bool = option(False, "whether W weighs features (primal form) instead of rows, as the paper writes it")
    centred: bool = option(True, "whether the common mean is taken off the rows, which linear programs leave")

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Both domains in the same components. Raises `DataError` for what does not fit into memory."""
        kernel = Kernel(self.kernel, self.width, self.unit, self.landmarks, self.centred)
        lift, notes = lifted("tca", pair.source, pair.target, kernel, pair.seed)
        found = moments(lift, pair.source, pair.target)
        weight = solver(found.square, found.scatter, self.primal).weights(
            marginal(found), self.penalty, self.components
        )
        made = components(lift, weight)
        sides = (made.view(pair.source), made.view(pair.target[pair.known]))
        return Aligned(*together(sides, (pair.labels, pair.known_labels)), made.view, notes)
