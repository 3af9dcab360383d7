"""Charts as geometry: positions in the units of an SVG view box, which one template draws.

A chart is about as wide as a phone, so that its letters are never scaled below what can be read; wider screens put
several side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WIDTH = 340  # of a chart, in units of about one pixel of a phone
LETTER = 6.0  # width of an average letter at the size of the labels, in the same units


@dataclass(frozen=True)
class Mark:
    """One thing drawn; which fields count depends on `kind`."""

    kind: str  # line, segment, dot, text, bar, shape
    css: str
    numbers: tuple[float, ...] = ()  # segment x1 y1 x2 y2; dot x y r; text x y; bar x y width height
    text: str = ""  # text: what it says; line and shape: the path
    title: str = ""  # shown on hovering
    anchor: str = "start"  # of a text
    item: int | None = None  # the example it stands for


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass
class Chart:
    """One SVG. `frame` is the box inside the axes: left, top, right, bottom."""

    label: str  # what a reader who cannot see it is told
    height: float
    frame: tuple[float, float, float, float]
    width: float = WIDTH
    css: str = ""
    x: Sequence[Tick] = ()
    y: Sequence[Tick] = ()
    x_name: str = ""
    y_name: str = ""
    marks: list[Mark] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> None:
        """Write words at a place."""
        self.marks.append(Mark("text", css, _rounded(x, y), words, anchor=anchor))

    def segment(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """Draw a straight line."""
        self.marks.append(Mark("segment", css, _rounded(x1, y1, x2, y2)))

    def line(self, places: Sequence[tuple[float, float]], css: str, title: str = "") -> None:
        """Draw a line through several places."""
        path = "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        self.marks.append(Mark("line", css, text=path, title=title))

    def dot(self, x: float, y: float, radius: float, css: str, title: str = "") -> None:
        """Draw a round point."""
        self.marks.append(Mark("dot", css, _rounded(x, y, radius), title=title))

    def points(self, places: Sequence[tuple[float, float]], css: str) -> None:
        """Draw many points as one mark, by the round ends of lines without length: ten bytes a point."""
        self.marks.append(Mark("line", css, text="".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)))

    def bar(self, x: float, y: float, width: float, height: float, css: str) -> None:
        """Draw a rectangle; one of no size is left out."""
        if width > 0 and height > 0:
            self.marks.append(Mark("bar", css, _rounded(x, y, width, height)))


def _rounded(*numbers: float) -> tuple[float, ...]:
    return tuple(round(number, 1) for number in numbers)


@dataclass(frozen=True)
class Scale:
    """From values to positions, straight or logarithmic."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """The position of a value; values outside stay at the edge."""
        low, high, here = (self._bent(one) for one in (self.low, self.high, value))
        share = 0.5 if high == low else (here - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.stop - self.start)

    def _bent(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value

    def ticks(self, wanted: int, written: Callable[[float], str]) -> list[Tick]:
        """About `wanted` places at round values."""
        values = decades(self.low, self.high, wanted) if self.log else steps(self.low, self.high, wanted)
        return [Tick(round(self.at(value), 1), written(value)) for value in values]


def steps(low: float, high: float, wanted: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within an interval, about as many as wanted."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / max(wanted, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def decades(low: float, high: float, wanted: int) -> list[float]:
    """Round values within an interval of a logarithmic axis: powers of ten, with 2 and 5 where these are too few."""
    first, last = math.floor(math.log10(max(low, 1e-12))), math.ceil(math.log10(max(high, 1e-12)))
    powers = range(first, last + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(found) >= 3:
            break
    stride = math.ceil(len(found) / max(wanted, 1))
    return found[::stride] or [low]


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """The ends of an axis that holds all values with some air."""
    low, high = min(values), max(values)
    air = (high - low) * share or abs(high) * share or 1.0
    return low - air, high + air
