"""Cross-entropy between the predicted class probabilities and the labels.

Paper: Szegedy et al. 2016, "Rethinking the Inception Architecture" (arXiv 1512.00567), section 7, for the smoothing.

Equation: sum_i w_i v_{y_i} CE_i / sum_i w_i, CE_i = -sum_c q_ic ln p_ic with q_i = (1 - s) onehot(y_i) + s / k;
w_i is the weight of example i, v_c = n / (k n_c) when balanced (mean 1 over the training examples), else 1.

When not to use: on labels that are not exclusive (an item with several labels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class CrossEntropy:
    """Smoothing and class weights."""

    smoothing: float = option(0.0, "share of each label spread over all classes", Range(0, 1, high_open=True))
    balanced: bool = option(False, "weigh classes by the inverse of their number of training examples")

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify", "tag")

    def class_weights(self, counts: np.ndarray) -> np.ndarray:
        """(k,) weights whose mean over the training examples is 1; all 1 unless `balanced`."""
        if not self.balanced:
            return np.ones(len(counts))
        present = counts > 0
        weights = np.zeros(len(counts))
        weights[present] = counts.sum() / (present.sum() * counts[present])
        return weights

    def build(self, setting: Setting) -> Built:
        return Built(torch.tensor(self.class_weights(setting.class_counts), dtype=torch.float32), self.smoothing)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    class_weights: Tensor  # (k,)
    smoothing: float

    def __call__(self, step: Step) -> Tensor:
        logits = step.labelled.output.logits.float()  # (b, k)
        labels = step.labelled.batch.labels  # (b,) or (b, k)
        soft = functional.one_hot(labels, logits.shape[1]).float() if labels.ndim == 1 else labels
        scale = step.labelled.batch.weights * (soft * self.class_weights.to(logits.device)).sum(dim=1)
        soft = (1 - self.smoothing) * soft + self.smoothing / logits.shape[1]
        each = -(soft * functional.log_softmax(logits, dim=1)).sum(dim=1)  # (b,)
        return (scale * each).sum() / step.labelled.batch.weights.sum()
