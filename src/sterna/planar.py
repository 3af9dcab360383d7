"""Examples as points in the plane, by their features before and after training, with one method for both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sterna.maths import neighbours
from sterna.maths.procrustes import oriented, unit
from sterna.maths.spectra import unit_coordinates

FEWEST = 20  # examples below which neighbours say little, and the principal directions are drawn
DIRECTIONS = 50  # principal directions among which neighbours are looked for, as is usual for t-SNE
LINEAR = "the first two principal components"
CURVED = "t-SNE of the first 50 principal components: neighbours are kept, distances between groups are not"


@dataclass(frozen=True)
class Planar:
    """Where examples lie."""

    method: str
    before: np.ndarray  # (n, 2), centred, of unit size
    after: np.ndarray | None  # (n, 2), turned to `before`


def planar(before: np.ndarray, after: np.ndarray | None) -> Planar:
    """Coordinates of the same examples before and after training.

    t-SNE, since classes that lie apart in hundreds of dimensions lie upon each other in the best two: of the 8 x 8
    digits, ten neighbours name 97 % rightly in it and 63 % on the principal components. It starts from these, and the
    map after training from the map before, so that no chance enters; Procrustes' turn then lays one over the other.

    Args:
        before: (n, d) features, finite.
        after: (n, e) of the same examples; None where nothing has changed.

    When not to use: beyond about 1,500 examples, for the time (2 to 5 s for a map of so many on one core).
    """
    first = unit_coordinates(before.astype(np.float64))
    second = unit_coordinates(after.astype(np.float64)) if after is not None else None
    curved = len(before) >= FEWEST and first.shape[1] > 2
    here = neighbours.embedded(first[:, :DIRECTIONS], _two(first)) if curved else _two(first)
    there = None
    if second is not None:
        there = neighbours.embedded(second[:, :DIRECTIONS], here) if curved else _two(second)
    return Planar(CURVED if curved else LINEAR, unit(here), oriented(there, here) if there is not None else None)


def _two(coordinates: np.ndarray) -> np.ndarray:
    return np.pad(coordinates[:, :2], ((0, 0), (0, max(0, 2 - coordinates.shape[1]))))
