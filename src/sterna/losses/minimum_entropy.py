"""Answers on unlabelled examples are made certain, so that boundaries between classes keep away from them.

Papers: Grandvalet and Bengio 2004, "Semi-supervised Learning by Entropy Minimization" (Advances in Neural Information
Processing Systems 17), section 2; Krause, Perona and Gomes 2010, "Discriminative Clustering by Regularized Information
Maximization" (Advances in Neural Information Processing Systems 23), section 2, for the diversity.

Equation: weight * (mean_j H(p_j) - diversity * H(mean_j p_j)), p_j = softmax(logits of the unlabelled example j), H(p)
= -sum_c p_c ln p_c. With a diversity of 0, the default and Grandvalet and Bengio's, the term is 0 where all answers are
certain, also where all of them name the same class. With 1 it is minus the information that examples and answers share,
and one class for all is no longer the easiest way out.

When not to use: alone on a target far from the source: wrong answers become certain ones. `diversity` does harm where
target classes are missing or rare, and with batches that hold fewer examples than there are classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from sterna import discrepancy
from sterna.adversary import entropy, mean
from sterna.records import Setting, Step
from sterna.spec import Range, method, option


@method
class MinimumEntropy:
    """How much certainty counts, and how much a spread over classes."""

    weight: float = option(
        0.1, "factor on the term (lambda; at 1 it settles answers before the labels have had their say)", Range(0)
    )
    diversity: float = option(
        0.0, "factor on the entropy of the mean answer, which is raised; 0 leaves it out", Range(0)
    )

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = "unlabelled"
    sourceless: ClassVar[bool] = True
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self.weight, self.diversity)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    weight: float
    diversity: float

    def __call__(self, step: Step) -> Tensor:
        logits = discrepancy.unlabelled(step).output.logits.float()
        found = mean(entropy(logits))
        if self.diversity and len(logits):
            logs = functional.log_softmax(logits, dim=1).logsumexp(dim=0)  # k sums, in logarithms: none of them is 0
            found = found - self.diversity * entropy(logs[None]).sum()
        return self.weight * found
