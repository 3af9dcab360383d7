"""What a ranking of candidates found, and what it means in sentences; `rank.json` is this record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sterna import files
from sterna.errors import DataError
from sterna.maths.orders import agreement, ranks
from sterna.sizes import Sizes

RECORD = "rank.json"
TOP = 3
CHANCE = 2.0  # a z below this cannot be told from permuted labels
LISTED = 5  # candidates that a sentence names
FEW = 20  # examples of a class below which scores through source classes are too high


@dataclass(frozen=True)
class Candidate:
    """One line of the ranking."""

    reference: str
    weights: int
    width: int
    seconds: float  # for its features; the scores take `scoring` more
    scores: Mapping[str, Mapping[str, Any]]  # value, z, seconds; or reason
    mean_rank: float  # over the scores of the recommendation, 1 is best
    best: float  # probability of being the first, over draws of the examples
    top: float  # of being among the first three
    prior: float | None = None
    scoring: float = 0.0
    pretrained: bool = True


@dataclass(frozen=True)
class SourceSet:
    """A labelled source data set, judged by a probe that was trained on it and asked about the target."""

    name: str
    n: int
    classes: int
    leep: float  # through the probe's probabilities
    leep_z: float  # against permuted target labels
    nce: float
    probe: float  # log likelihood of target labels, cross-validated, from the probe's answers as features
    shared: int  # classes of the same name in the target
    cross: float | None  # accuracy on target examples of shared classes; None with fewer than two


@dataclass(frozen=True)
class Round:
    """One round of brief fine-tuning."""

    epochs: int
    figures: Mapping[str, float]  # of the validation part, by reference


@dataclass(frozen=True)
class Ranked:
    """Prints as a table with what to make of it below. Candidates are in the order of the recommendation."""

    candidates: tuple[Candidate, ...]
    shortlist: tuple[str, ...]
    sentences: tuple[str, ...]
    n: int  # examples that were looked at
    origin: str
    agreement: float | None = None  # mean Kendall tau-b between the scores
    static: tuple[str, ...] = ()  # the candidates by number of weights, the baseline that looks at nothing
    sources: tuple[SourceSet, ...] = ()  # the best first
    rounds: tuple[Round, ...] = ()  # of `confirm`
    picked: str = ""  # what `confirm` chose
    folder: str = field(default="", compare=False)

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for one in self.candidates for name in one.scores))
        head = ["candidate", *(f"{name} (z)" for name in names), "mean rank", "P(best)", "P(top 3)"]
        lines = [[*head, "weights", "seconds"], *(_line(one, names) for one in self.candidates)]
        if self.sources:
            lines += [[], ["source", "LEEP (z)", "NCE", "probe", "same names", "accuracy there", "examples"]]
            lines += [_source_line(one) for one in self.sources]
        wide = max(map(len, lines))
        cells = [[*line, *[""] * (wide - len(line))] for line in lines]
        widths = [max(len(line[place]) for line in cells) for place in range(wide)]
        text = ["  ".join(one.ljust(width) for one, width in zip(line, widths, strict=True)).rstrip() for line in cells]
        return "\n".join([*text, "", *self.sentences])

    def as_json(self) -> dict[str, Any]:
        """The contents of `rank.json`."""
        return {key: _listed(value) for key, value in asdict(self).items() if key != "folder"}

    def save(self) -> None:
        """Write `rank.json`, whole or not at all."""
        files.write_json(Path(self.folder) / RECORD, self.as_json())


def load(place: Path) -> Ranked:
    """The ranking in a folder. Raises `DataError` where there is none."""
    record = place / RECORD
    if not record.is_file():
        raise DataError(f"{place} holds no ranking: it has no {RECORD}; run sterna rank with --out {place}.")
    kept = files.read_json(record)
    rows = tuple(Candidate(**one) for one in kept["candidates"])
    found = tuple(SourceSet(**one) for one in kept["sources"])
    rounds = tuple(Round(**one) for one in kept["rounds"])
    texts = {key: tuple(kept[key]) for key in ("shortlist", "sentences", "static")}
    return Ranked(**{**kept, **texts, "candidates": rows, "sources": found, "rounds": rounds, "folder": str(place)})


def ordered(
    kept: Sequence[Mapping[str, Any]], default: Sequence[str], prior: np.ndarray | None = None
) -> tuple[Candidate, ...]:
    """The candidates by mean rank, with the probabilities that the draws give.

    A score counts where every candidate has it. The prior is one score more, and the same in every draw.

    Args:
        kept: of each candidate, what `appraisal.examined` gives.
        default: the scores of the recommendation.
        prior: (m,) of the candidates.

    Raises `DataError` when no score is left.
    """
    used = [name for name in default if all("value" in one["scores"].get(name, ()) for one in kept)]
    if not used:
        why = next((one["scores"][name]["reason"] for one in kept for name in default), "")
        raise DataError(f"no score of the recommendation applies to every candidate ({why}); fit them instead.")
    fixed = [] if prior is None else [ranks(prior)]
    whole = _mean_ranks([[one["scores"][name]["value"] for one in kept] for name in used], fixed)
    count = min(len(one["draws"][name]) for one in kept for name in used)
    drawn = [[[one["draws"][name][number] for one in kept] for name in used] for number in range(count)]
    places = np.array([_mean_ranks(columns, fixed) for columns in drawn])
    best, top = among_first(places, 1), among_first(places, TOP)
    rows = [
        Candidate(
            reference=one["reference"],
            weights=one["weights"],
            width=one["width"],
            seconds=one["seconds"],
            scores=one["scores"],
            mean_rank=float(whole[place]),
            best=float(best[place]),
            top=float(top[place]),
            prior=None if prior is None else float(prior[place]),
            scoring=one["scoring"],
            pretrained=one["pretrained"],
        )
        for place, one in enumerate(kept)
    ]
    return tuple(sorted(rows, key=lambda one: (one.mean_rank, -one.top)))


def _mean_ranks(columns: Sequence[Sequence[float | None]], fixed: Sequence[np.ndarray]) -> np.ndarray:
    values = [ranks(np.array(column, dtype=np.float64)) for column in columns]
    return np.asarray(np.mean([*values, *fixed], axis=0))


def among_first(mean_ranks: np.ndarray, places: int) -> np.ndarray:
    """(m,) the share of draws in which each candidate is among the first `places`; they add up to at most `places`.

    Args:
        mean_ranks: (b, m), lower is better. Candidates that tie for the last of these places share it.
        places: how many.
    """
    found = np.zeros(mean_ranks.shape[1])
    for row in np.round(mean_ranks, 9):  # means of like ranks in another order differ by rounding
        before = (row[None, :] < row[:, None]).sum(axis=1)
        tied = (row[None, :] == row[:, None]).sum(axis=1)
        found += np.clip((places - before) / tied, 0.0, 1.0)
    return found / len(mean_ranks)


def shortlisted(rows: Sequence[Candidate], sizes: Sizes) -> tuple[str, ...]:
    """Those likely among the first three, at least and at most as many as asked for, in the order of the rows."""
    likely = [one.reference for one in sorted(rows, key=lambda one: -one.top) if one.top > sizes.likely]
    chosen = list(dict.fromkeys([*likely, *(one.reference for one in rows)]))
    number = min(max(len(likely), sizes.fewest), sizes.most)
    return tuple(one.reference for one in rows if one.reference in chosen[:number])


def together(rows: Sequence[Candidate]) -> float | None:
    """The mean Kendall tau-b between the scores that every candidate has and that tell any apart; None for one."""
    names = [name for name in rows[0].scores if all("value" in one.scores.get(name, ()) for one in rows)]
    columns = np.array([[one.scores[name]["value"] for name in names] for one in rows])
    telling = columns[:, np.ptp(columns, axis=0) > 0]
    return agreement(telling) if telling.shape[1] > 1 else None


def static(rows: Sequence[Candidate]) -> tuple[str, ...]:
    """The candidates by number of weights, the largest first."""
    return tuple(one.reference for one in sorted(rows, key=lambda one: -one.weights))


def said(rows: Sequence[Candidate], sizes: Sizes, smallest: int | None = None) -> tuple[str, ...]:
    """What to make of a ranking, in sentences.

    Args:
        rows: in order.
        sizes: of the shortlist.
        smallest: examples of the rarest class; None for values.
    """
    told = [_recommended(rows, sizes)] if len(rows) > 1 else []
    tau = together(rows)
    if tau is not None:
        word = "agree" if tau > 0.6 else "agree in part" if tau > 0.2 else "do not agree, so trust none of them alone"
        told.append(f"The scores {word} (mean Kendall tau-b between them {tau:.2f}).")
    if len(rows) > 1:
        told.append(_baseline(rows))
    return (*told, *_doubts(rows, smallest))


def _recommended(rows: Sequence[Candidate], sizes: Sizes) -> str:
    first, chosen = rows[0], shortlisted(rows, sizes)
    three = f" and among the first three in {100 * first.top:.0f} %" if len(rows) > TOP else ""
    return (
        f"Fine-tune these and compare: {', '.join(chosen)}. {first.reference} is the first in {100 * first.best:.0f} % "
        f"of the draws{three}."
    )


def _baseline(rows: Sequence[Candidate]) -> str:
    weights = np.array([float(one.weights) for one in rows])
    if np.ptp(weights) == 0:
        return "All candidates have the same number of weights, so the order by size alone says nothing."
    found = np.array([-one.mean_rank for one in rows])
    names = [*static(rows)[:LISTED], *(["..."] if len(rows) > LISTED else [])]
    tau = agreement(np.column_stack([weights, found])) if np.ptp(found) else 0.0
    return (
        "The order by number of weights alone, which looks at no data and beats many published scores on common "
        f"benchmarks, would be {', '.join(names)} (Kendall tau-b with the order above {tau:.2f})."
    )


def _doubts(rows: Sequence[Candidate], smallest: int | None) -> list[str]:
    """What speaks against the scores, each kind of doubt in one sentence."""
    told = []
    found = {one.reference: [entry["z"] for entry in one.scores.values() if "z" in entry] for one in rows}
    blind = [name for name, zs in found.items() if zs and max(zs) < CHANCE]
    if blind and len(blind) == len(rows):
        return ["Nothing is learnt from the labels: no score of any candidate is beyond chance; the order is luck."]
    if blind:
        told.append(f"Nothing is learnt from the labels (no score beyond chance): {', '.join(blind)}.")
    dull = {
        name: [one.reference for one in rows if one.scores.get(name, {}).get("z", CHANCE) < CHANCE]
        for name in rows[0].scores
    }
    some = [f"{name} for {_named(ones)}" for name, ones in dull.items() if set(ones) - set(blind)]
    if some:
        told.append(
            f"Scores that are saturated, or blind, cannot tell the labels from permuted ones (z below {CHANCE:g}) and "
            f"mean nothing there: {'; '.join(some)}."
        )
    through = [name for name in ("leep", "nce") if any("value" in one.scores.get(name, ()) for one in rows)]
    if through and smallest is not None and smallest < FEW:
        told.append(
            f"With fewer than {FEW} examples of a class (the rarest has {smallest}), values of {' and '.join(through)} "
            "are too high, the more so the more classes a candidate has of its own."
        )
    reasons: dict[str, list[str]] = {}
    for one in rows:
        for entry in one.scores.values():
            if "reason" in entry:
                reasons.setdefault(entry["reason"].rstrip("."), []).append(one.reference)
    return told + [f"{_named(ones)}: {why}." for why, ones in reasons.items()]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= LISTED else f"{len(names)} candidates"


def _line(one: Candidate, names: Sequence[str]) -> list[str]:
    shown = [_entry(one.scores.get(name, {})) for name in names]
    chances = [f"{one.mean_rank:.1f}", f"{100 * one.best:.0f} %", f"{100 * one.top:.0f} %"]
    return [one.reference, *shown, *chances, f"{one.weights / 1e6:.1f} M", f"{one.seconds + one.scoring:.1f}"]


def _entry(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3g} ({entry['z']:.0f})" if "value" in entry else "-"


def _source_line(one: SourceSet) -> list[str]:
    cross = "-" if one.cross is None else f"{100 * one.cross:.1f} %"
    shown = [f"{one.leep:.3f} ({one.leep_z:.0f})", f"{one.nce:.3f}", f"{one.probe:.3f}"]
    return [one.name, *shown, f"{one.shared}", cross, f"{one.n:,}"]


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    return [_listed(one) for one in value] if isinstance(value, (tuple, list)) else value
