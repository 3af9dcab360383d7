"""What to transfer: candidates ranked on a sample of the target before anything is trained; the whole of `sterna rank`.

No score is good enough to trust its first place: a shortlist of three to five, with the probability that each belongs
there, is what it gives. Candidates are looked at one at a time and what each gave is written down at once, so that an
interrupted ranking goes on where it was.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sterna import appraisal, files, folder, intake, prior, ranked, sources, spec, study, wording
from sterna.appraisal import DEFAULT, Asked
from sterna.contracts import Score
from sterna.errors import EncoderError, MissingPackageError, SpecError
from sterna.ranked import RECORD, Ranked, Round, SourceSet
from sterna.records import Columns, Loaded
from sterna.settings import Settings
from sterna.sizes import Sizes
from sterna.store import Store
from sterna.watching import Watch

__all__ = ["DEFAULT", "RECORD", "Ranked", "rank", "references"]

EPOCHS = (1, 2, 4)  # of each round of brief fine-tuning
ZOO = "zoo"


def rank(
    data: str | Path,
    *,
    encoder: Any,
    score: str = "",
    history: str | Path | None = None,
    source: Any = None,
    columns: Columns | None = None,
    confirm: bool = False,
    sizes: Sizes | None = None,
    settings: Settings | str = "",
    out: str | Path | None = None,
    store: Store | None = None,
    watch: Watch | None = None,
) -> Ranked:
    """Rank candidate encoders for `data`, before any training.

    Every candidate runs once, frozen, over at most 5,000 examples of what `sterna.fit` would learn from at seed 0;
    held-out examples are not looked at. The order is the mean rank of LogME, the shrunken H-score and the
    cross-validated probe, and of the prior where a history is given. How sure it is comes from 50 draws of half the
    examples (1,000 at most); what that approximates is said in `appraisal`.

    Args:
        data: as `sterna.fit` takes it, labelled for classify or regress.
        encoder: references separated by commas, or a list; `zoo:FOLDER` stands for every model folder inside, `zoo` for
            those of this folder. One is enough where sources are to be ranked.
        score: methods of `ranking/` separated by commas; "all" for all. The three of the recommendation are added.
        history: earlier results of the same candidates on other data sets; see `prior.read`. A data set named like
            `data` is left out; `"FILE@NAME"` leaves out NAME too, as which the history knows it.
        source: labelled data sets separated by commas, or a list, to be ranked as sources for the target with the first
            encoder of the shortlist; see `sources`.
        columns, settings: as for `sterna.fit`; of the settings, what concerns the split.
        confirm: fine-tune the shortlist briefly, by successive halving on the validation part (Jamieson and Talwalkar
            2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization"): 1, 2, then 4 epochs of
            `partial`, of which half go on.
        sizes: how much is looked at; see `sterna.sizes.Sizes`.
        out: the folder of the ranking, `runs/<name of the data>-rank` by default; the same call goes on there.
        store, watch: as for `sterna.fit`.

    Raises `SternaError` with one sentence for anything the caller can mend.

    When not to use: for a handful of labels, where no score can tell candidates apart (the probabilities say so).
    """
    chosen, watch, sizes = wording.settings(settings), watch or Watch(), sizes or Sizes()
    names = references(encoder, least=1 if source else 2)
    methods, earlier = _methods(score), _Earlier.read(history, str(data))
    loaded, _ = intake.opened(intake.Sides(str(data)), columns or Columns(), chosen, watch)
    asked = appraisal.asked(loaded, chosen, sizes, methods)
    related = sources.opened(source, columns or Columns(), asked.table, watch) if source else {}
    place = Path(out) if out else Path("runs") / f"{Path(str(data)).stem}-rank"
    work = _Work(asked, place, _mark(loaded, asked, repr((chosen, sizes))), sizes, store or Store(), watch)
    kept = work.examined(names, _lenient(encoder))
    names = tuple(one["reference"] for one in kept)
    rows = ranked.ordered(kept, DEFAULT, earlier.prior(names) if earlier else None)
    judged = work.sources(related, rows[0].reference) if related else ()
    told = [*ranked.said(rows, sizes, _rarest(asked)), *work.notes]
    told += [earlier.sentence(names)] if earlier else []
    told += sources.said(judged, rows[0].reference, asked.labels) if judged else ()
    found = Ranked(
        candidates=rows,
        shortlist=ranked.shortlisted(rows, sizes),
        sentences=tuple(told),
        n=len(asked.table),
        origin=str(data),
        agreement=ranked.together(rows),
        static=ranked.static(rows),
        sources=judged,
        folder=str(place),
    )
    if confirm:
        found = _confirmed(found, _Brief(data, columns, chosen, place / "confirm", work.store, watch))
    found.save()
    return found


def references(written: Any, least: int = 2) -> tuple[str, ...]:
    """Candidates as typed -> references, with `zoo:FOLDER` opened out. Raises `SpecError` for fewer than `least`."""
    found = list(dict.fromkeys(one for item in _items(written) for one in _opened_out(item)))
    if len(found) < least:
        number = "two candidates" if least == 2 else "one candidate"
        raise SpecError(
            f"a ranking needs at least {number}, got {', '.join(found) or 'none'}; type them as --encoder A,B,C, "
            "or --encoder zoo:FOLDER."
        )
    return tuple(found)


def _items(written: Any) -> list[str]:
    given = written.split(",") if isinstance(written, str) else list(written or ())
    return [one.strip() for one in given if one.strip()]


def _opened_out(item: str) -> list[str]:
    name, _, inside = item.partition(":")
    if name != ZOO:
        return [item]
    place = Path(inside or ".").expanduser()
    folders = sorted(one for one in place.iterdir() if one.is_dir()) if place.is_dir() else []
    found = [f"{origin}:{one}" for one in folders for origin in [_origin(one)] if origin]
    if not found:
        raise SpecError(
            f"{place} holds no model folders (with a config.json or modules.json); give another zoo:FOLDER."
        )
    return found


def _origin(place: Path) -> str:
    """Which library's format a model folder has; "" for none. What is wrong with it, opening it says."""
    if (place / "modules.json").exists():
        return "sentence"
    config = place / "config.json"
    if not config.exists():
        return ""
    return "hf" if '"model_type"' in config.read_text(encoding="utf-8", errors="replace") else "local"


def _lenient(written: Any) -> frozenset[str]:
    """References that stand for whatever a folder held, of which some may be of no use for these data."""
    return frozenset(one for item in _items(written) if item.partition(":")[0] == ZOO for one in _opened_out(item))


def _methods(written: str) -> dict[str, Score]:
    """The methods by how they are written, those of the recommendation first. Raises `SpecError` for unknown ones."""
    wanted = ", ".join(folder.names("ranking")) if written.strip() == "all" else written
    found: dict[str, Score] = {}
    for calls in spec.parse_alternatives(", ".join([*DEFAULT, *([wanted] if wanted.strip() else [])])):
        if len(calls) != 1:
            raise SpecError(f"--score takes methods separated by commas, got a sum in '{written}'; type a comma for +.")
        method = folder.build("ranking", calls[0])
        found.setdefault(repr(method), method)
    return found


@dataclass(frozen=True)
class _Earlier:
    """Results of the candidates on other data sets."""

    history: prior.History
    left_out: tuple[str, ...]  # what the target is called in it

    @staticmethod
    def read(written: str | Path | None, data: str) -> _Earlier | None:
        """From `FILE` or `FILE@NAME`."""
        if not written:
            return None
        file, at, own = str(written).rpartition("@")
        if not at or Path(str(written)).is_file():
            file, own = str(written), ""
        return _Earlier(prior.read(file), (data, Path(data).stem, own))

    def prior(self, names: Sequence[str]) -> np.ndarray:
        """(m,) for these candidates."""
        return prior.prior(self.history, names, self.left_out)

    def sentence(self, names: Sequence[str]) -> str:
        """How much of them is known."""
        counts = prior.known(self.history, names, self.left_out)
        if not counts.any():
            return (
                "The history says nothing of these candidates, so it changes nothing; it names others, such as "
                f"{next(iter(next(iter(self.history.values()))))}."
            )
        told = (
            f"The history knows {int((counts > 0).sum())} of {len(names)} candidates, from up to {counts.max()} other"
        )
        return f"{told} data sets, and counts as one score."


@dataclass
class _Work:
    """A ranking under way."""

    asked: Asked
    place: Path
    mark: str  # of the data and of all that is asked
    sizes: Sizes
    store: Store
    watch: Watch
    notes: list[str] = field(default_factory=list)

    def examined(self, names: Sequence[str], lenient: frozenset[str]) -> list[dict[str, Any]]:
        """What each candidate gave. Of a zoo, those of no use for these data are left out, and that is said.

        Raises `EncoderError` where a candidate that was named cannot be had, or none is left.
        """
        found = []
        for number, name in enumerate(names):
            advance = self._advancing(f"{name} ({number + 1} of {len(names)})")
            try:
                examine = partial(appraisal.examined, name, self.asked, self.store, advance)
                found.append(self._kept("candidates", name, examine))
            except (EncoderError, MissingPackageError) as error:
                if name not in lenient:
                    raise
                self.notes.append(f"{name} is left out: {error}")
                self.watch.say(self.notes[-1])
        if not found:
            raise EncoderError(f"no candidate can be ranked; {self.notes[-1]}")
        return found

    def sources(self, related: Mapping[str, Loaded], reference: str) -> tuple[SourceSet, ...]:
        """What each source says of the target, as one encoder sees both."""
        encoder = appraisal.opened(reference, self.asked.table)
        found = []
        for name, loaded in related.items():
            eye = sources.Eye(encoder, self.store, self._advancing(name))
            judge = partial(sources.judged, name, loaded, self.asked, eye, self.sizes.examples)
            found.append(self._kept("sources", f"{name} {encoder.digest} {intake.digest(loaded)}", judge))
        return sources.ordered([SourceSet(**one) for one in found])

    def _kept(self, kind: str, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is written down of this very thing, or else made now and written down at once."""
        file = self.place / kind / f"{_slug(name)}.json"
        if file.exists():
            kept = files.read_json(file)
            if kept["mark"] == self.mark and kept["of"] == name:
                return dict(kept["found"])
        found = make()
        files.write_json(file, {"mark": self.mark, "of": name, "found": found})
        return found

    def _advancing(self, title: str) -> Callable[[int, int], None]:
        return partial(self.watch.advance, title)


def _mark(loaded: Loaded, asked: Asked, options: str) -> str:
    """A digest of everything that determines what a candidate gives, but for its weights."""
    sample = intake.digest(replace(loaded, table=asked.table))
    text = repr((sample, sorted(asked.methods), options))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _rarest(asked: Asked) -> int | None:
    """Examples of the rarest class; None for values."""
    return None if asked.labels.ndim > 1 else int(np.bincount(asked.labels).min())


def _slug(name: str) -> str:
    """A readable file name, different for different names."""
    plain = re.sub(r"[^A-Za-z0-9_.=-]+", "-", name).strip("-.")[-60:]
    return f"{plain}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


@dataclass(frozen=True)
class _Brief:
    """Brief fine-tuning: what `sterna.fit` is asked."""

    data: str | Path
    columns: Columns | None
    settings: Settings
    place: Path
    store: Store
    watch: Watch

    def figure(self, reference: str, epochs: int) -> float:
        """The primary figure of the validation part after so many epochs."""
        result = study.fit(
            self.data,
            encoder=reference,
            tune="partial",
            schedule=f"epochs={epochs}",
            columns=self.columns,
            out=self.place / f"{_slug(reference)}-{epochs}",
            settings=self._settings(),
            store=self.store,
            watch=self.watch,
        )
        (route,) = (one for one in result.routes if not one.floor)
        return float(route.validation[result.verdict.figure])

    def _settings(self) -> Settings:
        """The division of the data as asked for, and one cheap floor, because there is no run without."""
        made: Settings = replace(  # type: ignore[type-var]
            self.settings, seeds=1, floors="classical", refit=0, mitigate=False, curve=()
        )
        return made


def _confirmed(found: Ranked, brief: _Brief) -> Ranked:
    """The ranking with its shortlist fine-tuned briefly, and a sentence that says what that changed."""
    trainable = {one.reference for one in found.candidates if one.pretrained and one.weights}
    names = [name for name in found.shortlist if name in trainable]
    if len(names) < 2:
        told = "There are fewer than two candidates to fine-tune, so brief fine-tuning could change nothing."
        return replace(found, sentences=(*found.sentences, told))
    rounds = halved(names, brief.figure)
    final = rounds[-1].figures
    picked = max(final, key=lambda name: (final[name], -names.index(name)))
    epochs = ", ".join(str(one.epochs) for one in rounds)
    figures = ", ".join(f"{name} {100 * value:.1f} %" for name, value in final.items())
    told = (
        f"Brief fine-tuning ({epochs} epochs of partial, half of the candidates going on) "
        + (f"confirms {picked}" if picked == names[0] else f"puts {picked} first, where the scores had {names[0]}")
        + f"; in the last round the validation part gives {figures}."
    )
    return replace(found, rounds=rounds, picked=picked, sentences=(*found.sentences, told))


def halved(names: Sequence[str], figure: Callable[[str, int], float]) -> tuple[Round, ...]:
    """Successive halving (Jamieson and Talwalkar 2016): each round trains longer, and its better half goes on.

    Args:
        names: at least two, the likeliest first; ties go to them.
        figure: of a name and a number of epochs, higher is better.

    Returns:
        Rounds of 1, 2 and 4 epochs, or fewer where one is left before.
    """
    rounds: list[Round] = []
    left = list(names)
    for epochs in EPOCHS:
        rounds.append(Round(epochs, {name: figure(name, epochs) for name in left}))
        better = sorted(left, key=lambda name: -rounds[-1].figures[name])
        left = better[: (len(left) + 1) // 2]
        if len(left) < 2:
            break
    return tuple(rounds)
