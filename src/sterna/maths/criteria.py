"""What criteria without target labels are made of: losses of answers, entropies, and density ratios of two samples."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import svds

from sterna.errors import DataError
from sterna.maths import domains
from sterna.maths.answers import surprise
from sterna.maths.samples import check, thinned
from sterna.maths.spectra import unit_coordinates
from sterna.records import Labels

MOST = 2000  # rows a side that a domain classifier learns from; more change a ratio little and the time much
_SMALL = 300  # rows or features up to which all directions are found at once
_LARGEST = 1000.0  # ratio; a classifier that is surer than this of a held-out row is wrong about being so sure


def losses(answers: np.ndarray, labels: Labels, measure: str) -> np.ndarray:
    """(n,) float64 for each example, lower is better.

    Args:
        answers: (n, k) shares, or (n,) values.
        labels: (n,) class numbers, or (n,) values.
        measure: of shares: "error", 1 where another class is the likeliest, or "log", -ln of the share of the class,
            nats. Of values it is always the squared error, in variances of the labels.
    """
    if answers.ndim == 1:
        variance = float(np.var(labels))
        squared: np.ndarray = (answers - labels) ** 2 / (variance if variance > 0 else 1.0)
        return squared
    if measure == "error":
        return (answers.argmax(axis=1) != labels).astype(np.float64)
    return surprise(answers[np.arange(len(labels)), labels])


def shares(name: str, answers: np.ndarray) -> np.ndarray:
    """The answers, where they are (m, k) shares; raises `DataError` for values, which have no entropy."""
    if answers.ndim != 2:
        raise DataError(
            f"{name} reads shares of classes, got values; type source_risk, importance_weighted, dev or circular."
        )
    return answers


def entropies(answers: np.ndarray) -> np.ndarray:
    """(m,) -sum_k p ln p of each row, nats; 0 ln 0 is 0."""
    found: np.ndarray = -(answers * np.log(np.where(answers > 0, answers, 1.0))).sum(axis=1)
    return found


def ratios(name: str, source: np.ndarray, target: np.ndarray, components: int, seed: int) -> np.ndarray:
    """(n,) how much denser the target is than the source at each row of the source, estimated without that row.

    Paper: Bickel, Brueckner and Scheffer 2009, "Discriminative Learning Under Covariate Shift" (JMLR 10).

    Equation: p(target | x) / p(source | x) of a logistic regression in which both sides weigh the same. Each row is
    judged by a classifier that has not seen it; one that has seen it would say that it lies in the source.

    Args:
        name: of the criterion, for the message.
        source: (n, k) features, n >= 5.
        target: (m, k), m >= 5; at most 2,000 of them are looked at, drawn at random.
        components: principal components of both sides that the classifier reads.
        seed: of the folds.

    Raises `DataError` for fewer rows.
    """
    check(name, source, target, domains.LEAST)
    other = target[thinned(len(target), MOST, seed, "criteria")]
    reduced = directions(np.concatenate([source, other]), components)
    logits, _ = domains.held_out(reduced[: len(source)], reduced[len(source) :], "linear", seed)
    made: np.ndarray = np.minimum(np.exp(np.minimum(logits, 100.0)), _LARGEST)
    return made


def directions(points: np.ndarray, components: int) -> np.ndarray:
    """(n, at most components) coordinates of points (n, d) along their largest principal directions.

    Many points of many features go through Lanczos' method, which never makes all directions.
    """
    moved = points - points.mean(axis=0)
    if min(moved.shape) <= max(_SMALL, 2 * components):
        return unit_coordinates(moved)[:, :components]
    left, values, _ = svds(moved, components, v0=np.ones(min(moved.shape)), return_singular_vectors="u")
    made: np.ndarray = left * values
    return made
