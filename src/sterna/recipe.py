"""What the training loop is handed and what it gives: the shapes that it shares with whoever calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sterna.contracts import Feed, Task
from sterna.records import Phase
from sterna.schedule import Schedule

Choices = tuple[tuple[float, ...], ...]  # what the validation part chose in each phase


@dataclass(frozen=True)
class Recipe:
    """All of a run but its data and its network."""

    phases: tuple[Phase, ...]
    losses: tuple[Any, ...]
    optimizer: Any
    schedule: Schedule
    seed: int
    task: Task
    name: str = "classify"  # of the task
    fingerprint: str = ""  # of options and data: a checkpoint of another run is refused
    own: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # objectives of phases that name theirs
    paces: tuple[float, float] = (1.0, 1.0)  # factors on the rate of the head and of the stages
    half: bool = False  # forward passes in bfloat16 where torch holds that safe; weights and steps stay float32
    settled: Choices = ()  # the choices of a run on fewer examples; nothing is judged then
    blind: bool = False  # the validation part cannot tell which epoch was best: descent keeps its last weights
    ratio: int = 1  # unlabelled examples for each labelled one in a batch, as far as memory allows


@dataclass(frozen=True)
class Progress:
    """Where the loop is, for whoever shows it."""

    phase: str
    epoch: int
    epochs: int
    loss: float
    figure: str  # what the validation part is judged by
    value: float | None  # None in a phase that is not judged


@dataclass(frozen=True)
class Trained:
    """What a run gave besides the weights."""

    history: list[dict[str, Any]]  # one entry an epoch
    choices: Choices  # of each phase: its number of epochs, or the penalties of the head
    notes: tuple[str, ...] = ()  # what the person should know


@dataclass(frozen=True)
class Parts:
    """What a phase reads, all at its cut."""

    training: Feed
    validation: Feed
    unlabelled: Feed | None = None  # examples of the target without labels; `training` itself where nothing is labelled
    strong: Feed | None = None  # the same in the same order, strongly augmented


Feeds = Callable[[Phase], Parts]
