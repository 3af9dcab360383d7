"""Features made by hand, with no pretrained weights: the floor that a transfer has to beat.

`classical:hog_colour` joins where the edges point and which colours there are:

- histograms of oriented gradients: Dalal and Triggs 2005, "Histograms of oriented gradients for human detection",
  on 4 x 4 cells, 9 directions, blocks of 2 x 2 cells, L2-Hys: 324 numbers;
- the square root of the joint histogram of hue, saturation and value (8 x 4 x 4 bins) in each quarter of the picture,
  so that distances between histograms are Hellinger's: 512 numbers.

Coarse cells, because with few labels a finer grid costs more accuracy by its size than it brings by its detail.
When not to use: as the method of choice for photographs; it is there to be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from skimage.color import rgb2gray, rgb2hsv
from skimage.feature import hog
from torch import Tensor

from sterna import folder, network, preparation
from sterna.errors import EncoderError
from sterna.network import Network, Stage, empty_head, no_op
from sterna.records import Augment, Encoder

NAMES = ("hog_colour",)
SIDE = 128  # px: every picture is brought to this size, small ones enlarged
CELLS = 4
DIRECTIONS = 9
BINS = (8, 4, 4)  # hue, saturation, value
QUARTERS = 2  # the picture is halved in each direction for the colours
RECIPE = f"hog {CELLS}x{CELLS}x{DIRECTIONS} + hsv {BINS}x{QUARTERS**2}, scikit-image {version('scikit-image')}"
WIDTH = (CELLS - 1) ** 2 * 4 * DIRECTIONS + QUARTERS**2 * int(np.prod(BINS))


def load(name: str) -> Encoder:
    """The features `name`, as a network without weights. Raises `EncoderError` for an unknown name."""
    if name not in NAMES:
        raise EncoderError(folder.unknown("features made by hand", name, NAMES))
    prepare = HogColour()
    return Encoder(
        reference=f"classical:{name}",
        network=_network(),
        preparation=prepare,
        source_classes=(),
        digest=network.digest(f"classical:{name} {prepare!r}", {}),
        config={"library": "sterna", "architecture": f"classical:{name}", "num_features": WIDTH},
        fresh=_network,
        pretrained=False,
    )


def _network() -> Network:
    return Network({"features": Stage([], no_op)}, empty_head(WIDTH)).eval()


@dataclass(frozen=True)
class HogColour:
    """Computes the features of a picture while it is read; nothing is left to do for a batch.

    The whole picture is used, brought to a square.
    """

    side: int = SIDE
    recipe: str = RECIPE
    modality: str = "image"
    ragged: ClassVar[bool] = False

    @property
    def hint(self) -> int:
        """Pixels: the short side at which a picture may be decoded."""
        return self.square.hint

    @cached_property
    def square(self) -> preparation.ImagePreparation:
        """What brings a picture to a square."""
        config = {"input_size": (3, self.side, self.side), "interpolation": "bilinear", "crop_pct": 1.0}
        return preparation.from_config({**config, "crop_mode": "squash"})

    def frame(self, item: Any, augment: Augment | None = None) -> np.ndarray:
        """A picture -> (836,) float32."""
        pixels = self.square.frame(item, augment)
        return np.concatenate([edges(pixels), colours(pixels)]).astype(np.float32)

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, d) float32, as it is."""
        return frames.float()


def edges(pixels: np.ndarray) -> np.ndarray:
    """Oriented gradients of the grey picture: (h, w, 3) uint8 -> (324,)."""
    side = len(pixels) // CELLS
    found: np.ndarray = hog(
        rgb2gray(pixels), orientations=DIRECTIONS, pixels_per_cell=(side, side), cells_per_block=(2, 2)
    )
    return found


def colours(pixels: np.ndarray) -> np.ndarray:
    """Square roots of the share of pixels in each bin of hue, saturation and value, for each quarter: (512,)."""
    values = rgb2hsv(pixels)  # (h, w, 3) in [0, 1]
    halves = [part for rows in np.split(values, QUARTERS) for part in np.split(rows, QUARTERS, axis=1)]
    found = []
    for part in halves:
        counts, _ = np.histogramdd(part.reshape(-1, 3), bins=BINS, range=[(0, 1)] * 3)
        found.append(np.sqrt(counts.ravel() / counts.sum()))
    return np.concatenate(found)
