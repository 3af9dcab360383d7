"""Which stages of a network move, from the norms of their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shares(values: Sequence[float]) -> list[float]:
    """Each value as a share of the largest; ones where all are zero."""
    most = max(values, default=0.0)
    return [value / most if most else 1.0 for value in values]


def smoothed(before: Sequence[float], values: Sequence[float], memory: float) -> list[float]:
    """The exponential mean, m b + (1 - m) v; the values themselves where there is none before."""
    if not before:
        return list(values)
    return [memory * one + (1 - memory) * value for one, value in zip(before, values, strict=True)]


def changes(before: Sequence[float], now: Sequence[float]) -> list[float]:
    """(s,) relative changes of norms, | b - n | / b; 0 where there was nothing and is nothing, else infinite."""
    return [
        abs(one - other) / one if one else (float("inf") if other else 0.0)
        for one, other in zip(before, now, strict=True)
    ]


def settled(found: Sequence[float], weighs: Sequence[bool], cut: int, percentile: float) -> int:
    """How many stages from below have come to rest.

    A stage rests when those below it do and its change is below the percentile of those of the moving stages; stages
    without weights follow the one under them. At least one stage with weights goes on moving.

    Args:
        found: (s,) relative changes, bottom up.
        weighs: (s,) whether a stage has weights.
        cut: how many rest already.
        percentile: in [0, 100]; 50 is the median.
    """
    moving = [place for place in range(cut, len(found)) if weighs[place]]
    if not moving:
        return cut
    values = np.array([found[place] for place in moving])
    values[np.isinf(values)] = np.finfo(np.float64).max / 4  # the percentile lies between two values
    limit = float(np.percentile(values, percentile))
    resting = 0
    while resting < len(moving) and values[resting] < limit:
        resting += 1
    return moving[resting] if resting else cut  # the lowest that moves; what lies between has no weights
