"""Where a training run stands, and how it is kept on disk so that it can go on after an interruption.

A resumed run ends with the same bits as an undisturbed one: every epoch derives its randomness from its own number,
so a state at the end of an epoch is all there is to keep.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sterna import files
from sterna.errors import TrainingError


@dataclass
class State:
    """A run at the end of an epoch."""

    phase: int = 0  # the phase under way
    epoch: int = 0  # epochs of it that are done
    waited: int = 0  # epochs since its best
    steps: int = 0  # optimizer steps since the start of the run
    best: tuple[float, float] | None = None  # (accuracy, minus log loss) on the validation part
    judged: tuple[float, float] = (0.0, 0.0)  # the same of the weights as they are now
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # optimizer state by weight name
    average: dict[str, Tensor] = field(default_factory=dict)  # running average of weights
    anchor: dict[str, Tensor] = field(default_factory=dict)  # weights before the first descent, for interpolation
    terms: dict[str, Tensor] = field(default_factory=dict)  # weights of losses that have their own
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry an epoch
    best_epoch: int = 0  # epochs of the phase that the best weights have seen
    choices: list[list[float]] = field(default_factory=list)  # what the validation part chose in each phase
    notes: list[str] = field(default_factory=list)  # what the person should know
    start: dict[str, Tensor] = field(default_factory=dict)  # weights from which each member of a soup starts
    started: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # the optimizer's state there
    members: list[dict[str, Tensor]] = field(default_factory=list)  # weights of the members that are done
    scores: list[list[float]] = field(default_factory=list)  # of each: figure, minus log loss, epochs
    added: dict[str, Tensor] = field(default_factory=dict)  # the weights of an adapter, alone, after it was merged
    config: str = ""  # its configuration, as JSON
    rate: float = 0.0  # what a range test found for the phase; 0: not asked for, or not yet
    pieces: int = 1  # into which each batch of the phase is cut because memory was short
    relative: list[float] = field(default_factory=list)  # of each stage, smoothed over the epochs of the phase
    norms: list[float] = field(default_factory=list)  # of each stage's gradients of the last epoch, added up
    frozen: int = 0  # stages that have been frozen while the phase ran, those below it included

    def next_phase(self, choice: Sequence[float]) -> None:
        """Close the phase under way; the optimizer's state stays for the weights that go on."""
        self.choices.append(list(choice))
        self.phase += 1
        self.start, self.started, self.members, self.scores = {}, {}, [], []
        self.rate, self.pieces = 0.0, 1
        self._begin()

    def next_member(self, weights: dict[str, Tensor]) -> None:
        """Close the member of a soup under way, which has these weights; the next one begins anew."""
        self.members.append(weights)
        self.scores.append([*(self.best or (0.0, 0.0)), float(self.epoch if self.best is None else self.best_epoch)])
        self._begin()

    def _begin(self) -> None:
        self.epoch, self.waited, self.best_epoch = 0, 0, 0
        self.best, self.best_weights, self.average = None, {}, {}
        self.relative, self.norms, self.frozen = [], [], 0


def save(place: Path, state: State, fingerprint: str) -> None:
    """Write the state whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **asdict(state)}, buffer)
    files.write_bytes(place, buffer.getvalue())


def load(place: Path, fingerprint: str) -> State | None:
    """The state kept at `place`, or None where there is none.

    Raises `TrainingError` when it belongs to a run with other options or data, or cannot be read.
    """
    if not place.exists():
        return None
    try:
        kept = torch.load(place, weights_only=True)
    except Exception as error:  # torch raises a different class for each kind of damage
        raise TrainingError(f"the checkpoint {place} cannot be read; remove it to start again.") from error
    if kept.pop("fingerprint", None) != fingerprint:
        raise TrainingError(f"the checkpoint {place} belongs to a run with other options; give another --out.")
    return State(**kept)
