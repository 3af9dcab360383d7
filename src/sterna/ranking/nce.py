"""Negative conditional entropy of the labels given the candidate's own most likely class.

Paper: Tran, Nguyen and Hassner 2019, "Transferability and Hardness of Supervised Classification Tasks" (arXiv
1908.08142), equation 4.

Equation: NCE = sum_{y,z} P(y, z) ln(P(y, z) / P(z)), with P the shares of the examples of label y whose most likely
source class is z; in [-ln k, 0], and 0 where every z belongs to a single y.

When not to use: with a candidate without a classifier of its own; with nearly as many source classes as examples:
where each class is seen once the score is 0 whatever the labels.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Evidence, Scoring
from sterna.maths.joint import conditional_entropy, required
from sterna.spec import method


@method
class NCE:
    """There is nothing to choose."""

    needs: ClassVar[str] = "source"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """Raises `SpecError` for a candidate without a classifier of its own."""
        likeliest = required(evidence.source, "nce").argmax(axis=1)
        return lambda labels: -conditional_entropy(likeliest, labels)
