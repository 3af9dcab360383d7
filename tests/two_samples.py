"""What the tests of distances share: two samples, and a distance measured on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sterna.contracts import Distance, Sides


def measured(metric: Any, left: Any, right: Any, labels: Any = (None, None), seed: int = 0) -> Distance:
    first, second = (np.asarray(side, dtype=np.float64) for side in (left, right))
    first, second = (side[:, None] if side.ndim == 1 else side for side in (first, second))
    own, other = (None if one is None else np.asarray(one) for one in labels)
    return metric.measure(Sides(first, second, seed, own, other))  # type: ignore[no-any-return]


def value(metric: Any, left: Any, right: Any, labels: Any = (None, None), seed: int = 0) -> float:
    return measured(metric, left, right, labels, seed).value


def drawn(n: int, m: int, d: int = 3, apart: float = 0.8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two normal samples of other places and shapes, far from the origin."""
    draw = np.random.default_rng(seed)
    skew = np.eye(d) + draw.normal(size=(d, d)) / 2
    return draw.normal(size=(n, d)) + 5, draw.normal(size=(m, d)) @ skew + 5 + apart
