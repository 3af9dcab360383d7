"""Losses that learn from a teacher: against hand values, loops over examples, and the limits that papers name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import ArrayFeed, convolutional
from torch import Tensor, nn
from torch.nn import functional

from sterna import folder, plan, train
from sterna.errors import SpecError
from sterna.network import Network, copied_state
from sterna.recipe import Parts, Recipe
from sterna.records import Batch, Output, Phase, Seen, Setting, Step, Taught
from sterna.settings import Settings
from sterna.wording import schedule

WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])


def drawn(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def said(logits: Tensor) -> Taught:
    """A teacher with these logits."""
    names = tuple("abcdefghij"[: logits.shape[1]])
    return Taught(logits, torch.eye(logits.shape[1]), torch.zeros(logits.shape[1]), names)


def built(written: str, teacher: Taught, width: int = 4, task: str = "classify") -> Any:
    (loss,) = folder.resolve("losses", written)
    network = Network({"same": nn.Identity()}, nn.Linear(width, max(1, len(teacher.classes))))
    setting = Setting(network, np.full(3, 5), teacher.classes, len(teacher.features), teacher=teacher, task=task)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return loss.build(setting)


def step(features: Tensor, logits: Tensor, weights: Tensor | None = None, labels: Tensor | None = None) -> Step:
    """A batch of the first examples of the training part, in order."""
    count = len(features)
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
    weights = torch.ones(count) if weights is None else weights
    batch = Batch(features, labels, weights, places=torch.arange(count))
    return Step(Seen(batch, Output(features, logits)), None, 0.5)  # type: ignore[arg-type]


def answered(term: Any, logits: Tensor, weights: Tensor | None = None) -> float:
    return float(term(step(logits, logits, weights)).detach())


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


# distill


def test_distill_by_hand() -> None:
    """Odds of 3 to 1 against even ones, in nats."""
    teacher = said(torch.tensor([[math.log(3.0), 0.0]]))
    wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert answered(built("distill(temperature=1)", teacher), torch.zeros(1, 2)) == pytest.approx(wanted, rel=1e-5)
    soft = 3**0.5 / (1 + 3**0.5)
    wanted = 4 * (soft * math.log(2 * soft) + (1 - soft) * math.log(2 * (1 - soft)))
    assert answered(built("distill(temperature=2)", teacher), torch.zeros(1, 2)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1, 4])
def test_distill_is_the_divergence_example_by_example(temperature: float) -> None:
    teacher, student = 2 * drawn(6, 3), drawn(6, 3, seed=1)
    each = [
        temperature**2 * np.sum(p * np.log(p / q))
        for p, q in (
            (softmax(t / temperature), softmax(z / temperature))
            for t, z in zip(teacher.double().numpy(), student.double().numpy(), strict=True)
        )
    ]
    wanted = 0.7 * np.average(each, weights=WEIGHTS.numpy())
    term = built(f"distill(weight=0.7, temperature={temperature})", said(teacher))
    assert answered(term, student, WEIGHTS) == pytest.approx(wanted, rel=1e-4)


def test_at_a_high_temperature_logits_are_matched() -> None:
    """Hinton et al., equation 4: the gradient of each logit nears (z - v) / N for logits of mean 0, times T^2 / T^2."""
    teacher, student = drawn(6, 5), drawn(6, 5, seed=1).requires_grad_()
    built("distill(temperature=3000)", said(teacher))(step(student, student)).backward()
    assert student.grad is not None
    centred = [one - one.mean(dim=1, keepdim=True) for one in (student.detach(), teacher)]
    # float32 keeps about four digits of a difference of logits that were divided by 3,000.
    assert torch.allclose(6 * student.grad, (centred[0] - centred[1]) / 5, atol=2e-3)


def test_the_share_of_the_paper_is_a_weight() -> None:
    """(1 - a) CE + a KD and CE + a / (1 - a) KD have gradients of one direction."""
    teacher, logits, labels = said(drawn(6, 3)), drawn(6, 3, seed=1).requires_grad_(), torch.arange(6) % 3
    gradients = []
    (plain,) = folder.resolve("losses", "cross_entropy")
    for factor, weight in ((0.1, 0.9), (1.0, 9.0)):
        term = built(f"distill(weight={weight})", teacher)
        hard = plain.build(Setting(None, np.full(3, 2), ("a", "b", "c"), 6))  # type: ignore[arg-type]
        given = step(logits, logits, labels=labels)
        (gradient,) = torch.autograd.grad(factor * hard(given) + term(given), logits)
        gradients.append(gradient)
    assert torch.allclose(gradients[0], 0.1 * gradients[1], atol=1e-6)


def test_distill_of_several_labels_takes_each_as_two_outcomes() -> None:
    teacher, student, temperature = drawn(6, 3), drawn(6, 3, seed=1), 2.0
    p, q = (1 / (1 + np.exp(-one.double().numpy() / temperature)) for one in (teacher, student))
    each = temperature**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(axis=1)
    term = built("distill(temperature=2)", said(teacher), task="multilabel")
    assert answered(term, student, WEIGHTS) == pytest.approx(np.average(each, weights=WEIGHTS.numpy()), rel=1e-4)


def test_distill_of_values_is_their_squared_distance() -> None:
    teacher = said(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
    found = answered(built("distill", teacher, task="regress"), torch.tensor([[2.0, 4.0], [1.0, 0.0]]))
    assert found == pytest.approx(((1 + 4) / 2 + 1 / 2) / 2)
    hot = answered(built("distill(temperature=9)", teacher, task="regress"), torch.tensor([[2.0, 4.0], [1.0, 0.0]]))
    assert hot == found


def test_the_answers_are_those_of_the_teachers_head() -> None:
    features, head, bias = drawn(6, 4), drawn(3, 4, seed=1), torch.tensor([0.5, -1.0, 0.0])
    teacher = Taught(features, head, bias, ("a", "b", "c"))
    logits = features @ head.T + bias
    assert answered(built("distill", teacher), logits) == pytest.approx(0, abs=1e-6)
    assert answered(built("distill", teacher), logits - bias) > 0.01


# dist


def correlation_apart(teacher: Tensor, student: Tensor, temperature: float) -> tuple[float, float]:
    p, q = ((one.double() / temperature).softmax(dim=1).numpy() for one in (teacher, student))
    rows = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)]
    columns = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)]
    return float(np.mean(rows)), float(np.mean(columns))


@pytest.mark.parametrize("temperature", [1, 4])
def test_dist_is_one_minus_correlations(temperature: float) -> None:
    teacher, student = drawn(6, 4), drawn(6, 4, seed=1)
    inter, intra = correlation_apart(teacher, student, temperature)
    options = f"weight=0.5, inter=2, intra=3, temperature={temperature}"
    found = answered(built(f"dist({options})", said(teacher)), student)
    assert found == pytest.approx(0.5 * temperature**2 * (2 * inter + 3 * intra), rel=1e-4)


def test_dist_counts_an_example_as_often_as_it_weighs() -> None:
    teacher, student = drawn(4, 3), drawn(4, 3, seed=1)
    twice = torch.tensor([0, 1, 1, 2, 3, 3, 3])
    found = answered(built("dist", said(teacher)), student, torch.tensor([1.0, 2.0, 1.0, 3.0]))
    assert found == pytest.approx(answered(built("dist", said(teacher[twice])), student[twice]), rel=1e-4)


def test_between_two_classes_only_the_order_can_be_learnt() -> None:
    teacher, student = said(torch.tensor([[2.0, 0.0], [0.0, 1.0]])), torch.tensor([[0.5, 0.0], [0.0, 3.0]])
    assert answered(built("dist(intra=0)", teacher), student) == pytest.approx(0, abs=1e-5)
    assert answered(built("dist(intra=0, inter=1)", teacher), -student) == pytest.approx(2, rel=1e-5)
    moving = student.clone().requires_grad_()
    built("dist(intra=0)", teacher)(step(moving, moving)).backward()
    assert moving.grad is not None
    assert moving.grad.abs().max() < 1e-5


# feature_distill


def test_hints_by_hand() -> None:
    """The teacher's features are (0, 0), (2, 0), (0, 2), (2, 2): their spread is 2."""
    hints = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    term = built("feature_distill", Taught(hints, None, None), width=2)
    student = hints + torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert answered(term, student) == pytest.approx((9 / 2 + 1 / 2) / 4)
    assert answered(term, student, torch.tensor([1.0, 0.0, 0.0, 1.0])) == pytest.approx(9 / 4)


def test_a_student_that_gives_the_mean_is_one_apart() -> None:
    hints = 40 * drawn(30, 6) + 3
    term = built("feature_distill", Taught(hints, None, None), width=4)
    with torch.no_grad():
        term.regressor.weight.zero_()
        term.regressor.bias.copy_(hints.mean(dim=0))
    assert answered(term, drawn(30, 4)) == pytest.approx(1, rel=1e-4)


def test_cosine_hints_leave_the_length_free() -> None:
    hints = drawn(6, 4)
    term = built("feature_distill(form=cosine)", Taught(hints, None, None))
    assert answered(term, 7 * hints) == pytest.approx(0, abs=1e-6)
    assert answered(term, -hints) == pytest.approx(2, rel=1e-5)
    student = drawn(6, 4, seed=1)
    pairs = zip(student.double().numpy(), hints.double().numpy(), strict=True)
    wanted = np.mean([1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
    assert answered(term, student) == pytest.approx(wanted, rel=1e-5)


def test_the_regressor_learns_a_linear_map_between_widths() -> None:
    student, mixing = drawn(40, 3), drawn(3, 7, seed=1)
    term = built("feature_distill", Taught(student @ mixing + 2, None, None), width=3)
    assert {name for name, _ in term.named_parameters()} == {"regressor.weight", "regressor.bias"}
    optimizer = torch.optim.Adam(term.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        term(step(student, student)).backward()
        optimizer.step()
    assert answered(term, student) < 1e-3


# relational_distill


def huber(error: float) -> float:
    return error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5


def relations(points: np.ndarray, weights: Sequence[float]) -> tuple[dict[Any, float], dict[Any, float]]:
    """Distances of pairs in units of their mean, and cosines of triples."""
    pairs = list(itertools.permutations(range(len(points)), 2))
    far = {pair: float(np.linalg.norm(points[pair[0]] - points[pair[1]])) for pair in pairs}
    mean = np.average(list(far.values()), weights=[weights[i] * weights[j] for i, j in pairs])
    cosines = {}
    for i, j, k in itertools.permutations(range(len(points)), 3):
        left, right = points[i] - points[j], points[k] - points[j]
        cosines[i, j, k] = float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    return {pair: value / mean for pair, value in far.items()}, cosines


def relational(teacher: Tensor, student: Tensor, weights: Sequence[float]) -> tuple[float, float]:
    known = [relations(one.double().numpy(), weights) for one in (teacher, student)]
    found = []
    for first, second in zip(*known, strict=True):
        shares = [math.prod(weights[one] for one in key) for key in first]
        found.append(np.average([huber(second[key] - first[key]) for key in first], weights=shares))
    return float(found[0]), float(found[1])


@pytest.mark.parametrize("weights", [torch.ones(6), WEIGHTS])
def test_relations_pair_by_pair_and_triple_by_triple(weights: Tensor) -> None:
    teacher, student = drawn(6, 5), drawn(6, 3, seed=1)
    student[0] *= 40  # far out, so that some distances differ by more than 1
    distance, angle = relational(teacher, student, weights.tolist())
    known = Taught(teacher, None, None)
    for written, wanted in (("distance=2, angle=0", 2 * distance), ("distance=0, angle=3", 3 * angle)):
        term = built(f"relational_distill({written})", known, width=3)
        assert answered(term, student, weights) == pytest.approx(wanted, rel=1e-3)
    both = answered(built("relational_distill(weight=0.5)", known, width=3), student, weights)
    assert both == pytest.approx(0.5 * (25 * distance + 50 * angle), rel=1e-3)


def test_an_equilateral_triangle_against_a_line() -> None:
    """Cosines of 1/2 against -1, 1 and 1, distances of 1 against 3/4, 3/4 and 3/2 of their mean."""
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
    line = torch.tensor([[0.0], [1.0], [2.0]])
    known = Taught(triangle, None, None)
    distance = (huber(0.25) + huber(0.25) + huber(0.5)) / 3
    angle = (huber(1.5) + huber(0.5) + huber(0.5)) / 3
    term = built("relational_distill(distance=1, angle=0)", known, width=1)
    assert answered(term, line) == pytest.approx(distance, rel=1e-5)
    term = built("relational_distill(distance=0, angle=1)", known, width=1)
    assert answered(term, line) == pytest.approx(angle, rel=1e-5)


def test_scale_rotation_and_shift_are_no_difference() -> None:
    teacher = drawn(12, 5)
    turned, _ = torch.linalg.qr(drawn(5, 5, seed=1))
    term = built("relational_distill", Taught(teacher, None, None), width=5)
    student = (7 * teacher @ turned + 3).requires_grad_()
    value = term(step(student, student))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() < 1e-8
    assert gradient.abs().max() < 1e-4
    stretched = teacher * torch.tensor([1.0, 1.0, 4.0, 1.0, 1.0])
    assert answered(term, stretched) > 0.5


def test_angles_are_between_the_examples_of_a_group() -> None:
    teacher, student = drawn(80, 4), drawn(80, 4, seed=1)

    def angles(rows: slice) -> float:
        term = built("relational_distill(distance=0, angle=1)", Taught(teacher[rows], None, None))
        return answered(term, student[rows])

    triples = [64 * 63 * 62, 16 * 15 * 14]
    wanted = np.average([angles(slice(0, 64)), angles(slice(64, 80))], weights=triples)
    assert angles(slice(0, 80)) == pytest.approx(wanted, rel=1e-4)


def test_examples_that_coincide_have_no_angle_and_no_infinite_gradient() -> None:
    teacher = drawn(5, 4)
    student = drawn(5, 4, seed=1)
    student[1] = student[0]
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(
        built("relational_distill", Taught(teacher, None, None))(step(student, student)), student
    )
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() < 1e3


# in the loop

NAMES = [name for name in folder.names("losses") if folder.load("losses", name).needs == "teacher"]
TASK = folder.load("tasks", "classify")()


def examples(count: int, seed: int, noise: float = 0.5) -> ArrayFeed:
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    inputs = noise * torch.randn(count, 3, 8, 8, generator=generator)
    inputs[torch.arange(count), torch.from_numpy(labels)] += 1
    return ArrayFeed(inputs, labels)


def taught(
    written: str, place: Path | None = None, labels: np.ndarray | None = None, epochs: int = 3
) -> tuple[dict[str, Tensor], float]:
    """The weights and the accuracy of a student of a linear teacher that knows the colours."""
    network, training, held = convolutional(), examples(36, 0), examples(60, 2)
    features = training.pictures.mean(dim=(2, 3))  # the colour tells the class
    known = Taught(features, 20 * torch.eye(3), torch.zeros(3), ("a", "b", "c"))
    if labels is not None:
        training.labels = labels
    (chosen,) = folder.resolve("optimizers", "adam(rate=0.01)")
    losses = folder.resolve("losses", written)
    recipe = Recipe((Phase("all", 0),), losses, chosen, schedule(f"epochs={epochs}, batch=12"), 0, TASK, blind=True)
    setting = Setting(network, np.full(3, 12), known.classes, 36, teacher=known)
    train.train(network, recipe, lambda phase: Parts(training, examples(6, 1)), setting, place=place)
    with torch.no_grad():
        right = network.eval()(held.pictures).logits.argmax(dim=1).numpy() == held.labels
    return copied_state(network), float(right.mean())


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_student_ends_with_the_bits_of_an_undisturbed_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = f"cross_entropy + {name}"
    straight, _ = taught(written)
    again, _ = taught(written)
    assert all(torch.equal(value, again[key]) for key, value in straight.items())
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    keep = train.Run.keep

    def stopping(self: Any) -> None:
        keep(self)
        if self.state.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.Run, "keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        taught(written, tmp_path / "checkpoint.pt")
    monkeypatch.setattr(train.Run, "keep", keep)
    resumed, _ = taught(written, tmp_path / "checkpoint.pt")
    assert all(torch.equal(value, resumed[key]) for key, value in straight.items())


def test_a_teacher_outweighs_labels_that_mean_nothing() -> None:
    """With labels drawn at random the student alone learns nothing; a teacher that is heeded more teaches the class."""
    random = np.random.default_rng(0).permutation(np.arange(36) % 3).astype(np.int64)
    _, alone = taught("cross_entropy", labels=random, epochs=30)
    _, with_teacher = taught("cross_entropy + distill(weight=9)", labels=random, epochs=30)
    assert alone < 0.6
    assert with_teacher > 0.85


def test_an_objective_of_a_teacher_alone_is_refused() -> None:
    words = plan.Words("builtin:glyphs", "partial", "distill", "none", "adamw", "", teacher="x")
    with pytest.raises(SpecError, match="never looks at the labels"):
        plan.routes(words, Settings(), plan.Subject("image", "classify"))


def test_softmax_of_a_student_that_is_far_off_stays_finite() -> None:
    teacher = said(torch.tensor([[1e4, 0.0, -1e4]]))
    student = torch.tensor([[-1e4, 0.0, 1e4]]).requires_grad_()
    value = built("distill(temperature=1)", teacher)(step(student, student))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(2e4, rel=1e-4)
    assert torch.equal(functional.softmax(student.detach(), dim=1) - torch.tensor([[1.0, 0.0, 0.0]]), gradient)
