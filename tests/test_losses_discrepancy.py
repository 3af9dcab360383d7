"""Losses that draw two domains together, or use the answers on the target: against loops, hand values and limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import discrepancy, folder
from sterna.losses.adabn import AdaBN
from sterna.losses.pseudo_labels import thresholds
from sterna.network import Network
from sterna.records import Batch, Output, Seen, Setting, Step

WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])


def built(written: str, classes: int = 3, many: int = 12, counts: bool = True) -> Any:
    (loss,) = folder.resolve("losses", written)
    network = Network({"same": nn.Identity()}, nn.Linear(4, classes))
    found = np.full(classes, 5 if counts else 0)
    return loss.build(Setting(network, found, tuple("abcdefghij"[:classes]), 15, many))


def step(
    left: Tensor, right: Tensor, weights: Tensor | None = None, progress: float = 0.5, places: Tensor | None = None
) -> Step:
    """Features that are their own logits."""
    return of_both((left, left), (right, right), weights, progress, places)


def of_both(
    left: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
    weights: Tensor | None = None,
    progress: float = 0.5,
    places: Tensor | None = None,
) -> Step:
    """(features, logits) of each side."""
    weights = torch.ones(len(left[0])) if weights is None else weights
    labels = torch.zeros(len(left[0]), dtype=torch.int64)
    other = torch.zeros(len(right[0]), dtype=torch.int64)
    return Step(
        Seen(Batch(left[0], labels, weights), Output(*left)),
        None,  # type: ignore[arg-type]
        progress,
        Seen(Batch(right[0], other, torch.ones(len(other)), places=places), Output(*right)),
    )


def drawn(rows: int, seed: int = 0, width: int = 4, shift: float = 0.0, size: float = 1.0) -> Tensor:
    return size * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + shift


def moved(written: str, left: Tensor, right: Tensor, steps: int = 40, rate: float = 0.1) -> tuple[Tensor, Tensor]:
    """Both sides after descent on the term alone."""
    left, right = left.clone().requires_grad_(), right.clone().requires_grad_()
    term, optimizer = built(written), torch.optim.Adam([left, right], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        term(step(left, right, progress=0.9)).backward()
        optimizer.step()
    return left.detach(), right.detach()


# Maximum mean discrepancies

Kernel = Callable[[int, int], float]


def mmd_by_pairs(kernel: Kernel, weights: np.ndarray, others: int) -> float:
    """The unbiased estimate, pair by pair; the first examples are the labelled ones."""
    count = len(weights)
    sums = np.zeros((3, 2))
    for i, j in itertools.permutations(range(count + others), 2):
        kind = (i >= count) + (j >= count)
        weight = (weights[i] if i < count else 1) * (weights[j] if j < count else 1)
        sums[kind] += weight * np.array([kernel(i, j), 1])
    means = sums[:, 0] / sums[:, 1]
    return float(means[0] + means[2] - 2 * means[1])


def gaussians_by_pairs(points: np.ndarray, weights: np.ndarray, factors: list[float]) -> Kernel:
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    every = np.concatenate([weights, np.ones(len(points) - len(weights))])
    pairs = np.outer(every, every) - np.diag(every**2)
    mean = (pairs * squared).sum() / pairs.sum()
    return lambda i, j: float(sum(np.exp(-squared[i, j] / (factor * mean)) for factor in factors))


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [one.detach().double().numpy() for one in tensors]


@pytest.mark.parametrize("weights", [torch.ones(6), WEIGHTS])
@pytest.mark.parametrize(("kernels", "factors"), [(5, [0.25, 0.5, 1, 2, 4]), (1, [1]), (2, [0.5, 1]), (3, [0.5, 1, 2])])
def test_dan_is_the_estimate_over_pairs(kernels: int, factors: list[float], weights: Tensor) -> None:
    left, right = drawn(6), drawn(8, seed=1, shift=1)
    points, heavy = arrays(torch.cat([left, right]), weights)
    wanted = mmd_by_pairs(gaussians_by_pairs(points, heavy, factors), heavy, 8)
    got = built(f"dan(kernels={kernels}, weight=0.5)")(step(left, right, weights)).item()
    assert got == pytest.approx(wanted / 2, rel=1e-4)


def test_dan_compares_the_layers_it_is_told_to() -> None:
    left, right = (drawn(6), drawn(6, 2, width=3)), (drawn(8, 3, shift=1), drawn(8, 4, width=3, shift=1, size=2))
    given, soft = of_both(left, right), [functional.softmax(side[1], dim=1) for side in (left, right)]
    features, logits, both = (built(f"dan(layers={one})")(given).item() for one in discrepancy.LAYERS)
    assert features == pytest.approx(built("dan")(step(left[0], right[0])).item(), rel=1e-6)
    assert logits == pytest.approx(built("dan")(step(*soft)).item(), rel=1e-5)
    assert both == pytest.approx(features + logits, rel=1e-6)
    values = built("dan(layers=logits)", counts=False)(given).item()
    assert values == pytest.approx(built("dan")(step(left[1], right[1])).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ([0.0, 1], [0.0, 1], -0.3934693402874),
        ([0.0, 1, 2], [1.0, 3], -0.4038779355137),
        ([0.0], [1.0, 2], 0.0),
        ([0.0, 1], [1.0], 0.0),
    ],
)
def test_squared_mmd_by_hand(left: list[float], right: list[float], wanted: float) -> None:
    """One kernel exp(-(x - y)^2 / 2)."""
    points = torch.tensor(left + right)[:, None]
    kernel = discrepancy.gaussians(discrepancy.squared_distances(points), torch.tensor(2.0), 1)
    assert discrepancy.squared_mmd(kernel, torch.ones(len(left))).item() == pytest.approx(wanted, abs=1e-6)


def test_squared_mmd_of_two_normal_distributions() -> None:
    """Its limit, 2 (s / (s + 2))^(d / 2) (1 - exp(-|m|^2 / (2 (s + 2)))) for the kernel exp(-|x - y|^2 / (2 s))."""
    right = drawn(1500, 1, width=5)
    right[:, 0] += 1
    kernel = discrepancy.gaussians(
        discrepancy.squared_distances(torch.cat([drawn(1500, width=5), right])), torch.tensor(8.0), 1
    )
    assert discrepancy.squared_mmd(kernel, torch.ones(1500)).item() == pytest.approx(0.0580297, abs=0.006)


def test_the_estimate_has_no_bias() -> None:
    """Over many small draws from one distribution its mean is 0, and so some are below."""
    term = built("dan")
    found = np.array([term(step(drawn(5, 2 * seed), drawn(7, 2 * seed + 1))).item() for seed in range(100)])
    assert abs(found.mean()) < 3 * found.std() / math.sqrt(100)
    assert found.min() < 0


def test_the_width_follows_the_features_and_has_no_gradient() -> None:
    """Value and scale: had the width a gradient, the one along the features themselves would be 0."""
    left, right = drawn(8), drawn(8, 1, shift=2)
    term = built("dan")
    assert term(step(100 * left, 100 * right)).item() == pytest.approx(term(step(left, right)).item(), rel=1e-4)
    left.requires_grad_()
    right.requires_grad_()
    term(step(left, right)).backward()
    assert left.grad is not None
    assert right.grad is not None
    along = (left.grad * left).sum() + (right.grad * right).sum()
    assert along.abs() > 0.01


def test_distances_keep_their_digits_far_from_the_origin() -> None:
    points = drawn(6, size=0.1).double()
    far = (points + 1000).float()
    exact = torch.cdist(far.double(), far.double()).square()
    assert torch.allclose(discrepancy.squared_distances(far).double(), exact, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("written", ["dan", "dan(kernels=1)", "dan(layers=both)", "jan", "cmd"])
def test_descent_draws_the_domains_together(written: str) -> None:
    left, right = drawn(20), drawn(20, 1, shift=1.5)
    after = moved(written, left, right)
    assert apart(*after) < 0.5 * apart(left, right)


def apart(left: Tensor, right: Tensor) -> float:
    return float((left.mean(dim=0) - right.mean(dim=0)).norm())


@pytest.mark.parametrize("weights", [torch.ones(6), WEIGHTS])
def test_jan_multiplies_the_kernels(weights: Tensor) -> None:
    left, right = (drawn(6), drawn(6, 2, width=3)), (drawn(8, 3, shift=1), drawn(8, 4, width=3, shift=1))
    points, logits, heavy = arrays(*(torch.cat(pair) for pair in zip(left, right, strict=True)), weights)
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    features = gaussians_by_pairs(points, heavy, [0.25, 0.5, 1, 2, 4])

    def joint(i: int, j: int) -> float:
        return features(i, j) * float(np.exp(-((soft[i] - soft[j]) ** 2).sum() / 1.68))

    got = built("jan(ramp=false)")(of_both(left, right, weights)).item()
    assert got == pytest.approx(mmd_by_pairs(joint, heavy, 8), rel=1e-4)


def test_jan_sees_pairs_where_each_layer_looks_the_same() -> None:
    """Features and answers alike in both domains, but the other way round together."""
    sure = 8 * torch.eye(2)
    features = torch.tensor([[0.0], [3.0]]).repeat(10, 1) + drawn(20, width=1, size=0.1)
    left, right = (features, sure.repeat(10, 1)), (features, sure.flip(0).repeat(10, 1))
    assert built("dan(layers=both)", 2)(of_both(left, right)).item() < 0.1
    assert built("jan(ramp=false)", 2)(of_both(left, right)).item() > 1


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.0), (0.1, 2 / (1 + math.exp(-1)) - 1), (1.0, 0.9999092)])
def test_jan_grows_over_training(progress: float, factor: float) -> None:
    left, right = drawn(6), drawn(8, 1, shift=1)
    whole = built("jan(ramp=false)")(step(left, right)).item()
    got = built("jan")(step(left, right, progress=progress)).item()
    assert got == pytest.approx(factor * whole, rel=1e-5)


# Moments


@pytest.mark.parametrize("weights", [torch.ones(6), torch.tensor([2.0, 1, 1, 3, 1, 2])])
def test_coral_by_numpy(weights: Tensor) -> None:
    left, right = drawn(6), drawn(9, 1, size=2)
    first, second, heavy = arrays(left, right, weights)
    share = heavy / heavy.sum()
    centred = first - share @ first
    own = (centred.T * share) @ centred / (1 - (share**2).sum())
    if weights.eq(1).all():
        assert own == pytest.approx(np.cov(first.T))
    wanted = ((own - np.cov(second.T)) ** 2).sum() / (4 * 16)
    assert built("coral")(step(left, right, weights)).item() == pytest.approx(wanted, rel=1e-4)


def test_coral_of_a_covariance_and_four_times_it() -> None:
    """Covariances I and 4 I in 3 dimensions: |3 I|^2 / (4 * 9) = 27 / 36."""
    points = drawn(40, width=3).double()
    points = points - points.mean(dim=0)
    white = (points @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(points.T))).T).float()
    assert built("coral")(step(white, 2 * white)).item() == pytest.approx(0.75, rel=1e-4)
    assert built("coral(weight=3)")(step(white, 2 * white)).item() == pytest.approx(2.25, rel=1e-4)
    assert built("coral(layers=both)")(step(white, 2 * white)).item() == pytest.approx(1.5, rel=1e-4)


def test_coral_compares_logits_unless_told_otherwise() -> None:
    left, right = (drawn(6), drawn(6, 2, width=3)), (drawn(8, 3), drawn(8, 4, width=3, size=2))
    given = of_both(left, right)
    assert built("coral")(given).item() == pytest.approx(built("coral")(step(left[1], right[1])).item(), rel=1e-6)
    features = built("coral(layers=features)")(given).item()
    assert features == pytest.approx(built("coral")(step(left[0], right[0])).item(), rel=1e-6)


def test_coral_does_not_see_a_shift_and_closes_a_scale() -> None:
    points = drawn(30)
    assert built("coral")(step(points, points + 5)).item() == pytest.approx(0, abs=1e-9)
    left, right = moved("coral(weight=100)", points, 3 * drawn(30, 1), steps=60)
    assert (torch.cov(left.T) - torch.cov(right.T)).norm() < 0.1 * (torch.cov(points.T) * 8).norm()


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0, 0])])
def test_no_covariance_is_known_from_one_example(weights: Tensor | None) -> None:
    left = drawn(1 if weights is None else 3).requires_grad_()
    got = built("coral")(step(left, drawn(8, 1, size=5), weights))
    got.backward()
    assert got.item() == 0
    assert left.grad is not None
    assert not left.grad.any()


def cmd_by_loops(left: np.ndarray, right: np.ndarray, weights: np.ndarray, moments: int) -> float:
    left, right = 1 / (1 + np.exp(-left)), 1 / (1 + np.exp(-right))
    middle, other = np.average(left, axis=0, weights=weights), right.mean(axis=0)
    total = np.linalg.norm(middle - other)
    for order in range(2, moments + 1):
        first = np.average((left - middle) ** order, axis=0, weights=weights)
        total += np.linalg.norm(first - ((right - other) ** order).mean(axis=0))
    return float(total)


@pytest.mark.parametrize("moments", [1, 2, 5])
@pytest.mark.parametrize("weights", [torch.ones(6), WEIGHTS])
def test_cmd_by_loops(weights: Tensor, moments: int) -> None:
    left, right = drawn(6), drawn(9, 1, shift=1)
    wanted = cmd_by_loops(*arrays(left, right, weights), moments)
    assert built(f"cmd(moments={moments})")(step(left, right, weights)).item() == pytest.approx(wanted, rel=1e-4)


def test_cmd_by_hand() -> None:
    """0.2 and 0.6 against 0.5 twice: means differ by 0.1; second moments 0.04 and 0, third 0, fourth 0.0016."""
    left, right = torch.tensor([[0.2], [0.6]]).logit(), torch.tensor([[0.5], [0.5]]).logit()
    got = [built(f"cmd(moments={moments})")(step(left, right)).item() for moments in range(1, 5)]
    assert got == pytest.approx([0.1, 0.14, 0.14, 0.1416], abs=1e-6)


def test_cmd_of_the_same_features_is_0_and_stays() -> None:
    left, right = drawn(6).requires_grad_(), drawn(6)
    got = built("cmd")(step(left, right))
    got.backward()
    assert got.item() == 0
    assert left.grad is not None
    assert not left.grad.any()


# Norms and spectra


def test_afn_asks_each_norm_to_grow_by_the_step() -> None:
    """The value is step^2 for each domain; the gradient -2 step x / |x| for each example, by the share it weighs."""
    left, right = drawn(6).requires_grad_(), drawn(3, 1).requires_grad_()
    got = built("afn(weight=0.5, step=0.3)")(step(left, right, WEIGHTS))
    got.backward()
    assert got.item() == pytest.approx(0.5 * 2 * 0.09, rel=1e-5)
    assert left.grad is not None
    assert right.grad is not None
    away = functional.normalize(left.detach(), dim=1) * (WEIGHTS / WEIGHTS.sum())[:, None]
    assert torch.allclose(left.grad, -0.5 * 0.6 * away, atol=1e-6)
    assert torch.allclose(right.grad, -0.5 * 0.6 * functional.normalize(right.detach(), dim=1) / 3, atol=1e-6)


def test_afn_lengthens_features_by_descent_and_leaves_zeros() -> None:
    points = drawn(6)
    points[0] = 0
    left, right = moved("afn", points, drawn(6, 1), steps=20)
    assert (left[1:].norm(dim=1) > points[1:].norm(dim=1)).all()
    assert (right.norm(dim=1) > drawn(6, 1).norm(dim=1)).all()
    assert not left[0].any()


@pytest.mark.parametrize(("largest", "rows"), [(1, 6), (2, 6), (3, 2), (9, 6)])
def test_bsp_is_the_sum_of_the_largest_squared_singular_values(largest: int, rows: int) -> None:
    left, right = drawn(rows), drawn(9, 1)
    wanted = sum((np.linalg.svd(side, compute_uv=False)[:largest] ** 2).sum() for side in arrays(left, right))
    got = built(f"bsp(largest={largest}, weight=1)")(step(left, right)).item()
    assert got == pytest.approx(wanted, rel=1e-5)
    assert built(f"bsp(largest={largest})")(step(left, right)).item() == pytest.approx(1e-4 * wanted, rel=1e-5)


def test_bsp_pulls_along_the_strongest_direction_alone() -> None:
    left, right = drawn(6).requires_grad_(), drawn(3, 1)
    built("bsp(weight=1)")(step(left, right)).backward()
    u, s, v = np.linalg.svd(left.detach().double().numpy())
    assert left.grad is not None
    assert left.grad.numpy() == pytest.approx(2 * s[0] * np.outer(u[:, 0], v[0]), abs=1e-4)


def test_bsp_counts_a_weight_of_two_as_twice() -> None:
    left, right = drawn(3), drawn(5, 1)
    heavy = built("bsp")(step(left, right, torch.tensor([2.0, 1, 0]))).item()
    assert heavy == pytest.approx(built("bsp")(step(left[[0, 0, 1]], right)).item(), rel=1e-5)


def test_bsp_passes_on_what_is_no_number() -> None:
    """The loop then says in words that training diverged."""
    for bad in (math.nan, math.inf):
        left = drawn(3)
        left[0, 0] = bad
        assert not built("bsp")(step(left, drawn(5, 1))).isfinite()


# Answers on the target


def mcc_by_loops(logits: np.ndarray, temperature: float, weights: np.ndarray | None = None) -> float:
    answers = np.exp(logits / temperature)
    answers /= answers.sum(axis=1, keepdims=True)
    if weights is None:
        sure = 1 + np.exp((answers * np.log(answers)).sum(axis=1))
        weights = len(logits) * sure / sure.sum()
    classes = logits.shape[1]
    total = 0.0
    for j in range(classes):
        row = [(weights * answers[:, j] * answers[:, other]).sum() for other in range(classes)]
        total += (sum(row) - row[j]) / sum(row)
    return float(total / classes)


@pytest.mark.parametrize("temperature", [2.5, 1.0])
def test_mcc_by_loops(temperature: float) -> None:
    logits = drawn(9, width=3, size=3)
    got = built(f"mcc(temperature={temperature})")(step(drawn(4, width=3), logits)).item()
    assert got == pytest.approx(mcc_by_loops(*arrays(logits), temperature), rel=1e-5)


def test_mcc_by_hand() -> None:
    """No preference among k: each class is confused with the others in k - 1 of k parts. Certain: never."""
    left = drawn(4, width=3)
    assert built("mcc")(step(left, torch.zeros(5, 3))).item() == pytest.approx(2 / 3)
    assert built("mcc")(step(left, 200 * torch.eye(3))).item() == pytest.approx(0, abs=1e-6)
    assert built("mcc")(step(left, 200 * torch.eye(3)[[0, 0, 0]])).item() == pytest.approx(0, abs=1e-6)


def test_the_weights_of_mcc_are_constants() -> None:
    """The gradient is that of the equation with the weights as they are."""
    logits = drawn(5, width=3, size=2)
    tracked = logits.clone().requires_grad_()
    built("mcc")(step(drawn(4, width=3), tracked)).backward()
    (exact,) = arrays(logits)
    answers = np.exp(exact / 2.5) / np.exp(exact / 2.5).sum(axis=1, keepdims=True)
    sure = 1 + np.exp((answers * np.log(answers)).sum(axis=1))
    weights, wanted = 5 * sure / sure.sum(), np.zeros((5, 3))
    for place in np.ndindex(5, 3):
        up, down = exact.copy(), exact.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        wanted[place] = (mcc_by_loops(up, 2.5, weights) - mcc_by_loops(down, 2.5, weights)) / 2e-5
    assert tracked.grad is not None
    assert tracked.grad.numpy() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("written", ["mcc", "minimum_entropy(weight=1)", "minimum_entropy(weight=1, diversity=1)"])
def test_descent_makes_answers_certain(written: str) -> None:
    logits = drawn(12, width=3)
    _, after = moved(written, drawn(4, width=3), logits, steps=40)
    assert after.softmax(dim=1).amax(dim=1).mean() > logits.softmax(dim=1).amax(dim=1).mean() + 0.2


def test_minimum_entropy_by_hand() -> None:
    left, even = drawn(4, width=3), torch.zeros(6, 3)
    sure = 100 * torch.eye(3).repeat(2, 1)
    one = 100 * torch.eye(3)[[0] * 6]
    plain, diverse = built("minimum_entropy(weight=1)"), built("minimum_entropy(weight=1, diversity=1)")
    figures = [[term(step(left, right)).item() for right in (even, sure, one)] for term in (plain, diverse)]
    assert figures[0] == pytest.approx([math.log(3), 0, 0], abs=1e-6)
    assert figures[1] == pytest.approx([0, -math.log(3), 0], abs=1e-6)
    assert built("minimum_entropy")(step(left, even)).item() == pytest.approx(0.1 * math.log(3))


def test_diversity_is_what_keeps_a_class_that_few_are_answered_as() -> None:
    logits = torch.tensor([[1.2, 0.0]] * 7 + [[0.3, 0.0]])
    alone = moved("minimum_entropy(weight=1)", logits, logits, steps=40, rate=0.2)[1]
    spread = moved("minimum_entropy(weight=1, diversity=2)", logits, logits, steps=40, rate=0.2)[1]
    assert (alone.argmax(dim=1) == 0).all()
    assert (spread.argmax(dim=1) == 1).any()


def thresholds_by_loops(confidences: np.ndarray, answers: np.ndarray, classes: int, share: float) -> list[float]:
    found = []
    for number in range(classes):
        own = sorted(confidences[answers == number], reverse=True)
        found.append(own[max(math.ceil(round(share * len(own), 6)), 1) - 1] if own else 1.0)
    return found


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.7, 1.0])
def test_thresholds_by_loops(share: float) -> None:
    draw = np.random.default_rng(0)
    confidences, answers = draw.uniform(0.3, 1, 40).astype(np.float32), draw.integers(-1, 4, 40)
    got = thresholds(torch.from_numpy(confidences), torch.from_numpy(answers), 6, share)
    assert got.tolist() == pytest.approx(thresholds_by_loops(confidences, answers, 6, share))
    assert got[4:].tolist() == [1, 1]


def test_a_share_that_comes_out_whole_is_not_rounded_up() -> None:
    """0.2 and 0.6 of 5 are 1 and 3, whatever their last binary digit."""
    confidences, answers = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), torch.zeros(5, dtype=torch.int64)
    got = [thresholds(confidences, answers, 1, share).item() for share in (0.2, 0.6, 3 * 0.2)]
    assert got == pytest.approx([0.9, 0.7, 0.7])


def logits_of(*probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities).log()


def test_pseudo_labels_by_hand() -> None:
    """Half of each class: the surer two of the four answered as 0, and the one answered as 1."""
    logits = logits_of([0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.65, 0.35], [0.45, 0.55]).requires_grad_()
    term = built("pseudo_labels(first=0.5, last=0.5, start=0)", 2)
    got = term(step(drawn(4, width=2), logits, places=torch.arange(5)))
    got.backward()
    assert got.item() == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.55)) / 5, rel=1e-5)
    assert logits.grad is not None
    assert logits.grad.abs().sum(dim=1).gt(0).tolist() == [True, True, False, False, True]
    assert torch.allclose(logits.grad[4], torch.tensor([0.45, -0.45]) / 5)


def test_the_label_is_the_class_that_is_highest_for_its_threshold() -> None:
    """Thresholds 0.9, 0.4 and 1: the last example is likelier 0, and labelled 1: 0.45 / 0.4 is above 0.5 / 0.9."""
    term = built("pseudo_labels(first=0, last=0, start=0)", 3)
    logits = logits_of([0.9, 0.05, 0.05], [0.3, 0.4, 0.3], [0.5, 0.45, 0.05]).requires_grad_()
    got = term(step(drawn(4, width=3), logits, places=torch.arange(3)))
    wanted = -(math.log(0.9) + math.log(0.4) + math.log(0.45)) / 3
    assert got.item() == pytest.approx(wanted, rel=1e-5)


def test_a_rare_class_is_chosen_as_often_as_its_share() -> None:
    """One threshold for all would take the sure class alone."""
    easy, hard = [[0.99 - 0.001 * place, 0.01 + 0.001 * place] for place in range(8)], [[0.4, 0.6], [0.45, 0.55]]
    logits = logits_of(*easy, *hard).requires_grad_()
    built("pseudo_labels(first=0.5, last=0.5, start=0)", 2)(
        step(drawn(4, width=2), logits, places=torch.arange(10))
    ).backward()
    assert logits.grad is not None
    chosen = logits.grad.abs().sum(dim=1) > 0
    assert (chosen[:8].sum(), chosen[8:].sum()) == (4, 1)


def test_pseudo_labels_remember_by_place() -> None:
    """What is unsure beside its own batch may be unsure beside all that was seen, and the other way round."""
    written = "pseudo_labels(first=0.5, last=0.5, start=0)"
    left, first, second = drawn(4, width=2), logits_of([0.95, 0.05], [0.9, 0.1]), logits_of([0.8, 0.2], [0.7, 0.3])
    term = built(written, 2)
    term(step(left, first, places=torch.tensor([7, 3])))
    assert term(step(left, second, places=torch.tensor([0, 11]))).item() == 0
    assert term.confidences[[7, 3, 0, 11]].tolist() == pytest.approx([0.95, 0.9, 0.8, 0.7])
    assert (term.answers >= 0).sum() == 4
    fresh = built(written, 2)
    assert fresh(step(left, second, places=torch.tensor([0, 11]))).item() == pytest.approx(-math.log(0.8) / 2)
    assert fresh(step(left, first, places=torch.tensor([0, 11]))).item() == pytest.approx(-math.log(0.95) / 2)
    assert built(written, 2)(step(left, second)).item() == pytest.approx(-math.log(0.8) / 2)


@pytest.mark.parametrize(("progress", "factor", "chosen"), [(0.0, 0, 2), (0.1, 0.4, 3), (0.25, 1, 4), (1.0, 1, 10)])
def test_pseudo_labels_begin_softly(progress: float, factor: float, chosen: int) -> None:
    """The factor rises over the first quarter, the share from 0.2 to 1: 2, 2.8, 4 and 10 of 10, rounded up."""
    sure = [0.99 - 0.01 * place for place in range(10)]
    logits = logits_of(*([one, 1 - one] for one in sure))
    term = built("pseudo_labels(first=0.2, last=1, start=0.25)", 2)
    got = term(step(drawn(4, width=2), logits, progress=progress, places=torch.arange(10))).item()
    assert got == pytest.approx(-factor * sum(map(math.log, sure[:chosen])) / 10, rel=1e-4, abs=1e-9)


def test_pseudo_labels_raise_what_was_sure_and_nothing_else() -> None:
    logits = drawn(12, width=3)
    tracked = logits.clone().requires_grad_()
    term, optimizer = built("pseudo_labels(start=0)"), torch.optim.SGD([tracked], lr=5.0)
    for _ in range(20):
        optimizer.zero_grad()
        term(step(drawn(4, width=3), tracked, progress=0.0, places=torch.arange(12))).backward()
        optimizer.step()
    after, before = tracked.detach().softmax(dim=1), logits.softmax(dim=1)
    still = (tracked.detach() == logits).all(dim=1)
    assert 0 < still.sum() < 12
    raised = after.gather(1, before.argmax(dim=1)[:, None]) - before.amax(dim=1, keepdim=True)
    assert (raised[~still] > 0).all()


def test_adabn_adds_nothing_and_asks_for_statistics() -> None:
    assert (AdaBN.needs, AdaBN.supervised, AdaBN.regularises, AdaBN.tasks) == ("statistics", False, False, ())
    got = built("adabn")(step(drawn(3), drawn(4)))
    assert (got.item(), got.shape, got.dtype) == (0, (), torch.float32)
    assert torch.stack([got, drawn(3).sum()]).sum() == drawn(3).sum()


# Where it runs

OWN = ("adabn", "afn", "bsp", "cmd", "coral", "dan", "jan", "mcc", "minimum_entropy", "pseudo_labels")


@pytest.mark.parametrize("name", OWN)
def test_everything_stays_on_the_device_of_the_features(name: str) -> None:
    """On a device that holds no numbers any meeting with a tensor from elsewhere is an error."""
    (loss,) = folder.resolve("losses", name)
    with torch.device("meta"):
        network = Network({"same": nn.Identity()}, nn.Linear(4, 4))
        given = step(torch.zeros(6, 4), torch.zeros(8, 4), torch.ones(6), places=torch.arange(8))
    term = loss.build(Setting(network, np.full(4, 5), tuple("abcd"), 20, 12))
    got = term(given)
    assert (got.device.type, got.shape) == ("meta", ())


@pytest.mark.parametrize("name", OWN)
def test_an_empty_batch_is_no_trouble(name: str) -> None:
    left, right = drawn(6).requires_grad_(), drawn(0).requires_grad_()
    got = built(name, 4)(step(left, right, places=torch.zeros(0, dtype=torch.int64)))
    assert got.isfinite()
    if got.requires_grad:
        got.backward()
        assert left.grad is None or left.grad.isfinite().all()


@pytest.mark.parametrize(
    ("written", "tasks"),
    [
        *((name, ("classify",)) for name in ("afn", "jan", "mcc", "minimum_entropy", "pseudo_labels")),
        *((name, ("classify", "regress")) for name in ("bsp", "cmd", "coral", "dan")),
    ],
)
def test_they_stand_beside_a_supervised_addend(written: str, tasks: tuple[str, ...]) -> None:
    loss = folder.load("losses", written)
    assert (loss.supervised, loss.needs, loss.regularises, loss.tasks) == (False, "unlabelled", False, tasks)
