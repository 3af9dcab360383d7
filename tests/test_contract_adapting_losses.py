"""What every loss that looks at unlabelled examples promises, checked for whatever files the folder holds.

A new one is under this contract from the moment its file exists; nothing here names one.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import folder
from sterna.network import Network
from sterna.records import Batch, Output, Seen, Setting, Step, Term

WIDTH, MANY = 5, 24
NAMES = [name for name in folder.names("losses") if folder.load("losses", name).needs == "unlabelled"]
VALUES = [name for name in NAMES if "regress" in folder.load("losses", name).tasks]
# A loss that draws at each step says so on its page.
DRAWING = {name for name in NAMES if "global generator" in str(inspect.getdoc(folder.module("losses", name)))}

every_loss = pytest.mark.parametrize("name", NAMES)


@dataclass(frozen=True)
class Given:
    """The two batches of a step, to be varied."""

    left: Tensor  # (b, d)
    right: Tensor  # (c, d)
    labels: Tensor
    weights: Tensor
    said: Tensor  # in place of the labels of the unlabelled batch
    places: Tensor
    progress: float = 0.5


@dataclass(frozen=True)
class Got:
    """What a term makes of a step."""

    value: Tensor
    left: Tensor  # gradient of the labelled features
    right: Tensor
    own: list[Tensor]  # gradients of the term's and of the head's weights


def drawn(left: int = 6, right: int = 9, seed: int = 0, classes: int = 3) -> Given:
    made = torch.Generator().manual_seed(seed)
    return Given(
        torch.randn(left, WIDTH, generator=made),
        torch.randn(right, WIDTH, generator=made) + 0.5,
        torch.arange(left) % classes,
        torch.ones(left),
        torch.zeros(right, dtype=torch.int64),
        torch.randperm(MANY, generator=made)[:right],
    )


def built(name: str, classes: int = 3, counts: bool = True, seed: int = 1) -> tuple[Term, Network]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = Network({"same": nn.Identity()}, nn.Linear(WIDTH, classes))
        torch.manual_seed(seed)
        found = np.full(classes, 8 if counts else 0)
        (loss,) = folder.resolve("losses", name)
        names = tuple(str(number) for number in range(classes))
        return loss.build(Setting(network, found, names, 8 * classes, MANY)), network


def run(term: Term, network: Network, given: Given, seed: int = 3) -> Got:
    """One call of a copy, so that no call is seen by the next."""
    term, network = copy.deepcopy(term), copy.deepcopy(network)
    sides = [side.clone().requires_grad_() for side in (given.left, given.right)]
    batches = [
        Batch(given.left, given.labels, given.weights, places=torch.arange(len(given.left))),
        Batch(given.right, given.said, torch.ones(len(given.right)), places=given.places),
    ]
    left, right = (Seen(batch, Output(side, network.head(side))) for batch, side in zip(batches, sides, strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        value = term(Step(left, network, given.progress, right))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.requires_grad, "it is added to others and stepped backward"
    value.backward()
    parts = [term, network] if isinstance(term, nn.Module) else [network]
    own = [filled(weight) for part in parts for weight in part.parameters()]
    return Got(value.detach(), filled(sides[0]), filled(sides[1]), own)


def filled(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def assert_finite(got: Got) -> None:
    for part in (got.value, got.left, got.right, *got.own):
        assert torch.isfinite(part).all()


def assert_same(first: Got, second: Got) -> None:
    """Bit for bit."""
    pairs = zip(flat(first), flat(second), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def flat(got: Got) -> list[Tensor]:
    return [got.value, got.left, got.right, *got.own]


@every_loss
def test_what_stands_in_place_of_labels_is_not_read(name: str) -> None:
    term, network = built(name)
    given = drawn()
    wanted = run(term, network, given)
    poisons: list[Any] = [
        given.said + 2,
        given.said - 7,
        torch.full((9, 3), torch.nan),
        torch.zeros(9, dtype=torch.int64),
    ]
    for said in poisons:
        assert_same(run(term, network, replace(given, said=said)), wanted)


@every_loss
def test_it_teaches_the_features(name: str) -> None:
    """Unlabelled features get a gradient, or the term would adapt nothing."""
    got = run(*built(name), drawn(12, 20))
    assert_finite(got)
    assert got.right.abs().max() > 0


@every_loss
@pytest.mark.parametrize(("left", "right"), [(2, 9), (9, 2), (16, 24), (1, 9), (9, 1), (1, 1)])
def test_batches_of_any_size(name: str, left: int, right: int) -> None:
    assert_finite(run(*built(name), drawn(left, right)))


@every_loss
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_at_both_ends_of_training(name: str, progress: float) -> None:
    assert_finite(run(*built(name), replace(drawn(), progress=progress)))


@every_loss
def test_soft_labels_of_one_class_are_that_class(name: str) -> None:
    term, network = built(name)
    given = drawn()
    hard = run(term, network, given)
    one_hot = functional.one_hot(given.labels, 3).float()
    soft = run(term, network, replace(given, labels=one_hot))
    for one, other in zip(flat(hard), flat(soft), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    assert_finite(run(term, network, replace(given, labels=0.7 * one_hot + 0.1)))


@every_loss
def test_a_weight_of_0_leaves_an_example_out(name: str) -> None:
    term, network = built(name)
    given = drawn(8, 12)
    kept = torch.tensor([True, False, True, True, False, False, True, True])
    weights = torch.tensor([1.0, 0.0, 0.5, 2.0, 0.0, 0.0, 1.0, 1.5])
    spoilt = torch.where(kept[:, None], given.left, 3 * given.left + 4)
    whole = run(term, network, replace(given, left=spoilt, weights=weights))
    part = run(term, network, replace(given, left=given.left[kept], labels=given.labels[kept], weights=weights[kept]))
    assert whole.left[~kept].abs().max() == 0
    for one, other in zip(flat(replace(whole, left=whole.left[kept])), flat(part), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


@every_loss
def test_nothing_weighs_anything(name: str) -> None:
    assert_finite(run(*built(name), replace(drawn(), weights=torch.zeros(6))))


@every_loss
def test_the_same_twice(name: str) -> None:
    term, network = built(name)
    given = drawn()
    assert_same(run(term, network, given), run(term, network, given))
    if name not in DRAWING:
        assert_same(run(term, network, given, seed=3), run(term, network, given, seed=4))


@every_loss
def test_a_call_leaves_the_global_generator_as_it_was(name: str) -> None:
    term, network = built(name)
    if isinstance(term, nn.Module):
        term.eval()
    given = drawn()
    left, right = (
        Seen(Batch(side, said, torch.ones(len(side)), places=places), Output(side, network.head(side)))
        for side, said, places in (
            (given.left, given.labels, torch.arange(6)),
            (given.right, given.said, given.places),
        )
    )
    before = torch.random.get_rng_state()
    term(Step(left, network, 0.5, right))
    assert torch.equal(torch.random.get_rng_state(), before) or name in DRAWING


@every_loss
@pytest.mark.parametrize("size", [1e3, 1.0, 1e-4, 0.0])
def test_features_of_any_size(name: str, size: float) -> None:
    given = drawn(12, 16)
    assert_finite(run(*built(name), replace(given, left=size * given.left, right=size * given.right)))


@every_loss
def test_features_that_are_all_the_same(name: str) -> None:
    assert_finite(run(*built(name), replace(drawn(8, 8), left=torch.ones(8, WIDTH), right=torch.ones(8, WIDTH))))


@every_loss
def test_both_sides_the_same(name: str) -> None:
    given = drawn(8, 8)
    assert_finite(run(*built(name), replace(given, right=given.left)))


@every_loss
def test_two_classes_and_many(name: str) -> None:
    assert_finite(run(*built(name, 2), drawn(classes=2)))
    assert_finite(run(*built(name, 40), drawn(classes=40)))


@pytest.mark.parametrize("name", VALUES)
def test_labels_that_are_values(name: str) -> None:
    given = replace(drawn(), said=torch.zeros(9, 1))
    assert_finite(run(*built(name, 1, counts=False), replace(given, labels=torch.randn(6, 1))))


@every_loss
def test_a_factor_of_0_is_no_term(name: str) -> None:
    got = run(*built(f"{name}(weight=0)"), drawn())
    assert got.value == 0
    assert max(float(part.abs().max()) for part in flat(got)) == 0


@every_loss
def test_the_factor_multiplies(name: str) -> None:
    once, twice = (run(*built(f"{name}(weight={weight})"), drawn()) for weight in (0.5, 1))
    for one, other in zip(flat(once), flat(twice), strict=True):
        assert torch.allclose(2 * one, other, rtol=1e-4, atol=1e-6)


@every_loss
def test_a_checkpoint_holds_all_that_it_knows(name: str) -> None:
    """After its state is restored, a term of other first weights goes on as the interrupted one."""
    (old, network), (new, _) = built(name), built(name, seed=2)
    for seed in range(3):
        given = drawn(seed=seed)
        right = Seen(
            Batch(given.right, given.said, torch.ones(9), places=given.places),
            Output(given.right, network.head(given.right)),
        )
        left = Seen(Batch(given.left, given.labels, torch.ones(6)), Output(given.left, network.head(given.left)))
        with torch.random.fork_rng():
            old(Step(left, network, seed / 3, right))
    if isinstance(old, nn.Module) and isinstance(new, nn.Module):
        new.load_state_dict({key: value.clone() for key, value in old.state_dict().items()})
    given = drawn(seed=7)
    assert_same(run(old, network, given), run(new, network, given))


def test_there_are_some() -> None:
    assert len(NAMES) > 8
    assert len(VALUES) > 2
    assert set(NAMES) > DRAWING
