"""Examples that are nearly the same, by their features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FEWEST = 10  # examples below which nothing can be said about how far neighbours usually are
FAR = 3.5  # deviations below the usual distance, as Iglewicz and Hoaglin 1993 have it for outliers
NEAR = 0.5  # of the usual distance: in hundreds of dimensions distances hardly deviate, and few deviations are little
_SPREAD = 1.4826  # median absolute deviation -> standard deviation of a normal variable
_LEAST = 1e-4  # distances below are those of the number format in which features are kept
_ROWS = 512


def near_duplicates(features: np.ndarray, most: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of examples that are far nearer to each other than neighbours are, the nearest first.

    The distance is the chord between features, centred and of unit length: d = sqrt(2 - 2 cosine). The usual one is the
    median over examples of the distance to the nearest other. A pair is near when d is at most half of that, and ln d
    lies 3.5 robust deviations (median absolute ones) below it: the limit follows the data.

    Args:
        features: (n, d), finite.
        most: pairs at most.

    Returns:
        (m, 2) positions, the smaller first, and (m,) cosines. None for fewer than 10 examples.

    When not to use: where most examples are there twice; their distance is then the usual one.
    """
    n = len(features)
    moved = features - features.mean(axis=0, dtype=np.float64) if n else features
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    units = (moved / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    if n < FEWEST:
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    nearest = np.concatenate([block.max(axis=1) for _, block in _blocks(units)])
    logs = np.log(_chord(nearest))
    usual = float(np.median(logs))
    limit = usual + min(np.log(NEAR), -FAR * _SPREAD * float(np.median(np.abs(logs - usual))))
    found, cosines = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0)]
    for start, block in _blocks(units):
        here, there = np.nonzero(block >= 1 - np.exp(2 * limit) / 2)
        upper = here + start < there
        found.append(np.stack([here[upper] + start, there[upper]], axis=1))
        cosines.append(block[here[upper], there[upper]].astype(np.float64))
    pairs, values = np.concatenate(found), np.concatenate(cosines)
    order = np.argsort(-values, kind="stable")[:most]
    return pairs[order], np.minimum(values[order], 1.0)


def _blocks(units: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Cosines of some rows with all, an example with itself being -1."""
    for start in range(0, len(units), _ROWS):
        block = units[start : start + _ROWS] @ units.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -1.0
        yield start, block


def _chord(cosines: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.maximum(np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0)), _LEAST)
    return found
