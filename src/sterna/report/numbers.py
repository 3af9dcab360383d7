"""Numbers and names as the page writes them; one place, so that the same figure never reads differently twice."""

from __future__ import annotations

import math
from collections.abc import Callable

from sterna.verdict import in_words

POINTED = ("r2", "mean_r2", "spearman", "roc_auc", "log_loss", "rmse", "mae", "calibration_error", "average_precision")
LOWER = ("log_loss", "rmse", "mae", "calibration_error", "loss")  # figures of which less is better
NAME = 80  # characters of a name that anyone reads


def count(number: float) -> str:
    """A whole number with thousands apart: `1,797`."""
    return f"{round(number):,}"


def percent(share: float, digits: int = 1) -> str:
    """A share: `96.2 %`; "-" for what is undefined."""
    return f"{100 * share:.{digits}f} %" if math.isfinite(share) else "-"


def points(share: float) -> str:
    """A difference in percentage points with its sign, never a signed zero: `+2.8`, `0.0`, `-1.3`."""
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def points_between(low: float, high: float) -> str:
    """The two ends of an interval in points: `1.7 to 4.0`."""
    return " to ".join(f"{round(100 * end, 1) + 0.0:.1f}" for end in (low, high))


def decimal(value: float) -> str:
    """Three decimals, or four digits where these would hide the number: `0.177`, `1235`, `4.2e-05`."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def figure(name: str, value: float) -> str:
    """A figure of a task: shares as percentages, all else as a number."""
    return decimal(value) if name in POINTED else percent(value)


def compact(value: float) -> str:
    """A number on an axis: four digits, small powers of ten without padding: `0.25`, `1,200`, `1e-5`."""
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.3g}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.4g}".replace("e-0", "e-")


def axis(name: str, span: float) -> Callable[[float], str]:
    """How the axis of a figure is written, on which `span` is shown."""
    if name in POINTED:
        return compact
    digits = 0 if span > 0.04 else 1
    return lambda at: f"{100 * at:.{digits}f} %"


def rough(value: float) -> str:
    """Three digits, for an amount that nobody knows more exactly: `94.0`, `0.213`, `1,230`."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1000:
        return compact(float(f"{value:.3g}"))
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, digits)}f}" if abs(value) >= 0.001 or not value else f"{value:.3g}"


def seconds(duration: float) -> str:
    """A duration: `0.7 s`, `43 s`, `2 min 05 s`, `1 h 12 min`."""
    if duration < 0.095:
        return f"{duration:.2f} s"
    if duration < 9.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60:02d} min" if whole % 3600 >= 60 else "")


def probability(value: float) -> str:
    """A p value or a probability: three decimals, `< 0.001` below."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 example`, `2,000 examples`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def listed(names: list[str], most: int = 8) -> str:
    """Names in a sentence: `a, b and c`, the later ones counted."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def short(text: str, most: int = NAME) -> str:
    """A text with its middle left out: the ends of a path and of a name say most."""
    if len(text) <= most:
        return text
    tail = most // 2 - 1
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def named(metric: str) -> str:
    """A figure's name for people: `macro_f1` -> "macro F1"."""
    return in_words(metric).removesuffix(" error")
