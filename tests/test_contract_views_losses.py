"""What every loss of two views promises, checked for whatever files the folder holds.

A new one is under this contract from the moment its file exists; nothing here names one.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import ArrayFeed, convolutional
from torch import Tensor, nn

from sterna import folder, train
from sterna.network import Network, copied_state
from sterna.recipe import Parts, Recipe
from sterna.records import Batch, Output, Phase, Seen, Setting, Step, Term
from sterna.wording import schedule

WIDTH, MANY = 5, 24
NAMES = [name for name in folder.names("losses") if folder.load("losses", name).needs == "views"]

every_loss = pytest.mark.parametrize("name", NAMES)


def test_there_are_some() -> None:
    assert NAMES


def built(name: str, classes: int = 3) -> tuple[Term, Network]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = Network({"below": nn.Linear(WIDTH, WIDTH)}, nn.Linear(WIDTH, classes))
        (loss,) = folder.resolve("losses", name)
        names = tuple(str(number) for number in range(classes))
        return loss.build(Setting(network, np.full(classes, 8), names, 8 * classes, MANY)), network


def step(network: Network, count: int = 9, seed: int = 0, progress: float = 0.5, scale: float = 3.0) -> Step:
    made = torch.Generator().manual_seed(seed)
    places = torch.randperm(MANY, generator=made)[:count]
    sides = []
    for rows, where in ((6, torch.arange(6)), (count, places), (count, places)):
        inputs = scale * torch.randn(rows, WIDTH, generator=made)
        labels = torch.arange(rows) % network.classes if rows != count else torch.zeros(rows, dtype=torch.int64)
        sides.append(Seen(Batch(inputs, labels, torch.ones(rows), places=where), network(inputs)))
    return Step(sides[0], network, progress, sides[1], sides[2])


def run(term: Term, network: Network, given: Step) -> tuple[Tensor, list[Tensor]]:
    """The value of a copy of the term and the gradients of the logits of all three sides."""
    sides = []
    for side in (given.labelled, given.unlabelled, given.strong):
        assert side is not None
        logits = side.output.logits.detach().clone().requires_grad_()
        sides.append(Seen(side.batch, Output(side.output.features.detach(), logits)))
    value = copy.deepcopy(term)(Step(sides[0], network, given.progress, sides[1], sides[2]))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.requires_grad, "it is added to others and stepped backward"
    value.backward()
    found = [s.output.logits.grad if s.output.logits.grad is not None else torch.zeros(1) for s in sides]
    assert all(torch.isfinite(one).all() for one in (value, *found))
    return value.detach(), found


@every_loss
def test_it_says_what_the_loop_asks_it(name: str) -> None:
    cls = folder.load("losses", name)
    options = {one.name for one in fields(cls)}
    assert {"weight", "strong", "ratio"} <= options
    assert not cls.supervised
    assert cls().ratio >= 1


@every_loss
def test_what_stands_in_place_of_labels_is_not_read(name: str) -> None:
    term, network = built(name)
    given = step(network)
    wanted, gradients = run(term, network, given)
    for poison in (torch.full((9,), 2), torch.full((9,), -7), torch.full((9, 3), torch.nan)):
        spoilt = []
        for side in (given.unlabelled, given.strong):
            assert side is not None
            spoilt.append(replace(side, batch=replace(side.batch, labels=poison)))
        value, found = run(term, network, replace(given, unlabelled=spoilt[0], strong=spoilt[1]))
        assert torch.equal(value, wanted)
        assert all(torch.equal(one, other) for one, other in zip(found, gradients, strict=True))


@every_loss
def test_the_strong_view_learns_and_the_weak_one_does_not(name: str) -> None:
    term, network = built(f"{name}(threshold=0.4)" if "threshold" in options(name) else name)
    with torch.no_grad():  # what was the start of a teacher is not what stands now
        network.head.weight += 1.0  # type: ignore[union-attr,operator]
        network.head.weight[0] += 1.0  # type: ignore[union-attr,index,operator]
    _, (labelled, weak, strong) = run(term, network, step(network))
    assert strong.abs().max() > 0
    assert weak.abs().max() == 0
    assert labelled.abs().max() == 0


def options(name: str) -> set[str]:
    return {one.name for one in fields(folder.load("losses", name))}


@every_loss
def test_order_does_not_count(name: str) -> None:
    term, network = built(name)
    given = step(network)
    order = torch.tensor([3, 1, 8, 0, 2, 7, 6, 5, 4])
    turned = []
    for side in (given.unlabelled, given.strong):
        assert side is not None
        assert side.batch.places is not None
        batch = replace(side.batch, inputs=side.batch.inputs[order], places=side.batch.places[order])
        output = replace(side.output, features=side.output.features[order], logits=side.output.logits[order])
        turned.append(Seen(batch, output))
    value, _ = run(term, network, given)
    other, _ = run(term, network, replace(given, unlabelled=turned[0], strong=turned[1]))
    assert torch.allclose(value, other, rtol=1e-5, atol=1e-7)


@every_loss
@pytest.mark.parametrize("count", [1, 2, 24])
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_any_number_of_examples_at_both_ends_of_training(name: str, count: int, progress: float) -> None:
    term, network = built(name)
    run(term, network, step(network, count, progress=progress))


@every_loss
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e3])
def test_answers_of_any_certainty(name: str, scale: float) -> None:
    term, network = built(name)
    run(term, network, step(network, scale=scale))


@every_loss
def test_two_classes_and_many_and_no_places(name: str) -> None:
    for classes in (2, 40):
        term, network = built(name, classes)
        given = step(network)
        run(term, network, given)
        assert given.unlabelled is not None
        nameless = replace(given.unlabelled, batch=replace(given.unlabelled.batch, places=None))
        run(term, network, replace(given, unlabelled=nameless))


@every_loss
def test_a_factor_of_0_is_no_term_and_the_factor_multiplies(name: str) -> None:
    values = []
    for weight in (0, 0.5, 1):
        term, network = built(f"{name}(weight={weight})")
        value, gradients = run(term, network, step(network))
        values.append(value)
        assert weight or max(float(one.abs().max()) for one in gradients) == 0
    assert values[0] == 0
    assert torch.allclose(2 * values[1], values[2])


@every_loss
def test_nothing_is_drawn_and_the_same_twice(name: str) -> None:
    term, network = built(name)
    given = step(network)
    before = torch.random.get_rng_state()
    first, second = run(term, network, given), run(term, network, given)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first[0], second[0])


# Within the loop


def pictures(count: int, seed: int) -> ArrayFeed:
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    inputs = 0.5 * torch.randn(count, 3, 8, 8, generator=generator)
    inputs[torch.arange(count), torch.from_numpy(labels)] += 1
    return ArrayFeed(inputs, labels)


def fit(name: str, network: Network, many: int = 7, place: Path | None = None, said: int = 0) -> None:
    losses = folder.resolve("losses", f"cross_entropy + {name}")
    (chosen,) = folder.resolve("optimizers", "adam(rate=0.01)")
    task = folder.load("tasks", "classify")()
    phases = (Phase("top", 2), Phase("all", 0))
    recipe = Recipe(phases, losses, chosen, schedule("epochs=3, batch=4"), 0, task, ratio=2)
    weak = pictures(many, 2)
    weak.labels[:] = said
    strong = ArrayFeed(weak.pictures + 0.3, weak.labels)

    def feeds(phase: Phase) -> Parts:
        found = []
        for one in (pictures(12, 0), pictures(6, 1), weak, strong):
            with torch.no_grad():
                prefix = network.prefix(phase.cut).eval()
                found.append(ArrayFeed(prefix(one.pictures), one.labels))
        return Parts(*found)

    setting = Setting(network, np.full(3, 4), ("a", "b", "c"), 12, many)
    train.train(network, recipe, feeds, setting, place=place)


@every_loss
def test_an_interrupted_run_ends_like_an_undisturbed_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, third, fresh = (convolutional() for _ in range(4))
    fit(name, one)
    fit(name, other, said=2)
    for key, value in copied_state(one).items():
        assert torch.equal(value, copied_state(other)[key]), key
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    place = tmp_path / "checkpoint.pt"
    save, calls = train.checkpoint.save, []

    def stopping(*given: Any) -> None:
        save(*given)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.checkpoint, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            fit(name, third, place=place)
    assert place.exists()
    fit(name, fresh, place=place)
    for key, value in copied_state(one).items():
        assert torch.equal(value, copied_state(fresh)[key]), key


@every_loss
def test_one_unlabelled_example(name: str) -> None:
    network = convolutional()
    fit(name, network, many=1)
    assert all(torch.isfinite(value).all() for value in copied_state(network).values())
