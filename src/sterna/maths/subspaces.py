"""Principal subspaces of samples, the angles between them, and the geodesic flow from one to another.

Papers: Gong, Shi, Sha and Grauman 2012, "Geodesic Flow Kernel for Unsupervised Domain Adaptation" (CVPR), equations 4
to 7 for the flow and section 3.4 for the number of dimensions; Björck and Golub 1973 for principal angles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from sterna.maths.memory import check
from sterna.maths.samples import blocks, scatter

_EPS = np.finfo(np.float64).eps
_CELLS = 2**22  # of a block of rows: 32 MiB
_FULL = 0.999  # of the largest disagreement, 1, which is approached and not reached
_MOST = 100  # dimensions up to which the disagreement is followed


@dataclass(frozen=True)
class Principal:
    """The directions along which samples vary most."""

    mean: np.ndarray  # (d,)
    basis: np.ndarray  # (d, k) orthonormal columns, each with its largest entry positive
    variances: np.ndarray  # (k,) falling, divided by n - 1, all > 0; k may be 0

    def coordinates(self, rows: np.ndarray) -> np.ndarray:
        """(n, k) of rows (n, d)."""
        return projected(rows, self.mean, self.basis)


def projected(rows: np.ndarray, mean: np.ndarray, factor: np.ndarray, centre: np.ndarray | float = 0.0) -> np.ndarray:
    """(n, k) of rows (n, d) around a mean (d,) times a factor (d, k), moved to a centre, without a copy of all rows."""
    found, moves = np.empty((len(rows), factor.shape[1])), np.any(centre)
    space = np.empty((min(_piece(rows.shape[1]), len(rows)), rows.shape[1]))
    for part in pieces(*rows.shape):
        made = found[part]
        np.matmul(np.subtract(rows[part], mean, out=space[: len(made)]), factor, out=made)
        if moves:
            made += centre
    return found


def pieces(count: int, width: int) -> Iterator[slice]:
    """Slices of a matrix of rows that are at most 32 MiB each, or 16 rows."""
    return blocks(count, _piece(width))


def _piece(width: int) -> int:
    return max(16, min(2048, _CELLS // max(width, 1)))


def signs(columns: np.ndarray) -> np.ndarray:
    """(k,) factors of 1 or -1 by which columns (d, k) get a positive entry where they are largest."""
    if not columns.size:
        return np.ones(columns.shape[1])
    # Of entries that are equally large but for rounding, the first decides on every machine.
    largest = np.abs(columns).max(axis=0)
    places = (np.abs(columns) >= largest * (1 - 1e-9)).argmax(axis=0)
    found: np.ndarray = np.where(columns[places, np.arange(columns.shape[1])] < 0, -1.0, 1.0)
    return found


def principal(method: str, parts: Sequence[np.ndarray], most: int, own: bool = False) -> Principal:
    """The leading directions of several samples pooled; O(N d^2 + d^3), or O(N^2 d + N^3) where N < d.

    Args:
        method: that asks, for the message where it does not fit into memory.
        parts: (n_i, d) samples.
        most: directions wanted; fewer where the samples have no more.
        own: whether each sample is taken around its own mean instead of the common one.

    Raises `DataError` where neither the products of features nor those of rows fit into memory.
    """
    count, d = sum(len(part) for part in parts), parts[0].shape[1]
    mean = np.sum([part.sum(axis=0) for part in parts], axis=0) / count
    centres = [part.mean(axis=0) if own else mean for part in parts]
    size = float(max(np.abs(mean).max(), 0.0)) * np.sqrt(count)
    advice = "reduce the features first, by a smaller encoder or a random projection"
    if count < d:
        check(method, f"the {count:,} x {d:,} features twice", 2.0 * count * d, advice)
        moved = np.concatenate([part - centre for part, centre in zip(parts, centres, strict=True)])
        squares, left = _leading(moved @ moved.T, most, size)
        basis = moved.T @ (left / np.sqrt(squares))
    else:
        check(method, f"the {d:,} x {d:,} products of features three times", 3.0 * d * d, advice)
        squares, basis = _leading(_scatter(parts, centres), most, size)
    return Principal(mean, basis * signs(basis), squares / max(count - 1, 1))


def _scatter(parts: Sequence[np.ndarray], centres: Sequence[np.ndarray]) -> np.ndarray:
    found, size = np.zeros((parts[0].shape[1], parts[0].shape[1])), _piece(parts[0].shape[1])
    for part, centre in zip(parts, centres, strict=True):
        found += scatter(part, centre, size)
    return found


def _leading(products: np.ndarray, most: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, falling, with their vectors, without those that are nothing but rounding."""
    count = len(products)
    values, vectors = eigh(products, subset_by_index=(max(count - most, 0), count - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    floor = count * _EPS * max(float(values[0]), 0.0) + (count * _EPS * size) ** 2
    kept = values > floor
    return values[kept], vectors[:, kept]


def disagreement(source: np.ndarray, target: np.ndarray, both: np.ndarray) -> int:
    """The dimension of subspaces by the subspace disagreement measure: the first at which it is at its largest.

    D(k) = (sin alpha_k + sin beta_k) / 2, with alpha_k and beta_k the k-th, largest, principal angles of the first k
    directions of the source and of the target to those of both pooled. Followed up to 100 dimensions.

    Args:
        source: (d, k) leading directions.
        target: (d, k').
        both: (d, k'').
    """
    most = min(source.shape[1], target.shape[1], both.shape[1], _MOST)
    products = [side[:, :most].T @ both[:, :most] for side in (source, target)]
    values = np.zeros(most)
    for k in range(1, most + 1):
        cosines = [float(np.linalg.svd(one[:k, :k], compute_uv=False)[-1]) for one in products]
        values[k - 1] = sum(np.sqrt(max(1 - cosine**2, 0.0)) for cosine in cosines) / 2
        if values[k - 1] >= _FULL:
            return k
    return int(values.argmax()) + 1


def bases(method: str, source: np.ndarray, target: np.ndarray, most: int | None) -> tuple[Principal, Principal]:
    """Principal directions of both samples, as many of one as of the other; None: by `disagreement`.

    Raises `DataError` as `principal`.
    """
    wanted = _MOST if most is None else most
    found = [principal(method, [side], wanted) for side in (source, target)]
    k = min(one.basis.shape[1] for one in found)
    if most is None and k:
        both = principal(method, [source, target], wanted, own=True)
        k = disagreement(found[0].basis, found[1].basis, both.basis)
    first, second = (Principal(one.mean, one.basis[:, :k], one.variances[:k]) for one in found)
    return first, second


def flow(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(d, 2 k) F such that F F' is the geodesic flow kernel G of two subspaces of k dimensions.

    G is the integral over t from 0 to 1 of Phi(t) Phi(t)', Phi the geodesic between the subspaces. With principal
    vectors a_i of the source, b_i the directions in which they turn and angles theta_i, G is the sum over i of
    [a_i b_i] L_i [a_i b_i]', L_i = [[1 + sin 2 theta / 2 theta, (1 - cos 2 theta) / 2 theta], [., 1 - sin 2 theta /
    2 theta]] / 2. Nothing of size d x d is made: O(d k^2).

    Args:
        source: (d, k) orthonormal columns.
        target: (d, k) orthonormal columns.
    """
    turn, cosines, other = np.linalg.svd(source.T @ target)
    start, end = source @ turn, target @ other.T
    away = end - start * cosines
    sines = np.linalg.norm(away, axis=0)
    angles = np.arctan2(sines, cosines)
    # Below, the direction of turning is rounding; what it would get is of the size of the angle.
    still = angles < 1e-7
    away = np.where(still, 0.0, away / np.where(sines > 0, sines, 1.0))
    double = np.where(still, 1.0, 2 * angles)
    first = np.where(still, 1.0, np.sin(double) / double)
    mixed = np.where(still, 0.0, (1 - np.cos(double)) / double)
    shares = np.stack([np.stack([1 + first, mixed], -1), np.stack([mixed, 1 - first], -1)], -2) / 2
    values, vectors = np.linalg.eigh(shares)
    # The symmetric root: it turns back with the signs of the principal vectors, which are not determined.
    roots = (vectors * np.sqrt(np.maximum(values, 0))[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    columns = [start * roots[:, 0, place] + away * roots[:, 1, place] for place in (0, 1)]
    found = np.concatenate(columns, axis=1)
    return found * signs(found)
