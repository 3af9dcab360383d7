"""Linear discriminant analysis with a covariance drawn towards the identity, as a direct solve."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, solve

from sterna.maths.classes import means
from sterna.records import Labels


def within(features: np.ndarray, labels: Labels, total: np.ndarray | None = None) -> np.ndarray:
    """(d, d) the covariance within classes, divided by n: the total one less that of the class means.

    Args:
        features: (n, d).
        labels: (n,).
        total: (d, d) the covariance of all, where it is known already.
    """
    own, shares = means(features, labels)
    centre = shares @ own
    rooted = np.sqrt(shares)[:, None] * (own - centre)
    if total is None:
        moved = features - centre
        total = moved.T @ moved / len(features)
    found: np.ndarray = total - rooted.T @ rooted
    return found


def decaying_shrinkage(covariance: np.ndarray) -> float:
    """max(exp(-5 largest eigenvalue), 1e-10): Shao et al. 2022 (SFDA), equation 5. It depends on the scale."""
    last = len(covariance) - 1
    largest = float(eigh(covariance, eigvals_only=True, subset_by_index=[last, last], check_finite=False)[0])
    return max(float(np.exp(-5 * largest)), 1e-10)


def posteriors(features: np.ndarray, labels: Labels, covariance: np.ndarray, share: float) -> np.ndarray:
    """(n, k) probabilities of the classes of the examples that the means are taken from.

    softmax_c(m_c' A x - m_c' A m_c / 2 + ln p_c) with A the inverse of (1 - r) S + r tr(S) / d I. The generalised
    eigenvectors of the usual way satisfy V V' = A, so they are not needed.

    Args:
        features: (n, d), of total variance about 1.
        labels: (n,).
        covariance: (d, d) within classes, S.
        share: r.
    """
    own, shares = means(features, labels)
    size = float(np.trace(covariance)) / len(covariance)
    # Classes that are single points leave no variance; the identity then measures plain distances.
    shrunken = (1 - share) * covariance + share * (size if size > 1e-12 else 1.0) * np.eye(len(covariance))
    slopes = solve(shrunken, own.T, assume_a="pos", check_finite=False)
    return softmax(features @ slopes - (own.T * slopes).sum(axis=0) / 2 + np.log(shares))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of (n, k) as probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers
