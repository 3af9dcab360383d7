"""From a picture to what an image network takes, exactly as the network's own library does it in evaluation.

The numbers come from the encoder's config (timm's `pretrained_cfg`) and go back into the config of a saved model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sterna.errors import EncoderError
from sterna.records import Augment

FILTERS = {item.name.lower(): item for item in Image.Resampling}
CROPS = ("center", "squash", "border")
DRAFT = 2  # decoded at this multiple of the size it is resized to, a picture changes by a level or two of 255


@dataclass(frozen=True)
class ImagePreparation:
    """Resize, crop, scale to [0, 1], normalise.

    The picture is resized to 1 / `crop_pct` of the frame: `center` by its short side, `squash` without regard to its
    shape, `border` by its long side with the mean colour around it; then the middle of it is cut out. Grey input for a
    network of one channel. The frame comes as uint8 and is normalised a batch at a time.
    """

    height: int
    width: int
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
    std: tuple[float, ...]
    modality: str = "image"
    ragged: ClassVar[bool] = False

    @property
    def hint(self) -> int:
        """Pixels: the short side at which an item may be decoded."""
        return DRAFT * max(self._resized())

    @property
    def size(self) -> tuple[int, int, int]:
        """(c, h, w) of the network's input."""
        return len(self.mean), self.height, self.width

    def frame(self, item: Image.Image, augment: Augment | None = None) -> np.ndarray:
        """A picture -> (h, w, c) uint8. A random crop takes the place of resizing and cropping."""
        picture = item.convert("L" if len(self.mean) == 1 else "RGB")
        if augment is not None and augment.crop is not None:
            picture = augment.crop(picture, (self.height, self.width))
        else:
            picture = self._framed(picture)
        if augment is not None and augment.pixels is not None:
            picture = augment.pixels(picture)
        return np.array(picture, dtype=np.uint8).reshape(self.height, self.width, len(self.mean))

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, h, w, c) uint8 -> (b, c, h, w) float32, in the same memory: channels last."""
        mean, std = (torch.tensor(values, device=frames.device) for values in (self.mean, self.std))
        # In the order in which the pixels lie; the view that puts channels first comes last.
        return frames.to(torch.float32).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)

    def _resized(self) -> tuple[int, int]:
        return math.floor(self.height / self.crop_pct), math.floor(self.width / self.crop_pct)

    def _framed(self, picture: Image.Image) -> Image.Image:
        size = fitted(picture.height, picture.width, self._resized(), self.crop_mode)
        if size != (picture.height, picture.width):
            picture = picture.resize((size[1], size[0]), FILTERS[self.interpolation])
        fill = tuple(round(255 * value) for value in self.mean) if self.crop_mode == "border" else (0,) * len(self.mean)
        return _middle(picture, self.height, self.width, fill)


def from_config(config: Mapping[str, Any]) -> ImagePreparation:
    """The preparation that a config states: `input_size`, `interpolation`, `crop_pct`, `crop_mode`, `mean`, `std`.

    What it leaves out is as in timm: 3 x 224 x 224, bicubic, 0.875, center, ImageNet's mean and deviation. Raises
    `EncoderError` for a value that cannot be followed.
    """
    channels, height, width = _sizes(config.get("input_size") or (3, 224, 224))
    interpolation = str(config.get("interpolation") or "bicubic")
    crop_mode = str(config.get("crop_mode") or "center")
    crop_pct = float(config.get("crop_pct") or 0.875)
    for what, got, allowed in (("interpolation", interpolation, tuple(FILTERS)), ("crop_mode", crop_mode, CROPS)):
        if got not in allowed:
            raise EncoderError(f"{what} in the encoder's config must be one of {', '.join(allowed)}, got '{got}'.")
    if crop_pct <= 0:
        raise EncoderError(f"crop_pct in the encoder's config must be above 0, got {crop_pct:g}.")
    mean = _channels(config, "mean", (0.485, 0.456, 0.406), channels)
    std = _channels(config, "std", (0.229, 0.224, 0.225), channels)
    return ImagePreparation(height, width, interpolation, crop_pct, crop_mode, mean, std)


def to_config(preparation: ImagePreparation) -> dict[str, Any]:
    """What `from_config` reads, for saving."""
    values = asdict(preparation)
    kept = {name: values[name] for name in ("interpolation", "crop_pct", "crop_mode")}
    return {"input_size": list(preparation.size), **kept, "mean": list(values["mean"]), "std": list(values["std"])}


def crop_share(crop: int, resize: int) -> float:
    """The `crop_pct` at which a frame of `crop` px is cut from a picture whose short side is exactly `resize` px."""
    share = crop / resize
    while math.floor(crop / share) < resize:
        share = math.nextafter(share, 0)
    return share


def fitted(height: int, width: int, wanted: tuple[int, int], mode: str) -> tuple[int, int]:
    """The height and width to which a picture is resized for `wanted`, rounded as torchvision and timm round."""
    if mode == "squash":
        return wanted
    if mode == "center" and wanted[0] == wanted[1]:
        short = wanted[0]
        if width <= height:
            return int(short * height / width), short
        return short, int(short * width / height)
    ratios = height / wanted[0], width / wanted[1]
    ratio = max(ratios) if mode == "border" else min(ratios)
    return round(height / ratio), round(width / ratio)


def _middle(picture: Image.Image, height: int, width: int, fill: tuple[int, ...]) -> Image.Image:
    """The middle of a picture; where it is smaller than that, `fill` lies around it."""
    around_y, around_x = max(0, height - picture.height), max(0, width - picture.width)
    if around_y or around_x:
        size = picture.width + around_x, picture.height + around_y
        whole = Image.new(picture.mode, size, fill if len(fill) > 1 else fill[0])
        whole.paste(picture, (around_x // 2, around_y // 2))
        picture = whole
    top, left = round((picture.height - height) / 2), round((picture.width - width) / 2)
    return picture.crop((left, top, left + width, top + height))


def _sizes(value: Any) -> tuple[int, int, int]:
    sizes = tuple(value) if isinstance(value, Sequence) else ()
    if len(sizes) != 3 or not all(isinstance(part, int) and part > 0 for part in sizes) or sizes[0] not in (1, 3):
        raise EncoderError(
            f"input_size in the encoder's config must be [channels, height, width] with 1 or 3 channels, got {value}."
        )
    return sizes


def _channels(config: Mapping[str, Any], name: str, default: tuple[float, ...], channels: int) -> tuple[float, ...]:
    values = tuple(config.get(name) or default)
    if len(values) == 3 and channels == 1 and not config.get(name):
        values = (sum(values) / 3,)
    if len(values) == 1:
        values *= channels
    if len(values) != channels or not all(isinstance(value, (int, float)) for value in values):
        raise EncoderError(f"{name} in the encoder's config must be {channels} numbers, got {list(values)}.")
    return tuple(float(value) for value in values)
