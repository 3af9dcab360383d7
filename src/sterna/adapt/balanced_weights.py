"""Balanced weighting: source rows and target rows of known labels, each domain with a chosen share of the weight.

Paper: Wu and Dietterich 2004, "Improving SVM Accuracy by Training on Auxiliary Data Sources" (ICML), equation 4, as a
weight for any learner.

Equation: minimise (1 - gamma) mean loss over the source + gamma mean loss over the known target rows: a source row
weighs (1 - gamma) (n + l) / n, a known target row gamma (n + l) / l.

The paper chooses the shares by cross-validation; 0.5 gives a few target rows as much say as the whole source. Heads of
sterna choose their penalty on examples by these weights.

Cost: none. Unlabelled target rows are not looked at.

When not to use: with many known labels, where the target alone learns better; before a nearest neighbour, which knows
no weights but 0.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths.adapted_inputs import unchanged
from sterna.spec import Range, method, option


@method
class BalancedWeights:
    """How much the target counts."""

    gamma: float = option(0.5, "share of the known target rows in the loss", Range(0, 1))

    needs: ClassVar[str] = "labels"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Both domains' rows with weights. Raises `DataError` for no known label of the target."""
        n, known = len(pair.source), len(pair.known)
        if not known:
            raise DataError(
                "balanced_weights needs some known labels of the target, got none; give rows of it in known."
            )
        each = (n + known) * np.array([(1 - self.gamma) / n, self.gamma / known])
        features = np.concatenate([pair.source, pair.target[pair.known]])
        labels = np.concatenate([pair.labels, pair.known_labels])
        note = f"A known target row weighs as much as {each[1] / each[0]:.1f} source rows." if each[0] else ""
        return Aligned(features, labels, np.repeat(each, [n, known]), unchanged, (note,) if note else ())
