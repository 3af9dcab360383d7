"""A training run under way: where it stands, what is kept of it, how it is judged and told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from sterna import addition, checkpoint, descent
from sterna.checkpoint import State
from sterna.contracts import Feed
from sterna.errors import TrainingError
from sterna.maths.seeds import derive
from sterna.network import TOLERANCE, Network, copied_state, deviation
from sterna.recipe import Feeds, Progress, Recipe
from sterna.records import Added, Phase, Setting, Term

BESIDE = (
    "They stay beside the other weights: a library that opens the model without sterna leaves them out and gives other "
    "answers; see its card."
)


class Mergeable(Protocol):
    """Added layers of an adapter that does not last."""

    def merge(self) -> None:
        """Make them part of the plain weights, and take them out again."""

    def alone(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The configuration of an adapter, in plain values (what peft calls so), and its tensors by name."""


@dataclass
class Run:
    """A run under way."""

    network: Network
    recipe: Recipe
    terms: list[Term]
    setting: Setting
    state: State
    place: Path | None
    report: Callable[[Progress], None]
    every: float  # seconds of training that an interruption may cost
    saved: float
    twin: Network | None  # see `train`
    feeds: Feeds
    moving: Callable[[], dict[str, dict[str, Tensor]]] | None = None  # the optimizer's state in the phase under way
    added: Added | None = None  # the adapter of the phase under way

    @property
    def settled(self) -> tuple[float, ...]:
        """What is no longer to be chosen in the phase under way, or in the member of a soup under way."""
        return self.recipe.settled[self.state.phase][len(self.state.members) :] if self.recipe.settled else ()

    def keep(self) -> None:
        """Write a checkpoint, unless one was written a moment ago."""
        if self.place is None or time.monotonic() - self.saved <= self.every:
            return
        self.state.weights = copied_state(self.network)
        self.state.moments = self.moving() if self.moving else self.state.moments
        self.state.terms = terms_module(self.terms).state_dict()
        checkpoint.save(self.place, self.state, self.recipe.fingerprint)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Have the network and the terms as the checkpoint has them."""
        state = self.state
        for done in self.recipe.phases[: state.phase]:
            if done.adapter is not None and done.adapter.lasting:
                self.enter(done)
                self.added = None
        if state.epoch:  # else the phase has not begun, and the weights are plain
            self.enter(self.recipe.phases[state.phase])
        self.network.load_state_dict(state.weights)
        terms_module(self.terms).load_state_dict(state.terms)

    def enter(self, phase: Phase) -> None:
        """Have the weights move that move in a phase."""
        if self.added is not None:  # the run went on from a checkpoint within this phase
            return
        self.network.move_from(phase.cut, phase.batch_norm)
        if phase.only:
            self.say(descent.narrow(self.network, phase.only))
        if phase.adapter is None:
            return
        anchored = [loss for loss in self.recipe.losses if getattr(loss, "anchored", False)]
        if phase.adapter.lasting and addition.standing(self.network) is not None:
            raise TrainingError(
                "this network holds adapters, a prompt or a prefix of a former run, and others are not put beside "
                "them; choose another --tune, such as lora or full."
            )
        if anchored:
            raise TrainingError(
                f"{anchored[0]!r} holds weights to their start that stand still under an adapter; leave the term out, "
                "or choose another --tune, such as full."
            )
        with fenced(derive(self.recipe.seed, phase.name, "adapter")):
            self.added = phase.adapter.add(self.network, phase.cut, self.twin)

    def leave(self, phase: Phase, sample: Tensor) -> None:
        """Make what a phase has added part of the plain weights, if it can be; `sample` is an input at its cut."""
        if self.added is None or phase.adapter is None:
            return
        if phase.adapter.lasting:
            self.say(f"{descent.moved(self.added.what, self.added.count, self.network)} {BESIDE}")
            self.added = None
            return
        added, mergeable = self.added, cast(Mergeable, self.added)
        suffix = self.network.suffix(phase.cut).eval()
        config, self.state.added = mergeable.alone()
        self.state.config = json.dumps(config)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            before = suffix(sample).logits
            mergeable.merge()
            difference = deviation(self.network.suffix(phase.cut).eval()(sample).logits, before)
        if not difference <= TOLERANCE:
            raise TrainingError(
                f"the weights with {added.what} in them do not answer as it did beside them (relative difference "
                f"{difference:.2g}, allowed {TOLERANCE:g}); choose another --tune, such as full."
            )
        self.added = None
        self.say(descent.moved(added.what, added.count, self.network))

    def say(self, note: str) -> None:
        if note not in self.state.notes:
            self.state.notes.append(note)


def judge(run: Run, suffix: Network, validation: Feed, size: int) -> None:
    """Compare the weights (or their average) with the best so far, on the validation part."""
    state, kept = run.state, None
    if state.average:
        kept = copied_state(run.network)
        run.network.load_state_dict(state.average)
    task, classes = run.recipe.task, run.setting.classes
    figures = task.judge(descent.answers(suffix, validation, size, task, classes), validation.labels, classes)
    key = state.judged = (figures[task.primary(classes)], -figures["loss"])
    if state.best is None or key > state.best:
        state.best, state.best_weights, state.waited = key, copied_state(run.network), 0
        state.best_epoch = state.epoch
    else:
        state.waited += 1
    if kept is not None:
        run.network.load_state_dict(kept)


def note(
    run: Run, phase: Phase, loss: float, epochs: int, judged: bool, more: Mapping[str, object] | None = None
) -> None:
    """Add an entry to the history, with `more` in it, and show it."""
    state = run.state
    figure = run.recipe.task.primary(run.setting.classes)
    entry: dict[str, Any] = {"phase": phase.name, "epoch": state.epoch, "objective": loss, **(more or {})}
    if judged:
        entry |= {figure: state.judged[0], "loss": -state.judged[1]}
    state.history.append(entry)
    run.report(Progress(phase.name, state.epoch, epochs, loss, figure, entry.get(figure)))


def example(feed: Feed, suffix: Network) -> Tensor:
    """The input of one example, the longest, on the network's device."""
    longest = np.array([0 if feed.lengths is None else int(feed.lengths.argmax())])
    return next(iter(feed.inputs(longest, 1, -1))).to(next(suffix.head.parameters()).device)


def terms_module(terms: Sequence[Term]) -> nn.ModuleList:
    """The terms that have weights of their own, as one module."""
    return nn.ModuleList([term for term in terms if isinstance(term, nn.Module)])


@contextmanager
def fenced(seed: int) -> Iterator[None]:
    """A random state of its own for torch's global generator, put back as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
