"""Black box shift estimation: shares of classes in the target, from which classes a classifier takes for which.

Papers: Lipton, Wang and Smola 2018, "Detecting and Correcting for Label Shift with Black Box Predictors" (ICML, arXiv
1802.03916), section 4; Azizzadenesheli, Liu, Yang and Anandkumar 2019 (arXiv 1903.09734), equation 4, for the
regularised system; Alexandari, Kundaje and Shrikumar 2020 (arXiv 1901.06852) for calibration.

Equation: C w = mu, with C_ij the mean share that source rows of class j are given of class i, times their share of the
source, mu_i the mean share that target rows are given of it and w_j = p_T(j) / p_S(j). It is solved by least squares
with w >= 0 and a pull to w = 1, no shift: |C w - mu|^2 + `regularisation` |C|^2 / k |w - 1|^2. Answers are p(y | x)
w_y, divided by their sum.

The classifier is logistic regression, its penalty by cross-validation; C and the calibration (a temperature and a bias
for each class) come from rows that it has not learnt from. Without a shift w is 1 and nothing changes.

Known labels of the target are not used: labelled rows rarely have the target's shares.

Cost: seven fits of the classifier on at most 20,000 source rows, O(m d) for the target.

When not to use: where classes look otherwise in the target, which is what other methods are for: C then is not the
target's, and w is wrong without a sign of it.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.contracts import Answering, Pair
from sterna.maths import label_shift
from sterna.maths.probing import predictions
from sterna.spec import Range, method, option


@method
class BBSE:
    """How much is needed to believe in a shift."""

    regularisation: float = option(0.01, "pull to the shares of the source", Range(0, 1e6))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def adapt(self, pair: Pair) -> Answering:
        """A head with the target's shares of classes. Raises `DataError` for features that do not fit into memory."""
        found = label_shift.shown(pair.source, pair.labels, pair.classes, pair.seed)
        scale = label_shift.calibration(found.logits, found.labels)
        confused = label_shift.confusion(label_shift.calibrated(found.logits, scale), found.labels)
        target = label_shift.calibrated(predictions(found.head.weight, pair.target), scale)
        ratio = label_shift.ratios(confused, target.mean(axis=0), self.regularisation)
        return Answering(label_shift.Corrected(found.head, scale, ratio), found.notes)
