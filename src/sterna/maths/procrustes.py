"""Configurations of the same points brought into one position.

Paper: Schoenemann 1966, "A Generalized Solution of the Orthogonal Procrustes Problem" (Psychometrika 31).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import orthogonal_procrustes


def unit(points: np.ndarray) -> np.ndarray:
    """(n, 2) centred points whose mean square distance from the middle is 1; zeros where all are one point."""
    moved = points - points.mean(axis=0)
    size = float(np.sqrt((moved**2).sum(axis=1).mean())) if len(moved) else 0.0
    made: np.ndarray = moved / (size if size > 0 else 1.0)
    return made


def oriented(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n, 2) the points, centred, in unit size, and turned or mirrored so that each lies near its place in `wanted`.

    Args:
        points: (n, 2).
        wanted: (n, 2) the same points in another configuration.
    """
    moved = unit(points)
    turn, _ = orthogonal_procrustes(moved, unit(wanted))
    made: np.ndarray = moved @ turn
    return made
