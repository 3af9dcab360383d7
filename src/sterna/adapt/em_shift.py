"""Shares of classes in the target under which a classifier's answers are likeliest, by expectation and maximisation.

Papers: Saerens, Latinne and Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A
Simple Procedure" (Neural Computation 14), equation 2.9; Alexandari, Kundaje and Shrikumar 2020 (arXiv 1901.06852) for
calibration, without which it is misled by a classifier that is too sure.

Equation: q_y <- mean over target rows of p(y | x) q_y / p_y, divided by its sum over y, until it moves no more, p_y
the shares of the source. Answers are p(y | x) q_y / p_y, divided by their sum. The likelihood is concave. `pseudo` rows
with the source's shares are added to those of the target, which matters where these are few.

The classifier is logistic regression, its penalty by cross-validation; it is calibrated (a temperature and a bias for
each class) on rows that it has not learnt from. Without a shift q is p and nothing changes.

Known labels of the target are not used: labelled rows rarely have the target's shares.

Cost: seven fits of the classifier on at most 20,000 source rows, O(m k) a round.

When not to use: where classes look otherwise in the target: the likeliest shares then follow the answers, right or
wrong, and make the frequent ones more frequent.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Answering, Pair
from sterna.maths import label_shift
from sterna.maths.probing import predictions
from sterna.spec import Range, method, option


@method
class EMShift:
    """How much is needed to believe in a shift."""

    pseudo: float = option(1.0, "rows with the source's shares added to those of the target", Range(0, 1e9))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def adapt(self, pair: Pair) -> Answering:
        """A head with the target's shares of classes. Raises `DataError` for features that do not fit into memory."""
        found = label_shift.shown(pair.source, pair.labels, pair.classes, pair.seed)
        scale = label_shift.calibration(found.logits, found.labels)
        shares = label_shift.calibrated(predictions(found.head.weight, pair.target), scale)
        shifted = label_shift.priors(shares, found.prior, self.pseudo)
        ratio = np.divide(shifted, found.prior, out=np.zeros(pair.classes), where=found.prior > 0)
        return Answering(label_shift.Corrected(found.head, scale, ratio), found.notes)
