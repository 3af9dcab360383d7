"""Kullback-Leibler importance estimation: source rows weighted so that the weighted source is most like the target.

Paper: Sugiyama, Suzuki, Nakajima, Kashima, von Buenau and Kawanabe 2008, "Direct Importance Estimation for Covariate
Shift Adaptation" (Annals of the Institute of Statistical Mathematics 60), equations 6 to 9 and figure 2.

Equation: w(x) = sum_l a_l k(x, c_l), a >= 0, maximises the mean of ln w over the target under mean w = 1 over the
source; centres c_l are drawn from the target.

With a_l = p_l / mean_S k(x, c_l) the problem is to maximise mean ln w - sum_l p_l over p >= 0, whose optimum meets the
constraint by itself; it is convex and is solved by a quasi-Newton method within bounds.

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
from scipy.optimize import minimize

from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths import ratios
from sterna.maths.adapted_inputs import unchanged
from sterna.maths.kernels import gaussian
from sterna.maths.samples import thinned
from sterna.maths.seeds import derive
from sterna.spec import Range, method, option

_JUDGED = 2000  # target rows by which the width is chosen
_FOLDS = 5
_JUDGING = 1e-6  # gain from which on a fit that only judges a width ends
_SMALLEST = 1e-10  # ratios below count as this, so that no single row decides by its logarithm
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


def _coefficients(
    squares: np.ndarray, means: np.ndarray, width: float, start: np.ndarray | None = None, stop: float = 1e-10
) -> np.ndarray:
    """(b,) a, from the distances of target rows (m, b) and the mean kernels over the source (b,); 0 where none fits.

    `start` is the answer to nearly the same question; `stop` the relative gain from which on rounds end.
    """
    near = np.flatnonzero(means > _NEAR)
    found = np.zeros(len(means))
    if len(near):
        kernel = gaussian(squares[:, near], width**2)
        kernel /= means[near]
        shares = np.full(len(near), 1 / len(near)) if start is None else start[near] * means[near]
        found[near] = _maximised(kernel, shares, stop) / means[near]
    return found


def _maximised(kernel: np.ndarray, start: np.ndarray, stop: float) -> np.ndarray:
    """(b,) p >= 0 of sum 1 that maximise the mean of ln(kernel p), the kernel (m, b) >= 0."""
    m, b = kernel.shape

    def value(shares: np.ndarray) -> tuple[float, np.ndarray]:
        ratio = kernel @ shares + _SMALLEST
        return float(shares.sum() - np.log(ratio).mean()), 1 - (1 / ratio) @ kernel / m

    limits = {"maxiter": 1000, "ftol": stop, "gtol": 1e-7}
    found = minimize(value, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * b, options=limits).x
    made: np.ndarray = found / found.sum()
    return made


def _width(given: ratios.Compared, width: float | None, seed: int) -> tuple[float, tuple[str, ...]]:
    """The width of the largest likelihood on left-out rows, and a sentence where not all rows were looked at."""
    grid = ratios.widths(given.median, width)
    others = np.setdiff1d(np.arange(len(given.target)), given.centres)
    if len(grid) == 1 or len(others) < 2:
        return (width or given.median), ()
    judged = others[thinned(len(others), _JUDGED, seed, "kliep")]
    judged = np.random.default_rng(derive("kliep", seed)).permutation(judged)
    folds = np.arange(len(judged)) % min(_FOLDS, len(judged))
    scores = [_likelihood(given, one, judged, folds) for one in grid]
    note = f"The width was chosen on {len(judged) + len(given.centres)} of {len(given.target)} target rows."
    return grid[int(np.argmax(scores))], (note,) if len(judged) < len(others) else ()


def _likelihood(given: ratios.Compared, width: float, judged: np.ndarray, folds: np.ndarray) -> float:
    means, total, coefficients = ratios.means(given.source, width), 0.0, None
    for fold in range(int(folds.max()) + 1):
        learning = np.concatenate([given.centres, judged[folds != fold]])
        coefficients = _coefficients(given.target[learning], means, width, coefficients, _JUDGING)
        ratio = ratios.values(given.target[judged[folds == fold]], width, coefficients)
        total += float(np.log(np.maximum(ratio, _SMALLEST)).sum())
    return total / len(judged)
