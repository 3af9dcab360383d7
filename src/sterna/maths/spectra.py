"""The thin singular value decomposition of features, and what several scores read off it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, svd

_EPS = np.finfo(np.float64).eps
_LOST = 1e-8  # relative error allowed in the smallest direction
_WIDE = 256  # below this many features time does not count


@dataclass(frozen=True)
class Spectrum:
    """features = left diag(values) right, without the directions in which there is nothing but rounding."""

    left: np.ndarray  # (n, r), orthonormal columns
    values: np.ndarray  # (r,), falling, all > 0; r may be 0

    @property
    def coordinates(self) -> np.ndarray:
        """(n, r) the examples along the principal directions."""
        made: np.ndarray = self.left * self.values
        return made

    @property
    def squares(self) -> np.ndarray:
        """(r,) sums of squares along the principal directions: the eigenvalues of features' features."""
        found: np.ndarray = self.values**2
        return found


def spectrum(features: np.ndarray, centre: bool) -> Spectrum:
    """Decompose (n, d) features, after taking off their mean where `centre` is set.

    Singular values up to max(n, d) eps times the largest one, or times the size of the mean that was taken off, are
    rounding and are left out. Tall, well-conditioned features go through their Gram matrix, in a third of the time;
    what this costs in digits grows with the square of the condition, and stays below 1e-8.

    When not to use: n and d both beyond about 10,000, for the time (3 or 8 s on one core for 10,000 x 2,048).
    """
    mean = features.mean(axis=0) if centre else np.zeros(features.shape[1])
    moved = features - mean
    n, d = moved.shape
    found = _through_gram(moved) if d >= _WIDE and n >= 2 * d else None
    if found is not None:
        return found
    left, values, _ = svd(moved, full_matrices=False, overwrite_a=True, check_finite=False)
    size = max(float(values[0]), float(np.linalg.norm(mean)) * np.sqrt(n))
    rank = int((values > max(n, d) * _EPS * size).sum())
    return Spectrum(left[:, :rank], values[:rank])


def _through_gram(features: np.ndarray) -> Spectrum | None:
    """The same from the eigenvectors of features' features, or None where small singular values would be lost."""
    varying = features[:, features.any(axis=0)]  # units that never fire are common, and lose nothing
    if not varying.shape[1]:
        return None
    squares, basis = eigh(varying.T @ varying, overwrite_a=True, check_finite=False)
    if squares[0] <= _EPS / _LOST * squares[-1]:
        return None
    values = np.sqrt(squares[::-1])
    return Spectrum(varying @ (basis[:, ::-1] / values), values)


def unit_coordinates(features: np.ndarray) -> np.ndarray:
    """(n, r) principal coordinates of centred features, scaled so that their variances add up to 1.

    A rotation, so that nothing is lost but the scale; features that never vary become one column of zeros.
    """
    found = spectrum(features, centre=True)
    if not len(found.values):
        return np.zeros((len(features), 1))
    scaled: np.ndarray = found.coordinates * np.sqrt(len(features) / found.squares.sum())
    return scaled


def ledoit_wolf(found: Spectrum, width: int) -> float:
    """How much of the covariance of centred features is replaced by a multiple of the identity; in [0, 1].

    Paper: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.2 to
    3.4, covariances divided by n: b^2 / d^2 with d^2 = ||S - m I||^2, m = tr S / width and
    b^2 = min(d^2, (mean_i ||x_i||^4 - ||S||^2) / n).

    Args:
        found: of centred features (n, width).
        width: columns of the features, those without variance included.
    """
    n = len(found.left)
    variances = found.squares / n
    middle = variances.sum() / width
    away = float((variances**2).sum() - width * middle**2)
    if away <= 1e-14 * float((variances**2).sum()):
        return 1.0  # a multiple of the identity already
    fourth = float((((found.left**2) @ found.squares) ** 2).mean())
    noise = (fourth - float((variances**2).sum())) / n
    return min(max(noise, 0.0) / away, 1.0)
