"""The parts of gradient descent, each against a hand value or a limit."""

import numpy as np
import pytest
import torch
from networks import ArrayFeed, convolutional
from torch import nn

from sterna import descent, folder
from sterna.records import Phase


def test_rates_fall_with_depth_and_norms_are_not_decayed():
    network = convolutional()
    network.move_from(1)
    groups = descent.parameter_groups(network, Phase("top", cut=1, rate=0.5, layer_decay=0.1), 0.2, 0.3)
    by_rate = {}
    for group in groups:
        by_rate.setdefault(round(group["lr"], 6), []).append(group)
    assert sorted(by_rate) == pytest.approx([0.01, 0.1])  # stage1; stage2 and the head
    for group in groups:
        flat = all(weight.ndim == 1 for weight in group["params"])
        assert group["weight_decay"] == (0.0 if flat else 0.3)
    moving = {id(weight) for weight in network.parameters() if weight.requires_grad}
    assert {id(weight) for group in groups for weight in group["params"]} == moving


@pytest.mark.parametrize("name", folder.names("optimizers"))
def test_every_optimizer_keeps_the_state_of_weights_that_go_on(name):
    # Two steps of one optimizer equal one step and one of a second that takes the state over.
    gradient = torch.tensor([1.0, -2.0])

    def stepped(weight, optimizer):
        weight.grad = gradient.clone()
        optimizer.step()

    (chosen,) = folder.resolve("optimizers", name)
    straight, handed, other = (nn.Parameter(torch.tensor([1.0, 1.0])) for _ in range(3))
    one = chosen.build([{"params": [straight], "lr": 0.1}])
    stepped(straight, one)
    stepped(straight, one)
    names = {id(handed): "handed", id(other): "other"}
    first = chosen.build([{"params": [handed], "lr": 0.1}])
    stepped(handed, first)
    second = chosen.build([{"params": [other], "lr": 0.1}, {"params": [handed], "lr": 0.1}])
    descent.restore_moments(second, descent.moments_by_name(first, names), names)
    stepped(handed, second)
    assert torch.equal(handed, straight)
    assert torch.equal(other.detach(), torch.ones(2))


def test_the_average_follows_the_weights():
    network = convolutional()
    average = {}
    descent.update_average(average, network, 0.9, 1)
    assert all(torch.equal(average[name], value) for name, value in network.state_dict().items())
    with torch.no_grad():
        network.head.weight += 1
    before = average["head.weight"].clone()
    descent.update_average(average, network, 0.9, 10_000)
    assert torch.allclose(average["head.weight"], before + 0.1, atol=1e-6)
    assert average["head.weight"] is not network.head.weight


def test_the_batch_size_gives_twenty_steps_and_is_a_power_of_two():
    network, example = convolutional(), torch.zeros(1, 3, 8, 8)
    sizes = [descent.found_batch_size(network, example, count) for count in (10, 320, 1000, 10_000_000)]
    assert sizes == [8, 16, 32, 64]


def test_the_batch_size_shrinks_to_fit_memory(monkeypatch):
    network, example = convolutional(), torch.zeros(1, 3, 64, 64)
    # 64 * 64 * (8 + 12 + 16) numbers, three times (convolution, norm, rectifier), and a little for the rest.
    step = 2 * 4 * 3 * 64 * 64 * 36
    monkeypatch.setattr(descent, "memory", lambda device: 4 * 5 * step)
    assert descent.found_batch_size(network, example, 10_000) == 4


def test_probabilities_sum_to_one_and_come_from_evaluation_mode():
    network = convolutional().train()
    inputs = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    feed = ArrayFeed(inputs, np.zeros(5, dtype=np.int64))
    one, two = (descent.probabilities(network, feed, size) for size in (2, 5))
    assert one.sum(axis=1) == pytest.approx(1.0)
    assert np.allclose(one, two, atol=1e-6)
    assert network.training


def test_accuracy_and_loss_by_hand():
    predicted = np.array([[0.5, 0.5], [0.1, 0.9], [0.8, 0.2]])
    accuracy, loss = descent.accuracy_and_loss(predicted, np.array([0, 1, 1]))
    assert accuracy == pytest.approx(2 / 3)
    assert loss == pytest.approx(-np.log([0.5, 0.9, 0.2]).mean())


def test_an_epoch_never_ends_with_a_single_example():
    generator = np.random.default_rng(0)
    assert [len(descent.epoch_order(count, 4, generator)) for count in (8, 9, 10, 1)] == [8, 8, 10, 1]


def test_a_limit_on_the_gradient_norm():
    weight = nn.Parameter(torch.zeros(2))
    for limit, expected in ((1.0, 1.0), (0.0, 5.0), (10.0, 5.0)):
        weight.grad = torch.tensor([3.0, 4.0])
        descent.total_norm_clipped([weight], limit)
        assert float(weight.grad.norm()) == pytest.approx(expected, rel=1e-4)
