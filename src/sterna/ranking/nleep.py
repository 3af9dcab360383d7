"""N-LEEP: LEEP with clusters of the features in place of source classes, so that no classifier is needed.

Paper: Li, Jia, Sang, Zhu, Green, Wang and Gong 2021, "Ranking Neural Checkpoints" (arXiv 2011.11200), equations 6
and 7.

Equation: principal components that hold 80 % of the variance -> a mixture of v normal distributions -> LEEP of its
responsibilities (see `leep`).

The covariances are diagonal and no variance falls below `floor` of the mean one: with full ones, and few examples for
each component, components shrink to single examples and the score to a false 0. The score is the mean of `fits`
mixtures from different starts, drawn from the seed by position, so the order of the examples matters a little. v is 5
times the number of classes, as published, but at most a fifth of the examples.

When not to use: where time counts: it is the slowest of its family, and others rank better on few examples.
"""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sterna.contracts import Evidence, Scoring
from sterna.maths.joint import expected_log
from sterna.maths.seeds import derive
from sterna.maths.spectra import unit_coordinates
from sterna.records import Labels
from sterna.spec import Range, method, option


@method
class NLEEP:
    """The reduction and the mixture."""

    variance: float = option(
        0.8, "share of the variance that the principal components hold", Range(0, 1, low_open=True)
    )
    components: int | None = option(
        None, "normal distributions; none: five a class, at most one for five examples", Range(1, 10_000)
    )
    floor: float = option(
        0.01, "smallest variance of a component, as a share of the mean one", Range(0, 1, low_open=True)
    )
    fits: int = option(3, "mixtures whose scores are averaged", Range(1, 20))
    rounds: int = option(30, "steps of expectation and maximisation at most", Range(1, 1000))

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """The principal components; the mixtures follow with the first labels, whose number of classes they need."""
        reduced = self._reduced(evidence.features)
        fitted: dict[int, list[np.ndarray]] = {}

        def score(labels: Labels) -> float:
            count = self.components or max(1, min(5 * (int(labels.max()) + 1), len(labels) // 5))
            count = min(count, len(labels))
            if count not in fitted:
                seeds = [derive(evidence.seed, "nleep", fit) % (1 << 32) for fit in range(self.fits)]
                fitted[count] = [self._responsibilities(reduced, count, seed) for seed in seeds]
            return float(np.mean([expected_log(found, labels) for found in fitted[count]]))

        return score

    def _reduced(self, features: np.ndarray) -> np.ndarray:
        """(n, r) the first principal coordinates, of mean variance 1."""
        coordinates = unit_coordinates(features)
        held = np.cumsum((coordinates**2).mean(axis=0))
        kept = coordinates[:, : int(np.searchsorted(held, self.variance * held[-1] * (1 - 1e-12))) + 1]
        size = np.sqrt((kept**2).mean())
        scaled: np.ndarray = kept / size if size else kept
        return scaled

    def _responsibilities(self, reduced: np.ndarray, count: int, seed: int) -> np.ndarray:
        # Starts from clusters would be summed up by several threads, in an order that changes the last digits.
        mixture = GaussianMixture(
            count,
            covariance_type="diag",
            reg_covar=self.floor,
            max_iter=self.rounds,
            init_params="k-means++",
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture not quite settled serves as well
            mixture.fit(reduced)
        found: np.ndarray = mixture.predict_proba(reduced)
        return found
