"""Information maximisation: answers on the target that are sure one by one and of all classes taken together.

Papers: Bridle, Heading and MacKay 1992, "Unsupervised Classifiers, Mutual Information and 'Phantom Targets'" (NIPS 4);
Krause, Perona and Gomes 2010, "Discriminative Clustering by Regularized Information Maximization" (NIPS 23).

Equation: H(mean_j p_j) - mean_j H(p_j) over the target: the mutual information of example and answer.

When not to use: where classes of the source are missing in the target, or far from equally frequent there: even answers
look better than right ones. To compare heads of different kinds, or penalties: a weaker penalty is surer.
"""

from __future__ import annotations

from sterna.contracts import Adapted
from sterna.maths.criteria import entropies, shares
from sterna.spec import method


@method
class MutualInformation:
    """Entropy of the mean answer less the mean entropy of answers."""

    def judge(self, adapted: Adapted) -> float:
        """From 0 to ln k. Raises `DataError` for values."""
        answers = shares("mutual_information", adapted.answers)
        whole = entropies(answers.mean(axis=0, keepdims=True))[0]
        return float(whole - entropies(answers).mean())
