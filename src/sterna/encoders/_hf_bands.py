"""Spectrograms as the feature extractors of transformers make them: Whisper's, and Kaldi's filter banks for AST.

Equations, with X_t the discrete Fourier transform of 400 windowed samples, taken every 160 samples:
Whisper (Radford et al. 2022, section 2.2): L = log10 max(1e-10, sum_f S_m(f) |X_t(f)|^2), then (max(L, max(L) - 8)
+ 4) / 4, with S_m triangles of area 1 on Slaney's mel scale. AST (Gong et al. 2021, section 2.1): (log max(2^-23,
sum_f K_m(f) |X_t(f)|^2) - mean) / (2 std), with K_m triangles of height 1 that are straight on Kaldi's mel scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor

from sterna.records import Augment, Sound
from sterna.sounds import prepared

WINDOW = 400  # samples: 25 ms at 16 kHz
HOP = 160  # samples: 10 ms at 16 kHz
SILENCE = 1e-10  # Whisper's least power of a band
DECADES = 8.0  # below the loudest band, that Whisper keeps
SIZE = 512  # of Kaldi's transform, the next power of two
LOWEST = 20.0  # Hz, of Kaldi's bands
PRE_EMPHASIS = 0.97
EPSILON = 2.0**-23  # Kaldi's least power of a band


@dataclass(frozen=True)
class WhisperBands:
    """Log-mel bands of a stretch of fixed length: what is longer is cut, and silence follows what is shorter.

    That silence belongs to the model, which was trained with it.
    """

    rate: int = 16000
    mels: int = 80
    window: int = WINDOW
    hop: int = HOP
    length: int = 480000  # samples
    modality: str = "audio"
    ragged: bool = False

    @property
    def hint(self) -> int:
        """Pixels, of which sounds have none."""
        return 0

    @property
    def size(self) -> tuple[int, int]:
        """(mels, t) of the network's input."""
        return self.mels, self.length // self.hop

    @property
    def seconds(self) -> float:
        """How much of a recording is used."""
        return self.length / self.rate

    def frame(self, item: Sound, augment: Augment | None = None) -> np.ndarray:
        """A recording -> (mels, t) float32."""
        samples = prepared(item, augment, self.rate, self.seconds)[: self.length]
        half = self.window // 2
        around = np.pad(samples, (0, self.length - len(samples)))
        around = np.pad(around, half, mode="reflect")
        found = np.full(self.size[::-1], math.log10(SILENCE))
        # Windows that begin behind the end of the sound hold nothing, and most of a short recording is silence.
        heard = min(len(found), math.ceil((len(samples) + half) / self.hop))
        framed = np.lib.stride_tricks.sliding_window_view(around, self.window)[:: self.hop][:heard]
        bands = _power(framed * _hann(self.window + 1)[:-1], self.window) @ _slaney(self.rate, self.window, self.mels)
        found[:heard] = np.log10(np.maximum(bands, SILENCE))
        return (np.maximum(found, found.max() - DECADES).T / 4 + 1).astype(np.float32)

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, mels, t) float32, as it is."""
        return frames.float()


@dataclass(frozen=True)
class KaldiBands:
    """Log-mel bands of the first `frames` windows; behind a shorter recording stand zeros, before normalising."""

    rate: int = 16000
    mels: int = 128
    frames: int = 1024
    normalise: bool = True
    mean: float = -4.2677393  # of AudioSet
    std: float = 4.5689974
    modality: str = "audio"
    ragged: bool = False

    @property
    def hint(self) -> int:
        """Pixels, of which sounds have none."""
        return 0

    @property
    def size(self) -> tuple[int, int]:
        """(t, mels) of the network's input."""
        return self.frames, self.mels

    @property
    def seconds(self) -> float:
        """How much of a recording is used."""
        return ((self.frames - 1) * HOP + WINDOW) / self.rate

    def frame(self, item: Sound, augment: Augment | None = None) -> np.ndarray:
        """A recording -> (t, mels) float32; one shorter than a window gets silence behind it."""
        samples = prepared(item, augment, self.rate, self.seconds)
        samples = np.pad(samples, (0, max(WINDOW - len(samples), 0)))
        framed = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP][: self.frames].astype(np.float64)
        framed = framed - framed.mean(axis=1, keepdims=True)
        before = np.concatenate([framed[:, :1], framed[:, :-1]], axis=1)
        power = _power((framed - PRE_EMPHASIS * before) * _hann(WINDOW), SIZE)
        found = np.zeros(self.size)
        found[: len(framed)] = np.log(np.maximum(power @ _kaldi(self.rate, self.mels), EPSILON))
        if self.normalise:
            found = (found - self.mean) / (2 * self.std)
        return found.astype(np.float32)

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, t, mels) float32, as it is."""
        return frames.float()


def _power(framed: np.ndarray, size: int) -> np.ndarray:
    """(t, window) -> (t, size // 2 + 1)."""
    spectrum = np.fft.rfft(framed, size, axis=1)
    found: np.ndarray = spectrum.real**2 + spectrum.imag**2
    return found


@lru_cache(maxsize=8)
def _hann(size: int) -> np.ndarray:
    return np.hanning(size)


@lru_cache(maxsize=8)
def _slaney(rate: int, size: int, mels: int) -> np.ndarray:
    """(size // 2 + 1, mels): triangles of area 1 up to 8,000 Hz, evenly spaced below 1,000 Hz and by ratio above."""
    step = math.log(6.4) / 27
    marks = np.linspace(0, 15 + math.log(8000 / 1000) / step, mels + 2)
    corners = np.where(marks < 15, marks * 200 / 3, 1000 * np.exp((marks - 15) * step))
    return _triangles(np.linspace(0, rate // 2, size // 2 + 1), corners) * (2 / (corners[2:] - corners[:-2]))


@lru_cache(maxsize=8)
def _kaldi(rate: int, mels: int) -> np.ndarray:
    """(SIZE // 2 + 1, mels)."""
    frequencies = np.arange(SIZE // 2 + 1) * rate / SIZE
    low, high, *marks = 1127 * np.log(1 + np.array([LOWEST, rate // 2, *frequencies]) / 700)
    return _triangles(np.array(marks), np.linspace(low, high, mels + 2))


def _triangles(places: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(places, corners - 2): each rises from a corner to the next and falls to the one after."""
    width = np.diff(corners)
    away = corners - places[:, None]
    found: np.ndarray = np.maximum(0, np.minimum(-away[:, :-2] / width[:-1], away[:, 2:] / width[1:]))
    return found
