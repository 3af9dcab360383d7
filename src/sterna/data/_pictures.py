"""Image files -> upright RGB pictures, and the one pass over all files that checks them."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sterna.maths import phash

Progress = Callable[[int, int], None]

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib"),
        *("gif", "tif", "tiff", "avif", "ppm", "pgm", "pbm", "pnm"),
    )
)

_SHORT = 200  # files: fewer are read before worker processes would have started
_PORTION = 32  # files a worker takes at a time


@dataclass(frozen=True)
class Scanned:
    """What one pass over a file tells."""

    digest: str  # of its bytes
    words: tuple[int, ...]  # its perceptual hash; () for an even surface
    problem: str  # why it cannot be used; "" when it can


def open_upright(source: str | io.BytesIO, hint: int) -> Image.Image:
    """The first frame as an upright RGB picture, decoded no smaller than `hint` px on its short side.

    JPEG is decoded at the smallest of 1, 1/2, 1/4, 1/8 of its size that `hint` allows; other formats at their own.
    Transparency is laid on white. 16-bit grey is scaled by its full range, 0 to 65535.
    """
    with Image.open(source) as picture:
        if hint > 0:
            picture.draft(None, (hint, hint))
        return ImageOps.exif_transpose(_opaque(picture))


def digest(content: bytes) -> str:
    """A digest of the bytes of a file, the same on every machine."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def scan(paths: Sequence[str], workers: int | None = None, progress: Progress | None = None) -> list[Scanned]:
    """Digest, decodability and perceptual hash of each file, in the order given.

    Args:
        paths: the files.
        workers: None takes the number of cores this process may use.
        progress: called with how many files are done, of how many.
    """
    count = workers or available_cores()
    portions = [paths[start : start + _PORTION] for start in range(0, len(paths), _PORTION)]
    if count < 2 or len(paths) < _SHORT:
        return _counted(map(_portion, portions), len(paths), progress)
    pool = _pool(count)
    try:
        return _counted(pool.map(_portion, portions), len(paths), progress)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool(workers: int) -> Executor:
    # Small files are bound by Python's lock, so threads are slower than none at all and only processes help; on large
    # photos both scale. Workers are forked, as torch's loaders are, because a started-afresh process would run the
    # caller's script again; where forking is unsafe (macOS) or absent, threads do it.
    if sys.platform == "linux" and not multiprocessing.current_process().daemon:
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    return ThreadPoolExecutor(workers)


def _counted(portions: Iterable[list[Scanned]], total: int, progress: Progress | None) -> list[Scanned]:
    done: list[Scanned] = []
    for portion in portions:
        done.extend(portion)
        if progress is not None:
            progress(len(done), total)
    return done


def _portion(paths: Sequence[str]) -> list[Scanned]:
    """One worker's portion: files one by one, their hashes at once, which costs a quarter of hashing one by one."""
    read = [_read(path) for path in paths]
    greys = [grey for _, grey, _ in read if grey is not None]
    hashes, flat = phash.perceptual_hashes(np.stack(greys)) if greys else (np.zeros((0, 4)), np.zeros(0))
    words = iter([() if even else tuple(hash) for hash, even in zip(hashes.tolist(), flat.tolist(), strict=True)])
    return [Scanned(key, () if grey is None else next(words), problem) for key, grey, problem in read]


def _read(path: str) -> tuple[str, np.ndarray | None, str]:
    """Digest, small grey picture and problem of one file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return "", None, (error.strerror or str(error)).lower()
    if not content:
        return "", None, "empty file"
    try:
        return digest(content), _small_grey(content), ""
    # Damaged files raise whatever their decoder stumbles over: OSError, SyntaxError, struct.error, EOFError, ...
    except Exception as error:
        return "", None, _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels to be decoded safely"
    if "truncated" in str(error).lower():
        return "cut off before its end"
    return f"damaged: {error}" if str(error) else "damaged"


def _small_grey(content: bytes) -> np.ndarray:
    """The (32, 32) grey picture that is hashed. The whole file is decoded, so that a missing end is seen."""
    side = phash.SIDE
    with Image.open(io.BytesIO(content)) as picture:
        picture.draft("L", (2 * side, 2 * side))
        grey = picture if picture.mode == "L" and "transparency" not in picture.info else _opaque(picture)
        # Not the box filter: its rounding depends on the side it starts from, so a turned copy hashes differently, and
        # enlarged tiny pictures get the edges of their pixels in common.
        small = grey.convert("L").resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    return np.asarray(small if turn is None else small.transpose(turn))


_ORIENTATION = 0x0112  # the EXIF tag; its values and what undoes them (Exif 2.32, section 4.6.4)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _opaque(picture: Image.Image) -> Image.Image:
    """The picture in RGB: more than 8 bits scaled down, transparency on white."""
    if picture.mode.startswith("I;16"):
        return _scaled(np.asarray(picture, dtype=np.float64), 65535.0)
    if picture.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
        return _scaled(values, _full_range(picture.mode, float(values.max())))
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _full_range(mode: str, largest: float) -> float:
    """The value that stands for white in 32-bit pictures, which do not say: the smallest usual one that fits."""
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((top for top in usual if largest <= top), largest)


def _scaled(values: np.ndarray, top: float) -> Image.Image:
    grey = np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
