"""What every loss that asks the pretrained head promises, checked for whatever files the folder holds.

A new one is under this contract from the moment its file exists; nothing here names one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import ArrayFeed
from torch import Tensor, nn

from sterna import folder, train
from sterna.network import Network
from sterna.recipe import Parts, Recipe
from sterna.records import Batch, Seen, Setting, Step, Taught, Term
from sterna.wording import schedule

WIDTH, CLASSES, SOURCE, COUNT = 5, 3, 6, 18
TASK = folder.load("tasks", "classify")()
NAMES = [name for name in folder.names("losses") if folder.load("losses", name).needs == "source"]

every_loss = pytest.mark.parametrize("name", NAMES)


def chain() -> Network:
    """Two stages with dropout between, so that no two steps are alike."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        stages = {
            "low": nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()),
            "high": nn.Sequential(nn.Dropout(0.2), nn.Linear(WIDTH, WIDTH), nn.Tanh()),
        }
        return Network(stages, nn.Linear(WIDTH, CLASSES))


@dataclass(frozen=True)
class Part:
    """A training part."""

    inputs: Tensor
    labels: Tensor
    weights: Tensor

    def take(self, chosen: Tensor) -> Part:
        return Part(self.inputs[chosen], self.labels[chosen], self.weights[chosen])

    def batch(self, places: Tensor) -> Batch:
        return Batch(self.inputs[places], self.labels[places], self.weights[places], places=places)


def part(count: int = COUNT, seed: int = 0) -> Part:
    labels = torch.arange(count) % CLASSES
    inputs = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))
    inputs[torch.arange(count), labels] += 1.5
    return Part(inputs, labels, torch.ones(count))


def setting(network: Network, given: Part, size: int = 7) -> Setting:
    """The start as the encoder's own head sees it; examples come `size` at a time."""
    made = torch.Generator().manual_seed(3)
    head = torch.randn(SOURCE, WIDTH, generator=made), torch.randn(SOURCE, generator=made)
    with torch.no_grad():
        features = copy.deepcopy(network).eval()(given.inputs).features

    def sample() -> Iterator[Batch]:
        for places in torch.arange(len(given.weights)).split(size):
            yield given.batch(places)

    counts = np.bincount(given.labels.numpy(), minlength=CLASSES)
    source = Taught(features, *head, classes=tuple("uvwxyz"))
    return Setting(network, counts, ("a", "b", "c"), len(given.weights), source=source, sample=sample)


def built(name: str, network: Network, given: Part, size: int = 7) -> Term:
    (loss,) = folder.resolve("losses", name)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return loss.build(setting(network, given, size))


def moved(network: Network) -> Network:
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    return network


@dataclass(frozen=True)
class Got:
    """What a term makes of a step."""

    value: Tensor
    slopes: list[Tensor]  # gradients of the network's weights, then of the term's own


def run(term: Term, network: Network, batch: Batch) -> Got:
    """One call of copies, in evaluation mode, so that no call is seen by the next."""
    term, network = copy.deepcopy(term), copy.deepcopy(network).eval()
    value = term(Step(Seen(batch, network(batch.inputs)), network, 0.5))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.requires_grad
    value.backward()
    parts = [network, term] if isinstance(term, nn.Module) else [network]
    weights = [weight for one in parts for weight in one.parameters()]
    return Got(value.detach(), [torch.zeros_like(w) if w.grad is None else w.grad for w in weights])


def assert_alike(one: Got, other: Got, near: float = 1e-5) -> None:
    assert torch.allclose(one.value, other.value, rtol=1e-4, atol=near)
    for left, right in zip(one.slopes, other.slopes, strict=True):
        assert torch.allclose(left, right, rtol=1e-3, atol=near)


@every_loss
def test_it_holds_on_to_the_start_and_not_to_the_moving_network(name: str) -> None:
    """A term built at the start says the same of a network whether that moved after or is another altogether."""
    network, given = chain(), part()
    term = built(name, network, given)
    other = moved(chain())
    batch = given.batch(torch.arange(COUNT))
    wanted = run(term, other, batch)
    moved(network)
    assert_alike(run(term, network, batch), wanted, 0)
    assert_alike(run(term, other, batch), wanted, 0)
    fresh = built(name, moved(chain()), given)
    assert not torch.allclose(run(fresh, network, batch).value, wanted.value, rtol=1e-3)


@every_loss
def test_it_pulls_on_the_stages(name: str) -> None:
    network, given = chain(), part()
    term = built(name, network, given)
    got = run(term, moved(network), given.batch(torch.arange(COUNT)))
    assert torch.isfinite(got.value)
    assert max(float(slope.abs().max()) for slope in got.slopes[:4]) > 1e-5
    assert all(torch.isfinite(slope).all() for slope in got.slopes)


@every_loss
def test_building_leaves_the_network_as_it_was(name: str) -> None:
    network, given = chain(), part()
    before = copy.deepcopy(network.state_dict())
    built(name, network, given)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in before.items())
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())
    assert all(module.training for module in network.modules())


@every_loss
def test_examples_of_no_weight_do_nothing(name: str) -> None:
    """Neither where the term learns about the start nor in a step."""
    given = part()
    weights = (torch.arange(COUNT) % 3 != 1).float()
    given = replace(given, weights=weights, labels=torch.arange(COUNT) // 2 % CLASSES)
    spoilt = replace(
        given,
        inputs=torch.where(weights[:, None] > 0, given.inputs, 9.0),
        labels=torch.where(weights > 0, given.labels, 2),
    )
    found = []
    for one in (given, spoilt):
        network = chain()
        term = built(name, network, one)
        found.append(run(term, moved(network), one.batch(torch.arange(COUNT))))
    assert_alike(*found)


@every_loss
def test_the_order_of_a_batch_does_not_count(name: str) -> None:
    network, given = chain(), part()
    given = replace(given, weights=torch.rand(COUNT, generator=torch.Generator().manual_seed(8)))
    term = built(name, network, given)
    moved(network)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(2))
    assert_alike(run(term, network, given.batch(order)), run(term, network, given.batch(torch.arange(COUNT))))


@every_loss
def test_the_size_of_the_parts_in_which_examples_come_does_not_count(name: str) -> None:
    given = part()
    found = []
    for size in (1, 7, COUNT):
        network = chain()
        term = built(name, network, given, size)
        found.append(run(term, moved(network), given.batch(torch.arange(COUNT))))
    assert_alike(found[0], found[2])
    assert_alike(found[1], found[2])


@every_loss
@pytest.mark.parametrize("count", [1, 2])
def test_small_batches_and_nothing_that_weighs(name: str, count: int) -> None:
    network, given = chain(), part()
    term = built(name, network, given)
    moved(network)
    batch = given.batch(torch.arange(count))
    for one in (batch, replace(batch, weights=torch.zeros(count))):
        got = run(term, network, one)
        assert torch.isfinite(got.value)
        assert all(torch.isfinite(slope).all() for slope in got.slopes)


@every_loss
def test_the_factor_multiplies(name: str) -> None:
    given, batch, values = part(), part().batch(torch.arange(COUNT)), []
    options = {item for item in ("head",) if hasattr(folder.load("losses", name)(), item)}
    more = "".join(f", {item}=0" for item in sorted(options))
    for weight in (0, 0.5, 1):
        network = chain()
        values.append(run(built(f"{name}(weight={weight}{more})", network, given), moved(network), batch))
    assert values[0].value == 0
    assert max(float(slope.abs().max()) for slope in values[0].slopes) == 0
    assert 2 * values[1].value.item() == pytest.approx(values[2].value.item(), rel=1e-5)


@every_loss
def test_a_copy_of_the_source_head_that_moves_is_its_own(name: str) -> None:
    """Weights of the term are trained; what was recorded of the start must not share their memory."""
    network, given = chain(), part()
    known = setting(network, given)
    (loss,) = folder.resolve("losses", name)
    with torch.random.fork_rng():
        term = loss.build(known)
    source = known.source
    assert source is not None
    kept = [one.clone() for one in (source.features, source.head, source.bias)]  # type: ignore[union-attr]
    for weight in term.parameters() if isinstance(term, nn.Module) else ():
        with torch.no_grad():
            weight.add_(1.0)
    for one, other in zip(kept, (source.features, source.head, source.bias), strict=True):
        assert torch.equal(one, other)  # type: ignore[arg-type]


def trained(
    name: str, place: Path | None = None, report: Callable[[Any], None] = lambda progress: None
) -> tuple[Network, list[Any]]:
    """A run of the loop through two phases: the upper stage, then all."""
    network, given, held = chain(), part(), part(9, seed=5)
    (policy,) = folder.resolve("tune", "gradual(stages=[0, 1, 2])")
    losses, (optimizer,) = (
        folder.resolve("losses", f"cross_entropy + {name}"),
        folder.resolve("optimizers", "adamw(rate=0.01)"),
    )
    phases = policy.plan([sum(weight.numel() for weight in stage.parameters()) for stage in network.stages.values()])
    recipe = Recipe(phases, losses, optimizer, schedule("epochs=3, batch=6"), 0, TASK, fingerprint="one")

    def feed(one: Part, cut: int) -> ArrayFeed:
        with torch.no_grad():
            inputs = copy.deepcopy(network).eval().prefix(cut)(one.inputs)
        return ArrayFeed(inputs, one.labels.numpy())

    found = train.train(
        network,
        recipe,
        lambda phase: Parts(feed(given, phase.cut), feed(held, phase.cut)),
        setting(network, given),
        place=place,
        report=report,
    )
    return network, found.history


@every_loss
def test_a_run_learns_and_gives_the_same_bits_twice(name: str) -> None:
    one, history = trained(name)
    torch.manual_seed(99)
    two, again = trained(name)
    assert history == again
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())
    assert all(np.isfinite(entry["objective"]) for entry in history)
    assert max(entry.get("accuracy", 0) for entry in history) > 0.5


@every_loss
@pytest.mark.parametrize("stop", [2, 5])
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(
    name: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    straight, history = trained(name)
    told: list[Any] = []

    def interrupting(progress: Any) -> None:
        told.append(progress)
        if len(told) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(name, tmp_path / "checkpoint.pt", interrupting)
    resumed, again = trained(name, tmp_path / "checkpoint.pt")
    assert again == history
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in straight.state_dict().items())


def test_there_are_some() -> None:
    assert len(NAMES) >= 3
