"""PARC: do examples that are alike in features have the same label? A rank correlation over pairs.

Paper: Bolya, Mittapalli and Hoffman 2021, "Scalable Diverse Model Selection for Accessible Transfer Learning" (arXiv
2111.06977), section 3.1.

Equation: Spearman's correlation of 1 - corr(f_i, f_j) and 1 - corr(y_i, y_j) over pairs of examples, with f_i the
standardised features of an example and y_i the indicator of its class. The latter has two values, so the correlation
is that of the ranks of the former with "another class". In [-1, 1]; the paper multiplies it by 100.

At most `examples` are used, drawn from the seed by position whatever their labels, so beyond that number the order of
the examples matters; pairs take memory and time with the square: 2 s for 3,000.

When not to use: as the only judge, since most pairs are of different classes and far apart, and their order decides.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.stats import rankdata

from sterna.contracts import Evidence, Scoring
from sterna.maths.classes import indicator, standardised
from sterna.maths.seeds import derive
from sterna.maths.spectra import unit_coordinates
from sterna.records import Labels
from sterna.spec import Range, method, option


@method
class PARC:
    """How many examples and dimensions are compared."""

    examples: int = option(2000, "how many examples at most, drawn from the seed", Range(10, 10_000))
    dimensions: int | None = option(32, "principal components that are kept; none: all", Range(2, 100_000))

    needs: ClassVar[str] = "features"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def prepare(self, evidence: Evidence) -> Scoring:
        """The ranks of all pairs."""
        n = len(evidence.features)
        draw = np.random.default_rng(derive(evidence.seed, "parc"))
        chosen = np.arange(n) if n <= self.examples else np.sort(draw.choice(n, self.examples, replace=False))
        ranks = _pair_ranks(_standardised(evidence.features[chosen], self.dimensions))

        def score(labels: Labels) -> float:
            return _correlation(ranks, indicator(labels[chosen]))

        return score


def _standardised(features: np.ndarray, dimensions: int | None) -> np.ndarray:
    """(n, d) columns of mean 0 and variance 1, of the principal coordinates where these are asked for."""
    if dimensions is not None and dimensions < features.shape[1]:
        features = unit_coordinates(features)[:, :dimensions]
    return standardised(features)


def _pair_ranks(features: np.ndarray) -> np.ndarray:
    """(n, n) symmetric: the centred rank of each pair by falling correlation of its rows, zeros on the diagonal."""
    rows = features - features.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(norms > 0, norms, 1.0)
    upper = np.triu_indices(len(rows), 1)
    # Rounding must not order pairs that are equally alike.
    ranks = rankdata(-(rows @ rows.T)[upper].round(12))
    found = np.zeros((len(rows), len(rows)))
    found[upper] = ranks - ranks.mean()
    found += found.T
    return found


def _correlation(ranks: np.ndarray, belongs: np.ndarray) -> float:
    """Pearson's correlation of centred ranks with "another class" over pairs; 0 where either does not vary."""
    pairs = len(ranks) * (len(ranks) - 1) / 2
    counts = belongs.sum(axis=0)
    same = float((counts * (counts - 1)).sum() / 2)
    spread = same * (1 - same / pairs) * float((ranks**2).sum() / 2) if pairs else 0.0
    # Ranks are centred, so that those of pairs of different classes are minus those of pairs of the same.
    among = float(np.einsum("ik,ik->", belongs, ranks @ belongs) / 2)
    return -among / float(np.sqrt(spread)) if spread > 0 else 0.0
