"""From a recording to what a network or a linear model takes: resampling, log-mel bands, statistics over time.

Equation: B_tm = 10 log10 sum_f T_m(f) |X_t(f)|^2, with X_t the discrete Fourier transform of 25 ms of sound under a
periodic Hann window, taken every 10 ms, and T_m triangles of height 1 whose corners lie evenly on HTK's mel scale,
2595 log10(1 + f / 700) (Young et al., "The HTK Book", section 5.4). Pretrained networks bring a spectrogram of their
own; these bands are for features made by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.fft import dct, next_fast_len, rfft
from scipy.signal import firwin, get_window, kaiser_beta, resample_poly
from torch import Tensor

from sterna.records import Augment, Sound
from sterna.sequences import TOKEN

WINDOW = 0.025  # seconds: short enough that speech stands still in it
HOP = 0.010  # seconds
LOWEST = 20.0  # Hz: the lower end of hearing
LONGEST = 30.0  # seconds: what speech networks are trained on at most, and enough for a sound to be known by
FLOOR = 1e-10  # power of a band that counts as silence, for samples in [-1, 1]

_ATTENUATION = 80.0  # dB: below the noise of 13 bits
_PASSED = 0.9  # share of the band that is kept whole; what lies above it fades out
_LARGEST = 2000  # of a ratio's denominator: other rates are met to within one part in a million


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A recording at another rate, by a polyphase filter.

    Up to 0.9 of the highest frequency that both rates hold (half the lower rate) nothing changes; from there on it
    fades, and what lies above is at least 80 dB weaker, so nothing folds back. Rates without a common divisor are met
    to within one part in a million.

    Args:
        samples: (s,) float32.
        rate: samples a second.
        wanted: samples a second afterwards.

    Returns:
        (ceil(s wanted / rate),) float32.
    """
    if rate == wanted:
        return samples.astype(np.float32, copy=False)
    ratio = Fraction(wanted, rate).limit_denominator(_LARGEST)
    up, down = max(ratio.numerator, 1), ratio.denominator
    made = resample_poly(samples.astype(np.float32, copy=False), up, down, window=_low_pass(max(up, down)))
    return made.astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _low_pass(step: int) -> np.ndarray:
    """A Kaiser-windowed low-pass filter (Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.5.3)."""
    fade = (1 - _PASSED) * math.pi / step
    half = math.ceil((_ATTENUATION - 7.95) / (2.285 * fade) / 2)
    window = ("kaiser", kaiser_beta(_ATTENUATION))
    return firwin(2 * half + 1, (1 + _PASSED) / 2 / step, window=window).astype(np.float32)


def log_mel(samples: np.ndarray, rate: int, mels: int = 40, depth: float = 80.0) -> np.ndarray:
    """The loudness of each band over time, in decibels.

    Args:
        samples: (s,) float32 in [-1, 1]. Silence is laid around it, so that every sample is under a whole window.
        rate: samples a second.
        mels: bands between 20 Hz and half the rate.
        depth: dB below the loudest band of the recording at which the rest counts as silence; so the noise of a
            converter, and frequencies that a low rate left empty, carry no pattern.

    Returns:
        (1 + s // hop, mels) float32, with hop the samples in 10 ms.
    """
    length, hop = max(round(WINDOW * rate), 1), max(round(HOP * rate), 1)
    around = np.pad(samples.astype(np.float32, copy=False), (length // 2, length - length // 2))
    framed = np.lib.stride_tricks.sliding_window_view(around, length)[::hop]
    size = next_fast_len(length, real=True)
    spectrum = rfft(framed * get_window("hann", length).astype(np.float32), size, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    bands = power @ _triangles(rate, size, mels).T
    least = max(float(bands.max()) * 10 ** (-depth / 10), FLOOR)
    loudness: np.ndarray = 10 * np.log10(np.maximum(bands, least))
    return loudness.astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _triangles(rate: int, size: int, mels: int) -> np.ndarray:
    """(mels, size // 2 + 1) float32: how much of each frequency each band takes."""
    low, high = (2595 * math.log10(1 + frequency / 700) for frequency in (LOWEST, rate / 2))
    corners = 700 * (10 ** (np.linspace(low, high, mels + 2) / 2595) - 1)[:, None]
    frequencies = np.arange(size // 2 + 1) * rate / size
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    found: np.ndarray = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return found


def sounding(bands: np.ndarray, range_: float) -> np.ndarray:
    """The frames (t, mels) in dB from the first to the last that is within `range_` dB of the loudest."""
    loudness = 10 * np.log10((10 ** (bands.astype(np.float64) / 10)).sum(axis=1))
    heard = np.flatnonzero(loudness >= loudness.max() - range_)
    return bands[heard[0] : heard[-1] + 1]


def prepared(item: Sound, augment: Augment | None, rate: int, longest: float) -> np.ndarray:
    """A recording after what acts on sounds, cut to its first `longest` seconds, at `rate`: (s,) float32."""
    if augment is not None and augment.sound is not None:
        item = augment.sound(item)
    return resampled(item.samples[: math.ceil(longest * item.rate)], item.rate, rate)


@dataclass(frozen=True)
class Waveform:
    """The samples themselves, for networks that learnt their own filters.

    Of a recording longer than `longest_seconds` the beginning is used. One shorter than `shortest` samples gets silence
    behind it, for such networks need one whole window of their filters.
    """

    rate: int = 16000
    longest_seconds: float = LONGEST
    normalise: bool = False  # each recording to mean 0 and variance 1: (x - mean) / sqrt(variance + 1e-7)
    shortest: int = 400
    modality: str = "audio"
    ragged: bool = True

    @property
    def hint(self) -> int:
        """Pixels, of which sounds have none."""
        return 0

    def frame(self, item: Sound, augment: Augment | None = None) -> np.ndarray:
        """A recording -> (s, 2) float32: the samples, and 1 for each (see `sequences`)."""
        samples = prepared(item, augment, self.rate, self.longest_seconds)
        if self.normalise and len(samples):
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        made = np.zeros((max(len(samples), self.shortest), 2), dtype=np.float32)
        made[: len(samples), 0] = samples
        made[:, 1] = TOKEN
        return made

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, s, 2) float32, as it is."""
        return frames.float()


@dataclass(frozen=True)
class LogMelStatistics:
    """How the shape of the spectrum is spread over a recording, as numbers that need no training.

    The silence before and after the sound is cut off, since where a recording was started says nothing. The log-mel
    bands of each frame become their first cepstra (Davis and Mermelstein 1980, IEEE Trans. ASSP 28(4)): neighbouring
    bands rise and fall together, and a penalty treats uncorrelated numbers more fairly. The recording's mean level is
    taken off, for it tells of the microphone. Of each cepstrum come the mean, the standard deviation, that of its
    change from frame to frame, the quantiles, and the mean of each of `segments` stretches of equal length against the
    mean of all, which keeps the order of what is heard; besides, the logarithm of the length in seconds. Of a recording
    longer than `longest_seconds` the beginning is used; shorter ones stay as they are.

    The defaults were chosen on 1,500 spoken digits, by the accuracy of logistic regression on a speaker it has not
    heard, the mean of six: 86 %; without the stretches 74 %, without the quantiles 81 %, with the silence 81 %.
    """

    rate: int = 16000
    mels: int = 40
    cepstra: int = 20
    segments: int = 4
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    depth: float = 80.0  # dB below the loudest band that still count
    heard: float = 30.0  # dB below the loudest frame at which the sound begins and ends
    longest_seconds: float = LONGEST
    modality: str = "audio"
    ragged: bool = False

    @property
    def hint(self) -> int:
        """Pixels, of which sounds have none."""
        return 0

    @property
    def width(self) -> int:
        """How many numbers a recording becomes."""
        return self.cepstra * (3 + len(self.quantiles) + self.segments)

    def frame(self, item: Sound, augment: Augment | None = None) -> np.ndarray:
        """A recording -> (width,) float32."""
        samples = prepared(item, augment, self.rate, self.longest_seconds)
        bands = sounding(log_mel(samples, self.rate, self.mels, self.depth), self.heard)
        cepstra = dct(bands.astype(np.float64), axis=1, norm="ortho")[:, : self.cepstra]
        cepstra[:, 0] -= cepstra[:, 0].mean()
        mean = cepstra.mean(axis=0)
        change = np.diff(cepstra, axis=0) if len(cepstra) > 1 else np.zeros((1, self.cepstra))
        spread = [cepstra.std(axis=0), change.std(axis=0), *np.quantile(cepstra, self.quantiles, axis=0)]
        course = [part - mean for part in _stretches(cepstra, self.segments)]
        # The mean level is zero by now; the length takes its place.
        return np.concatenate([[math.log(len(cepstra) * HOP)], mean[1:], *spread, *course]).astype(np.float32)

    def tensor(self, frames: Tensor) -> Tensor:
        """(b, d) float32, as it is."""
        return frames.float()


def _stretches(values: np.ndarray, count: int) -> list[np.ndarray]:
    """The means of `count` stretches of (t, d); they share frames where these do not divide evenly."""
    ends = np.linspace(0, len(values), count + 1)
    return [
        values[math.floor(start) : max(math.ceil(end), math.floor(start) + 1)].mean(axis=0)
        for start, end in pairwise(ends)
    ]
