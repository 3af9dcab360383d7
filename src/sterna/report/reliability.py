"""Whether a probability of 80 % means right in 80 of 100 cases.

Papers: Niculescu-Mizil and Caruana 2005 (ICML) for the diagram; Wilson 1927 (JASA 22) for the interval of a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sterna.report import numbers
from sterna.report.drawing import Chart, Scale, Tick, steps
from sterna.report.material import Answered, Material
from sterna.report.section import Section

BINS = 10
FEW = 300  # examples below which the calibration error of a perfect model would be about 0.05 or more
FOOT = 20  # bars of the histogram
Bin = tuple[float, float, int]  # mean confidence, share right, examples


def section(material: Material) -> Section | None:
    """The reliability diagram; only where answers have probabilities."""
    if material.result.task != "classify" or material.blind:
        return None
    kept = (material.evidence or {}).get("reliability") or {}
    bins = [(float(a), float(b), int(n)) for a, b, n in kept.get("bins", ()) if n] or binned(material.answers)
    if not bins:
        return None
    error = kept.get("ece")
    total = sum(n for *_, n in bins)
    error = float(error) if isinstance(error, (int, float)) else sum(abs(a - b) * n for a, b, n in bins) / total
    return Section(
        "reliability",
        "Can its probabilities be believed?",
        {"chart": _chart(bins, material.answers), "told": _told(bins, error, material.held)},
    )


def binned(answers: Sequence[Answered]) -> list[Bin]:
    """Held-out predictions in bins of equal width, empty ones left out."""
    groups: dict[int, list[tuple[float, bool]]] = {}
    for one in answers:
        if one.probability is not None:
            place = min(BINS - 1, int(one.probability * BINS))
            groups.setdefault(place, []).append((one.probability, one.truth == one.prediction))
    return [
        (sum(p for p, _ in several) / len(several), sum(hit for _, hit in several) / len(several), len(several))
        for _, several in sorted(groups.items())
    ]


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of n: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96."""
    z = 1.959964
    centre = share + z * z / (2 * n)
    width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - width) / (1 + z * z / n)), min(1.0, (centre + width) / (1 + z * z / n))


def _told(bins: Sequence[Bin], error: float, held: str) -> str:
    total = sum(n for *_, n in bins)
    excess = sum((confidence - right) * n for confidence, right, n in bins) / total
    doubt = 1 / math.sqrt(total)
    if abs(excess) < max(0.01, doubt / 2):
        side = "On average it is as sure as it is right"
    else:
        word = "surer than it is right" if excess > 0 else "less sure than it is right"
        side = f"On average it is {100 * abs(excess):.1f} points {word}"
    few = " With so few examples it is above 0 by chance alone." if total < FEW else ""
    return (
        f"{side}. The expected calibration error is {numbers.decimal(error)}: that far confidence and share right lie "
        f"apart, on average over groups of like confidence ({numbers.plural(total, f'{held} example')} of the first "
        f"seed).{few}"
    )


def _chart(bins: Sequence[Bin], answers: Sequence[Answered]) -> Chart:
    """Share right against confidence with the diagonal, and how many examples have which confidence at the foot.

    Both axes begin where something is: with many classes at 0, with a good model near the top.
    """
    lowest = min(min(confidence, wilson(right, n)[0]) for confidence, right, n in bins)
    least = min((one.probability for one in answers if one.probability is not None), default=lowest)
    start = max(0.0, math.floor(10 * min(lowest, least)) / 10)
    across, up = Scale(start, 1, 58, 330), Scale(start, 1, 250, 10)
    ticks = steps(start, 1, 5)
    label = "; ".join(
        f"confidence {numbers.percent(a, 0)}: right {numbers.percent(b, 0)} of {numbers.count(n)}" for a, b, n in bins
    )
    chart = Chart(
        label,
        356,
        (58, 10, 330, 250),
        x=[Tick(across.at(one), numbers.percent(one, 0)) for one in ticks],
        y=[Tick(up.at(one), numbers.percent(one, 0)) for one in ticks],
        x_name="confidence: the probability of what is predicted",
        y_name="share right",
    )
    chart.segment(across.at(start), up.at(start), across.at(1), up.at(1), "diagonal")
    for confidence, right, n in bins:
        x, (low, high) = across.at(confidence), wilson(right, n)
        chart.segment(x, up.at(low), x, up.at(high), "interval transfer")
        told = f"said {numbers.percent(confidence)}, right {numbers.percent(right)}, n = {numbers.count(n)}"
        chart.dot(x, up.at(right), 4.5, "transfer", told)
    _foot(chart, across, [one.probability for one in answers if one.probability is not None])
    return chart


def _foot(chart: Chart, across: Scale, probabilities: Sequence[float]) -> None:
    """A histogram of the confidences, under the diagram."""
    if not probabilities:
        return
    width = (across.high - across.low) / FOOT
    counts = [0] * FOOT
    for one in probabilities:
        counts[min(FOOT - 1, max(0, int((one - across.low) / width)))] += 1
    for place, count in enumerate(counts):
        left, right = (across.at(across.low + width * (place + end)) for end in (0, 1))
        height = 36 * count / max(counts)
        chart.bar(left + 1, 334 - height, right - left - 2, max(height, 1.0) if count else 0, "count")
    chart.text(58, 350, f"examples by confidence (highest bar {numbers.count(max(counts))})", "faint-text")
