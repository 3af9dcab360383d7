"""What to transfer: candidates ranked on a sample of the target before anything is trained; the whole of `sterna rank`.

No score is good enough to trust its first place: a shortlist of three to five, with the probability that each belongs
there, is what it gives. Candidates are looked at one at a time and what each gave is written down at once, so that an
interrupted ranking goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sterna import candidates, files, folder, intake, plan, prior, splitting
from sterna.candidates import Asked
from sterna.errors import DataError, SpecError
from sterna.maths.orders import agreement, ranks
from sterna.maths.seeds import derive
from sterna.records import Columns, Loaded
from sterna.settings import Settings
from sterna.splitting import Strata
from sterna.store import Store
from sterna.watching import Watch

DEFAULT = ("logme", "hscore", "probe")
MOST = 5000  # examples that are looked at; rankings change little beyond
PERMUTATIONS = 20
DRAWS, DRAWN = 50, 1000  # resamples of examples, and examples of each at most
LIKELY = 0.3  # probability of the top three from which a candidate is shortlisted
LEAST, LONGEST = 3, 5
RECORD = "rank.json"
TASKS = ("classify", "regress")


@dataclass(frozen=True)
class Candidate:
    """One line of the ranking."""

    reference: str
    weights: int
    width: int
    seconds: float  # for its features
    scores: Mapping[str, Mapping[str, Any]]  # value, z, seconds; or reason
    mean_rank: float  # over the scores of the recommendation, 1 is best
    best: float  # probability of being the first, over resamples of the examples
    top: float  # of being among the first three
    prior: float | None = None


@dataclass(frozen=True)
class Ranked:
    """The candidates, the best first, and what to make of it in sentences."""

    candidates: tuple[Candidate, ...]
    shortlist: tuple[str, ...]
    sentences: tuple[str, ...]
    n: int
    origin: str

    def as_json(self) -> dict[str, Any]:
        """The contents of `rank.json`."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def rank(
    data: str | Path,
    *,
    encoder: Any,
    score: str = "",
    history: str | Path | None = None,
    columns: Columns | None = None,
    settings: Settings | str = "",
    out: str | Path | None = None,
    store: Store | None = None,
    watch: Watch | None = None,
) -> Ranked:
    """Rank candidate encoders for `data`, before any training.

    Every candidate runs once, frozen, over at most 5,000 examples of the training part; held-out examples are not
    looked at. The order is the mean rank of LogME, the shrunken H-score and the cross-validated probe, and of the prior
    where a history is given. How sure it is comes from 50 resamples of half the examples (1,000 at most).

    Args:
        data: as `sterna.fit` takes it.
        encoder: references separated by commas, or a list; `zoo:FOLDER` stands for every model folder inside.
        score: methods of `ranking/` separated by commas; "all" for all. The three of the recommendation are added.
        history: earlier results of the same candidates on other data sets; see `prior.read`.
        columns, settings: as for `sterna.fit`; of the settings, what concerns the split.
        out: the folder of the ranking, `runs/<name of the data>-rank` by default; the same call goes on there.
        store, watch: as for `sterna.fit`.

    Raises `SternaError` with one sentence for anything the caller can mend.

    When not to use: for a handful of labels, where no score can tell candidates apart (the probabilities say so).
    """
    chosen, watch = plan.settings(settings), watch or Watch()
    names = references(encoder)
    methods = _methods(score)
    earlier = prior.read(history) if history else None
    loaded, _ = intake.opened(str(data), None, columns or Columns(), chosen, watch)
    asked = _asked(loaded, chosen, methods)
    place = Path(out) if out else Path("runs") / f"{Path(str(data)).stem}-rank"
    mark = hashlib.blake2b(
        (intake.digest(loaded) + repr(chosen) + repr(sorted(methods.items()))).encode(), digest_size=8
    ).hexdigest()
    kept = [_one(name, asked, place, mark, store or Store(), watch) for name in names]
    rows = _ordered(kept, prior.prior(earlier, names, Path(str(data)).stem) if earlier else None)
    ranked = Ranked(rows, _shortlist(rows), _sentences(rows, list(methods)), len(asked.table), str(data))
    files.write_json(place / RECORD, ranked.as_json())
    return ranked


def references(written: Any) -> tuple[str, ...]:
    """Candidates as typed -> references, with `zoo:FOLDER` opened out. Raises `SpecError` for fewer than two."""
    given = written.split(",") if isinstance(written, str) else list(written or ())
    found = [one for item in given if item.strip() for one in _opened_out(item.strip())]
    found = list(dict.fromkeys(found))
    if len(found) < 2:
        raise SpecError(
            f"a ranking needs at least two candidates, got {', '.join(found) or 'none'}; type them as --encoder A,B,C, "
            "or --encoder zoo:FOLDER."
        )
    return tuple(found)


def _opened_out(item: str) -> list[str]:
    if not item.startswith("zoo:"):
        return [item]
    place = Path(item.removeprefix("zoo:")).expanduser()
    folders = sorted(one for one in place.iterdir() if one.is_dir()) if place.is_dir() else []
    found = [f"{origin}:{one}" for one in folders for origin in [_origin(one)] if origin]
    if not found:
        raise SpecError(
            f"{place} holds no model folders (with a config.json or modules.json); give another zoo:FOLDER."
        )
    return found


def _origin(place: Path) -> str:
    """Which library's format a model folder has; "" for none."""
    if (place / "modules.json").exists():
        return "sentence"
    config = place / "config.json"
    if not config.exists():
        return ""
    return "hf" if "model_type" in files.read_json(config) else "local"


def _methods(written: str) -> dict[str, Any]:
    wanted = folder.names("ranking") if written.strip() == "all" else [one for one in written.split(",") if one.strip()]
    found: dict[str, Any] = {}
    for one in (*DEFAULT, *wanted):
        (method,) = folder.resolve("ranking", one.strip())
        found.setdefault(repr(method).removesuffix("()"), method)
    return found


def _asked(loaded: Loaded, settings: Settings, methods: Mapping[str, Any]) -> Asked:
    table = loaded.table
    if table.task not in TASKS:
        raise DataError(
            f"a ranking needs labels for {' or '.join(TASKS)}, got {table.task}; fit the candidates instead."
        )
    task = folder.load("tasks", table.task)()
    numbers = task.strata(table.labels, len(table.classes))  # type: ignore[attr-defined]
    strict = table.task == "classify"
    strata = Strata(
        numbers, table.classes if strict else tuple(map(str, range(int(numbers.max(initial=0)) + 1))), strict
    )
    split = splitting.split(
        loaded, seed=0, test=settings.test, validation=settings.validation, shots=settings.shots, strata=strata
    )
    rows = np.union1d(split.train, split.validation)
    sample = table.take(_some(numbers[rows], MOST, derive(0, "rank", "sample"), rows))
    count = len(sample)
    orders = [np.random.default_rng(derive(0, "rank", "null", k)).permutation(count) for k in range(PERMUTATIONS)]
    inside = task.strata(sample.labels, len(table.classes))  # type: ignore[attr-defined]
    draws = [
        _some(inside, min(DRAWN, max(2, count // 2)), derive(0, "rank", "draw", k), np.arange(count))
        for k in range(DRAWS)
    ]
    return Asked(sample, methods, orders, draws, DEFAULT, 0)


def _some(numbers: np.ndarray, most: int, seed: int, rows: np.ndarray) -> np.ndarray:
    """At most so many of the rows, of each stratum the same share and at least two."""
    if len(rows) <= most:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    taken = []
    for one in np.unique(numbers):
        mine = order[numbers[order] == one]
        taken.append(mine[: max(2, round(most * len(mine) / len(rows)))])
    return rows[np.sort(np.concatenate(taken))]


def _one(name: str, asked: Asked, place: Path, mark: str, store: Store, watch: Watch) -> dict[str, Any]:
    """What a candidate gave, computed or read back."""
    file = place / "candidates" / f"{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}.json"
    if file.exists():
        kept = files.read_json(file)
        if kept["mark"] == mark and kept["reference"] == name:
            return dict(kept)
    found = candidates.examined(name, asked, store, lambda done, total: watch.advance(name, done, total))
    files.write_json(file, {"mark": mark, **found})
    return found


def _ordered(kept: Sequence[Mapping[str, Any]], earlier: np.ndarray | None) -> tuple[Candidate, ...]:
    """The candidates by mean rank, with the probabilities that the resamples give."""
    used = [name for name in DEFAULT if all("value" in one["scores"].get(name, ()) for one in kept)]
    if not used:
        raise DataError("none of the scores of the recommendation applies to these labels; fit the candidates instead.")
    fixed = [] if earlier is None else [ranks(earlier)]

    def mean_ranks(columns: Sequence[np.ndarray]) -> np.ndarray:
        return np.mean([*(ranks(column) for column in columns), *fixed], axis=0)

    whole = mean_ranks([np.array([one["scores"][name]["value"] for one in kept]) for name in used])
    drawn = np.array([[one["draws"][name] for name in used] for one in kept])  # (m, s, b)
    places = np.array([ranks(-mean_ranks(list(drawn[:, :, b].T))) for b in range(drawn.shape[2])])  # (b, m)
    best, top = (places < 1.75).mean(axis=0), (places <= 3).mean(axis=0)
    found = [
        Candidate(
            one["reference"],
            one["weights"],
            one["width"],
            one["seconds"],
            one["scores"],
            float(whole[place]),
            float(best[place]),
            float(top[place]),
            None if earlier is None else float(earlier[place]),
        )
        for place, one in enumerate(kept)
    ]
    return tuple(sorted(found, key=lambda one: (one.mean_rank, -one.top)))


def _shortlist(rows: Sequence[Candidate]) -> tuple[str, ...]:
    likely = [one.reference for one in rows if one.top > LIKELY]
    first = [one.reference for one in rows[:LEAST]]
    return tuple([one.reference for one in rows if one.reference in (*first, *likely)][:LONGEST])


def _sentences(rows: Sequence[Candidate], methods: Sequence[str]) -> tuple[str, ...]:
    first = rows[0]
    listed = ", ".join(_shortlist(rows))
    told = [
        f"Fine-tune these and compare: {listed}. {first.reference} is the first in {100 * first.best:.0f} % of the "
        f"resamples and among the first three in {100 * first.top:.0f} %."
    ]
    shared = [name for name in methods if all("value" in one.scores.get(name, ()) for one in rows)]
    if len(shared) > 1 and len(rows) > 2:
        tau = agreement(np.array([[one.scores[name]["value"] for name in shared] for one in rows]))
        word = "agree well" if tau > 0.6 else "agree in part" if tau > 0.2 else "do not agree: trust none of them alone"
        told.append(f"The {len(shared)} scores {word} (mean Kendall tau {tau:.2f}).")
    static = sorted(rows, key=lambda one: -one.weights)
    told.append(
        "For comparison, by size alone, which beats many published scores on common benchmarks: "
        + ", ".join(one.reference for one in static[:LEAST])
        + "."
    )
    blind = [one.reference for one in rows if max((one.scores[name].get("z", 0.0) for name in shared), default=0.0) < 2]
    if blind:
        told.append(f"Nothing is learnt from the labels (no score beyond chance): {', '.join(blind)}.")
    return tuple(told)
