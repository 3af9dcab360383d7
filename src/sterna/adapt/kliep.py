"""Kullback-Leibler importance estimation: source rows weighted so that the weighted source is most like the target.

Paper: Sugiyama, Suzuki, Nakajima, Kashima, von Buenau and Kawanabe 2008, "Direct Importance Estimation for Covariate
Shift Adaptation" (Annals of the Institute of Statistical Mathematics 60), equations 6 to 9 and figure 2.

Equation: w(x) = sum_l a_l k(x, c_l), a >= 0, maximises the mean of ln w over the target under mean w = 1 over the
source; centres c_l are drawn from the target.

With a_l = p_l / mean_S k(x, c_l) the problem is to maximise mean ln w - sum_l p_l over p >= 0, whose optimum meets the
constraint by itself; it is convex and is solved by Newton's method within bounds, mostly in a few p that are not 0.

The width is chosen on a grid (0.1 to 5 times the median width) by the mean ln w of left-out target rows, over five
folds of at most 2,000 rows. Rows that are centres are learnt from and never judged, since a kernel around a judged row
speaks for any width that is narrow; so at most half of the target become centres.

Cost: O((n + m) b d) time and O((n + m) b) memory with b `centres`.

When not to use: with target rows far from every source row, each of which draws weight to the one source row that is
nearest; `rulsif` is bounded there. Where labels mean something else in the target, which weights cannot mend.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths import ratios
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.kernels import gaussian
from sterna.maths.ratio_likelihood import SMALLEST, likeliest
from sterna.maths.samples import blocks, thinned
from sterna.maths.seeds import derive
from sterna.spec import Range, method, option

_JUDGED = 2000  # target rows by which the width is chosen
_FOLDS = 5
_JUDGING, _FITTED = 1e-5, 1e-9  # what may be missing of the mean logarithm where a width is judged, and at the end
_BLOCK = 2048
_NEAR = 1e-12  # mean kernel over the source below which a centre has no source rows to speak of


@method
class KLIEP:
    """The kernels."""

    centres: int = option(100, "target rows that kernels are around; at most half of them", Range(1, 2000))
    width: float | None = option(None, "sigma of the kernels; none: by left-out rows", Range(0, 1e9, low_open=True))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Source rows with weights. Raises `DataError` for a width that is too small, and beyond memory."""
        given = ratios.compared("kliep", pair.source, pair.target, self.centres, pair.seed)
        width, notes = _width(given, self.width, pair.seed)
        coefficients = _coefficients(given.target, ratios.means(given.source, width), width)
        if not coefficients.any():
            raise DataError(
                f"kliep needs source rows within a few widths of target rows, got none at width {width:.4g}; use a "
                "larger width, or leave it out."
            )
        ratio = ratios.values(given.source, width, coefficients)
        sides, labels = (pair.source, pair.target[pair.known]), (pair.labels, pair.known_labels)
        made, told = ratios.weighted("kliep", ratio, sides, labels)
        return Aligned(*made, unchanged, (f"Kernels have the width {width:.4g}.", *notes, *told))


def _coefficients(squares: np.ndarray, means: np.ndarray, width: float, start: np.ndarray | None = None) -> np.ndarray:
    """(b,) a, from the distances of target rows (m, b) and the mean kernels over the source (b,); 0 where none fits.

    `start` is the answer to nearly the same question; without it, one from fewer rows.
    """
    near, found, m = np.flatnonzero(means > _NEAR), np.zeros(len(means)), len(squares)
    if not len(near):
        return found
    kernel = np.empty((len(near), m))
    for part in blocks(m, _BLOCK):
        kernel[:, part] = gaussian(squares[part].T[near], width**2)
    kernel /= means[near][:, None]
    shares = np.full(len(near), 1 / len(near)) if start is None else start[near] * means[near]
    if start is None and m > 2 * _JUDGED:
        few = np.ascontiguousarray(kernel[:, :: m // _JUDGED])
        shares = likeliest(few, np.full(few.shape[1], 1 / few.shape[1]), shares, _JUDGING)
    found[near] = likeliest(kernel, np.full(m, 1 / m), shares, _FITTED) / means[near]
    return found


def _width(given: ratios.Compared, width: float | None, seed: int) -> tuple[float, tuple[str, ...]]:
    """The width of the largest likelihood on left-out rows, and a sentence where not all rows were looked at."""
    grid = ratios.widths(given.median, width)
    others = np.setdiff1d(np.arange(len(given.target)), given.centres)
    if len(grid) == 1 or len(others) < 2:
        return (width or given.median), ()
    judged = others[thinned(len(others), _JUDGED, seed, "kliep")]
    judged = np.random.default_rng(derive("kliep", seed)).permutation(judged)
    rows = np.concatenate([given.centres, judged])
    squares = np.ascontiguousarray(given.target[rows].T)
    folds = np.r_[np.full(len(given.centres), -1), np.arange(len(judged)) % min(_FOLDS, len(judged))]
    scores = [_likelihood(squares, ratios.means(given.source, one), one, folds) for one in grid]
    note = f"The width was chosen on {len(rows)} of {len(given.target)} target rows."
    return grid[int(np.argmax(scores))], (note,) if len(judged) < len(others) else ()


def _likelihood(squares: np.ndarray, means: np.ndarray, width: float, folds: np.ndarray) -> float:
    """The mean ln w of rows that are left out, a fold at a time, from distances to the centres (b, q).

    Rows of fold -1 are always learnt from. One kernel serves all folds: a row that is left out weighs 0.
    """
    near, total = np.flatnonzero(means > _NEAR), 0.0
    if not len(near):
        return float(np.log(SMALLEST))
    kernel = gaussian(squares[near], width**2)
    kernel /= means[near][:, None]
    shares = np.full(len(near), 1 / len(near))
    for fold in range(int(folds.max()) + 1):
        learning = folds != fold
        shares = likeliest(kernel, learning / learning.sum(), shares, _JUDGING)
        total += float(np.log(np.maximum(shares @ kernel[:, ~learning], SMALLEST)).sum())
    return total / int((folds >= 0).sum())
