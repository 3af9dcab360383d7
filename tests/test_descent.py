"""The parts of gradient descent, each against a hand value or a limit."""

import numpy as np
import pytest
import torch
from networks import ArrayFeed, convolutional
from torch import nn

from sterna import descent, folder, sequences
from sterna.records import Batch, Output, Phase


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
    task = folder.load("tasks", "classify")()
    one, two = (descent.answers(network, feed, size, task, ("a", "b", "c")) for size in (2, 5))
    assert one.sum(axis=1) == pytest.approx(1.0)
    assert np.allclose(one, two, atol=1e-6)
    assert network.training


class Words(nn.Module):
    """A packed sequence in, an answer for each of its words out: the second number of a word is its answer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 1)

    def forward(self, packed):
        packed = sequences.words(packed)
        return Output(packed, sequences.values(packed), mask=sequences.mask(packed))


class Sentences:
    """Three items of 1, 3 and 2 words, the second cut off after its second word."""

    labels = np.array([np.array([1]), np.array([0, 1, 1]), np.array([0, 0])], dtype=object)
    weights = np.array([1, 2, 3], dtype=np.float32)
    words = np.array([1, 3, 2])
    lengths = np.array([2, 4, 3])
    rows = (
        np.array([[9, 8, 1], [1, 5, 2]]),
        np.array([[2, 7, 2], [0, 0, 1], [0, 0, 1], [5, 1, 2]]),
        np.array([[1, 2, 2], [4, 3, 2], [7, 7, 1]]),
    )

    def __len__(self):
        return 3

    def inputs(self, order, size, epoch):
        for start in range(0, 3, size):
            yield torch.from_numpy(sequences.padded([self.rows[one] for one in order[start : start + size]])).float()

    def batches(self, order, size, epoch, mixed=True):
        for start, inputs in zip(range(0, 3, size), self.inputs(order, size, epoch), strict=True):
            chosen = order[start : start + size]
            labels = torch.zeros(len(chosen), int(self.words[chosen].max()), dtype=torch.int64)
            mask = torch.zeros_like(labels, dtype=torch.bool)
            for place, one in enumerate(chosen):
                labels[place, : len(self.labels[one])] = torch.from_numpy(self.labels[one])
                mask[place, : len(self.labels[one])] = True
            yield Batch(inputs, labels, torch.from_numpy(self.weights[chosen]), mask)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_words_are_answered_in_the_order_of_the_items_and_those_cut_off_are_outside(size):
    task = folder.load("tasks", "tag")()
    found = descent.answers(Words(), Sentences(), size, task, ("B-x", "O"))
    logits = np.array([[1, 5], [2, 7], [5, 1], [1, 2], [4, 3]], dtype=float)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found == pytest.approx(np.concatenate([wanted[:3], [[1 / 3, 2 / 3]], wanted[3:]]))


def test_a_loss_sees_words_as_examples():
    (batch,) = Sentences().batches(np.arange(3), 3, 0)
    seen = descent.seen(batch, Words()(batch.inputs))
    assert seen.batch.labels.tolist() == [1, 0, 1, 0, 0]
    assert seen.batch.weights.tolist() == [1, 2, 2, 3, 3]
    assert seen.output.logits.tolist() == [[1, 5], [2, 7], [5, 1], [1, 2], [4, 3]]
    assert seen.output.mask is None


def test_batches_of_like_length_stay_random():
    lengths = np.arange(1000) % 97
    orders = [descent.epoch_order(1000, 10, np.random.default_rng(seed), lengths) for seed in (0, 1)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert not np.array_equal(*orders)
    spans = np.array([np.ptp(lengths[order.reshape(100, 10)], axis=1) for order in orders])
    assert spans.mean() < 5  # of a range of 96
    assert abs(np.corrcoef(np.arange(100), lengths[orders[0]].reshape(100, 10).mean(axis=1))[0, 1]) < 0.3


@pytest.mark.parametrize("classes", [2, 7, 40])
def test_batches_for_pairs_hold_several_examples_of_each_class(classes):
    labels = np.arange(200) % classes
    order = descent.balanced_order(labels, 32, np.random.default_rng(0))
    for batch in labels[order].reshape(-1, 32):
        counts = np.bincount(batch)[np.bincount(batch) > 0]
        assert len(counts) == min(classes, 8)
        assert counts.min() >= 32 // min(classes, 8)


def test_pretrained_stages_may_go_slower_and_the_head_faster():
    network = convolutional()
    network.move_from(2)
    groups = descent.parameter_groups(network, Phase("top", cut=2), 0.1, 0.0, (5.0, 0.2))
    head = {id(weight) for weight in network.head.parameters()}
    rates = {group["lr"] for group in groups if {id(weight) for weight in group["params"]} <= head}
    assert rates == {0.5}
    assert {round(group["lr"], 9) for group in groups} == {0.5, 0.02}


def test_an_epoch_never_ends_with_a_single_example():
    generator = np.random.default_rng(0)
    assert [len(descent.epoch_order(count, 4, generator)) for count in (8, 9, 10, 1)] == [8, 8, 10, 1]


def test_a_limit_on_the_gradient_norm():
    weight = nn.Parameter(torch.zeros(2))
    for limit, expected in ((1.0, 1.0), (0.0, 5.0), (10.0, 5.0)):
        weight.grad = torch.tensor([3.0, 4.0])
        descent.total_norm_clipped([weight], limit)
        assert float(weight.grad.norm()) == pytest.approx(expected, rel=1e-4)


def test_items_run_by_length_give_what_they_give_together(monkeypatch):
    """Packed sequences of very different lengths, through a network whose answers do not depend on padding."""
    monkeypatch.setattr(descent, "SMALLEST", 1)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([3, 30, 1, 12, 30, 2, 7])
    kinds = (torch.arange(30) < lengths[:, None]).float()
    packed = sequences.pack(torch.randn(7, 30, 4, generator=generator), kinds)
    seen = []

    def network(inputs):
        seen.append(tuple(inputs.shape[:2]))
        features = sequences.values(inputs).sum(dim=1)
        return Output(features, features[:, :2])

    together, apart = network(packed), descent.by_length(network, packed)
    assert torch.allclose(apart.features, together.features, atol=1e-6)
    assert torch.allclose(apart.logits, together.logits, atol=1e-6)
    assert len(seen) > 2, "nothing was divided"
    assert sum(rows * longest for rows, longest in seen[1:]) < 0.6 * packed.shape[0] * packed.shape[1]
    seen.clear()
    monkeypatch.undo()
    descent.by_length(network, packed)
    assert seen == [(7, 30)], "a few short texts cost less together than passing over the weights again"
