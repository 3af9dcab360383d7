"""Each addend of the objective against numbers from elsewhere: torch's own, a hand calculation, a limit."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sterna import folder
from sterna.network import Network
from sterna.records import Batch, Output, Seen, Setting, Step

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0], [0.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 1, 1, 2])


def built(written, counts=(4, 2, 2), network=None):
    (loss,) = folder.resolve("losses", written)
    return loss.build(Setting(network, np.array(counts), ("a", "b", "c")))


def step(logits=LOGITS, labels=LABELS, weights=None, network=None):
    weights = torch.ones(len(logits)) if weights is None else weights
    return Step(Seen(Batch(logits, labels, weights), Output(logits, logits)), network, 0.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_equals_torch(smoothing):
    got = built(f"cross_entropy(smoothing={smoothing})")(step())
    assert torch.allclose(got, functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing), atol=1e-6)


def test_cross_entropy_takes_soft_labels():
    soft = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    got = built("cross_entropy")(step(labels=soft))
    assert torch.allclose(got, functional.cross_entropy(LOGITS, soft), atol=1e-6)


def test_a_weight_of_two_is_an_example_twice():
    got = built("cross_entropy")(step(weights=torch.tensor([2.0, 1.0, 1.0, 1.0])))
    twice = functional.cross_entropy(torch.cat([LOGITS[:1], LOGITS]), torch.cat([LABELS[:1], LABELS]))
    assert torch.allclose(got, twice, atol=1e-6)


def test_balanced_weights_have_mean_one_over_the_training_examples():
    (loss,) = folder.resolve("losses", "cross_entropy(balanced=true)")
    weights = loss.class_weights(np.array([60, 30, 10]))
    assert weights == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    assert (weights * [60, 30, 10]).sum() / 100 == pytest.approx(1.0)
    assert loss.class_weights(np.array([5, 0, 5])) == pytest.approx([1.0, 0.0, 1.0])


def test_balanced_cross_entropy_weighs_rare_classes_up():
    counts = (6, 1, 1)
    weights = torch.tensor([8 / 18, 8 / 3, 8 / 3])
    each = functional.cross_entropy(LOGITS, LABELS, reduction="none")
    expected = (weights[LABELS] * each).sum() / 4
    assert torch.allclose(built("cross_entropy(balanced=true)", counts)(step()), expected, atol=1e-6)


def test_balanced_binary_weights_are_clipped():
    (loss,) = folder.resolve("losses", "binary_cross_entropy(balanced=true)")
    assert loss.positive_weights(np.array([20, 80, 0, 100]), 100) == pytest.approx([4, 0.25, 100, 0.01])
    (plain,) = folder.resolve("losses", "binary_cross_entropy")
    assert plain.positive_weights(np.array([20, 80]), 100).tolist() == [1, 1]


MANY = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


def test_binary_cross_entropy_equals_torch():
    got = built("binary_cross_entropy")(step(labels=MANY.float()))
    assert torch.allclose(got, functional.binary_cross_entropy(torch.sigmoid(LOGITS), MANY.float()), atol=1e-6)


def test_balanced_binary_cross_entropy_by_hand():
    """Two of eight have the first label: each of them weighs three times as much as one that has it not."""
    term = folder.resolve("losses", "binary_cross_entropy(balanced=true)")[0]
    term = term.build(Setting(None, np.array([2]), ("a",), 8))
    logits, weights = torch.tensor([[0.0], [np.log(3.0)]]), torch.tensor([1.0, 3.0])
    got = term(step(logits, torch.tensor([[1.0], [0.0]]), weights)).item()
    assert got == pytest.approx((3 * np.log(2) + 3 * np.log(4)) / 4)


def test_squared_error_equals_torch():
    labels = torch.tensor([[1.0, 0.0, 5.0], [0.5, 2.0, 0.0], [3.0, -2.0, 0.0], [1.0, 1.0, 1.0]])
    assert torch.allclose(built("squared_error")(step(labels=labels)), functional.mse_loss(LOGITS, labels))
    tamed = built("squared_error(delta=1.5)")(step(labels=labels))
    assert torch.allclose(tamed, 2 * functional.huber_loss(LOGITS, labels, delta=1.5))
    assert torch.allclose(built("squared_error(delta=1000)")(step(labels=labels)), functional.mse_loss(LOGITS, labels))


def test_squared_error_by_hand():
    logits, labels = torch.tensor([[3.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    weights = torch.tensor([3.0, 1.0])
    assert built("squared_error")(step(logits, labels, weights)).item() == pytest.approx((3 * 5 + 1) / 4)
    # Beyond 2 it is linear: 2 (2 * 3 - 2) = 8 instead of 9.
    assert built("squared_error(delta=2)")(step(logits, labels, weights)).item() == pytest.approx((3 * 4.5 + 1) / 4)


def test_every_loss_says_which_tasks_it_serves():
    served = {name: folder.load("losses", name).tasks for name in folder.names("losses")}
    assert served["cross_entropy"] == ("classify", "tag")
    assert served["l2"] == served["l2sp"] == ()  # all of them
    assert {task for tasks in served.values() for task in tasks} <= set(folder.names("tasks"))


def linear_chain(stage, head):
    first, last = nn.Linear(2, 2), nn.Linear(2, 3)
    with torch.no_grad():
        first.weight.copy_(torch.tensor(stage))
        last.weight.copy_(torch.tensor(head))
        first.bias.fill_(5.0)
        last.bias.fill_(5.0)
    return Network({"first": first}, last)


def test_l2sp_by_hand():
    # The stage moves by 1 and 2 in two entries: |w - w0|^2 = 5. The head's squares sum to 14.
    network = linear_chain([[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    term = built("l2sp(weight=0.4, head=0.1)", network=network)
    with torch.no_grad():
        network.stages["first"].weight += torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert term(step(network=network)).item() == pytest.approx(0.4 / 2 * 5 + 0.1 / 2 * 14)


def test_l2sp_pulls_towards_the_start_and_not_to_zero():
    network = linear_chain([[3.0, 0.0], [0.0, 3.0]], [[0.0, 0.0]] * 3)
    term = built("l2sp(weight=1.0, head=0.0)", network=network)
    with torch.no_grad():
        network.stages["first"].weight -= 1.0
    term(step(network=network)).backward()
    # One below the start: descent must raise the weights although they are already above zero on the diagonal.
    assert torch.equal(network.stages["first"].weight.grad, torch.full((2, 2), -1.0))


def test_l2sp_leaves_frozen_stages_and_biases_alone():
    network = linear_chain([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0]] * 3)
    term = built("l2sp(weight=1.0, head=0.0)", network=network)
    with torch.no_grad():
        network.stages["first"].bias += 7
    assert term(step(network=network)).item() == 0
    with torch.no_grad():
        network.stages["first"].weight += 1
    network.move_from(1)
    assert term(step(network=network)).item() == 0


def test_l2_by_hand():
    network = linear_chain([[1.0, 0.0], [0.0, 2.0]], [[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    assert built("l2(weight=0.2)")(step(network=network)).item() == pytest.approx(0.2 / 2 * (5 + 14))
