"""Random resized crop: a random part of the picture fills the frame.

Paper: Szegedy et al. 2015, "Going deeper with convolutions" (arXiv 1409.4842), section 6. Area and aspect ratio of
the part are drawn at random; it replaces the encoder's own centre crop.

When not to use: small scales where the class shows in a small place or at the rim of the picture (the crop may miss
it), and where size itself tells the classes apart.
"""

from __future__ import annotations

from typing import ClassVar

from sterna.augmenting import interval
from sterna.records import Augment
from sterna.spec import Range, method, option
from sterna.transforms import RandomCrop


@method
class Crop:
    """How much of the picture a crop keeps and how far it may be stretched.

    The paper's smallest share of 0.08 is meant for a million pictures; with few labels most of the object must stay in
    view, hence 0.35.
    """

    scale: tuple[float, ...] = option(
        (0.35, 1.0), "smallest and largest share of the picture's area that is kept", Range(0, 1, low_open=True)
    )
    ratio: tuple[float, ...] = option(
        (0.75, 1.3333), "smallest and largest width over height of the part", Range(0.1, 10)
    )

    places: ClassVar[tuple[str, ...]] = ("crop",)

    def build(self) -> Augment:
        """Raises `SpecError` where `scale` or `ratio` is not two numbers in order."""
        scale, ratio = interval("scale of crop", self.scale), interval("ratio of crop", self.ratio)
        return Augment(crop=RandomCrop(scale, ratio), written=repr(self))
