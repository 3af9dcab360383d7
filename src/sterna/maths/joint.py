"""Target labels beside the classes of a source: their joint distribution and what it tells of the labels."""

from __future__ import annotations

import numpy as np

from sterna.errors import SpecError
from sterna.maths.classes import indicator
from sterna.records import Labels

_EMPTY = 1e-12  # a source class less likely than this on all examples says nothing


def required(source: np.ndarray | None, score: str) -> np.ndarray:
    """The probabilities of a candidate's own classes. Raises `SpecError` where it has none."""
    if source is None:
        raise SpecError(
            f"{score} reads the classes that a candidate was trained on, got one without a classifier of its own; "
            f"leave {score} out for it, or take nleep, which needs features alone."
        )
    return np.asarray(source, dtype=np.float64)


def expected_log(source: np.ndarray, labels: Labels) -> float:
    """LEEP: mean_i ln sum_z P(y_i | z) source_iz, with P(y, z) = mean over examples of class y of source_z.

    Paper: Nguyen, Hassner, Seeger and Archambeau 2020, "LEEP" (arXiv 2002.12462), equations 1 and 2.

    Args:
        source: (n, z) rows that add up to 1.
        labels: (n,).
    """
    joint = indicator(labels).T @ source / len(labels)
    whole = joint.sum(axis=0)
    seen = whole >= _EMPTY
    conditional = np.where(seen, joint / np.where(seen, whole, 1.0), 0.0)
    found = np.empty(len(labels))
    for label, row in enumerate(conditional):
        members = np.flatnonzero(labels == label)
        found[members] = source[members] @ row
    return float(np.log(found).mean())


def conditional_entropy(given: np.ndarray, labels: Labels) -> float:
    """H(labels | given) in nats, of the empirical joint distribution of two numberings (n,)."""
    counts = np.zeros((int(labels.max()) + 1, int(given.max()) + 1))
    np.add.at(counts, (labels, given), 1.0)
    cells, whole = counts[counts > 0], np.broadcast_to(counts.sum(axis=0), counts.shape)[counts > 0]
    return float((cells * np.log(whole / cells)).sum() / len(labels))
