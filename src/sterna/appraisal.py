"""One candidate encoder on a sample of the target: its features once, every score, its null, and its draws.

A draw is at most half of the sample, taken without replacement: a repeated example would be its own neighbour, and
would be left out while its twin is learnt from. Half of the sample varies about the whole as the whole varies about
what it is a sample of (Politis and Romano 1994, "Large Sample Confidence Regions Based on Subsamples under Minimal
Assumptions"); a smaller draw varies more, so that its probabilities are too careful. Two approximations: scores of half
the examples may order candidates otherwise than those of all; and LogME and the probe see features of more than 256
dimensions in their 256 largest principal directions. On draws of 320 photographs by six networks of 512 and 1,280
features that left all ranks of LogME and 97 % of those of the probe as they were; on a draw of 1,000 with 2,048
features the two take 0.05 s in place of 1.9. The H-score is not approximated: its shrinkage depends on how many
features there are, and 28 % of its ranks stayed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sterna import desk, folder, footing, opening, splitting
from sterna.contracts import Evidence, Score, Task
from sterna.errors import DataError, SpecError
from sterna.maths.classes import standardised
from sterna.maths.compressed import compressed
from sterna.maths.seeds import derive
from sterna.network import Network
from sterna.plan import Route
from sterna.records import Encoder, Labels, Loaded, Table
from sterna.schedule import Schedule
from sterna.settings import Settings
from sterna.sizes import Sizes
from sterna.splitting import Strata
from sterna.store import Store

DEFAULT = ("logme", "hscore", "probe")  # the scores of the recommendation
COMPRESSED = ("logme", "probe")  # those of them that a few principal directions tell all about
STANDARDISED = ("probe",)  # those of them that standardise features before anything else
TASKS = ("classify", "regress")
CHUNK = 1024
MOST = 1000.0  # of a z: some scores are the same for all labels without meaning, and any other is endlessly far away

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """What every candidate is asked, the same for all."""

    table: Table  # the sample: examples of the training part
    methods: Mapping[str, Score]  # by name
    orders: Sequence[np.ndarray]  # permutations of the labels, for the null
    draws: Sequence[np.ndarray]  # rows of each draw
    drawn: Sequence[str]  # names of the methods that are asked on each draw
    seed: int

    @property
    def labels(self) -> Labels:
        """Class numbers without gaps, or values."""
        return _numbered(self.table.labels)


def asked(loaded: Loaded, settings: Settings, sizes: Sizes, methods: Mapping[str, Score]) -> Asked:
    """The sample, the permutations and the draws, from what `sterna fit` would learn from at seed 0.

    The held-out part stays out; training and validation part are one, since nothing is fitted that could be validated.

    Raises `DataError` for labels that no score reads.
    """
    table = loaded.table
    if table.task not in TASKS:
        raise DataError(
            f"a ranking needs labels for {' or '.join(TASKS)}, got {table.task}; fit the candidates instead, as "
            "sterna fit --encoder A,B."
        )
    task: Task = folder.load("tasks", table.task)()
    strata = strata_of(table, task)
    shares = {"test": settings.test, "validation": settings.validation}
    split = splitting.split(loaded, seed=0, shots=settings.shots, strata=strata, **shares)
    rows = np.union1d(split.train, split.validation)
    sample = table.take(rows[stratified(strata.numbers[rows], sizes.examples, derive(0, "rank", "sample"))])
    count, inside = len(sample), task.strata(sample.labels, len(table.classes))
    orders = [np.random.default_rng(derive(0, "rank", "null", k)).permutation(count) for k in range(sizes.permutations)]
    size = min(sizes.drawn, count // 2)
    draws = [stratified(inside, size, derive(0, "rank", "draw", k)) for k in range(sizes.draws)]
    return Asked(sample, methods, orders, draws, DEFAULT, 0)


def strata_of(table: Table, task: Task) -> Strata:
    """What the parts of a split hold in like shares: classes, or ranges of values."""
    numbers, strict = task.strata(table.labels, len(table.classes)), table.task == "classify"
    names = table.classes if strict else tuple(map(str, range(int(numbers.max(initial=0)) + 1)))
    return Strata(numbers, names, strict)


def stratified(numbers: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Ascending positions of about `most` examples, of each stratum the same share, at least two of those it has."""
    if len(numbers) <= most:
        return np.arange(len(numbers))
    order = np.random.default_rng(seed).permutation(len(numbers))
    taken = []
    for one in np.unique(numbers):
        mine = order[numbers[order] == one]
        taken.append(mine[: max(2, round(most * len(mine) / len(numbers)))])
    return np.sort(np.concatenate(taken))


def examined(reference: str, asked: Asked, store: Store, progress: Progress | None = None) -> dict[str, Any]:
    """All that is kept of a candidate, as plain values: memory holds one candidate at a time.

    `scores` gives for each method `value`, `z` (in standard deviations of the null of permuted labels) and `seconds`,
    or `reason` where it does not apply; `draws` for each method of `drawn` its values. `seconds` are those of the
    features, `scoring` those of all scores.
    """
    begin = time.perf_counter()
    encoder = opened(reference, asked.table)
    features = desk.features(encoder, asked.table, store, progress)
    source = _by_source(encoder.network, features)
    seconds = time.perf_counter() - begin
    evidence = Evidence(features.double().numpy(), source, asked.seed)
    scores = {name: _scored(name, method, evidence, asked) for name, method in asked.methods.items()}
    draws = {name: _drawn(name, evidence.features, asked) for name in asked.drawn if "value" in scores[name]}
    return {
        "reference": reference,
        "weights": sum(weight.numel() for weight in encoder.network.stages.parameters()),
        "width": features.shape[1],
        "pretrained": encoder.pretrained,
        "seconds": seconds,
        "scoring": time.perf_counter() - begin - seconds,
        "scores": scores,
        "draws": draws,
    }


def opened(reference: str, table: Table) -> Encoder:
    """The encoder as these data need it; features made by hand may stand among the candidates.

    Raises `EncoderError` for one that cannot be had or takes another kind of data.
    """
    encoder = footing.opened(opening.open_encoder(reference), table)
    footing.check(Route(reference, reference, None, (), (), None, Schedule(), floor=True), encoder, table, False)
    return footing.fitted(encoder, table)


@torch.inference_mode()
def _by_source(network: Network, features: torch.Tensor) -> np.ndarray | None:
    """(n, z) probabilities of the classes that the network was trained on, or None where it has no head."""
    if network.classes < 2 or network.width != features.shape[1]:
        return None
    head = network.head.cpu()
    found = [torch.softmax(head(part).double(), dim=1) for part in features.split(CHUNK)]
    made: np.ndarray = torch.cat(found).numpy()
    return made


def _scored(name: str, method: Score, evidence: Evidence, asked: Asked) -> dict[str, Any]:
    task = asked.table.task
    if task not in method.tasks:
        return {"reason": f"{name} does not apply, because it serves {' and '.join(method.tasks)}, not {task}"}
    if method.needs == "source" and evidence.source is None:
        return {"reason": f"{name} does not apply, because this candidate has no classifier of its own"}
    begin = time.perf_counter()
    try:
        scoring = method.prepare(evidence)
        value = float(scoring(asked.labels))
        seconds = time.perf_counter() - begin
        null = np.array([scoring(asked.labels[order]) for order in asked.orders])
    except (DataError, SpecError) as error:
        return {"reason": f"{name} does not apply, because {error}"}
    return {"value": value, "z": z_of(value, null), "seconds": seconds}


def z_of(value: float, null: np.ndarray) -> float:
    """How far a score is from those of permuted labels, in their standard deviations; 0 where all are the same."""
    away, spread = value - float(null.mean()), float(null.std(ddof=1))
    # Rounding is no evidence: features that are all alike give one score whatever the labels.
    if abs(away) <= 1e-9 * max(1.0, abs(value)):
        return 0.0
    return float(np.clip(away / max(spread, 1e-300), -MOST, MOST))


def _drawn(name: str, features: np.ndarray, asked: Asked) -> list[float | None]:
    """The values of a score on each draw; None where it cannot be had."""
    method = asked.methods[name]
    less = (standardised(features) if name in STANDARDISED else features).astype(np.float32)
    less = compressed(less) if name in COMPRESSED else less
    found: list[float | None] = []
    for rows in asked.draws:
        evidence = Evidence(less[rows].astype(np.float64), None, asked.seed)
        try:
            found.append(float(method.prepare(evidence)(_numbered(asked.table.labels[rows]))))
        except (DataError, SpecError):
            found.append(None)
    return found


def _numbered(labels: Labels) -> Labels:
    """Class numbers without gaps; values as they are."""
    return labels if labels.ndim > 1 else np.unique(labels, return_inverse=True)[1].ravel().astype(np.int64)
