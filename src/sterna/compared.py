"""What a comparison of two data sets found, and what it means in sentences; `distance.json` is this record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sterna import checks, files, stats
from sterna.errors import DataError
from sterna.measuring import MOST, Measured, Moved

RECORD = "distance.json"
FAR = "energy"  # how far is said by this one: never 0 by chance, without an upper bound, nothing to choose
LEVEL = 0.05
LISTED = 10  # classes in the table
ALIKE = 0.7  # of the most moved class: all that move so far have moved together
NAMED = 3  # of them in a sentence


@dataclass(frozen=True)
class Labelling:
    """What the labels of both sides say."""

    shared: tuple[str, ...] = ()
    left_only: tuple[str, ...] = ()
    right_only: tuple[str, ...] = ()
    left_shares: tuple[float, ...] = ()  # of all examples, class by class of `shared`
    right_shares: tuple[float, ...] = ()
    p: float | None = None  # of all shares of classes being the same; None where not asked


@dataclass(frozen=True)
class Compared:
    """Prints as a table with what to make of it below."""

    left: str
    right: str
    n_left: int
    n_right: int
    encoder: str  # as typed; "" for rows and vectors
    metrics: tuple[Measured, ...]
    classes: tuple[Moved, ...]  # those of both sides, the most moved first
    labelling: Labelling
    half: int  # examples of a half
    components: int  # that distances at their best in few dimensions have seen; 0 for pairs
    share: float  # of the variance in these
    copies: int  # examples of the right side that are examples of the left side, byte for byte
    same: bool = False  # whether both sides hold the same examples
    notes: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    folder: str = field(default="", compare=False)

    def __str__(self) -> str:
        applied = [one for one in self.metrics if not one.reason]
        head = ["distance", "value", "p", "× split-half", "seconds", "what the value is"]
        parts = [_table([head, *map(_line, applied)])] if applied else []
        if self.classes:
            head = ["class", f"in {self.left}", f"in {self.right}", "moved by", "× split-half", "p"]
            parts.append(_table([head, *map(_moved, self.classes[:LISTED])]))
        skipped: dict[str, list[str]] = {}
        for one in self.metrics:
            if one.reason:
                skipped.setdefault(one.reason.rstrip("."), []).append(one.name)
        left_out = [f"Left out: {', '.join(names)}; {reason}." for reason, names in skipped.items()]
        return "\n\n".join([*parts, "\n".join([*self.sentences, *self.notes, *left_out])])

    def as_json(self) -> dict[str, Any]:
        """The contents of `distance.json`."""
        return {key: _listed(value) for key, value in asdict(self).items() if key != "folder"}

    def save(self) -> None:
        """Write `distance.json`, whole or not at all."""
        files.write_json(Path(self.folder) / RECORD, self.as_json())


def load(place: Path) -> Compared:
    """The comparison in a folder. Raises `DataError` where there is none."""
    record = place / RECORD
    if not record.is_file():
        raise DataError(f"{place} holds no comparison: it has no {RECORD}; run sterna distance with --out {place}.")
    kept = files.read_json(record)
    metrics = tuple(Measured(**{**one, "notes": tuple(one["notes"])}) for one in kept.pop("metrics"))
    classes = tuple(Moved(**one) for one in kept.pop("classes"))
    labelling = Labelling(**_tuples(kept.pop("labelling")))
    return Compared(**_tuples(kept), metrics=metrics, classes=classes, labelling=labelling, folder=str(place))


def said(found: Compared) -> tuple[str, ...]:
    """What to make of it, in sentences."""
    if not found.components:
        return tuple(_of_encoders(found))
    if found.same:
        return (
            f"{found.left} and {found.right} are the same data: each of the {found.n_left:,} examples is in both, and "
            "nothing is tested.",
        )
    told = [*_copies(found), *_verdict(found), *_far(found), *_classes(found), *_shares(found)]
    return (*told, _how(found))


def testable(copies: int, smaller: int, rows: bool) -> bool:
    """Whether p values mean anything: copies beyond one in a hundred make samples that are not independent.

    Rows of few columns are often alike without being copies.
    """
    return rows or copies <= smaller / 100


def _of_encoders(found: Compared) -> list[str]:
    pairs = [one for one in found.metrics if one.value is not None]
    return [
        f"{found.left} and {found.right} see the {found.n_left:,} items at a distance of {one.value:.2f} by "
        f"{one.name} ({one.scale})."
        for one in pairs
        if one.value is not None
    ]


def _copies(found: Compared) -> list[str]:
    if not found.copies:
        return []
    share = 100 * found.copies / found.n_right
    told = f"{found.copies:,} of {found.n_right:,} examples of {found.right} ({share:.2g} %)"
    if any(one.p is not None for one in found.metrics):
        return [f"{told} are also in {found.left}; if they are copies, p values come out too high."]
    return [
        f"{told} are also in {found.left}, so the samples are not independent, p values would mean nothing and nothing "
        "is tested; remove the copies from one side."
    ]


def _verdict(found: Compared) -> list[str]:
    tested = {one.name: one.p for one in found.metrics if one.p is not None}
    if not tested:
        return []
    adjusted = dict(zip(tested, stats.holm(list(tested.values())), strict=True))
    name = min(adjusted, key=lambda key: adjusted[key])
    how = f"by {name}" + (f", after Holm's correction for {len(tested)} tests" if len(tested) > 1 else "")
    if adjusted[name] <= LEVEL:
        return [f"They are not samples of the same distribution (p = {adjusted[name]:.2g} {how})."]
    return [
        f"Nothing says that they are not samples of the same distribution (smallest p = {adjusted[name]:.2g} {how}); "
        f"with {found.n_left:,} and {found.n_right:,} examples, smaller differences go unseen."
    ]


def _far(found: Compared) -> list[str]:
    times = {one.name: one.times for one in found.metrics if one.times is not None}
    if not times:
        return []
    name = next((one for one in times if one.partition("(")[0] == FAR), next(iter(times)))
    return [
        f"{found.right} lies {_often(times[name])} as far from {found.left} as {found.left}'s halves from one another, "
        f"by {name} at {found.half:,} examples a side."
    ]


def _classes(found: Compared) -> list[str]:
    labels = found.labelling
    lacking = [
        f"{side} has no example of {checks.some(names, 5)}."
        for side, names in ((found.right, labels.left_only), (found.left, labels.right_only))
        if names and labels.shared
    ]
    if not found.classes:
        return lacking
    tested = [one for one in found.classes if one.p is not None]
    adjusted = stats.holm([one.p for one in tested if one.p is not None])
    moved = [one for one, p in zip(tested, adjusted, strict=True) if p <= LEVEL]
    if tested and not moved:
        return ["No single class is seen to have moved, after Holm's correction for all of them.", *lacking]
    least, most = min(one.moved for one in found.classes), max(one.moved for one in found.classes)
    if len(moved) == len(found.classes) > 1 and least > ALIKE * most:
        return [f"All {len(moved)} classes have moved about alike (by {least:.2g} to {most:.2g}).", *lacking]
    first = [f"{one.name} (by {one.moved:.2g})" for one in (moved or found.classes)[:NAMED]]
    count = f"{len(moved)} of {len(found.classes)} classes have moved" if tested else "Of the classes"
    told = f"{count}, most of all {first[0]}" + (f", then {', '.join(first[1:])}" if first[1:] else "")
    return [f"{told}.", *lacking]


def _shares(found: Compared) -> list[str]:
    labels = found.labelling
    if labels.p is None or not labels.shared:
        return []
    if labels.p > LEVEL:
        return [f"The shares of the classes are not seen to differ (G test, p = {labels.p:.2g})."]
    gaps = [abs(a - b) for a, b in zip(labels.left_shares, labels.right_shares, strict=True)]
    place = max(range(len(gaps)), key=lambda number: gaps[number])
    return [
        f"The shares of the classes differ as well (G test, p = {labels.p:.2g}), most for {labels.shared[place]}: "
        f"{100 * labels.left_shares[place]:.0f} % of {found.left}, {100 * labels.right_shares[place]:.0f} % of "
        f"{found.right}."
    ]


def _how(found: Compared) -> str:
    return (
        f"Distances that are at their best in few dimensions see {found.components} principal components, with "
        f"{100 * found.share:.0f} % of the variance, scaled so that it adds up to 1."
    )


def _often(times: float) -> str:
    return "over 1,000 times" if times >= MOST else f"{times:,.0f} times" if times >= 10 else f"{times:.1f} times"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _line(one: Measured) -> list[str]:
    value = "-" if one.value is None else f"{one.value:.3g}"
    times = "-" if one.times is None else _often(one.times).removesuffix(" times")
    return [one.name, value, _p(one.p), times, f"{one.seconds:.1f}", one.scale]


def _moved(one: Moved) -> list[str]:
    return [
        one.name,
        f"{one.left:,}",
        f"{one.right:,}",
        f"{one.moved:.3g}",
        _often(one.times).removesuffix(" times"),
        _p(one.p),
    ]


def _table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _tuples(kept: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, (tuple, list)) else value
