"""Cross-entropy of each label by itself, for items that may have several labels or none.

Paper: Nam et al. 2014, "Large-Scale Multi-label Text Classification: Revisiting Neural Networks" (arXiv 1312.5419),
equation 3.

Equation: sum_i w_i L_i / sum_i w_i, L_i = -(1/k) sum_c [v_c y_ic ln s(z_ic) + (1 - y_ic) ln(1 - s(z_ic))], with s the
logistic function; w_i is the weight of example i, v_c = (n - n_c) / n_c when balanced, between 1/100 and 100, else 1.

When not to use: when exactly one label is right for each item; `cross_entropy` then knows that the others are wrong.
`balanced`, when probabilities are needed: it makes them too high for rare labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sterna.records import Setting, Step
from sterna.spec import method, option

_LARGEST = 100.0  # a label seen once in ten thousand items would otherwise outweigh a whole batch


@method
class BinaryCrossEntropy:
    """Whether rare labels weigh more."""

    balanced: bool = option(False, "weigh the items that have a label by how many have it not")

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("multilabel",)

    def positive_weights(self, counts: np.ndarray, examples: int) -> np.ndarray:
        """(k,) weights of the items that have a label; all 1 unless `balanced`."""
        if not self.balanced:
            return np.ones(len(counts))
        return np.clip((examples - counts) / np.maximum(counts, 1), 1 / _LARGEST, _LARGEST)

    def build(self, setting: Setting) -> Built:
        weights = self.positive_weights(setting.class_counts, setting.count)
        return Built(torch.tensor(weights, dtype=torch.float32))


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    positive_weights: Tensor  # (k,)

    def __call__(self, step: Step) -> Tensor:
        logits = step.labelled.output.logits.float()  # (b, k)
        batch = step.labelled.batch
        each = functional.binary_cross_entropy_with_logits(
            logits, batch.labels.float(), reduction="none", pos_weight=self.positive_weights.to(logits.device)
        )
        return (batch.weights * each.mean(dim=1)).sum() / batch.weights.sum()
