"""Everything the page is made from, read from the folder of a finished run; nothing here needs a network or torch."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sterna import files, result
from sterna.errors import DataError, StoreError
from sterna.report.showing import DOMAINS, PARTS, Shelf
from sterna.result import Result

EVIDENCE, PREDICTIONS = "evidence.json", "predictions.csv"
VERSION = 1  # of evidence.json
EXTRAS = {"rank": "rank.json", "distance": "distance.json"}


@dataclass(frozen=True)
class Answered:
    """A line of predictions.csv."""

    item: str
    truth: str
    prediction: str
    probability: float | None


@dataclass(frozen=True)
class Material:
    """A run as it lies on disk."""

    name: str
    place: Path
    result: Result
    plan: Mapping[str, Any]
    histories: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]  # route -> seed -> one entry an epoch
    answers: Sequence[Answered]  # held-out items of the first seed; see `lines` for those without one prediction each
    evidence: Mapping[str, Any] | None  # None: the run has none
    shelf: Shelf  # the examples in the evidence, each picture handed out once
    extras: Mapping[str, Any]  # "rank", "distance": whatever lies there

    @property
    def adapting(self) -> bool:
        """Whether the run went from a labelled source to a target: then only the target is held out."""
        return _adapting(self.result)

    @property
    def blind(self) -> bool:
        """Whether nothing was measured, since no label of the target is known."""
        return self.adapting and not any(one.metrics for one in self.result.routes)

    @property
    def alone(self) -> bool:
        """Whether a saved model was adapted, without an example of its source."""
        sizes = self.result.data.get("sizes") or {}
        return self.adapting and not (sizes.get("train") or sizes.get("validation"))

    @property
    def parts(self) -> Mapping[str, str]:
        """What the parts of the split are called."""
        return DOMAINS if self.adapting else PARTS

    @property
    def held(self) -> str:
        """What kind of examples is held out: "held-out", or those of the target."""
        return "target" if self.adapting else "held-out"

    @property
    def sides(self) -> tuple[str, str]:
        """What source and target are called, where there are two."""
        left, _, right = str(self.result.data.get("origin") or "").rpartition(" -> ")
        names = [", ".join(Path(part.strip()).name for part in one.split(",")) for one in (left, right)]
        return ("source", "target") if not all(names) or names[0] == names[1] else (names[0], names[1])

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the indices in the evidence."""
        named = (self.evidence or {}).get("classes") or self.result.data.get("classes") or ()
        return tuple(map(str, named))

    def called(self, index: Any) -> str:
        """The name of a class by its index; a dash where there is none."""
        known = isinstance(index, int) and 0 <= index < len(self.classes)
        return self.classes[index] if known else "-"

    @property
    def lines(self) -> Iterator[Mapping[str, str]]:
        """predictions.csv line by line, as columns by name; nothing where there is none."""
        return _lines(self.place / PREDICTIONS)

    def notes(self, about: str) -> list[str]:
        """What the evidence says about how a section was made, or why something is not there."""
        return [
            str(one.get("sentence"))
            for one in self.found("notes")
            if isinstance(one, dict) and one.get("about") == about
        ]

    def found(self, key: str) -> list[Any]:
        """A list of the evidence; empty where it is not there."""
        value = (self.evidence or {}).get(key)
        return list(value) if isinstance(value, list) else []


def read(place: Path, beside: Sequence[Path] = ()) -> Material:
    """The folder of a finished run, and folders beside it that hold a ranking or distances.

    Raises:
        DataError: there is no result.json, or a folder beside it holds neither a ranking nor distances.
        StoreError: a file is damaged, or evidence.json has a version that is not known.
    """
    kept = result.load(place)
    for one in beside:
        if not any((one / name).is_file() for name in EXTRAS.values()):
            raise DataError(
                f"{one} holds neither {' nor '.join(EXTRAS.values())}; give the --out folder of sterna rank or "
                "sterna distance."
            )
    evidence = _json(place / EVIDENCE)
    if evidence is not None and (not isinstance(evidence, dict) or evidence.get("version") != VERSION):
        version = evidence.get("version") if isinstance(evidence, dict) else None
        raise StoreError(
            f"{place / EVIDENCE} has version {version!r}, this sterna reads version {VERSION}: "
            "remove the file, or show the run with the sterna that made it."
        )
    return Material(
        name=place.resolve().name,
        place=place,
        result=kept,
        plan=_json(place / "plan.json") or {},
        histories=_histories(place, kept),
        answers=_answers(place / PREDICTIONS),
        evidence=evidence,
        shelf=Shelf((evidence or {}).get("items") or (), parts=DOMAINS if _adapting(kept) else PARTS),
        extras={key: found for key, name in EXTRAS.items() if (found := _first(name, (*beside, place))) is not None},
    )


def _adapting(kept: Result) -> bool:
    return kept.data.get("target") is not None


def _first(name: str, places: Sequence[Path]) -> Any:
    """A file from the first folder that has it; None where none does."""
    return next((found for one in places if (found := _json(one / name)) is not None), None)


def _json(place: Path) -> Any:
    return files.read_json(place) if place.is_file() else None


def _histories(place: Path, kept: Result) -> dict[str, dict[int, Sequence[Mapping[str, Any]]]]:
    """The epochs of every route at every seed, for the folders that are there."""
    found: dict[str, dict[int, Sequence[Mapping[str, Any]]]] = {}
    for outcome in kept.routes:
        epochs = _json(place / "routes" / f"{slug(outcome.name)}-{outcome.seed}" / "history.json")
        if isinstance(epochs, list) and epochs:
            found.setdefault(outcome.name, {})[outcome.seed] = [one for one in epochs if isinstance(one, dict)]
    return found


def slug(name: str) -> str:
    """The folder of a route, as a run names it; a test holds the two together."""
    plain = re.sub(r"[^A-Za-z0-9_.=-]+", "-", name).strip("-.") or "run"
    if plain == name:
        return plain
    return f"{plain[:60]}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"


def _answers(place: Path) -> list[Answered]:
    return [
        Answered(line["item"], line["truth"], line["prediction"], number(line.get("probability")))
        for line in _lines(place)
        if {"item", "truth", "prediction"} <= line.keys()
    ]


def _lines(place: Path) -> Iterator[Mapping[str, str]]:
    if place.is_file():
        with place.open(encoding="utf-8", newline="") as lines:
            yield from csv.DictReader(lines)


def number(written: str | None) -> float | None:
    """A cell as a number; None for what is none."""
    try:
        return float(written) if written else None
    except ValueError:
        return None
