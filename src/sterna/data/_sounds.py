"""Sound files -> mono samples, and the one pass over all files that checks them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import soundfile

from sterna.records import Sound

Progress = Callable[[int, int], None]

FULL = 0.999  # of the range of values, from which a sample may have been cut off there
SILENT = 1e-4  # largest value of a recording in which nothing is to be heard: -80 dB

_BLOCK = 1 << 18  # samples read at a time, so that hours of sound need no more memory than seconds
_BYTES = 1 << 20
# What libsndfile notes of a WAV file whose header promises more than there is; a writer to a pipe promises the most.
_PROMISED = re.compile(r"data : (\d+) \(should be (\d+)\)")
_UNKNOWN_LENGTH = 0x7FFF0000


@dataclass(frozen=True)
class Scanned:
    """What one pass over a file tells."""

    problem: str = ""  # why it cannot be used; "" when it can
    digest: str = ""  # of its bytes
    heard: str = ""  # digest of its samples as they are heard, with their rate
    length: int = 0  # samples of a channel
    rate: int = 0
    channels: int = 0
    peak: float = 0.0  # largest absolute value
    full: int = 0  # samples at the end of the range

    @property
    def seconds(self) -> float:
        return self.length / self.rate


def read(path: str) -> Sound:
    """A recording as the mean of its channels. Raises what soundfile raises."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Sound(_mono(samples), int(rate))


def scan(paths: Sequence[str], workers: int | None = None, progress: Progress | None = None) -> list[Scanned]:
    """Digests, length and loudness of each file, in the order given.

    Args:
        paths: the files.
        workers: threads, which decode outside Python's lock; None takes the number of cores this process may use.
        progress: called with how many files are done, of how many.
    """
    done: list[Scanned] = []
    with ThreadPoolExecutor(workers or available_cores()) as pool:
        for one in pool.map(_scanned, paths):
            done.append(one)
            if progress is not None:
                progress(len(done), len(paths))
    return done


def available_cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _scanned(path: str) -> Scanned:
    try:
        digest = _digest(path)
    except OSError as error:
        return Scanned((error.strerror or str(error)).lower())
    try:
        with soundfile.SoundFile(path) as file:
            promised = _PROMISED.search(file.extra_info)
            if promised and int(promised[2]) < int(promised[1]) < _UNKNOWN_LENGTH:
                return Scanned("cut off before its end")
            return _heard(file, digest)
    except soundfile.LibsndfileError as error:
        return Scanned(_reason(error))
    # Damaged files raise whatever their decoder stumbles over.
    except Exception as error:
        return Scanned(f"damaged: {error}")


def _heard(file: soundfile.SoundFile, digest: str) -> Scanned:
    heard = hashlib.blake2b(f"{file.samplerate} ".encode(), digest_size=16)
    length, peak, full = 0, 0.0, 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        loudness = np.abs(block).max(axis=1)
        if not np.isfinite(loudness).all():
            return Scanned("holds values that are no numbers")
        length, peak = length + len(block), max(peak, float(loudness.max()))
        full += int((loudness >= FULL).sum())
        heard.update(_mono(block).tobytes())
    if not length:
        return Scanned("holds no sound")
    if length < file.frames:
        return Scanned("cut off before its end")
    return Scanned("", digest, heard.hexdigest(), length, file.samplerate, file.channels, peak, full)


def _mono(samples: np.ndarray) -> np.ndarray:
    """(s, c) -> (s,) float32."""
    return np.ascontiguousarray(samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32))


def _digest(path: str) -> str:
    made = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while content := file.read(_BYTES):
            made.update(content)
    return made.hexdigest()


def _reason(error: soundfile.LibsndfileError) -> str:
    if error.code == _UNRECOGNISED:
        return "not a recording, whatever its name says"
    return f"damaged: {error.error_string.strip('.')}"


_UNRECOGNISED = 1  # SF_ERR_UNRECOGNISED_FORMAT
