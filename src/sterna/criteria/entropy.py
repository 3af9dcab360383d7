"""How sure the adapted head is of its answers on the target.

Papers: Grandvalet and Bengio 2005, "Semi-supervised Learning by Entropy Minimization" (NIPS 17); Morerio,
Cavazza and Murino 2018, "Minimal-Entropy Correlation Alignment for Unsupervised Deep Domain Adaptation" (arXiv
1711.10288), who choose by it.

Equation: -mean_j H(p_j) = mean_j sum_k p_jk ln p_jk over the target.

When not to use: to compare heads of different kinds, or penalties: a weaker penalty is surer of everything. A head that
calls everything one class gets the best value of all; `mutual_information` does not fall for that.
"""

from __future__ import annotations

from sterna.contracts import Adapted
from sterna.maths.criteria import entropies, shares
from sterna.spec import method


@method
class Entropy:
    """The mean entropy of the target's answers, negated."""

    def judge(self, adapted: Adapted) -> float:
        """From -ln k to 0. Raises `DataError` for values."""
        return -float(entropies(shares("entropy", adapted.answers)).mean())
