"""One candidate encoder on a sample of the target: its features once, every score, its null, and its draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sterna import opening, route
from sterna.contracts import Evidence, Score
from sterna.desk import features as features_of
from sterna.errors import DataError, SpecError
from sterna.maths.seeds import derive
from sterna.network import Network
from sterna.records import Labels, Table
from sterna.store import Store


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
        """Class numbers without gaps, or values of mean 0 and spread 1."""
        return _plain(self.table.labels, self.table.task)


def examined(
    reference: str, asked: Asked, store: Store, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """All that is kept of a candidate, as plain values: memory holds one candidate at a time.

    `scores` gives for each method `value`, `z` (in standard deviations of the null of permuted labels) and `seconds`,
    or `reason` where it does not apply; `draws` for each method of `drawn` its values.
    """
    begin = time.perf_counter()
    encoder = route.fitted(route.opened(opening.open_encoder(reference), asked.table), asked.table)
    seen = features_of(encoder, asked.table, store, progress)
    features, source = seen.double().numpy(), _by_source(encoder.network, seen)
    seconds = time.perf_counter() - begin
    scores: dict[str, dict[str, Any]] = {}
    draws: dict[str, list[float]] = {}
    for name, method in asked.methods.items():
        scores[name] = _scored(method, Evidence(features, source, asked.seed), asked)
        if name in asked.drawn and "value" in scores[name]:
            draws[name] = [_drawn(method, features[rows], source, rows, asked) for rows in asked.draws]
    weights = sum(weight.numel() for weight in encoder.network.stages.parameters())
    facts = {"weights": weights, "width": features.shape[1], "pretrained": encoder.pretrained}
    return {"reference": reference, **facts, "seconds": seconds, "scores": scores, "draws": draws}


@torch.inference_mode()
def _by_source(network: Network, features: torch.Tensor) -> np.ndarray | None:
    head = network.head
    if getattr(head, "out_features", 0) < 2 or head.in_features != features.shape[1]:
        return None
    return torch.softmax(head.cpu()(features).double(), dim=1).numpy()


def _scored(method: Score, evidence: Evidence, asked: Asked) -> dict[str, Any]:
    task = asked.table.task
    if task not in method.tasks:
        return {"reason": f"it serves {' and '.join(method.tasks)}, and these labels are for {task}"}
    if method.needs == "source" and evidence.source is None:
        return {"reason": "this candidate has no head of its own classes"}
    begin = time.perf_counter()
    try:
        scoring = method.prepare(evidence)
        value = float(scoring(asked.labels))
        seconds = time.perf_counter() - begin
        null = np.array([scoring(asked.labels[order]) for order in asked.orders])
    except (DataError, SpecError) as error:
        return {"reason": str(error)}
    spread = float(null.std(ddof=1)) or np.finfo(float).tiny
    return {"value": value, "z": float(np.clip((value - null.mean()) / spread, -1e6, 1e6)), "seconds": seconds}


def _drawn(method: Score, features: np.ndarray, source: np.ndarray | None, rows: np.ndarray, asked: Asked) -> float:
    labels = _plain(asked.table.labels[rows], asked.table.task)
    part = Evidence(features, None if source is None else source[rows], derive(asked.seed, "draw"))
    try:
        return float(method.prepare(part)(labels))
    except (DataError, SpecError):
        return float("-inf")


def _plain(labels: Labels, task: str) -> Labels:
    if task == "classify":
        return np.unique(labels, return_inverse=True)[1].ravel()
    spread = labels.std(axis=0)
    return np.asarray((labels - labels.mean(axis=0)) / np.where(spread > 0, spread, 1))
