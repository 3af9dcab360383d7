"""Steps that see unlabelled examples beside labelled ones: what terms get, when training stops, what is shared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import ArrayFeed, convolutional
from torch import Tensor, nn

from sterna import descent, domainwise, folder, train
from sterna.network import Network, copied_state
from sterna.recipe import Parts, Recipe, Trained
from sterna.records import Phase, Setting, Step
from sterna.wording import schedule

CLASSES = ("a", "b", "c")
TASK = folder.load("tasks", "classify")()


def examples(count: int, seed: int) -> ArrayFeed:
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    inputs = 0.5 * torch.randn(count, 3, 8, 8, generator=generator)
    inputs[torch.arange(count), torch.from_numpy(labels)] += 1
    return ArrayFeed(inputs, labels)


class Watching:
    """An addend that notes what it is given."""

    regularises, needs = False, "unlabelled"

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def build(self, setting: Setting) -> Any:
        self.setting = setting
        return self._term

    def _term(self, step: Step) -> Tensor:
        self.steps.append(step)
        assert step.unlabelled is not None
        return step.unlabelled.output.features.square().mean() * 1e-3


def run(
    network: Network,
    losses: tuple[Any, ...],
    *,
    blind: bool = True,
    twin: Network | None = None,
    place: Path | None = None,
    epochs: int = 3,
    unlabelled: ArrayFeed | None = None,
) -> Trained:
    (chosen,) = folder.resolve("optimizers", "adam(rate=0.01)")
    recipe = Recipe(
        (Phase("all", 0),), losses, chosen, schedule(f"epochs={epochs}, batch=4, patience=1"), 0, TASK, blind=blind
    )
    parts = Parts(examples(12, 0), examples(6, 1), unlabelled or examples(7, 2))
    setting = Setting(network, np.full(3, 4), CLASSES, 12, 7)
    return train.train(network, recipe, lambda phase: parts, setting, twin=twin, place=place)


def test_every_step_has_an_unlabelled_batch_and_the_part_is_gone_through_evenly() -> None:
    watching = Watching()
    run(convolutional(), (*folder.resolve("losses", "cross_entropy"), watching))
    assert watching.setting.unlabelled == 7
    seen = [step.unlabelled.batch.places for step in watching.steps if step.unlabelled is not None]
    assert len(seen) == len(watching.steps) == 9
    assert all(len(places) == 4 for places in seen if places is not None)
    for start in (0, 3, 6):  # an epoch of 3 steps draws 12 of 7
        counts = np.bincount(
            torch.cat([one for one in seen[start : start + 3] if one is not None]).numpy(), minlength=7
        )
        assert counts.min() >= 1
        assert counts.max() <= 2
    assert [step.labelled.batch.places is not None for step in watching.steps] == [True] * 9


def test_a_blind_run_ends_on_its_last_weights_and_another_on_its_best() -> None:
    losses = folder.resolve("losses", "cross_entropy")
    blind = run(convolutional(), losses, epochs=5)
    assert [entry["epoch"] for entry in blind.history] == [1, 2, 3, 4, 5]  # patience is not asked
    assert not any("accuracy" in entry for entry in blind.history)
    assert blind.choices == ((5.0,),)
    judged = run(convolutional(), losses, blind=False, epochs=5)
    assert all("accuracy" in entry for entry in judged.history)


def test_two_runs_give_the_same_bits_and_an_interrupted_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = folder.resolve("losses", "cross_entropy + dann(hidden=8) + pseudo_labels")
    one, other = convolutional(), convolutional()
    run(one, losses)
    run(other, losses)
    for name, value in copied_state(one).items():
        assert torch.equal(value, copied_state(other)[name]), name
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    place, third = tmp_path / "checkpoint.pt", convolutional()
    keep = train.Run.keep

    def stopping(self: Any) -> None:
        keep(self)
        if self.state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "keep", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(third, losses, place=place)
    fresh = convolutional()
    run(fresh, losses, place=place)
    for name, value in copied_state(one).items():
        assert torch.equal(value, copied_state(fresh)[name]), name


def test_unlabelled_examples_go_through_the_twin_and_its_weights_are_the_networks() -> None:
    network = convolutional()
    other = convolutional()
    for norm in domainwise.norms(other):
        assert norm.running_mean is not None
        norm.running_mean += 5.0
    twin = domainwise.tied(network, other)
    watching = Watching()
    run(network, (*folder.resolve("losses", "cross_entropy"), watching), twin=twin)
    for mine, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        assert mine is theirs
    feed = examples(7, 2)
    answered = [descent.answers(one, feed, 7, TASK, CLASSES) for one in (network, twin)]
    assert len(domainwise.norms(network)) == 0 or not np.array_equal(*answered)
    assert watching.steps


def test_positions_are_repeated_in_whole_epochs() -> None:
    order = descent.repeated_order(5, 12, 3, np.random.default_rng(0))
    assert len(order) == 12
    assert sorted(order[:5].tolist()) == sorted(order[5:10].tolist()) == list(range(5))
    assert len(descent.repeated_order(5, 0, 3, np.random.default_rng(0))) == 0
    lengths = np.array([9, 1, 8, 2, 7, 3])
    order = descent.repeated_order(6, 6, 2, np.random.default_rng(0), lengths)
    assert all(abs(int(lengths[a]) - int(lengths[b])) <= 4 for a, b in order.reshape(3, 2))


def test_a_module_without_norms_has_none() -> None:
    assert domainwise.norms(nn.Linear(2, 2)) == []
