"""A learning rate from the losses of steps whose rate rises: the range test of Smith 2017 (arXiv 1506.01186)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOWEST, HIGHEST = 1e-7, 1.0
WINDOW = 5  # losses, of which the middle one by size is taken: two spikes side by side do not count
MEMORY = 0.7  # of the exponential mean
BEYOND = 3.0  # the rate found is at most the one at the least loss divided by this
EXPLODED = 4.0  # times the least loss, at which the test ends
NOISES = 1.2  # standard deviations of the noise that the loss falls at least
BEGUN = 0.2  # share of its fall after which the loss has begun to fall
LATEST = 3  # losses whose middle one must be above that


def rising(count: int) -> np.ndarray:
    """(count,) rates from the lowest to the highest, each the same multiple of the one before."""
    return np.geomspace(LOWEST, HIGHEST, count)


def exploded(losses: Sequence[float]) -> bool:
    """Whether the test may end: the loss is no number, or the middle of its last values is far above its best."""
    if not losses:
        return False
    if not np.isfinite(losses[-1]):
        return True
    if len(losses) < WINDOW:
        return False
    return float(np.median(losses[-LATEST:])) > EXPLODED * max(float(_steadied(np.asarray(losses)).min()), 1e-12)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """(n,) losses without spikes and noise.

    Each becomes the median of its neighbourhood, and then an exponential mean with bias correction, m <- b m +
    (1 - b) l divided by 1 - b^t, is taken forwards and backwards: one way alone lags behind by several steps.
    """
    return _mean(_mean(_steadied(losses))[::-1])[::-1]


def suggested(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The rate of the steepest fall of the smoothed loss over the logarithm of the rate.

    At most a third of the rate at the least loss. None where the loss falls by less than its own noise, so that nothing
    can be read from it.

    Args:
        rates: (n,) rising.
        losses: (n,) of the batches on which steps of these rates were taken, finite.
    """
    if len(losses) < WINDOW:
        return None
    curve = smoothed(losses)
    lowest = int(curve.argmin())
    residual = np.abs(losses - curve)
    noise = 1.4826 * float(np.median(residual))  # the standard deviation of normal noise
    level = float(np.median(curve[: max(len(curve) // 3, 1)]))  # of steps too small to move anything
    fall = level - float(curve[lowest])
    allowed = int(np.searchsorted(rates, rates[lowest] / BEYOND, side="right"))  # of the rates, from below
    if not allowed or fall <= max(NOISES * noise, 0.01 * abs(float(curve[lowest]))):
        return None
    # Before the loss begins to fall for good, the steepest place is one of its noise.
    above = np.flatnonzero(curve[: lowest + 1] >= level - BEGUN * fall)
    start = min(int(above[-1]) if len(above) else 0, allowed - 1)
    slope = np.gradient(curve, np.log(rates))[start:allowed]
    return float(rates[start + int(slope.argmin())])


def _steadied(losses: np.ndarray) -> np.ndarray:
    half = WINDOW // 2
    return np.array([np.median(losses[max(0, place - half) : place + half + 1]) for place in range(len(losses))])


def _mean(values: np.ndarray) -> np.ndarray:
    found, mean = np.empty(len(values)), 0.0
    for place, value in enumerate(values):
        mean = MEMORY * mean + (1 - MEMORY) * float(value)
        found[place] = mean / (1 - MEMORY ** (place + 1))
    return found
