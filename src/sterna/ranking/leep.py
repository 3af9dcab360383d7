"""LEEP: how well labels are predicted through the classes that the candidate was trained on.

Paper: Nguyen, Hassner, Seeger and Archambeau 2020, "LEEP: A New Measure to Evaluate Transferability of Learned
Representations" (arXiv 2002.12462), equations 1 and 2.

Equation: LEEP = mean_i ln sum_z P(y_i | z) q_iz, with q_i the candidate's probabilities of its own classes z for
example i and P(y, z) the mean over examples of q_z where the label is y, 0 elsewhere. It is at most 0, and minus the
entropy of the labels where the probabilities do not depend on the example.

When not to use: with a candidate whose classifier is absent or has another meaning (features of a self-supervised
network: take `nleep`); with fewer than about 20 examples a class, or as many source classes as examples; to compare
classifiers of different temperatures, since over-confident ones score otherwise without any better features.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Evidence, Scoring
from sterna.maths.joint import expected_log, required
from sterna.spec import method


@method
class LEEP:
    """There is nothing to choose."""

    needs: ClassVar[str] = "source"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """Raises `SpecError` for a candidate without a classifier of its own."""
        source = required(evidence.source, "leep")
        return lambda labels: expected_log(source, labels)
