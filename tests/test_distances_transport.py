"""Distances of optimal transport against hand values, closed forms, independent implementations and limits."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from two_samples import drawn, measured, value

from sterna.distances import frechet, otdd, sliced_wasserstein, wasserstein
from sterna.maths.seeds import derive

MOVE = np.array([1.0, 2.0, 2.0])

# Wasserstein


def test_wasserstein_by_hand() -> None:
    assert value(wasserstein.Wasserstein(), [0, 1, 2], [1, 3]) == pytest.approx(4 / 3, abs=1e-12)
    left, right = drawn(5, 5)
    costs = [
        sum(((left[i] - right[j]) ** 2).sum() for i, j in enumerate(order)) / 5 for order in permutations(range(5))
    ]
    assert value(wasserstein.Wasserstein(), left, right) == pytest.approx(min(costs), abs=1e-12)


def test_wasserstein_is_the_best_assignment() -> None:
    left, right = drawn(70, 70, d=6)
    cost = cdist(left, right, "sqeuclidean")
    known = cost[linear_sum_assignment(cost)].mean()
    assert value(wasserstein.Wasserstein(), left, right) == pytest.approx(known, abs=1e-9)


@pytest.mark.parametrize("form", ["exact", "entropic"])
def test_wasserstein_of_a_shift_is_its_square(form: str) -> None:
    left, _ = drawn(200, 2)
    assert value(wasserstein.Wasserstein(form=form), left, left + MOVE) == pytest.approx(9, abs=1e-5)
    line = left[:, :1]
    by_scipy = wasserstein_distance(line[:, 0], line[:, 0] + 2.5)
    assert value(wasserstein.Wasserstein(form=form), line, line + 2.5) == pytest.approx(by_scipy**2, abs=1e-5)


def smooth(left: np.ndarray, right: np.ndarray, weight: float) -> float:
    """The cost of the plan of POT, with its relative entropy to the independent plan."""
    cost = cdist(left, right, "sqeuclidean")
    plan = ot.sinkhorn([], [], cost, weight, method="sinkhorn_log", numItermax=20_000, stopThr=1e-8)
    return float((plan * cost).sum() + weight * (plan * np.log(plan * plan.size)).sum())


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_the_divergence_is_that_of_the_plans_of_pot(weight: float) -> None:
    left, right = drawn(60, 45, d=4)
    both = np.concatenate([left, right])
    scale = weight * float(np.median(cdist(both, both, "sqeuclidean")[np.triu_indices(105, 1)]))
    known = smooth(left, right, scale) - (smooth(left, left, scale) + smooth(right, right, scale)) / 2
    found = measured(wasserstein.Wasserstein(form="entropic", regularisation=weight), left, right)
    assert found.value == pytest.approx(known, rel=1e-5)
    assert found.notes == (f"The Sinkhorn divergence with entropy {weight:g} of the median squared distance.",)


def test_the_divergence_goes_to_the_shift_of_means_and_has_less_bias() -> None:
    left, right = drawn(100, 100, d=8)
    apart = float(((left.mean(axis=0) - right.mean(axis=0)) ** 2).sum())
    vague = wasserstein.Wasserstein(form="entropic", regularisation=100.0)
    assert value(vague, left, right) == pytest.approx(apart, rel=0.05)
    draw = np.random.default_rng(1)
    same = draw.normal(size=(150, 16)), draw.normal(size=(150, 16))
    exact, smoothed = (value(wasserstein.Wasserstein(form=form), *same) for form in ("exact", "entropic"))
    assert exact > 10
    assert 0 <= smoothed < exact / 15


def test_the_divergence_stands_outliers_and_says_when_it_stops_early() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.standard_t(1.5, size=(200, 2)), draw.standard_t(1.5, size=(200, 2)) + 1
    exact = value(wasserstein.Wasserstein(form="exact"), left, right)
    found = measured(wasserstein.Wasserstein(form="entropic", regularisation=0.005), left, right)
    assert 0 < found.value < 1.2 * exact
    assert "of the mass out of place: raise regularisation." in found.notes[-1]
    assert value(wasserstein.Wasserstein(form="entropic"), [0.0, 1.0], [1e6, 1e6 + 1]) == pytest.approx(1e12)


def test_wasserstein_is_exact_up_to_a_size() -> None:
    left, right = drawn(2001, 30, d=1)
    assert "Sinkhorn" in measured(wasserstein.Wasserstein(limit=50), left, right).notes[1]
    assert measured(wasserstein.Wasserstein(), left[:2000], right).notes == ()
    found = measured(wasserstein.Wasserstein(form="exact", limit=20_000), left, right)
    assert found.notes == ("Measured on 2000 of 2001 and 30 of 30 examples, drawn at random.",)


def test_sliced_wasserstein_of_a_shift_and_on_a_line() -> None:
    left, right = drawn(50, 70)
    found = measured(sliced_wasserstein.SlicedWasserstein(directions=20_000), left, left + MOVE)
    assert found.value == pytest.approx(3, rel=0.02)
    error = float(found.notes[0].split()[-1].rstrip("."))
    assert error == pytest.approx(9 * math.sqrt(4 / 45) / math.sqrt(20_000), rel=0.05)
    line = value(wasserstein.Wasserstein(), left[:, 0], right[:, 0])
    sliced = sliced_wasserstein.SlicedWasserstein(directions=3)
    assert value(sliced, left[:, 0], right[:, 0]) == pytest.approx(line, abs=1e-9)


def test_sliced_wasserstein_is_that_of_pot() -> None:
    left, right = drawn(60, 45, d=5)
    found = value(sliced_wasserstein.SlicedWasserstein(directions=5000), left, right)
    assert found == pytest.approx(
        float(ot.sliced_wasserstein_distance(left, right, n_projections=5000, seed=1)) ** 2, rel=0.05
    )


def test_sliced_wasserstein_of_large_samples_is_as_exact() -> None:
    left, right = drawn(30_000, 25_000)
    lines = np.random.default_rng(derive("sliced", 0)).standard_normal((4, 3))
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    known = np.mean([ot.wasserstein_1d(left @ line, right @ line, p=2) for line in lines])
    found = value(sliced_wasserstein.SlicedWasserstein(directions=4), left, right)
    assert found == pytest.approx(known, rel=1e-4)


# OTDD


def looped_otdd(left: np.ndarray, right: np.ndarray, own: np.ndarray, other: np.ndarray, diagonal: bool) -> float:
    cost = np.empty((len(left), len(right)))
    for i, y in enumerate(own):
        for j, z in enumerate(other):
            first, second = left[own == y], right[other == z]
            a, b = np.cov(first.T), np.cov(second.T)
            a, b = (np.diag(np.diag(one)) if diagonal else one for one in (a, b))
            between = np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
            between += ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
            cost[i, j] = ((left[i] - right[j]) ** 2).sum() + between
    return float(ot.emd2([], [], cost))


@pytest.mark.parametrize("shape", ["full", "diagonal"])
def test_otdd_is_the_loop_over_pairs(shape: str) -> None:
    left, right = drawn(20, 26)
    own, other = np.arange(20) % 2, np.array([4, 9, 2])[np.arange(26) % 3]
    known = looped_otdd(left, right, own, other, shape == "diagonal")
    found = measured(otdd.OTDD(covariance=shape), left, right, (own, other))
    assert found.value == pytest.approx(known, rel=1e-6)
    assert found.notes == (f"2 and 3 classes, with {shape} covariances.",)


def test_otdd_of_one_class_is_transport_and_the_distance_of_gaussians() -> None:
    left, right = drawn(60, 40)
    labels = np.zeros(60, dtype=int), np.full(40, 3)
    parts = (value(one, left, right) for one in (wasserstein.Wasserstein(), frechet.Frechet()))
    assert value(otdd.OTDD(), left, right, labels) == pytest.approx(sum(parts), rel=1e-9)


def test_otdd_by_hand() -> None:
    # Two classes of two examples each, moved by 3: every example and every class moves by 3.
    found = value(otdd.OTDD(), [0, 1, 10, 11], [3, 4, 13, 14], ([0, 0, 1, 1], [1, 1, 0, 0]))
    assert found == pytest.approx(9 + 9, abs=1e-9)
    # Single examples: a class is where its example is, so each cost counts twice.
    assert value(otdd.OTDD(), [0, 10], [1, 12], ([0, 1], [0, 1])) == pytest.approx(2 * (1 + 4) / 2, abs=1e-9)


def test_a_class_of_one_example_has_the_spread_of_the_others() -> None:
    left = np.array([0.0, 2.0, 10.0])  # variance 2 in the first class
    found = value(otdd.OTDD(), left, [0.0, 2.0, 8.0, 10.0], ([0, 0, 1], [0, 0, 1, 1]))
    cost = [
        [(a - b) ** 2 + ((1 if i < 2 else 10) - (1 if j < 2 else 9)) ** 2 for j, b in enumerate((0, 2, 8, 10))]
        for i, a in enumerate(left)
    ]
    assert found == pytest.approx(float(ot.emd2([], [], np.array(cost, dtype=float))), abs=1e-9)


def test_otdd_takes_full_covariances_where_examples_allow_and_moves_a_part_of_many() -> None:
    left, right = drawn(40, 80)
    labels = np.arange(40) % 2, np.arange(80) % 2
    assert "full" in measured(otdd.OTDD(), left, right, labels).notes[0]
    assert "diagonal" in measured(otdd.OTDD(), left[:28], right, (labels[0][:28], labels[1])).notes[0]
    found = measured(otdd.OTDD(limit=30), left, right, labels)
    assert found.notes[1] == "Moved are 30 of 40 and 30 of 80 examples."
