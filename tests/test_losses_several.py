"""The losses of several tasks: their values by hand, and the gradients that they leave on shared weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import folder, multitask
from sterna.errors import SpecError
from sterna.losses.pcgrad import surgery
from sterna.maths.blocks import blocks
from sterna.network import Network
from sterna.records import Batch, Seen, Setting, Step

ROWS = ("mood: bad", "mood: good", "stars")
NAN = float("nan")
LABELS = torch.tensor([[1.0, 0.5], [0.0, NAN], [NAN, -1.0], [1.0, 2.0]])
WEIGHTS = torch.tensor([1.0, 3.0, 2.0, 1.0])
INPUTS = torch.tensor([[1.0, 0.0], [0.5, -1.0], [-1.0, 2.0], [0.3, 0.7]])
NAMES = ("fixed", "uncertainty", "gradnorm", "pcgrad")


def chain(seed: int = 0) -> Network:
    """Two stages of two features under a head of three rows, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    first, second, head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)
    with torch.no_grad():
        for weight in (*first.parameters(), *second.parameters(), *head.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return Network({"first": first, "second": second}, head)


def built(written: str, network: Network, rows: tuple[str, ...] = ROWS) -> Any:
    (loss,) = folder.resolve("losses", written)
    return loss.build(Setting(network, np.zeros(len(rows), dtype=np.int64), rows, task="several"))


def step(network: Network, labels: Tensor = LABELS, weights: Tensor = WEIGHTS, cut: int = 0) -> Step:
    inputs = INPUTS[: len(labels)]
    output = network.suffix(cut)(inputs)
    return Step(Seen(Batch(inputs, labels, weights[: len(labels)]), output), network, 0.0, cut=cut)


def by_hand(network: Network) -> tuple[Tensor, Tensor]:
    """The two losses, written out."""
    logits = network(INPUTS).logits
    mood = functional.cross_entropy(logits[[0, 1, 3], :2], torch.tensor([1, 0, 1]), reduction="none")
    stars = (logits[[0, 2, 3], 2] - torch.tensor([0.5, -1.0, 2.0])) ** 2
    return (mood * torch.tensor([1.0, 3.0, 1.0])).sum() / 5, (stars * torch.tensor([1.0, 2.0, 1.0])).sum() / 4


def gradients(network: Network, loss: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}


def test_fixed_weights_by_hand() -> None:
    network = chain()
    mood, stars = by_hand(network)
    assert built("fixed", network)(step(network)).item() == pytest.approx(((mood + stars) / 2).item())
    weighed = built("fixed(weights='stars 3')", network)(step(network))
    assert weighed.item() == pytest.approx(((mood + 3 * stars) / 4).item())


def test_a_task_without_labels_in_the_batch_is_left_out() -> None:
    network = chain()
    without = LABELS.clone()
    without[:, 1] = NAN
    for name in NAMES:
        term = built(name, network)
        got = term(step(network, without))
        scale = 0.5 if name == "gradnorm" else 1.0
        assert got.item() == pytest.approx(by_hand(network)[0].item()), (name, scale)
        assert all(grad.isfinite().all() for grad in gradients(network, got).values())
        nothing = term(step(network, torch.full((4, 2), NAN)))
        assert nothing.item() == 0
        assert not any(grad.any() for grad in gradients(network, nothing).values())


def test_examples_of_no_weight_and_the_order_of_a_batch_change_nothing() -> None:
    network, order = chain(), [2, 0, 3, 1]
    for name in NAMES:
        plain = built(name, network)(step(network))
        mixed = step(network)
        seen = mixed.labelled
        batch = Batch(INPUTS[order], LABELS[order], WEIGHTS[order])
        turned = replace(mixed, labelled=Seen(batch, network(INPUTS[order])))
        assert built(name, network)(turned).item() == pytest.approx(plain.item(), rel=1e-5)
        more = Batch(
            torch.cat([INPUTS, INPUTS[:1]]),
            torch.cat([LABELS, torch.tensor([[0.0, 9.0]])]),
            torch.cat([WEIGHTS, torch.zeros(1)]),
        )
        padded = replace(mixed, labelled=Seen(more, network(more.inputs)))
        assert built(name, network)(padded).item() == pytest.approx(plain.item(), rel=1e-5)
        assert seen.batch.labels.shape == (4, 2)


def test_one_example_is_enough() -> None:
    network = chain()
    for name in NAMES:
        loss = built(name, network)(step(network, LABELS[:1]))
        assert all(grad.isfinite().all() for grad in gradients(network, loss).values())


@pytest.mark.parametrize("written", ["moods 2", "mood", "mood -1", "mood x"])
def test_weights_that_mean_nothing(written: str) -> None:
    with pytest.raises(SpecError, match=r"^weights of fixed are names of tasks .* the tasks are mood, stars, so type"):
        built(f"fixed(weights='{written}')", chain())


def test_uncertainty_by_hand_and_at_its_optimum() -> None:
    network = chain()
    mood, stars = (one.item() for one in by_hand(network))
    term = built("uncertainty", network)
    assert term(step(network)).item() == pytest.approx((mood + stars / 2) / 2)
    with torch.no_grad():
        term.steps.copy_(torch.tensor([0.7, -0.4]) / term.pace)
    wanted = (mood * math.exp(-0.7) + 0.35 + stars * math.exp(0.4) / 2 - 0.2) / 2
    assert term(step(network)).item() == pytest.approx(wanted)
    optimizer = torch.optim.Adam(term.parameters(), lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        term(step(network)).backward()
        optimizer.step()
    # Equations 7 to 10: ln sigma^2 is the logarithm of the loss, of twice the loss for classes.
    assert term.log_variances.tolist() == pytest.approx([math.log(2 * mood), math.log(stars)], abs=1e-3)


def test_pace_zero_learns_no_weights() -> None:
    for name in ("uncertainty", "gradnorm"):
        term = built(f"{name}(pace=0)", chain())
        assert not any(one.requires_grad for one in term.parameters())


def norms(network: Network) -> list[float]:
    """Of each loss in the weights of the topmost stage."""
    last = list(network.stages["second"].parameters())
    found = [torch.autograd.grad(one, last, retain_graph=True) for one in by_hand(network)]
    return [float(torch.cat([part.flatten() for part in one]).norm()) for one in found]


def test_gradnorm_begins_as_the_mean_and_its_weights_add_up() -> None:
    network = chain()
    term = built("gradnorm", network)
    assert term(step(network)).item() == pytest.approx(sum(one.item() for one in by_hand(network)) / 2)
    with torch.no_grad():
        term.steps.copy_(torch.tensor([0.3, -0.2]))
    assert term.weights.sum().item() == pytest.approx(2)
    mood, stars = by_hand(network)
    wanted = (term.weights[0] * mood + term.weights[1] * stars) / 2
    assert term(step(network)).item() == pytest.approx(wanted.item())


def test_gradnorm_pulls_the_weights_to_equal_gradients_at_equal_speeds() -> None:
    """With the network held still both ratios stay 1, so the fixed point is w_j in inverse proportion to the norms."""
    network = chain()
    term = built("gradnorm(alpha=1.5)", network)
    optimizer = torch.optim.SGD(term.parameters(), lr=1e-3)
    found = []
    for _ in range(300):
        optimizer.zero_grad()
        term(step(network)).backward()
        optimizer.step()
        found.append(term.weights.detach().numpy())
    one, other = norms(network)
    wanted = 2 * np.array([other, one]) / (one + other)
    # An absolute value has no slope to settle on: the weights step about their fixed point.
    assert np.mean(found[-100:], axis=0).tolist() == pytest.approx(wanted.tolist(), rel=0.06)
    assert max(np.abs(np.sum(found, axis=1) - 2)) < 1e-5


def test_gradnorm_helps_who_lags_behind() -> None:
    """The loss of the first task is where it began, that of the second at a tenth: the first must gain weight."""
    network = chain()
    term = built("gradnorm(alpha=3)", network)
    mood, stars = (one.detach() for one in by_hand(network))
    term.first.copy_(torch.stack([mood, 10 * stars]))
    one, other = norms(network)
    with torch.no_grad():  # gradients alike to begin with
        logs = torch.log(torch.tensor([other, one]))
        term.steps.copy_(logs / term.pace)
    term(step(network)).backward()
    assert term.steps.grad[0] < 0 < term.steps.grad[1]


def test_gradnorm_gives_the_network_the_weighted_gradient_alone() -> None:
    network = chain()
    term = built("gradnorm", network)
    got = gradients(network, term(step(network)))
    mood, stars = by_hand(network)
    for name, value in gradients(network, (mood + stars) / 2).items():
        torch.testing.assert_close(got[name], value)


def test_gradnorm_where_nothing_is_shared_that_moves() -> None:
    network = chain()
    network.move_from(2)
    term = built("gradnorm", network)
    features = Network({"first": network.stages["first"], "second": network.stages["second"]}, network.head)
    inputs = features(INPUTS).features.detach()
    seen = Seen(Batch(inputs, LABELS, WEIGHTS), network.suffix(2)(inputs))
    term(Step(seen, network, 0.0, cut=2)).backward()
    assert term.steps.grad is None


def test_surgery_leaves_alone_what_agrees_or_has_nothing_in_common() -> None:
    for given in ([[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [2.0, 0.5]]):
        gradients = torch.tensor(given)
        assert torch.equal(surgery(gradients), gradients)


def test_surgery_takes_out_what_opposes() -> None:
    # <g1, g2> = -1, |g1|^2 = 2, |g2|^2 = 1: p1 = (1, 1) + (0, -1) = (1, 0); p2 = (-1, 0)... by hand below.
    one, other = torch.tensor([1.0, 1.0]), torch.tensor([0.0, -1.0])
    got = surgery(torch.stack([one, other]))
    assert got[0].tolist() == [1.0, 0.0]
    assert got[1].tolist() == [0.5, -0.5]
    assert float(got[0] @ other) == float(got[1] @ one) == 0
    opposite = torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    assert not surgery(opposite).any()


def test_pcgrad_equals_the_mean_where_tasks_agree() -> None:
    network = chain()
    rows, labels = ("one", "other"), torch.tensor([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [1.0, 1.0]])
    with torch.no_grad():
        head = nn.Linear(2, 2)
        head.weight.copy_(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
        head.bias.zero_()
    network.head = head
    got = gradients(network, built("pcgrad", network, rows)(step(network, labels)))
    plain = gradients(network, built("fixed", network, rows)(step(network, labels)))
    for name, value in plain.items():
        torch.testing.assert_close(got[name], value)


def test_pcgrad_on_a_network() -> None:
    """The value is the mean loss; shared weights get the projected gradient, the head that of the mean."""
    seen = set()
    for seed in range(6):
        network = chain(seed)
        mood, stars = by_hand(network)
        shared = list(network.stages.parameters())
        each = [torch.cat([g.flatten() for g in multitask.gradients(one, shared)]) for one in (mood, stars)]
        dot = each[0] @ each[1]
        seen.add(bool(dot < 0))
        wanted = each[0] + each[1]
        if dot < 0:
            wanted = wanted - dot / each[1].square().sum() * each[1] - dot / each[0].square().sum() * each[0]
        loss = built("pcgrad", network)(step(network))
        assert loss.item() == pytest.approx(((mood + stars) / 2).item())
        got = gradients(network, loss)
        flat = torch.cat([got[name].flatten() for name, _ in network.named_parameters() if name.startswith("stages")])
        torch.testing.assert_close(flat, wanted / 2)
        plain = gradients(network, (by_hand(network)[0] + by_hand(network)[1]) / 2)
        torch.testing.assert_close(got["head.weight"], plain["head.weight"])
        torch.testing.assert_close(got["head.bias"], plain["head.bias"])
    assert seen == {True, False}


def test_pcgrad_moves_what_moves_and_nothing_below() -> None:
    network = chain()
    network.move_from(1)
    inputs = network.prefix(1)(INPUTS).detach()
    seen = Seen(Batch(inputs, LABELS, WEIGHTS), network.suffix(1)(inputs))
    got = gradients(network, built("pcgrad", network)(Step(seen, network, 0.0, cut=1)))
    assert {name.split(".")[0:2][-1] for name in got} == {"second", "weight", "bias"}


def test_losses_of_a_batch_are_those_of_its_tasks() -> None:
    network = chain()
    found = multitask.losses(network(INPUTS).logits, Batch(INPUTS, LABELS, WEIGHTS), blocks(ROWS))
    assert [one.item() for one in found.values()] == pytest.approx([one.item() for one in by_hand(network)])
