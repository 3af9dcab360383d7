"""Sliced Wasserstein distance: optimal transport along random lines, where sorting solves it.

Paper: Bonneel, Rabin, Peyré and Pfister 2015, "Sliced and Radon Wasserstein Barycenters of Measures" (Journal of
Mathematical Imaging and Vision 51).

Equation: mean over directions w of W2^2(w'x, w'z), the integral of the squared difference of the quantile functions.
Directions are uniform on the sphere, so a shift by v gives |v|^2 / d. All examples are used, whatever their number.

When not to use: in many dimensions with few directions, since a difference along a single one is seen by 1 / d of each
line; where differences of dependence between features matter and margins along lines hide them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sterna.contracts import Distance, Sides
from sterna.maths.samples import blocks, check
from sterna.maths.seeds import derive
from sterna.maths.transport import on_a_line
from sterna.spec import Range, method, option

_TOGETHER = 1 << 22  # values sorted at once, 16 MB of float32
_EXACT = 1 << 16  # up to as many values a side, in float64


@method
class SlicedWasserstein:
    """How many lines."""

    directions: int = option(500, "random lines on which the samples are compared", Range(1, 1_000_000))

    needs: ClassVar[str] = "features"
    scale: ClassVar[str] = "in squared units of the features, 0 for the same sample"
    reduced: ClassVar[bool] = True

    def measure(self, sides: Sides) -> Distance:
        """The mean over the lines, and its standard error in the notes."""
        check("sliced_wasserstein", sides.left, sides.right, 1)
        d, centre = sides.left.shape[1], sides.right.mean(axis=0)
        generator = np.random.default_rng(derive("sliced", sides.seed))
        lines = generator.standard_normal((self.directions, d))
        lines /= np.linalg.norm(lines, axis=1, keepdims=True)
        both = [_as_columns(side, centre) for side in (sides.left, sides.right)]
        together = max(1, _TOGETHER // max(len(sides.left), len(sides.right)))
        found = np.empty(self.directions)
        for part in blocks(self.directions, together):
            left, right = (np.sort(lines[part].astype(side.dtype) @ side, axis=1) for side in both)
            found[part] = on_a_line(left, right)
        error = float(found.std(ddof=1)) / self.directions**0.5 if self.directions > 1 else float("inf")
        return Distance(float(found.mean()), None, (f"Its standard error over the lines is {error:.2g}.",))


def _as_columns(side: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(d, n) moved by the centre, in float32 where it is large."""
    made = np.empty(side.shape[::-1], dtype=np.float64 if side.size <= _EXACT else np.float32)
    for part in blocks(len(side), 4096):
        made[:, part] = (side[part] - centre).T
    return made
