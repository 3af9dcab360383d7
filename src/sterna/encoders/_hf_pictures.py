"""From the `preprocessor_config.json` of a transformers image model to the preparation of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterna import preparation
from sterna.errors import EncoderError
from sterna.preparation import ImagePreparation

FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by their numbers in Pillow
SCALE = 1 / 255
SHARE = 224 / 256  # ConvNeXt's `crop_pct` where it states none
WHOLE = 384  # px from which ConvNeXt takes the whole picture
MEAN = (0.5, 0.5, 0.5)  # where the file states no other


def stated(config: Mapping[str, Any], channels: int, file: str) -> ImagePreparation:
    """The preparation that a file states.

    Raises `EncoderError` for one that cannot be followed: another scale of pixels, or no size.
    """
    if abs(float(config.get("rescale_factor", SCALE)) - SCALE) > 1e-9 or not config.get("size"):
        raise EncoderError(f"{file} must state a size, and pixels scaled by 1/255; choose another model.")
    height, width, mode, share = _geometry(config)
    normal = config.get("do_normalize", True)
    filters = config.get("resample", 2)
    return preparation.from_config(
        {
            "input_size": (channels, height, width),
            "interpolation": FILTERS[filters] if filters in range(len(FILTERS)) else str(filters),
            "crop_pct": share,
            "crop_mode": mode,
            "mean": list(config.get("image_mean") or MEAN) if normal else [0.0] * channels,
            "std": list(config.get("image_std") or MEAN) if normal else [1.0] * channels,
        }
    )


def _geometry(config: Mapping[str, Any]) -> tuple[int, int, str, float]:
    """Height, width, crop mode and the share of the resized picture that is kept."""
    size = _edges(config["size"])
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    if kind.startswith("ConvNext"):
        edge = size[0]
        share = 1.0 if edge >= WHOLE else float(config.get("crop_pct") or SHARE)
        return edge, edge, "squash" if edge >= WHOLE else "center", share
    mode = "center" if "shortest_edge" in _named(config["size"]) else "squash"
    if not config.get("do_center_crop") or not config.get("crop_size"):
        return *size, mode, 1.0
    crop = _edges(config["crop_size"])
    return *crop, mode, preparation.crop_share(crop[0], size[0])


def _named(size: Any) -> Mapping[str, int]:
    return size if isinstance(size, dict) else {"height": size, "width": size}


def _edges(size: Any) -> tuple[int, int]:
    named = _named(size)
    if "shortest_edge" in named:
        return int(named["shortest_edge"]), int(named["shortest_edge"])
    return int(named["height"]), int(named["width"])
