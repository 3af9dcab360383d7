"""TrAdaBoost.R2: boosting for values that turns to source rows which agree with a few labelled target rows.

Papers: Pardoe and Stone 2010, "Boosting for Regression Transfer" (ICML), algorithms 2 and 3; Drucker 1997, "Improving
Regressors Using Boosting Techniques" (ICML).

Equation: in each round a learner is fitted with the weights w; e_i = |y_i - h(x_i)| / max_j |y_j - h(x_j)|, e the
weighted mean of the target's e_i, beta_t = e / (1 - e). Then w_i is multiplied by beta^e_i for source rows, with
beta = 1 / (1 + sqrt(2 ln n / N)), and by beta_t^-e_i for target rows. It ends before a round with e >= 1/2. The answer
is the median of the fits of rounds N/2 to N, weighted by ln 1 / beta_t.

At first each domain has half of the weights; with equal weights of rows, a few target rows beside thousands of the
source change little. Trees follow few heavy rows too closely: give `share=none` with them.

With `two_stage` the source's weights fall in `steps` by beta_t^e_i, beta_t such that the target's share of the weights
rises evenly from l / (n + l) to 1. At each step AdaBoost.R2 with the source's weights held is judged by
cross-validation on the target's rows, and the step of the smallest error answers.

An error below 0.01 counts as that, so that weights of fits stay finite.

Cost: N fits, or about 5 `steps` N with `two_stage`; beyond `limit` source rows, or a tenth of it with `two_stage`, that
many are drawn.

When not to use: with fewer than about ten known labels, whose errors then are chance, and `two_stage` chooses by them;
where the relation of features and values is linear and moved as a whole, which a linear model of both domains corrects
with fewer labels.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from sterna.contracts import Answering, Pair
from sterna.errors import DataError
from sterna.maths import transfer_boosting as boosting
from sterna.maths.flat_trees import flat
from sterna.maths.folds import folds
from sterna.maths.seeds import derive
from sterna.spec import Choice, Range, method, option

_LEAST = 0.01  # error


@method
class TrAdaBoostR2:
    """The learner, the rounds, and whether there are two stages."""

    rounds: int = option(10, "fits; the second half of them answer, with two_stage all", Range(1, 1000))
    learner: str = option("ridge", "what is fitted in each round", Choice(("ridge", "tree")))
    depth: int = option(4, "levels of trees", Range(1, 30))
    two_stage: bool = option(False, "whether the source's weights fall first, and target rows judge how far")
    steps: int = option(10, "of the source's weights, with two_stage", Range(2, 100))
    share: float | None = option(
        0.5,
        "of the weights with which target rows start; none, and with two_stage: every row starts with the same",
        Range(0, 1, low_open=True, high_open=True),
    )
    limit: int = option(
        50_000, "source rows that are learnt from; with two_stage a tenth of that", Range(10, 1_000_000)
    )

    needs: ClassVar[str] = "labels"
    tasks: ClassVar[tuple[str, ...]] = ("regress",)

    def adapt(self, pair: Pair) -> Answering:
        """Answers by a median. Raises `DataError` for no known label, for one with `two_stage`, and beyond memory."""
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        limit, share = (self.limit // 10, None) if self.two_stage else (self.limit, self.share)
        given, notes = boosting.joined("tradaboost_r2", sides, labels, limit, share, pair.seed)
        learn = boosting.ridge_learner if self.learner == "ridge" else self._tree(pair.seed)
        if self.two_stage:
            answer, note = self._staged(given, learn, pair.seed)
            return Answering(answer, (*notes, note))
        beta = boosting.factor(given.count, self.rounds)
        fits, strengths = _boosted(given, learn, self.rounds, beta)
        start = max(0, -(-len(fits) // 2) - 1)
        ended = f"It ended after {len(fits)} of {self.rounds} rounds, the next being wrong by half on the target."
        return Answering(
            _Median(fits[start:], strengths[start:]), (*notes, *((ended,) if len(fits) < self.rounds else ()))
        )

    def _tree(self, seed: int) -> boosting.Learner:
        state = derive("tradaboost_r2", seed) % 2**32

        def learn(given: boosting.Joined) -> boosting.Answer:
            tree = DecisionTreeRegressor(max_depth=self.depth, random_state=state)
            return flat(tree.fit(given.features, given.labels, sample_weight=given.weights))

        return learn

    def _staged(self, given: boosting.Joined, learn: boosting.Learner, seed: int) -> tuple[boosting.Answer, str]:
        n, total = given.count, len(given.labels)
        known = total - n
        if known < 2:
            raise DataError(
                f"tradaboost_r2(two_stage=true) judges by left-out target rows and needs 2 known labels, got {known}; "
                "leave two_stage out."
            )
        parts = folds(given.labels[n:], np.ones(known), "regress", derive("stages", seed))
        best, least, chosen = given, np.inf, 0
        for step in range(self.steps):
            if step:
                given = _shifted(given, learn, known / total + step / (self.steps - 1) * n / total)
            error = _crossed(given, learn, self.rounds, parts)
            if error < least:
                best, least, chosen = given, error, step
        left = 100 * float(best.weights[:n].sum() / best.weights.sum())
        told = f"Step {chosen + 1} of {self.steps} answers, in which source rows have {left:.0f} % of the weight."
        return _Median(*_boosted(best, learn, self.rounds, None)), told


class _Median:
    """The weighted median of fits."""

    def __init__(self, fits: list[boosting.Answer], strengths: np.ndarray) -> None:
        self.fits, self.strengths = fits, strengths

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        answers = np.stack([fit(rows) for fit in self.fits])
        return boosting.weighted_median(np.asarray(answers, dtype=np.float64), self.strengths)


def _boosted(
    given: boosting.Joined, learn: boosting.Learner, rounds: int, source: float | None
) -> tuple[list[boosting.Answer], np.ndarray]:
    """The fits and their weights in the median; the source's weights fall by `source`, or are held where it is none."""
    fits: list[boosting.Answer] = []
    strengths: list[float] = []
    for _ in range(rounds):
        fit = learn(given)
        losses = boosting.adjusted(fit(given.features), given.labels)
        error = max(boosting.target_error(losses, given), _LEAST)
        if error >= 0.5:
            break
        beta = error / (1 - error)
        fits.append(fit)
        strengths.append(-np.log(beta))
        falling = _held(given, losses, beta) if source is None else boosting.turned(given, losses, source, beta)
        given = given.weighing(falling)
    # Something has to answer, even where the first fit is wrong by half.
    return (fits, np.array(strengths)) if fits else ([fit], np.ones(1))


def _shifted(given: boosting.Joined, learn: boosting.Learner, share: float) -> boosting.Joined:
    """The rows with weights of which the target has a share."""
    losses = boosting.adjusted(learn(given)(given.features), given.labels)
    return given.weighing(boosting.shrunken(given, losses, min(share, 1.0)))


def _held(given: boosting.Joined, losses: np.ndarray, beta: float) -> np.ndarray:
    """Weights of the next round of AdaBoost.R2 among the target's rows alone, whose sum stays."""
    n = given.count
    own = given.weights[n:] * beta ** (1 - losses[n:])
    return np.concatenate([given.weights[:n], own * (given.weights[n:].sum() / own.sum())])


def _crossed(
    given: boosting.Joined, learn: boosting.Learner, rounds: int, parts: list[tuple[np.ndarray, np.ndarray]]
) -> float:
    """The mean squared error of target rows, each judged by fits without it."""
    n, total = given.count, 0.0
    for learning, judged in parts:
        kept = given.kept(np.concatenate([np.arange(n), n + learning]))
        answers = _Median(*_boosted(kept, learn, rounds, None))(given.features[n + judged])
        total += float(((answers - given.labels[n + judged]) ** 2).sum())
    return total
