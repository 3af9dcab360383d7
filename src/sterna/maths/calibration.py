"""One number that turns scores into probabilities."""

from __future__ import annotations

import numpy as np

from sterna.records import Labels

_BISECTIONS = 30
_SPAN = (np.log(1e-3), np.log(1e3))


def log_likelihood(scores: np.ndarray, prior: np.ndarray, labels: Labels) -> float:
    """The largest mean log-likelihood of softmax(b scores + prior) over b in [0.001, 1000]; convex, so by bisection.

    Args:
        scores: (n, k), of order 1.
        prior: (n, k) or (k,) logits where the scores say nothing.
        labels: (n,).
    """
    rows = np.arange(len(labels))
    own = scores[rows, labels]

    def answers(exponent: float) -> tuple[np.ndarray, np.ndarray]:
        logits = np.exp(exponent) * scores + prior
        logits -= logits.max(axis=1, keepdims=True)
        truth = logits[rows, labels].copy()
        powers = np.exp(logits, out=logits)
        sums = powers.sum(axis=1)
        powers /= sums[:, None]
        return powers, truth - np.log(sums)

    low, high = _SPAN
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        slope = float((own - np.einsum("ik,ik->i", answers(middle)[0], scores)).sum())
        low, high = (middle, high) if slope > 0 else (low, middle)
    return float(answers(low)[1].mean())
