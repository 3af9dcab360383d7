"""Small pictures for a page, as data URIs, and heat drawn over them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

SIDE = 96  # pixels of the long side
QUALITY = 70  # of JPEG
HEAT = (255, 72, 0)  # drawn over a grey picture, since photos may be full of any colour
COVER = 0.65  # of the picture under the greatest heat


def uri(picture: Image.Image, side: int = SIDE) -> str:
    """A picture as a JPEG of at most `side` pixels; tiny ones are enlarged by a whole number, pixel by pixel."""
    made = picture.convert("RGB")
    factor = side // max(made.size)
    if factor >= 2:
        made = made.resize((made.width * factor, made.height * factor), Image.Resampling.NEAREST)
    made.thumbnail((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    made.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def heated(frame: np.ndarray, heat: np.ndarray, side: int = SIDE) -> str:
    """A frame in grey with heat drawn over it.

    Args:
        frame: (h, w, c) uint8 as the network takes it, of 1 or 3 channels.
        heat: (y, x) in [0, 1], of any resolution; it is stretched over the frame.
        side: pixels of the long side of what is drawn.
    """
    picture = Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame).convert("L").convert("RGB")
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    shown = np.asarray(picture.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    spread = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    cover = COVER * np.clip(np.asarray(spread), 0, 1)[:, :, None]
    mixed = shown * (1 - cover) + np.array(HEAT, dtype=np.float32) * cover
    return uri(Image.fromarray(mixed.round().astype(np.uint8)), side)
