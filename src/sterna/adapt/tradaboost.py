"""TrAdaBoost: boosting that turns to source rows which agree with a few labelled target rows.

Papers: Dai, Yang, Xue and Yu 2007, "Boosting for Transfer Learning" (ICML), figure 1; Zhu, Zou, Rosset and Hastie 2009,
"Multi-class AdaBoost" (Statistics and Its Interface 2) for more than two classes.

Equation: in each round a learner is fitted with the weights w; its error e is the weighted share of target rows that it
gets wrong, and beta_t = e / ((1 - e) (K - 1)) for K classes. Then w is multiplied by beta = 1 / (1 + sqrt(2 ln n / N))
for a source row that is wrong, so that the source forgets it, and by 1 / beta_t for a target row that is wrong. The
fits of rounds N/2 to N vote with ln 1 / beta_t.

The paper leaves the first weights to its user. Here each domain starts with half of them: with equal weights of rows, a
few target rows beside thousands of the source change nothing within some rounds, since their weights rise only by their
own errors.

With two classes this is the paper's rule. An error of 0 counts as half a row, so that a vote stays finite; a round no
better than chance has no vote and leaves the target's weights, where the paper asks that there be none.

Shares are those of the votes, and no probabilities.

Cost: N fits; beyond `limit` source rows, that many are drawn.

When not to use: with fewer than about ten known labels, whose errors then are chance; where source rows are sound,
since their weights never rise again and end near 0 after many rounds (Al-Stouhi and Reddy 2011); `balanced_weights`
keeps them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from sterna.contracts import Answering, Pair
from sterna.maths import transfer_boosting as boosting
from sterna.maths.flat_trees import flat
from sterna.maths.seeds import derive
from sterna.spec import Choice, Range, method, option


@method
class TrAdaBoost:
    """The learner and the rounds."""

    rounds: int = option(10, "fits; the second half of them vote", Range(1, 1000))
    learner: str = option("logistic", "what is fitted in each round", Choice(("logistic", "tree")))
    depth: int = option(3, "levels of trees; 1: decision stumps", Range(1, 30))
    share: float | None = option(
        0.5,
        "of the weights with which target rows start; none: every row starts with the same",
        Range(0, 1, low_open=True, high_open=True),
    )
    limit: int = option(50_000, "source rows that are learnt from", Range(1, 1_000_000))

    needs: ClassVar[str] = "labels"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def adapt(self, pair: Pair) -> Answering:
        """Answers by a vote. Raises `DataError` for no known label of the target, and beyond memory."""
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        given, notes = boosting.joined("tradaboost", sides, labels, self.limit, self.share, pair.seed)
        learn = boosting.logistic_learner(pair.classes) if self.learner == "logistic" else self._tree(pair.seed)
        fits, strengths, left = _boosted(given, learn, self.rounds, pair.classes)
        start = max(0, -(-self.rounds // 2) - 1)
        used, weights = fits[start:], strengths[start:]
        note = f"Source rows have {100 * left:.0f} % of the weight in the last of {self.rounds} rounds."
        return Answering(boosting.Votes(tuple(used), weights, pair.classes), (*notes, note))

    def _tree(self, seed: int) -> boosting.Learner:
        state = derive("tradaboost", seed) % 2**32

        def learn(given: boosting.Joined) -> boosting.Answer:
            tree = DecisionTreeClassifier(max_depth=self.depth, random_state=state)
            return flat(tree.fit(given.features, given.labels, sample_weight=given.weights))

        return learn


def _boosted(
    given: boosting.Joined, learn: boosting.Learner, rounds: int, classes: int
) -> tuple[list[boosting.Answer], np.ndarray, float]:
    """The fits, the weights of their votes (rounds,), and the source's share of the weights in the last round."""
    beta, least = boosting.factor(given.count, rounds), 0.5 / (len(given.labels) - given.count)
    chance, left = 1 - 1 / max(classes, 2), 1.0
    fits, strengths = [], np.zeros(rounds)
    for place in range(rounds):
        left = float(given.weights[: given.count].sum() / given.weights.sum())
        fits.append(learn(given))
        wrong = (fits[-1](given.features) != given.labels).astype(np.float64)
        error = min(max(boosting.target_error(wrong, given), min(least, chance)), chance)
        ratio = error / ((1 - error) * max(classes - 1, 1))
        strengths[place] = -np.log(min(ratio, 1.0))
        given = given.weighing(boosting.turned(given, wrong, beta, min(ratio, 1.0)))
    return fits, strengths, left
