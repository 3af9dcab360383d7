"""Cosines of pairs: examples of one class are drawn together, examples of two classes set at right angles.

Papers: Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts" (SetFit, arXiv 2209.11055), section 3;
Reimers and Gurevych 2019, "Sentence-BERT" (arXiv 1908.10084), section 3, for the squared error of the cosine.

Equation: P / 2 + N / 2 over the pairs i < j of the batch, with c_ij the cosine of their features:
P = sum w_ij s_ij (1 - c_ij)^2 / sum w_ij s_ij, N = sum w_ij (1 - s_ij) c_ij^2 / sum w_ij (1 - s_ij), w_ij = w_i w_j and
s_ij = 1 where the classes agree and else 0 (for soft labels, the probability that they agree). Equal and unequal pairs
count half each, as in SetFit's sampling; a batch of b encodings gives b (b - 1) / 2 pairs where SetFit encodes two
texts for each pair.

It moves the features and leaves the head as it is: it is the objective of the first phase of `tune/contrastive`, or
an addend beside one that trains the head. The batch must hold several examples of a class to draw any together.

When not to use: with hundreds of examples a class, where `cross_entropy` uses the labels as well and is done sooner;
where classes form an order or a tree, since it sets all of them equally far apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class PairCosine:
    """How much it counts beside other addends."""

    weight: float = option(1.0, "factor on the term", Range(0))

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, len(setting.classes))


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    classes: int

    def __call__(self, step: Step) -> Tensor:
        features = step.labelled.output.features.float()  # (b, d)
        labels, weights = step.labelled.batch.labels, step.labelled.batch.weights.float()
        cosines = functional.normalize(features, dim=1) @ functional.normalize(features, dim=1).T
        soft = functional.one_hot(labels, self.classes).float() if labels.ndim == 1 else labels.float()
        agree = soft @ soft.T  # (b, b)
        pairs = (weights[:, None] * weights).triu(1)
        together = _mean((1 - cosines).square(), pairs * agree)
        apart = _mean(cosines.square(), pairs * (1 - agree))
        return self.weight / 2 * (together + apart)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0, with a gradient of 0, where nothing weighs anything."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-12)
