"""Components in which two samples are alike: the maps that maximise variance and keep discrepancies of means small.

Papers: Pan, Tsang, Kwok and Yang 2011, "Domain Adaptation via Transfer Component Analysis" (IEEE TNN 22), equation 13;
Long, Wang, Ding, Sun and Yu 2013, "Transfer Feature Learning with Joint Distribution Adaptation" (ICCV), equation 10.

Both ask for W (N, k) that maximises tr W'K H K W subject to W'(K M K + penalty I) W = I, K a kernel on the pooled rows
and M a sum of e e' of which each makes one difference of means. With explicit features Phi, K = Phi Phi', the solution
lies in the span of Phi = U S V': W = U B leaves a problem of the size of Phi's columns, M stays a few columns and its
part of the constraint is inverted in closed form. That is exact, never makes an (N, N) matrix, and costs O(N r^2 + r^3)
for r columns.

The primal form, as the authors' programs call it, asks the same of weights A (r, k) on features, z = A'phi:
tr A'Phi'H Phi A under A'(Phi'M Phi + penalty I) A = I. The penalty is then on the length of the function and not on
that of its coefficients on rows. With A = V B it is the problem above with all S = 1, so the same code solves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

from sterna.maths.kernels import gaussian, median_of, squared_distances
from sterna.maths.memory import check
from sterna.maths.samples import thinned
from sterna.maths.subspaces import pieces, signs

WIDEST = 2048  # features up to which the linear kernel needs no landmarks
_EPS = np.finfo(np.float64).eps
_LANCZOS, _FEW = 400, 10  # size from which a tenth of the eigenvectors or fewer are found without all the others
_LOST = 1e-10  # of the largest eigenvalue of a kernel: directions below it are left out


@dataclass(frozen=True)
class Kernel:
    """How rows are compared."""

    name: str = "linear"  # or "rbf"
    width: float | None = None  # sigma of rbf, in units of the scaled features; None: by the median distance
    unit: bool = False  # whether rows have length 1, before and after the map
    landmarks: int = 1000  # rows that describe a kernel that has no short explicit features
    centred: bool = True  # whether rows are taken around their common mean, before they are scaled


@dataclass(frozen=True)
class Lift:
    """Rows as explicit features phi of a kernel, phi(x)'phi(z) = k(x, z), exactly or by landmarks (Nystrom)."""

    centre: np.ndarray  # (d,) 0 where rows stay where they are
    factor: float
    unit: bool
    variance: float | None  # of the Gaussian kernel; None: linear
    landmarks: np.ndarray | None  # (q, d) scaled rows; None: the scaled rows are the features
    back: np.ndarray | None  # (q, r) the root of the inverse of the landmarks' kernel

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) rows around the centre, of length 1 or of mean squared length 1."""
        moved = rows - self.centre
        if self.unit:
            return unit_rows(moved)
        moved *= self.factor
        return moved

    def compared(self, scaled: np.ndarray) -> np.ndarray:
        """(n, q) the kernel between scaled rows and the landmarks."""
        assert self.landmarks is not None
        if self.variance is None:
            return np.asarray(scaled @ self.landmarks.T)
        return gaussian(squared_distances(scaled, self.landmarks), self.variance)

    def raised(self, scaled: np.ndarray) -> np.ndarray:
        """(n, r) the features of scaled rows."""
        return scaled if self.back is None else np.asarray(self.compared(scaled) @ self.back)

    def parts(self, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """The features of many rows, block by block."""
        return ((part, self.raised(self.scaled(rows[part]))) for part in pieces(*rows.shape))


@dataclass(frozen=True)
class Moments:
    """Sums over the explicit features of two samples."""

    square: np.ndarray  # (r, r) Phi'Phi
    scatter: np.ndarray  # (r, r) Phi'H Phi, around the common mean
    means: tuple[np.ndarray, np.ndarray]  # (r,) of each sample
    counts: tuple[int, int]


@dataclass(frozen=True)
class Components:
    """The map: rows to their components."""

    lift: Lift
    weight: np.ndarray  # (r, k)

    def view(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) rows of either domain -> (n, k)."""
        found = np.empty((len(rows), self.weight.shape[1]))
        for part, lifted in self.lift.parts(rows):
            found[part] = self.of(lifted)
        return found

    def of(self, lifted: np.ndarray) -> np.ndarray:
        """(n, k) of rows as explicit features (n, r)."""
        found = lifted @ self.weight
        return unit_rows(found) if self.lift.unit else np.asarray(found)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """(n, d) rows of length 1; those of length 0 stay."""
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    made: np.ndarray = rows / np.where(lengths > 0, lengths, 1.0)
    return made


def together(
    sides: tuple[np.ndarray, np.ndarray], labels: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and weights of what is learnt from: the source, then the target rows whose labels are known."""
    joined = np.concatenate(labels)
    features = np.concatenate(sides) if len(sides[1]) else sides[0]
    return features, joined, np.ones(len(joined))


def lifted(
    method: str, source: np.ndarray, target: np.ndarray, kernel: Kernel, seed: int
) -> tuple[Lift, tuple[str, ...]]:
    """The explicit features of two samples, and what was approximated.

    The linear kernel of up to 2,048 features has the features themselves. Otherwise the rows are compared with
    landmarks: all rows, which is exact, or where there are more than `kernel.landmarks`, that many, half of each side.

    Raises `DataError` for features or landmarks whose products do not fit into memory.
    """
    count, d = len(source) + len(target), source.shape[1]
    size, exact = min(count, kernel.landmarks), count <= kernel.landmarks
    plain = kernel.name == "linear" and d <= WIDEST and not (exact and count < d)
    if not plain:
        what = f"{size:,} landmarks of {d:,} features and their kernel"
        check(method, what, size * (2.0 * d + 4.0 * size), "use fewer landmarks or features")
    centre = (source.sum(axis=0) + target.sum(axis=0)) / count if kernel.centred else np.zeros(d)
    bare = Lift(centre, _factor((source, target), centre), kernel.unit, None, None, None)
    if plain:
        return bare, ()
    chosen = _landmarks(source, target, size, seed)
    places = bare.scaled(chosen)
    variance = None
    if kernel.name == "rbf":
        variance = kernel.width**2 if kernel.width else median_of(places, seed) / 2
    made = Lift(bare.centre, bare.factor, bare.unit, variance, places, None)
    values, vectors = eigh(made.compared(places))
    kept = values > max(values[-1], 0.0) * _LOST
    kept[-1] = True  # rows that are all the same have one feature, which is 0
    back = vectors[:, kept] / np.sqrt(np.where(values[kept] > 0, values[kept], 1.0))
    made = Lift(bare.centre, bare.factor, bare.unit, variance, places, back)
    if exact:
        return made, ()
    return made, (
        f"The {kernel.name} kernel is approximated by {size:,} of {count:,} rows, drawn at random (Nystrom).",
    )


def _factor(sides: tuple[np.ndarray, np.ndarray], centre: np.ndarray) -> float:
    """1 over the root mean square length of rows around the centre; 1 where they have none."""
    total = 0.0
    for side in sides:
        for part in pieces(*side.shape):
            total += float(((side[part] - centre) ** 2).sum())
    return float(np.sqrt((len(sides[0]) + len(sides[1])) / total)) if total > 0 else 1.0


def _landmarks(source: np.ndarray, target: np.ndarray, size: int, seed: int) -> np.ndarray:
    first = max(min(size // 2, len(source)), size - len(target))
    chosen = (
        thinned(len(source), first, seed, "landmarks"),
        thinned(len(target), size - first, seed, "landmarks", "target"),
    )
    return np.concatenate([source[chosen[0]], target[chosen[1]]])


def moments(lift: Lift, source: np.ndarray, target: np.ndarray) -> Moments:
    """Sums of explicit features, in one pass over each sample."""
    square, sums = 0.0, []
    for side in (source, target):
        total = 0.0
        for _, made in lift.parts(side):
            square = square + made.T @ made
            total = total + made.sum(axis=0)
        sums.append(np.asarray(total))
    whole, count = sums[0] + sums[1], len(source) + len(target)
    scatter = np.asarray(square) - np.outer(whole, whole) / count
    means = (sums[0] / len(source), sums[1] / len(target))
    return Moments(np.asarray(square), scatter, means, (len(source), len(target)))


def marginal(found: Moments) -> np.ndarray:
    """(r, 1) P with P P' = Phi'M Phi, where M is e e' of the two samples' means, with a Frobenius norm of 1."""
    n, m = found.counts
    return np.asarray((found.means[0] - found.means[1])[:, None] / np.sqrt(1 / n + 1 / m))


@dataclass(frozen=True)
class Solver:
    """The problem of both papers for one set of features; only the discrepancy changes between rounds."""

    roots: np.ndarray  # (r',) S, falling; all 1 in the primal form
    axes: np.ndarray  # (r, r') V
    objective: np.ndarray  # (r', r') the numerator in the coordinates of B

    def weights(self, discrepancy: np.ndarray, penalty: float, most: int) -> np.ndarray:
        """(r, k) Phi'W, the columns of W having length 1, or A, whose columns have; the largest ratio first.

        Args:
            discrepancy: (r, c) P, Phi'M Phi = P P'.
            penalty: of the squared length of W, or of A, > 0.
            most: components wanted; there are fewer where the features vary in fewer directions.
        """
        inner = self.roots[:, None] * (self.axes.T @ discrepancy)
        side, values, _ = np.linalg.svd(inner, full_matrices=False)
        # (P P' + penalty I)^-1/2 is a multiple of the identity but for the few directions of P.
        changed = side * ((values**2 + penalty) ** -0.5 - penalty**-0.5)
        once = penalty**-0.5 * self.objective + changed @ (side.T @ self.objective)
        whole = penalty**-0.5 * once + (once @ side) @ changed.T
        vectors = _largest(_leading((whole + whole.T) / 2, most))
        return self._mapped(penalty**-0.5 * vectors + changed @ (side.T @ vectors))

    def dense_weights(self, constraint: np.ndarray, penalty: float, most: int) -> np.ndarray:
        """The same for a constraint (r, r) Phi'M Phi that is no sum of few columns."""
        inner = self.roots[:, None] * (self.axes.T @ constraint @ self.axes) * self.roots
        inner[np.diag_indices_from(inner)] += penalty
        return self._mapped(_largest(eigh(self.objective, inner, subset_by_index=self._last(most))))

    def _last(self, most: int) -> tuple[int, int]:
        size = len(self.roots)
        return max(size - most, 0), size - 1

    def _mapped(self, within: np.ndarray) -> np.ndarray:
        unit = within / np.sqrt((within * within).sum(axis=0))
        return np.asarray(self.axes @ (self.roots[:, None] * unit))


def _leading(matrix: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The `most` largest eigenvalues of a symmetric matrix, ascending, and their vectors."""
    size = len(matrix)
    if size >= _LANCZOS and most * _FEW <= size:
        # Started from one vector, so that the same rows give the same bits.
        values, vectors = eigsh(matrix, most, which="LA", v0=np.ones(size))
        order = np.argsort(values, kind="stable")
        return values[order], vectors[:, order]
    found: tuple[np.ndarray, np.ndarray] = eigh(matrix, subset_by_index=(max(size - most, 0), size - 1))
    return found


def _largest(found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Eigenvectors by falling ratio, without those whose ratio is rounding."""
    ratios, vectors = found[0][::-1], found[1][:, ::-1]
    return np.asarray(vectors[:, ratios > len(vectors) * _EPS * max(float(ratios[0]), 0.0)])


def _decomposed(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, falling, and eigenvectors; where rows are their own landmarks the matrix is diagonal already."""
    along = np.diag(square)
    rest = np.abs(square - np.diag(along)).max()
    if rest <= len(square) * _EPS * along.max():
        order = np.argsort(-along, kind="stable")
        return along[order], np.eye(len(square))[:, order]
    values, vectors = eigh(square)
    return values[::-1], vectors[:, ::-1]


def solver(square: np.ndarray, numerator: np.ndarray, primal: bool = False) -> Solver:
    """The problem of maximising tr W'Phi N Phi'W; `square` is Phi'Phi, `numerator` Phi'N Phi, both (r, r).

    `primal`: whether the penalty is on weights on features, A, and not on weights on rows, W.
    """
    values, vectors = _decomposed(square)
    kept = values > len(values) * _EPS * max(float(values[0]), 0.0)
    if not kept.any():
        kept[0] = True
    roots, axes = np.sqrt(np.maximum(values[kept], 0.0)), vectors[:, kept]
    if primal:
        roots = np.ones_like(roots)
    inner = roots[:, None] * (axes.T @ numerator @ axes) * roots
    return Solver(roots, axes, inner)


def components(lift: Lift, weight: np.ndarray) -> Components:
    """The map with signs that do not depend on the order of rows; a single column of zeros where nothing varies."""
    if not weight.shape[1]:
        return Components(lift, np.zeros((len(weight), 1)))
    told = weight if lift.back is None else lift.back @ weight
    return Components(lift, weight * signs(told))
