"""Addends that keep what was pretrained, each against numbers that were not made by the code under test."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import convolutional
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from test_contract_source_losses import trained
from torch import Tensor, nn
from torch.nn import functional

import sterna
from sterna import folder, holding, sequences, train
from sterna.errors import DataError, SpecError, TrainingError
from sterna.losses import bi_tuning, bss, delta, ewc
from sterna.maths import class_relations
from sterna.network import Network
from sterna.records import Batch, Output, Seen, Setting, Step, Taught
from sterna.settings import Settings
from sterna.store import Store

WIDTH, CLASSES, SOURCE, COUNT = 4, 3, 5, 12


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labelled(inputs: Tensor, weights: Tensor | None = None, labels: Tensor | None = None) -> Batch:
    count = len(inputs)
    labels = torch.arange(count) % CLASSES if labels is None else labels
    return Batch(inputs, labels, torch.ones(count) if weights is None else weights, places=torch.arange(count))


def linear_chain(layers: int = 2, seed: int = 0, bias: bool = True) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stages = {f"stage{number}": nn.Linear(WIDTH, WIDTH, bias=bias) for number in range(layers)}
        return Network(stages, nn.Linear(WIDTH, CLASSES))


def setting(network: Network, batch: Batch | None = None, cut: int = 0, seed: int = 9) -> Setting:
    """What a term knows: the batch as the whole training part, and a source head of random weights on it."""
    batch = labelled(drawn(COUNT, WIDTH, seed=2)) if batch is None else batch
    with torch.no_grad():
        features = holding.still(network, cut)(batch.inputs).features
    source = Taught(features, drawn(SOURCE, network.width, seed=seed), drawn(SOURCE, seed=seed + 1))

    def sample() -> Iterator[Batch]:
        """In two parts, as a feed gives it."""
        half = len(batch.weights) // 2
        for part in (slice(0, half), slice(half, None)):
            yield Batch(batch.inputs[part], batch.labels[part], batch.weights[part])

    counts = np.bincount(np.arange(len(batch.weights)) % CLASSES, minlength=CLASSES)
    return Setting(network, counts, ("a", "b", "c"), len(batch.weights), cut=cut, source=source, sample=sample)


def built(written: str, known: Setting) -> Any:
    (loss,) = folder.resolve("losses", written)
    return loss.build(known)


def step(network: Network, batch: Batch, cut: int = 0) -> Step:
    return Step(Seen(batch, network.suffix(cut)(batch.inputs)), network, 0.5, cut=cut)


def of_features(features: Tensor, weights: Tensor | None = None) -> Step:
    network = Network({"same": nn.Identity()}, nn.Linear(features.shape[1], CLASSES))
    return Step(Seen(labelled(features.detach(), weights), Output(features, features)), network, 0.5)


# --- batch spectral shrinkage


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (1, 4)])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_bss_is_the_sum_of_the_smallest_squared_singular_values(shape: tuple[int, int], count: int) -> None:
    features = drawn(*shape)
    values = np.linalg.svd(features.double().numpy(), compute_uv=False)
    got = built(f"bss(weight=0.5, smallest={count})", setting(linear_chain()))(of_features(features))
    assert got.item() == pytest.approx(0.5 * (values[-count:] ** 2).sum(), rel=1e-4)


def test_bss_has_the_gradient_of_the_singular_values() -> None:
    features = drawn(5, 7).requires_grad_()
    bss.smallest_squares(features, 2).backward()
    other = features.detach().double().requires_grad_()
    torch.linalg.svdvals(other)[-2:].square().sum().backward()
    assert torch.allclose(features.grad.double(), other.grad, atol=1e-5)


def test_bss_has_a_finite_gradient_where_singular_values_repeat() -> None:
    for rows in (torch.eye(4), torch.ones(4, 4), torch.zeros(3, 5), 3 * torch.eye(4, 6)):
        features = rows.clone().requires_grad_()
        value = bss.smallest_squares(features, 2)
        value.backward()
        assert torch.isfinite(features.grad).all()
    assert bss.smallest_squares(3 * torch.eye(4, 6), 2).item() == pytest.approx(18)


def test_bss_keeps_a_small_singular_value_beside_a_large_one() -> None:
    """In float32 the Gram matrix would lose 0.0001^2 beside 1000^2."""
    turned, _ = torch.linalg.qr(drawn(3, 3).double())
    rows = (turned @ torch.diag(torch.tensor([1000.0, 1.0, 1e-3]).double()) @ turned.T).float()
    exact = float(np.linalg.svd(rows.double().numpy(), compute_uv=False)[-1] ** 2)
    assert bss.smallest_squares(rows, 1).item() == pytest.approx(exact, rel=1e-2)


def test_bss_ignores_rotations_order_and_examples_of_no_weight() -> None:
    term = built("bss(smallest=2)", setting(linear_chain()))
    features, weights = drawn(5, 6), torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0])
    wanted = term(of_features(features, weights)).item()
    turned, _ = torch.linalg.qr(drawn(6, 6, seed=4))
    order = torch.tensor([3, 2, 1, 4, 0])
    spoilt = torch.where(weights[:, None] > 0, features, 100.0)
    assert term(of_features(features @ turned, weights)).item() == pytest.approx(wanted, rel=1e-4)
    assert term(of_features(features[order], weights[order])).item() == pytest.approx(wanted, rel=1e-4)
    assert term(of_features(spoilt, weights)).item() == pytest.approx(wanted, rel=1e-5)
    assert term(of_features(features[weights > 0], weights[weights > 0])).item() == pytest.approx(wanted, rel=1e-5)
    assert term(of_features(features, torch.zeros(5))).item() == 0


def test_bss_of_features_that_are_no_numbers_is_none() -> None:
    """So that the loop says that training diverged."""
    assert math.isnan(bss.smallest_squares(torch.tensor([[1.0, math.nan], [0.0, 1.0]]), 1).item())


# --- DELTA


def moved(network: Network, by: float = 0.1) -> Network:
    with torch.no_grad():
        for number, weight in enumerate(network.stages.parameters()):
            weight.add_(by * drawn(*weight.shape, seed=20 + number))
    return network


def test_delta_by_hand() -> None:
    """One stage that doubles: outputs 2x before and 3x after, differences x."""
    network = Network({"only": nn.Linear(2, 2, bias=False)}, nn.Linear(2, CLASSES, bias=False))
    with torch.no_grad():
        network.stages["only"].weight.copy_(2 * torch.eye(2))
        network.head.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 2.0]]))
    batch = labelled(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([3.0, 1.0]))
    term = built("delta(weight=0.4, head=0.2, attention=false)", setting(network, batch))
    pull = 0.2 / 2 * 9
    assert term(step(network, batch)).item() == pytest.approx(pull)
    with torch.no_grad():
        network.stages["only"].weight.copy_(3 * torch.eye(2))
    assert term(step(network, batch)).item() == pytest.approx(pull + 0.4 / 2 * (3 * 5 + 1 * 9) / 4)


def test_delta_takes_the_mean_over_places_and_the_sum_over_channels() -> None:
    before, after = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1)
    wanted = (after - before).square().mean(dim=(2, 3)).sum(dim=1)
    assert torch.allclose(delta.apart(after, before), wanted)
    shares = torch.tensor([0.5, 0.3, 0.2])
    weighted = 3 * ((after - before).square().mean(dim=(2, 3)) * shares).sum(dim=1)
    assert torch.allclose(delta.apart(after, before, shares), weighted)
    assert torch.allclose(delta.apart(after, before, torch.full((3,), 1 / 3)), wanted)
    flat = drawn(2, 3), drawn(2, 3, seed=1)
    assert torch.allclose(delta.apart(*flat), (flat[0] - flat[1]).square().sum(dim=1))
    last = drawn(2, 4, 4, 3), drawn(2, 4, 4, 3, seed=1)  # channels last
    assert torch.allclose(delta.apart(*last, shares), delta.apart(*(one.movedim(-1, 1) for one in last), shares))


def test_delta_leaves_padding_out() -> None:
    kinds = torch.tensor([[1, 2, 1, 0], [2, 0, 0, 0]])
    before, after = drawn(2, 4, 3), drawn(2, 4, 3, seed=1)
    packed = sequences.pack(before, kinds), sequences.pack(after, kinds)
    squares = (after - before).square().sum(dim=2)
    wanted = torch.stack([squares[0, :3].mean(), squares[1, 0]])
    assert torch.allclose(delta.apart(packed[1], packed[0]), wanted)
    longer = [functional.pad(one, (0, 0, 0, 7)) for one in packed]
    assert torch.allclose(delta.apart(longer[1], longer[0]), wanted)
    tokens = delta.apart(after, before)  # without a column for the mask every position counts
    assert torch.allclose(tokens, squares.mean(dim=1))


@pytest.mark.parametrize("known", ["handed out", "run again"])
def test_delta_finds_the_outputs_of_the_moving_stages_through_a_suffix(known: str) -> None:
    network = convolutional()
    network.eval()
    pictures = drawn(6, 3, 8, 8)
    with torch.no_grad():
        inside = network.prefix(1)(pictures)
    batch = labelled(inside)
    term = built("delta(weight=2, head=0, attention=false)", setting(network, batch, cut=1))
    start = copy.deepcopy(network)
    moved(network)
    given = step(network, batch, cut=1)
    assert set(given.labelled.output.stages) == {"stage1", "stage2"}
    if known == "run again":
        bare = replace(given.labelled.output, stages={})
        given = replace(given, labelled=Seen(batch, bare))
    with torch.no_grad():
        pairs = [[net.stages["stage1"](inside) for net in (start, network)]]
        pairs.append([net.stages["stage2"](one) for net, one in zip((start, network), pairs[0], strict=True)])
    wanted = sum((one - other).square().mean(dim=(2, 3)).sum(dim=1).mean() for one, other in pairs)
    value = term(given)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-5)
    value.backward()
    assert network.stages["stage1"][0].weight.grad.abs().max() > 0
    assert network.stages["stage0"][0].weight.grad is None


def test_delta_does_not_take_dropout_for_a_difference() -> None:
    network = dropping().train()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        term = built("delta(head=0)", setting(network, batch))
        given = step(network, batch)
        before = torch.random.get_rng_state()
        assert term(given).item() == 0
        assert torch.equal(before, torch.random.get_rng_state())
    assert network.stages["drop"].drop.training
    moved(network)
    value = term(step(network, batch))
    value.backward()
    assert value > 0
    assert network.stages["drop"].inner.weight.grad.abs().max() > 0


def test_delta_pulls_back() -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    term = built("delta", setting(network, batch))
    moved(network, 0.5)
    optimizer = torch.optim.SGD(network.stages.parameters(), 0.2)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        values.append(term(step(network, batch)))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < 0.1 * values[0]


def test_delta_where_only_the_head_moves_is_its_pull() -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    term = built("delta", setting(network, batch, cut=2))
    assert term(step(network, batch, cut=2)).item() == pytest.approx(0.005 * network.head.weight.square().sum().item())


def informative() -> tuple[Network, Batch]:
    """Channel 0 alone tells the class; channel 3 is always 0."""
    network = Network({"same": nn.Linear(WIDTH, WIDTH, bias=False), "on": nn.Identity()}, nn.Linear(WIDTH, CLASSES))
    with torch.no_grad():
        network.stages["same"].weight.copy_(torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])))
    labels = torch.arange(60) % CLASSES
    inputs = 0.3 * drawn(60, WIDTH)
    inputs[:, 0] += 2.0 * labels
    return network, labelled(inputs, labels=labels)


@pytest.mark.parametrize("exact", ["true", "false"])
def test_attention_is_on_the_channel_that_the_classes_depend_on(exact: str) -> None:
    network, batch = informative()
    term = built(f"delta(exact={exact})", setting(network, batch))
    assert set(term.attention) == {"same"}
    shares = term.attention["same"]
    assert shares.sum().item() == pytest.approx(1)
    assert shares.argmax() == 0
    assert shares[0] > 1.2 * shares[1:].max()


def test_attention_is_the_growth_of_the_loss_where_a_channel_is_zeroed() -> None:
    """The classifier fitted anew: mean loss + 0.005 |W|^2 on standardised features."""
    network, batch = informative()
    rows = (batch.inputs @ network.stages["same"].weight.T).detach().double().numpy()
    labels = batch.labels.numpy()
    spread = rows.std(axis=0)
    factor = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
    mean = rows.mean(axis=0)

    def losses(flat: np.ndarray, given: np.ndarray) -> float:
        head = flat.reshape(CLASSES, WIDTH + 1)
        logits = (given - mean) * factor @ head[:, :-1].T + head[:, -1]
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-logs[np.arange(len(labels)), labels].mean())

    fit = minimize(
        lambda flat: losses(flat, rows) + 0.005 * (flat.reshape(CLASSES, -1)[:, :-1] ** 2).sum(),
        np.zeros(CLASSES * (WIDTH + 1)),
        options={"gtol": 1e-7},
    ).x
    growth = []
    for channel in range(WIDTH):
        less = rows.copy()
        less[:, channel] = 0
        growth.append(losses(fit, less) - losses(fit, rows))
    standard = (np.array(growth) - np.mean(growth)) / np.std(growth)
    wanted = np.exp(standard / 5) / np.exp(standard / 5).sum()
    assert built("delta(exact=true)", setting(network, batch)).attention["same"].numpy() == pytest.approx(
        wanted, abs=2e-3
    )


@pytest.mark.parametrize("kind", ["several", "values"])
def test_attention_learns_from_other_labels_too(kind: str) -> None:
    network, batch = informative()
    told = (batch.labels == 2).float() if kind == "several" else batch.inputs[:, 0]
    batch = replace(batch, labels=told[:, None])
    known = replace(setting(network, batch), classes=("a",), class_counts=np.array([20 if kind == "several" else 0]))
    assert built("delta", known).attention["same"].argmax() == 0


@pytest.mark.parametrize("exact", ["true", "false"])
def test_delta_holds_maps_and_packed_sequences_with_attention(exact: str) -> None:
    network = convolutional()
    network.eval()
    pictures = labelled(drawn(12, 3, 8, 8))
    term = built(f"delta(exact={exact})", setting(network, pictures))
    assert {name: len(value) for name, value in term.attention.items()} == {"stage0": 8, "stage1": 12, "stage2": 16}
    assert torch.isfinite(term(step(network, pictures)))
    kinds = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]] * 4)
    texts = labelled(sequences.pack(drawn(12, 3, WIDTH), kinds))
    term = built(
        f"delta(exact={exact})", setting(Network({"one": Tokens(), "pool": Pool()}, nn.Linear(WIDTH, CLASSES)), texts)
    )
    assert len(term.attention["one"]) == WIDTH


def test_an_estimate_to_first_order_is_exact_where_the_loss_is_straight() -> None:
    """And a channel that nothing reads grows nothing."""
    value = drawn(3, 4, 2, 2)
    slopes = drawn(4, seed=1)
    slopes[2] = 0

    def loss(given: Tensor) -> Tensor:
        return (given.sum(dim=(0, 2, 3)) * slopes).sum()

    exact, estimated = delta._removed(value, loss), delta._first_order(value, loss)
    assert torch.allclose(exact, -(value.sum(dim=(0, 2, 3)) * slopes), atol=1e-5)
    assert torch.allclose(exact, estimated, atol=1e-5)
    assert estimated[2] == 0
    packed = sequences.pack(drawn(2, 3, 4), torch.tensor([[1, 2, 1], [1, 0, 0]]))

    def linear(given: Tensor) -> Tensor:
        return (sequences.values(given).sum(dim=(0, 1)) * slopes).sum()

    assert torch.allclose(delta._removed(packed, linear), delta._first_order(packed, linear), atol=1e-5)


class Tokens(nn.Module):
    """A linear layer for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        return sequences.pack(self.inner(sequences.values(inputs)), sequences.kinds(inputs))


class Pool(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return sequences.values(inputs).sum(dim=1)


# --- learning without forgetting


def test_lwf_is_the_cross_entropy_of_softened_answers() -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2), torch.rand(COUNT, generator=torch.Generator().manual_seed(1)))
    known = setting(network, batch)
    term = built("lwf(weight=3)", known)
    moved(network)
    source = known.source
    assert source is not None
    with torch.no_grad():
        old = functional.linear(source.features, source.head, source.bias)
        new = functional.linear(network(batch.inputs).features, source.head, source.bias)
    each = -(torch.softmax(old / 2, 1) * torch.log_softmax(new / 2, 1)).sum(1)
    wanted = 3 * (each * batch.weights).sum() / batch.weights.sum()
    assert term(step(network, batch)).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_lwf_by_hand() -> None:
    """One feature, two source classes with logits (x, 0): recorded at x = 2 ln 3, now at x = 0."""
    network = Network({"same": nn.Identity()}, nn.Linear(1, CLASSES))
    place = torch.tensor([[2 * math.log(3.0)]])
    source = Taught(place, torch.tensor([[1.0], [0.0]]), None)
    known = Setting(network, np.ones(CLASSES), ("a", "b", "c"), 1, source=source)
    now = torch.zeros(1, 1)
    got = built("lwf", known)(Step(Seen(labelled(now), Output(now, now)), network, 0.0))
    assert got.item() == pytest.approx(math.log(2))  # -(3/4 + 1/4) ln 1/2
    then = built("lwf", known)(Step(Seen(labelled(place), Output(place, place)), network, 0.0))
    assert then.item() == pytest.approx(math.log(4) - 0.75 * math.log(3))  # the entropy of (3/4, 1/4)


def test_lwf_has_no_pull_at_the_start_and_moves_its_head() -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    term = built("lwf", setting(network, batch))
    term(step(network, batch)).backward()
    assert max(float(weight.grad.abs().max()) for weight in network.stages.parameters()) < 1e-6
    network.zero_grad()
    moved(network)
    term(step(network, batch)).backward()
    assert network.stages["stage0"].weight.grad.abs().max() > 1e-4
    assert term.head.weight.grad.abs().max() > 1e-4
    assert list(term.state_dict()) == ["head.weight", "head.bias"]


def test_lwf_says_where_places_are_unknown() -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    term = built("lwf", setting(network, batch))
    with pytest.raises(TrainingError, match=r"^lwf looks up .* by its place, .*; leave out augmentations that mix"):
        term(step(network, replace(batch, places=None)))


# --- co-tuning


def test_direct_relation_by_hand() -> None:
    answers = np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.5, 0.5]])
    found = class_relations.direct(answers, np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 1.0, 0.0]), 3)
    assert found[:2] == pytest.approx(np.array([[0.5, 0.5], [0.1, 0.9]]))
    assert found[2] == pytest.approx(np.array([2.1, 2.9]) / 5)  # no example: the mean answer


def related(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of a source head that is right, on examples whose target class depends on the source class: p(t | s)."""
    generator = np.random.default_rng(seed)
    given = np.array([[0.9, 0.1, 0.0], [0.7, 0.0, 0.3], [0.0, 0.9, 0.1], [0.1, 0.1, 0.8]])
    prior = np.array([0.4, 0.1, 0.3, 0.2])
    kinds = generator.choice(4, count, p=prior)
    labels = np.array([generator.choice(3, p=given[kind]) for kind in kinds])
    joint = given.T * prior
    return np.eye(4)[kinds], labels, joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("learn", [class_relations.direct, class_relations.reverse])
def test_both_relations_find_the_truth_where_the_source_head_is_sure(learn: Any) -> None:
    answers, labels, wanted = related(4000, 0)
    assert np.abs(learn(answers, labels, np.ones(4000), 3) - wanted).max() < 0.04


def test_reverse_sees_through_a_source_head_that_is_unsure() -> None:
    """Answers blurred towards all classes: their mean is blurred as well, Bayes' rule is less so."""
    answers, labels, wanted = related(4000, 1)
    blurred = 0.6 * answers + 0.1
    off = {
        learn.__name__: np.abs(learn(blurred, labels, np.ones(4000), 3) - wanted).max()
        for learn in (class_relations.direct, class_relations.reverse)
    }
    assert off["reverse"] < 0.7 * off["direct"]


@pytest.mark.parametrize("learn", [class_relations.direct, class_relations.reverse])
def test_a_relation_ignores_order_and_examples_of_no_weight(learn: Any) -> None:
    answers, labels, _ = related(90, 2)
    weights = (np.arange(90) % 4 > 0).astype(float)
    kept = weights > 0
    wanted = learn(answers[kept], labels[kept], weights[kept], 3)
    assert wanted.sum(axis=1) == pytest.approx(np.ones(3))
    spoilt = np.where(kept[:, None], answers, 0.25)
    assert learn(spoilt, np.where(kept, labels, 0), weights, 3) == pytest.approx(wanted, abs=1e-6)
    order = np.random.default_rng(0).permutation(90)
    assert np.abs(class_relations.direct(answers[order], labels[order], weights[order], 3)
                  - class_relations.direct(answers, labels, weights, 3)).max() < 1e-12  # fmt: skip


def test_relations_of_few_examples_and_absent_classes() -> None:
    one = np.array([[0.7, 0.3]])
    assert class_relations.reverse(one, np.array([1]), np.ones(1), 3) == pytest.approx(np.tile(one, (3, 1)))
    answers, labels, _ = related(60, 3)
    found = class_relations.reverse(answers, labels + 1, np.ones(60), 5)
    assert found[0] == pytest.approx(answers.mean(axis=0))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("relation", ["direct", "reverse"])
def test_co_tuning_is_the_cross_entropy_of_the_source_head(relation: str) -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2), torch.rand(COUNT, generator=torch.Generator().manual_seed(1)))
    known = setting(network, batch)
    term = built(f"co_tuning(relation={relation}, temperature=1.5)", known)
    source = known.source
    assert source is not None
    old = torch.softmax(functional.linear(source.features, source.head, source.bias) / 1.5, 1).double().numpy()
    learn = {"direct": class_relations.direct, "reverse": class_relations.reverse}[relation]
    rows = learn(old, batch.labels.numpy(), batch.weights.double().numpy(), CLASSES)
    assert term.relation.numpy() == pytest.approx(rows, abs=1e-5)
    moved(network)
    new = functional.linear(network(batch.inputs).features, source.head, source.bias)
    each = functional.cross_entropy(new, torch.from_numpy(rows).float()[batch.labels], reduction="none")
    wanted = 2.3 * (each * batch.weights).sum() / batch.weights.sum()
    assert term(step(network, batch)).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_co_tuning_takes_soft_labels_as_mixtures() -> None:
    network = linear_chain()
    batch = labelled(drawn(2, WIDTH, seed=2), labels=torch.tensor([0, 1]))
    term = built("co_tuning", setting(network))
    same = replace(batch, inputs=batch.inputs[:1].expand(2, -1))
    hard = term(step(network, same)).item()
    assert term(step(network, replace(same, labels=torch.full((2, 3), 0.5) * torch.tensor([1, 1, 0])))).item() == (
        pytest.approx(hard, rel=1e-5)
    )


def test_co_tuning_says_when_answers_do_not_fit() -> None:
    network = linear_chain()
    known = setting(network)
    many = np.zeros(2_000_000, dtype=np.int64)

    def sample() -> Iterator[Batch]:
        labels = torch.from_numpy(many)
        yield Batch(torch.zeros(0), labels, torch.ones(len(labels)))

    wide = Taught(known.source.features, drawn(200, WIDTH), None)  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"^co_tuning needs the answers of 200 source classes on 2,000,000 examples"):
        built("co_tuning", replace(known, source=wide, sample=sample))


# --- R-Drop


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop = nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.drop(self.inner(inputs))


def dropping() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network({"drop": Dropping()}, nn.Linear(WIDTH, CLASSES))


def test_r_drop_is_the_mean_of_both_divergences() -> None:
    network = dropping().train()
    batch = labelled(drawn(COUNT, WIDTH, seed=2), torch.rand(COUNT, generator=torch.Generator().manual_seed(1)))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        given = step(network, batch)
        state = torch.random.get_rng_state()
        got = built("r_drop(weight=2)", replace(setting(network), sample=None))(given)
        torch.random.set_rng_state(state)
        again = network(batch.inputs).logits
    one, two = (torch.softmax(logits, 1).double() for logits in (given.labelled.output.logits, again))
    each = ((one * (one / two).log()).sum(1) + (two * (two / one).log()).sum(1)) / 2
    assert got.item() == pytest.approx((2 * (each * batch.weights).sum() / batch.weights.sum()).item(), rel=1e-4)
    assert got > 1e-3
    got.backward()
    assert network.stages["drop"].inner.weight.grad.abs().max() > 0


def test_r_drop_leaves_the_stages_in_training_mode_whatever_the_network_says() -> None:
    """The loop trains a suffix, and the network that holds the same stages may stand in evaluation mode."""
    network = dropping().eval()
    suffix = network.suffix(0).train()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    with torch.random.fork_rng():
        value = built("r_drop", replace(setting(network), sample=None))(
            Step(Seen(batch, suffix.train()(batch.inputs)), network, 0.5)
        )
    assert value > 0
    assert network.stages["drop"].drop.training


def test_r_drop_refuses_stages_without_dropout() -> None:
    with pytest.raises(SpecError, match=r"^r_drop compares two passes .* the moving stages have none, .*; move stages"):
        built("r_drop", setting(linear_chain()))
    network = dropping().eval()
    state = copy.deepcopy(network.state_dict())
    with torch.random.fork_rng():
        built("r_drop", setting(network))
    assert not network.stages["drop"].drop.training
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    with pytest.raises(SpecError, match="have none"):
        built("r_drop", setting(network, cut=1))


def test_looking_for_dropout_leaves_batch_norm_as_it_was() -> None:
    network = convolutional()
    before = copy.deepcopy(network.state_dict())
    with torch.random.fork_rng():
        built("r_drop", setting(network, labelled(drawn(12, 3, 8, 8))))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert network.training
    assert network.stages["stage0"][1].training


# --- elastic weight consolidation


def closed_form(network: Network, head: Tensor, bias: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
    """For features A x: d ln p_s / dA = H'(e_s - p) x', so F = mean_i E_s[(H'(e_s - p))^2] (x_i^2)'."""
    found = torch.zeros(WIDTH, WIDTH).double()
    layer = network.stages["stage0"]
    for row, weight in zip(inputs, weights, strict=True):
        chances = torch.softmax(functional.linear(layer(row), head, bias), 0).detach().double()
        for number, chance in enumerate(chances):
            pulled = head.double().T @ (functional.one_hot(torch.tensor(number), len(head)).double() - chances)
            found += weight * chance * torch.outer(pulled**2, row.double() ** 2)
    return found / found.mean()


def test_importance_is_the_closed_form_of_a_linear_stage() -> None:
    network = linear_chain(1)
    batch = labelled(drawn(COUNT, WIDTH, seed=2), torch.rand(COUNT, generator=torch.Generator().manual_seed(1)))
    known = setting(network, batch)
    source = known.source
    assert source is not None
    wanted = closed_form(network, source.head, source.bias, batch.inputs, batch.weights)
    got = built("ewc(exact=true)", known).importance["stage0.weight"]
    assert torch.allclose(got.double(), wanted, rtol=1e-4)
    assert got.mean().item() == pytest.approx(1)


def test_drawn_answers_come_near_the_expectation() -> None:
    network = linear_chain(1)
    inputs = drawn(6, WIDTH, seed=2).repeat(200, 1)
    known = setting(network, labelled(inputs))
    exact, few = (built(f"ewc({words})", known).importance["stage0.weight"]
                  for words in ("exact=true, examples=6", "examples=1200"))  # fmt: skip
    all_of_six = built("ewc(exact=true, examples=1200)", known).importance["stage0.weight"]
    assert (few - all_of_six).abs().max() < 0.2 * all_of_six.max()
    assert not torch.equal(exact, few)


def test_equal_importance_is_l2sp() -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    known = setting(network, batch)
    term, other = built("ewc(weight=0.3, head=0.2)", known), built("l2sp(weight=0.3, head=0.2)", known)
    flat = replace(term, importance={name: torch.ones_like(value) for name, value in term.importance.items()})
    moved(network)
    assert flat(step(network, batch)).item() == pytest.approx(other(step(network, batch)).item(), rel=1e-6)
    assert term(step(network, batch)).item() != pytest.approx(other(step(network, batch)).item(), rel=1e-5)


def test_ewc_is_the_sum_of_weighted_squares_of_what_moves() -> None:
    network = linear_chain()
    batch = labelled(drawn(COUNT, WIDTH, seed=2))
    term = built("ewc(weight=0.5, head=0)", setting(network, batch))
    start = {name: value.detach().clone() for name, value in network.stages.named_parameters()}
    moved(network)
    wanted = {
        name: 0.25 * (term.importance[name] * (value - start[name]) ** 2).sum().item()
        for name, value in network.stages.named_parameters()
        if value.ndim > 1
    }
    assert term(step(network, batch)).item() == pytest.approx(sum(wanted.values()), rel=1e-5)
    network.move_from(1)
    assert term(step(network, batch, cut=1)).item() == pytest.approx(wanted["stage1.weight"], rel=1e-5)
    assert set(term.importance) == {"stage0.weight", "stage1.weight"}


def test_importance_is_of_the_start_and_touches_nothing() -> None:
    network = linear_chain()
    before = copy.deepcopy(network.state_dict())
    term = built("ewc", setting(network))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())
    anchor = term.anchors["stage0.weight"]
    moved(network)
    assert torch.equal(anchor, before["stages.stage0.weight"])


def test_features_that_no_answer_depends_on_are_held_like_l2sp() -> None:
    network = linear_chain(1)
    known = setting(network)
    flat = Taught(known.source.features, torch.zeros(SOURCE, WIDTH), None)  # type: ignore[union-attr]
    assert torch.equal(built("ewc", replace(known, source=flat)).importance["stage0.weight"], torch.ones(WIDTH, WIDTH))


def test_importance_is_the_mean_of_squares_and_not_the_square_of_the_mean() -> None:
    """Two examples whose slopes cancel are important all the same."""
    network = Network({"only": nn.Linear(1, 1, bias=False)}, nn.Linear(1, 2))
    start = holding.still(network, 0)
    start.set_head(holding.linear(torch.tensor([[1.0], [-1.0]]), torch.zeros(2)))
    batches = [labelled(torch.tensor([[2.0], [-2.0]]))]
    assert ewc.fisher(start, batches, exact=True)["only.weight"].item() == 1


# --- bi-tuning


def by_loops(own: float, keys: list[tuple[int, float]], label: int, temperature: float) -> float:
    """-1/|K_p| sum over the keys of the class of ln (share among all keys)."""
    values = [(label, own), *keys]
    whole = sum(math.exp(value / temperature) for _, value in values)
    mine = [math.log(math.exp(value / temperature) / whole) for number, value in values if number == label]
    return -sum(mine) / len(mine)


def test_contrast_is_the_mean_over_keys_of_the_class() -> None:
    own, cosines = drawn(4), drawn(4, CLASSES, 2, seed=1)
    there = torch.tensor([[True, True], [True, False], [False, False]])
    labels = torch.tensor([0, 1, 2, 0])
    got = bi_tuning.contrast(own, cosines, labels, there, 0.5)
    for row in range(4):
        keys = [(k, float(cosines[row, k, q])) for k in range(CLASSES) for q in range(2) if there[k, q]]
        assert got[row].item() == pytest.approx(by_loops(float(own[row]), keys, int(labels[row]), 0.5), rel=1e-5)


def test_bi_tuning_starts_at_0_and_then_contrasts_with_what_it_remembers() -> None:
    network = linear_chain()
    first, second = (labelled(drawn(6, WIDTH, seed=seed)) for seed in (3, 4))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        term = built("bi_tuning(width=2, temperature=0.5, keys=3)", setting(network))
    assert term(step(network, first)).item() == pytest.approx(0)  # an example alone with its key has all of the share
    assert term.filled.tolist() == [2, 2, 2]
    one = term(step(network, second))
    features = network(second.inputs).features.detach()
    head = torch.cat([network.head.weight, network.head.bias[:, None]], 1).detach()
    extended = functional.pad(features, (0, 1), value=1.0)
    old = [functional.pad(network(row[None]).features[0].detach(), (0, 1), value=1.0) for row in first.inputs]
    project = term.projector
    wanted = 0.0
    for row, label in enumerate(second.labels.tolist()):
        near = functional.cosine_similarity
        keys = [(other % 3, near(head[label], old[other], dim=0).item()) for other in range(6)]
        wanted += by_loops(near(head[label], extended[row], dim=0).item(), keys, label, 0.5) / 6
        asked = project(features[row])
        keys = [(other % 3, near(asked, project(old[other][:-1]), dim=0).item()) for other in range(6)]
        wanted += by_loops(1.0, keys, label, 0.5) / 6
    assert one.item() == pytest.approx(wanted, rel=1e-4)
    one.backward()
    assert network.stages["stage0"].weight.grad.abs().max() > 0
    assert term.projector.weight.grad.abs().max() > 0
    assert network.head.weight.grad is None
    assert not any(weight.requires_grad for weight in (*term.copy.parameters(), *term.follower.parameters()))


def test_a_queue_keeps_the_last_keys_of_each_class() -> None:
    network = linear_chain()
    term = built("bi_tuning(keys=2)", setting(network))
    batch = labelled(drawn(5, WIDTH), torch.tensor([1.0, 1, 1, 0, 1]), torch.tensor([0, 0, 0, 0, 1]))
    term(step(network, batch))
    rows = functional.normalize(functional.pad(network(batch.inputs).features, (0, 1), value=1.0), dim=1)
    assert torch.allclose(term.features[0], rows[1:3], atol=1e-6)
    assert torch.allclose(term.features[1], torch.stack([rows[4], torch.zeros(WIDTH + 1)]), atol=1e-6)
    assert term.filled.tolist() == [2, 1, 0]
    term(step(network, labelled(drawn(1, WIDTH, seed=7), labels=torch.tensor([0]))))
    assert torch.allclose(term.features[0, 1], rows[2], atol=1e-6)
    assert not torch.allclose(term.features[0, 0], rows[1], atol=1e-3)


def test_key_copies_follow_by_their_momentum() -> None:
    network = linear_chain()
    term = built("bi_tuning(momentum=0.75)", setting(network, cut=1))
    start = network.stages["stage1"].weight.detach().clone()
    moved(network)
    batch = labelled(drawn(3, WIDTH))
    term(step(network, batch, cut=1))
    wanted = 0.75 * start + 0.25 * network.stages["stage1"].weight
    assert torch.allclose(term.copy["stage1"].weight, wanted, atol=1e-6)
    assert list(term.copy) == ["stage1"]


def test_bi_tuning_goes_on_from_its_state() -> None:
    network = linear_chain()
    one, other = (built("bi_tuning", setting(network)) for _ in range(2))
    one(step(network, labelled(drawn(6, WIDTH))))
    moved(network)
    one(step(network, labelled(drawn(6, WIDTH, seed=5))))
    other.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})
    last = step(network, labelled(drawn(6, WIDTH, seed=6)))
    assert torch.equal(one(last), other(last))


def test_bi_tuning_refuses_mixed_examples() -> None:
    network = linear_chain()
    batch = labelled(drawn(3, WIDTH), labels=torch.full((3, 3), 1 / 3))
    with pytest.raises(TrainingError, match=r"^bi_tuning contrasts examples of one class each, .*; leave out"):
        built("bi_tuning", setting(network))(step(network, batch))


# --- what they share


def test_examples_are_drawn_evenly_and_without_those_of_no_weight() -> None:
    weights = torch.ones(COUNT)
    weights[4] = 0
    known = setting(linear_chain(), labelled(drawn(COUNT, WIDTH), weights))
    for most, wanted in ((COUNT, [*range(4), *range(5, COUNT)]), (6, [0, 2, 6, 8, 10]), (1, [0])):
        rows = torch.cat([batch.inputs for batch in holding.drawn(known, most)])
        assert torch.equal(rows, drawn(COUNT, WIDTH)[wanted])


def test_a_packed_sequence_is_told_from_tokens_and_from_a_dead_channel() -> None:
    kinds = torch.tensor([[1, 2, 0], [1, 0, 0]])
    assert holding.packed(sequences.pack(drawn(2, 3, 4), kinds))
    assert not holding.packed(drawn(2, 3, 4))
    assert not holding.packed(functional.pad(drawn(2, 3, 4), (0, 1)))  # the last channel is 0 everywhere
    assert not holding.packed(drawn(2, 3))


def test_no_pull_on_a_head_is_no_pull_however_large_its_weights_are() -> None:
    network = linear_chain()
    assert holding.head_pull(network, 0.5).item() == pytest.approx(0.25 * network.head.weight.square().sum().item())
    with torch.no_grad():
        network.head.weight.fill_(1e30)
    assert holding.head_pull(network, 0).item() == 0


def test_a_copy_of_the_start_stands_still() -> None:
    network = convolutional()
    start = holding.still(network, 1)
    assert list(start.stages) == ["stage1", "stage2", "pool"]
    assert not any(weight.requires_grad for weight in start.parameters())
    assert not any(part.training for part in start.modules())
    before = copy.deepcopy(start.state_dict())
    moved(network)
    assert all(torch.equal(value, start.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("name", ["bss(weight=0.1)", "delta", "r_drop", "bi_tuning"])
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    straight, history = trained(name)
    alone, _ = trained("l2(weight=0)")
    told: list[Any] = []

    def interrupting(progress: Any) -> None:
        told.append(progress)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(name, tmp_path / "checkpoint.pt", interrupting)
    resumed, again = trained(name, tmp_path / "checkpoint.pt")
    states = [one.state_dict() for one in (straight, resumed, alone)]
    assert again == history
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert not all(torch.equal(value, states[2][key]) for key, value in states[0].items())


WAYS = ("delta", "bi_tuning", "co_tuning")


def test_a_whole_run_with_each_of_them(tmp_path: Path) -> None:
    digits = load_digits()
    np.savez(tmp_path / "digits.npz", images=digits.images[:160] / 16, labels=digits.target[:160])
    result = sterna.fit(
        tmp_path / "digits.npz",
        encoder="builtin:glyphs",
        tune="partial(stages=1, warm_head=false)",
        loss=", ".join(f"cross_entropy + {way}" for way in WAYS),
        schedule="epochs=2, batch=16",
        settings=Settings(floors="classical", mitigate=False, page=False, refit=0),
        store=Store(tmp_path / "cache"),
        out=tmp_path / "run",
    )
    found = [one.metrics["accuracy"].value for one in result.routes if not one.floor]
    assert len(found) == len(WAYS)
    assert min(found) > 0.4
