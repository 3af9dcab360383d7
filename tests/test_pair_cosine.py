"""The contrastive objective against a loop over pairs, and the policy that runs it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from sterna import folder
from sterna.losses.pair_cosine import PairCosine
from sterna.records import Batch, Output, Seen, Setting, Step

LABELS = torch.tensor([0, 2, 0, 1, 2, 0])


def features(seed: int = 0, rows: int = 6) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def value(made: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, written: str = "pair_cosine"):
    (loss,) = folder.resolve("losses", written)
    term = loss.build(Setting(None, np.ones(3), ("a", "b", "c")))  # type: ignore[arg-type]
    weights = torch.ones(len(labels)) if weights is None else weights
    return term(Step(Seen(Batch(made, labels, weights), Output(made, made)), None, 0.0))  # type: ignore[arg-type]


def by_pairs(made: torch.Tensor, soft: torch.Tensor, weights: torch.Tensor) -> float:
    sums = np.zeros((2, 2))
    for i, j in itertools.combinations(range(len(made)), 2):
        cosine = functional.cosine_similarity(made[i], made[j], dim=0).item()
        agree, weight = float(soft[i] @ soft[j]), float(weights[i] * weights[j])
        sums += weight * np.array([[agree * (1 - cosine) ** 2, agree], [(1 - agree) * cosine**2, 1 - agree]])
    return float(sum(total / mass / 2 for total, mass in sums if mass))


@pytest.mark.parametrize("soft", [False, True])
def test_it_is_the_mean_over_pairs(soft: bool) -> None:
    made, weights = features(), torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])
    one_hot = functional.one_hot(LABELS, 3).float()
    labels = 0.8 * one_hot + 0.2 / 3 if soft else one_hot
    got = value(made, labels if soft else LABELS, weights)
    assert got.item() == pytest.approx(by_pairs(made, labels, weights), rel=1e-5)


def test_by_hand() -> None:
    """Equal pair: cosine 0, off by 1. Unequal pairs: cosines 1 and 0, mean square 1/2. Halves of both: 3/4."""
    made = torch.tensor([[3.0, 0.0], [0.0, 2.0], [5.0, 0.0]])
    assert value(made, torch.tensor([0, 0, 1])).item() == pytest.approx(0.75)
    assert value(made, torch.tensor([0, 1, 0])).item() == pytest.approx(0)
    assert value(made, torch.tensor([0, 0, 1]), written="pair_cosine(weight=0.2)").item() == pytest.approx(0.15)


def test_length_does_not_count_and_a_zero_row_is_no_trouble() -> None:
    made = features().detach()
    assert value(made * 7, LABELS).item() == pytest.approx(value(made, LABELS).item(), rel=1e-5)
    made[2] = 0
    made.requires_grad_()
    value(made, LABELS).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


@pytest.mark.parametrize(("labels", "wanted"), [([0, 0], 0.5), ([0, 1], 0.0), ([2], 0.0)])
def test_a_batch_without_one_kind_of_pair(labels: list[int], wanted: float) -> None:
    made = torch.eye(2)[: len(labels)].clone().requires_grad_()
    got = value(made, torch.tensor(labels))
    got.backward()
    assert got.item() == pytest.approx(wanted)
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


def test_descent_sets_classes_at_right_angles() -> None:
    made = features(3, 30)
    labels = torch.arange(30) % 3
    optimizer = torch.optim.Adam([made], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        value(made, labels).backward()
        optimizer.step()
    cosines = functional.normalize(made.detach(), dim=1) @ functional.normalize(made.detach(), dim=1).T
    same = labels[:, None] == labels
    assert cosines[same].min() > 0.95
    assert cosines[~same].abs().max() < 0.1


def test_it_needs_a_companion_that_trains_the_head() -> None:
    assert (PairCosine.supervised, PairCosine.regularises, PairCosine.tasks) == (False, False, ("classify",))


RESNET = (9_536, 215_808, 1_219_584, 7_098_368, 14_964_736, 0)


@pytest.mark.parametrize(
    ("written", "cut", "steps"),
    [("contrastive", 0, 100), ("contrastive(steps=7)", 0, 7), ("contrastive(stages=1)", 4, 100)],
)
def test_contrastive_moves_the_features_and_then_fits_the_head(written: str, cut: int, steps: int) -> None:
    (policy,) = folder.resolve("tune", written)
    moved, head = policy.plan(RESNET)
    assert (moved.name, moved.cut, moved.solver) == ("contrastive", cut, "descent")
    assert (moved.loss, moved.steps, moved.epochs) == ("pair_cosine", steps, 40)
    assert (moved.rate, moved.layer_decay) == (1.0, 1.0)
    assert (head.name, head.cut, head.solver, head.loss, head.steps) == ("head", 6, "logistic", "", None)
    (loss,) = folder.resolve("losses", moved.loss)
    assert policy.tasks == loss.tasks == ("classify",)
