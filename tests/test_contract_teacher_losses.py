"""What every loss that learns from a teacher promises, checked for whatever files the folder holds.

A new one is under this contract from the moment its file exists; nothing here names one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sterna import folder
from sterna.network import Network
from sterna.records import Batch, Output, Seen, Setting, Step, Taught, Term

WIDTH, MANY, CLASSES = 5, 24, 3
NAMES = [name for name in folder.names("losses") if folder.load("losses", name).needs == "teacher"]
PAIRS = [(name, task) for name in NAMES for task in folder.load("losses", name).tasks]

every_loss = pytest.mark.parametrize("name", NAMES)
every_task = pytest.mark.parametrize(("name", "task"), PAIRS)


@dataclass(frozen=True)
class Given:
    """A step's batch, to be varied."""

    features: Tensor  # (b, d)
    labels: Any
    weights: Tensor
    places: Tensor


@dataclass(frozen=True)
class Got:
    """What a term makes of a step."""

    value: Tensor
    features: Tensor  # the gradient of the student's features
    own: list[Tensor]  # gradients of the term's and of the head's weights


def drawn(size: int = 8, seed: int = 0, width: int = WIDTH) -> Given:
    made = torch.Generator().manual_seed(seed)
    return Given(
        torch.randn(size, width, generator=made),
        torch.arange(size) % CLASSES,
        torch.ones(size),
        torch.randperm(MANY, generator=made)[:size],
    )


def network(width: int = WIDTH, classes: int = CLASSES) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Network({"same": nn.Identity()}, nn.Linear(width, classes))


def taught(classes: int = CLASSES, seed: int = 2) -> Taught:
    """A teacher with the head of `network()` on features of its own."""
    made, head = torch.Generator().manual_seed(seed), network(classes=classes).head
    assert isinstance(head, nn.Linear)
    names = tuple(str(number) for number in range(classes))
    return Taught(torch.randn(MANY, WIDTH, generator=made), head.weight.detach(), head.bias.detach(), names)


def built(
    name: str, task: str = "classify", width: int = WIDTH, teacher: Taught | None = None, seed: int = 1
) -> tuple[Term, Network]:
    teacher = teacher or taught()
    student = network(width, len(teacher.classes))
    (loss,) = folder.resolve("losses", name)
    counts = np.full(len(teacher.classes), 0 if task == "regress" else 8)
    setting = Setting(student, counts, teacher.classes, MANY, teacher=teacher, task=task)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return loss.build(setting), student


def run(term: Term, student: Network, given: Given, seed: int = 3) -> Got:
    """One call of a copy, so that no call is seen by the next."""
    term, student = copy.deepcopy(term), copy.deepcopy(student)
    features = given.features.clone().requires_grad_()
    batch = Batch(given.features, given.labels, given.weights, places=given.places)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        value = term(Step(Seen(batch, Output(features, student.head(features))), student, 0.5))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.requires_grad, "it is added to others and stepped backward"
    value.backward()
    parts = [term, student] if isinstance(term, nn.Module) else [student]
    return Got(value.detach(), filled(features), [filled(w) for part in parts for w in part.parameters()])


def filled(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def flat(got: Got) -> list[Tensor]:
    return [got.value, got.features, *got.own]


def assert_finite(got: Got) -> None:
    assert all(torch.isfinite(part).all() for part in flat(got))


def assert_same(first: Got, second: Got) -> None:
    """Bit for bit."""
    assert all(torch.equal(one, other) for one, other in zip(flat(first), flat(second), strict=True))


def assert_near(first: Got, second: Got, tolerance: float = 1e-4) -> None:
    for one, other in zip(flat(first), flat(second), strict=True):
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance * max(1.0, float(other.abs().max())))


@every_loss
def test_it_says_what_it_needs(name: str) -> None:
    loss = folder.load("losses", name)
    assert isinstance(loss.answers, bool)
    assert not loss.supervised
    assert not loss.regularises
    assert loss.tasks, "words have no places of their own, so tag is not among the tasks"
    assert "tag" not in loss.tasks


@every_task
def test_it_teaches_the_features(name: str, task: str) -> None:
    got = run(*built(name, task), drawn())
    assert_finite(got)
    assert got.value > 0
    assert got.features.abs().max() > 0


@every_task
def test_descent_on_it_alone_comes_near_the_teacher(name: str, task: str) -> None:
    term, student = built(name, task)
    given = drawn()
    features = given.features.clone().requires_grad_()
    own = list(term.parameters()) if isinstance(term, nn.Module) else []
    optimizer = torch.optim.Adam([features, *own], lr=0.03)
    values = []
    for _ in range(250):
        optimizer.zero_grad()
        batch = Batch(given.features, given.labels, given.weights, places=given.places)
        value = term(Step(Seen(batch, Output(features, student.head(features))), student, 0.5))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.2 * values[0]


@every_task
def test_a_perfect_student_has_nothing_to_learn(name: str, task: str) -> None:
    given, teacher = drawn(), taught()
    got = run(*built(name, task), replace(given, features=teacher.features[given.places]))
    start = run(*built(name, task), given)
    assert abs(float(got.value)) < 1e-6 * max(1.0, float(start.value))
    largest = max(float(part.abs().max()) for part in flat(start)[1:])
    assert max(float(part.abs().max()) for part in flat(got)[1:]) < 1e-4 * max(1.0, largest)


@every_task
def test_labels_are_not_read(name: str, task: str) -> None:
    term, student = built(name, task)
    given = drawn()
    wanted = run(term, student, given)
    for labels in (given.labels + 2, given.labels - 7, torch.full((8, CLASSES), torch.nan), torch.zeros(8, 1)):
        assert_same(run(term, student, replace(given, labels=labels)), wanted)


@every_task
def test_what_the_teacher_said_is_found_by_place(name: str, task: str) -> None:
    """Another order of the training part, and other examples, which stand beside those of the batch."""
    given, teacher = drawn(), taught()
    wanted = run(*built(name, task), given)
    order = torch.randperm(MANY, generator=torch.Generator().manual_seed(9))
    moved = replace(teacher, features=teacher.features[order])
    assert_near(run(*built(name, task, teacher=moved), replace(given, places=order.argsort()[given.places])), wanted)
    other = run(*built(name, task), replace(given, places=(given.places + 1) % MANY))
    assert abs(float(other.value - wanted.value)) > 1e-5


@every_task
def test_the_order_of_the_batch_does_not_matter(name: str, task: str) -> None:
    given = replace(drawn(), weights=torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 0.0, 1.0]))
    order = torch.tensor([3, 1, 7, 5, 0, 2, 6, 4])
    parts = {key: getattr(given, key)[order] for key in ("features", "labels", "weights", "places")}
    wanted = run(*built(name, task), given)
    assert_near(run(*built(name, task), Given(**parts)), replace(wanted, features=wanted.features[order]))


@every_task
def test_a_weight_of_0_leaves_an_example_out(name: str, task: str) -> None:
    given = drawn(10)
    kept = torch.tensor([True, False, True, True, False, True, True, False, True, True])
    weights = torch.where(kept, torch.linspace(0.5, 2, 10), 0.0)
    spoilt = torch.where(kept[:, None], given.features, 3 * given.features + 4)
    whole = run(*built(name, task), replace(given, features=spoilt, weights=weights))
    assert whole.features[~kept].abs().max() == 0
    part = Given(given.features[kept], given.labels[kept], weights[kept], given.places[kept])
    assert_near(replace(whole, features=whole.features[kept]), run(*built(name, task), part), 1e-3)


@every_task
@pytest.mark.parametrize("size", [1, 2, 3, 24])
def test_batches_of_any_size(name: str, task: str, size: int) -> None:
    assert_finite(run(*built(name, task), drawn(size)))
    assert_finite(run(*built(name, task), replace(drawn(size), weights=torch.zeros(size))))


@every_task
@pytest.mark.parametrize("size", [1e3, 1e-4, 0.0])
def test_features_of_any_size(name: str, task: str, size: float) -> None:
    given, teacher = drawn(), taught()
    assert_finite(run(*built(name, task), replace(given, features=size * given.features)))
    small = replace(teacher, features=size * teacher.features)
    assert_finite(run(*built(name, task, teacher=small), given))


@every_task
def test_features_that_are_all_the_same(name: str, task: str) -> None:
    given, teacher = drawn(), taught()
    assert_finite(run(*built(name, task), replace(given, features=torch.ones(8, WIDTH))))
    flat_teacher = replace(teacher, features=torch.ones(MANY, WIDTH))
    assert_finite(run(*built(name, task, teacher=flat_teacher), given))


@every_task
def test_a_student_of_another_width(name: str, task: str) -> None:
    for width in (2, 9):
        got = run(*built(name, task, width), drawn(width=width))
        assert_finite(got)
        assert got.features.abs().max() > 0


@every_loss
def test_two_classes_and_many(name: str) -> None:
    for classes in (2, 40):
        assert_finite(run(*built(name, teacher=taught(classes)), drawn()))


@every_loss
def test_a_teacher_that_is_certain(name: str) -> None:
    """Logits so far apart that probabilities are 0 and 1 in float32."""
    teacher = taught()
    assert teacher.head is not None
    assert_finite(run(*built(name, teacher=replace(teacher, head=1e4 * teacher.head)), drawn()))


@every_task
def test_a_factor_of_0_is_no_term(name: str, task: str) -> None:
    got = run(*built(f"{name}(weight=0)", task), drawn())
    assert max(float(part.abs().max()) for part in flat(got)) == 0


@every_task
def test_the_factor_multiplies(name: str, task: str) -> None:
    once, twice = (run(*built(f"{name}(weight={weight})", task), drawn()) for weight in (0.5, 1))
    for one, other in zip(flat(once), flat(twice), strict=True):
        assert torch.allclose(2 * one, other, rtol=1e-4, atol=1e-6)


@every_loss
def test_the_same_twice_and_no_draws(name: str) -> None:
    term, student = built(name)
    before = torch.random.get_rng_state()
    assert_same(run(term, student, drawn(), seed=3), run(term, student, drawn(), seed=4))
    assert torch.equal(torch.random.get_rng_state(), before)


@every_loss
def test_a_checkpoint_holds_all_that_it_knows(name: str) -> None:
    """A term of other first weights goes on as the interrupted one, once its state is restored."""
    (old, student), (new, _) = built(name, width=4), built(name, width=4, seed=2)
    if isinstance(old, nn.Module) and isinstance(new, nn.Module):
        new.load_state_dict({key: value.clone() for key, value in old.state_dict().items()})
    assert_same(run(old, student, drawn(width=4)), run(new, student, drawn(width=4)))


@every_loss
def test_the_teacher_is_no_weight_of_the_term(name: str) -> None:
    """What is recorded of the training part is neither trained nor written into checkpoints."""
    term, _ = built(name)
    if isinstance(term, nn.Module):
        assert all(MANY not in value.shape for value in term.state_dict().values())


def test_there_are_some() -> None:
    assert len(NAMES) >= 4
    assert len(PAIRS) > len(NAMES)
