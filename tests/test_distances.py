"""Every distance against hand values, closed forms, independent implementations and limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import ot
import pytest
from scipy.integrate import quad
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance, norm
from two_samples import drawn, measured, value

from sterna.distances import coral, energy, frechet, mmd
from sterna.distances.a_distance import ADistance
from sterna.distances.cka import CKA
from sterna.distances.jensen_shannon import JensenShannon
from sterna.distances.kullback_leibler import KullbackLeibler
from sterna.distances.nearest import Nearest
from sterna.maths.seeds import derive

MOVE = np.array([1.0, 2.0, 2.0])
ONE: dict[str, Any] = {"bandwidths": (1.0,), "permutations": 0}


# MMD


def looped_mmd(left: np.ndarray, right: np.ndarray, variances: list[float], biased: bool) -> float:
    def mean(first: np.ndarray, second: np.ndarray, own: bool) -> float:
        total, count = 0.0, 0
        for i, a in enumerate(first):
            for j, b in enumerate(second):
                if not (own and i == j):
                    total += sum(math.exp(-float(((a - b) ** 2).sum()) / (2 * v)) for v in variances)
                    count += 1
        return total / count

    return mean(left, left, not biased) + mean(right, right, not biased) - 2 * mean(left, right, False)


@pytest.mark.parametrize(
    ("left", "right", "biased", "known"),
    [
        ([0], [1], True, 0.7869386805747),
        ([0, 1], [0, 1], False, -0.3934693402874),
        ([0, 1], [0, 1], True, 0.0),
        ([0, 1, 2], [1, 3], True, 0.2119659114611),
        ([0, 1, 2], [1, 3], False, -0.4038779355137),
    ],
)
def test_mmd_by_hand(left: list[int], right: list[int], biased: bool, known: float) -> None:
    found = measured(mmd.MMD(width=1.0, biased=biased, **ONE), left, right)
    assert found.value == pytest.approx(known, abs=1e-12)
    assert found.p is None


@pytest.mark.parametrize("biased", [False, True])
def test_mmd_is_the_double_loop_over_five_kernels_around_the_median(biased: bool) -> None:
    left, right = drawn(17, 23)
    both = np.concatenate([left, right])
    middle = np.median([((a - b) ** 2).sum() for i, a in enumerate(both) for b in both[:i]]) / 2
    known = looped_mmd(left, right, [share * middle for share in (0.25, 0.5, 1, 2, 4)], biased)
    assert value(mmd.MMD(biased=biased), left, right) == pytest.approx(known, abs=1e-12)


def test_mmd_has_no_bias_around_its_value_for_gaussians() -> None:
    d, square = 5, 4.0
    known = 2 * (square / (square + 2)) ** (d / 2) * (1 - math.exp(-1 / (2 * (square + 2))))
    assert known == pytest.approx(0.0580297440722, abs=1e-12)
    metric, found = mmd.MMD(width=2.0, **ONE), []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        found.append(value(metric, draw.normal(size=(60, d)), draw.normal(size=(60, d)) + np.eye(d)[0]))
    error = np.std(found) / math.sqrt(len(found))
    assert error < 0.003
    assert np.mean(found) == pytest.approx(known, abs=3 * error)


def test_random_features_come_near_all_pairs() -> None:
    left, right = drawn(300, 250, d=4)
    exact = value(mmd.MMD(estimate="exact"), left, right)
    for count, near in ((512, 0.1), (8192, 0.02)):
        found = measured(mmd.MMD(estimate="features", features=count), left, right)
        assert found.value == pytest.approx(exact, rel=near)
        assert f"along {count} random directions" in found.notes[0]


def test_mmd_of_a_large_sample_goes_over_to_random_features_and_exact_draws_rows() -> None:
    left, right = drawn(80, 90)
    assert "random directions" in measured(mmd.MMD(limit=50), left, right).notes[0]
    assert measured(mmd.MMD(limit=90), left, right).notes == ()
    found = measured(mmd.MMD(limit=50, estimate="exact"), left, right)
    assert found.notes == ("Measured on 50 of 80 and 50 of 90 examples, drawn at random.",)


def test_the_width_of_the_kernels_is_that_of_both_samples() -> None:
    """Where only the first rows made it, exchanging a narrow sample with a wide one would change the value."""
    draw = np.random.default_rng(0)
    narrow, wide = 0.1 * draw.normal(size=(2000, 2)), 5 * draw.normal(size=(2000, 2))
    there, back = (value(mmd.MMD(**ONE), *pair) for pair in ((narrow, wide), (wide, narrow)))
    assert there == pytest.approx(back, rel=0.05)


def test_linear_mmd_is_the_loop_over_disjoint_pairs() -> None:
    left, right = drawn(41, 50)
    metric = mmd.MMD(estimate="linear", width=1.5, bandwidths=(1.0, 2.0))
    generator = np.random.default_rng(derive("linear time", 7))
    first, second = left[generator.permutation(41)], right[generator.permutation(50)]
    terms = []
    for i in range(20):
        pairs = ((first[i], first[20 + i], 1), (second[i], second[20 + i], 1))
        pairs += ((first[i], second[20 + i], -1), (first[20 + i], second[i], -1))
        squares = [(sign, ((a - b) ** 2).sum()) for a, b, sign in pairs]
        terms.append(sum(sign * (math.exp(-s / 4.5) + math.exp(-s / 9)) for sign, s in squares))
    found = measured(metric, left, right, seed=7)
    assert found.value == pytest.approx(np.mean(terms), abs=1e-12)
    score = np.mean(terms) / np.std(terms, ddof=1) * math.sqrt(20)
    assert found.p == pytest.approx(norm.sf(score), rel=1e-9)


# Energy


def test_energy_by_hand_and_by_scipy() -> None:
    assert value(energy.Energy(), [0], [3]) == pytest.approx(6, abs=1e-12)
    assert value(energy.Energy(), [0, 1, 2], [1, 3]) == pytest.approx(0.8819171036882**2, abs=1e-12)
    left, right = drawn(40, 31, d=1)
    assert value(energy.Energy(), left, right) == pytest.approx(energy_distance(left[:, 0], right[:, 0]) ** 2)


def test_energy_is_the_double_loop() -> None:
    left, right = drawn(30, 21, d=4)
    known = 2 * cdist(left, right).mean() - cdist(left, left).mean() - cdist(right, right).mean()
    assert value(energy.Energy(), left, right) == pytest.approx(known, abs=1e-12)
    left, right = drawn(700, 600, d=4)
    known = 2 * cdist(left, right).mean() - cdist(left, left).mean() - cdist(right, right).mean()
    assert value(energy.Energy(permutations=0), left, right) == pytest.approx(known, abs=1e-5)


def test_energy_stays_above_0_by_what_its_page_says() -> None:
    metric, found = energy.Energy(permutations=0), []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        found.append(value(metric, draw.normal(size=40), draw.normal(size=60)))
    assert np.mean(found) == pytest.approx(2 / math.sqrt(math.pi) * (1 / 40 + 1 / 60), rel=0.2)


# Nearest


@pytest.mark.parametrize("count", [1, 3])
def test_nearest_is_the_loop(count: int) -> None:
    left, right = drawn(14, 19)
    both, side = np.concatenate([left, right]), np.repeat([0, 1], [14, 19])
    same = []
    for i in range(33):
        apart = [(float(((both[i] - both[j]) ** 2).sum()), side[j]) for j in range(33) if j != i]
        same += [one == side[i] for _, one in sorted(apart)[:count]]
    chance = (14 * 13 + 19 * 18) / (33 * 32)
    found = value(Nearest(neighbours=count), left, right)
    assert found == pytest.approx((np.mean(same) - chance) / (1 - chance), abs=1e-12)


def test_nearest_by_hand() -> None:
    assert value(Nearest(neighbours=1), [0, 1, 2], [10, 11, 12]) == pytest.approx(1)
    # Each has its neighbour on the other side: T = 0 and E = (2 + 2) / 12.
    assert value(Nearest(neighbours=1), [0, 10], [1, 11]) == pytest.approx(-0.5)
    # All others are neighbours, so there is nothing beyond chance.
    assert value(Nearest(neighbours=9), [0, 1], [10, 11]) == pytest.approx(0, abs=1e-12)


# Means and covariances


def exactly(mean: list[float], covariance: np.ndarray, n: int = 12) -> np.ndarray:
    """A sample with exactly this mean and covariance."""
    free = np.random.default_rng(n).normal(size=(n, len(mean)))
    free -= free.mean(axis=0)
    white = free @ np.linalg.inv(np.linalg.cholesky(np.cov(free.T)).T)
    return np.asarray(white @ np.linalg.cholesky(covariance).T + np.asarray(mean))


def test_coral_and_frechet_of_balls_of_radius_1_and_2() -> None:
    small, large = exactly([0, 0, 0], np.eye(3)), exactly([0, 0, 0], 4 * np.eye(3), 15)
    assert value(coral.Coral(), small, large) == pytest.approx(0.75, abs=1e-12)
    assert value(frechet.Frechet(), small, large) == pytest.approx(3, abs=1e-7)
    assert value(frechet.Frechet(), small, large + MOVE) == pytest.approx(12, abs=1e-7)
    assert value(coral.Coral(), small, large + MOVE) == pytest.approx(0.75, abs=1e-12)


def test_frechet_by_the_square_root_of_a_matrix() -> None:
    left, right = drawn(60, 80, d=5)
    first, second = np.cov(left.T), np.cov(right.T)
    between = np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    known = float(((left.mean(axis=0) - right.mean(axis=0)) ** 2).sum() + between)
    assert value(frechet.Frechet(), left, right) == pytest.approx(known, abs=1e-9)
    gaussians = ot.gaussian.bures_wasserstein_distance(left.mean(axis=0), right.mean(axis=0), first, second)
    assert known == pytest.approx(float(gaussians) ** 2, abs=1e-9)


def test_frechet_says_when_examples_are_few() -> None:
    left, right = drawn(50, 49, d=5)
    assert measured(frechet.Frechet(), left, right).notes == (
        "Fewer than ten examples a feature: part of the value is noise.",
    )
    assert measured(frechet.Frechet(), left, np.concatenate([right, right])).notes == ()


def test_coral_is_the_difference_of_covariances() -> None:
    left, right = drawn(9, 13, d=4)
    known = ((np.cov(left.T) - np.cov(right.T)) ** 2).sum() / 64
    assert value(coral.Coral(), left, right) == pytest.approx(known, abs=1e-12)


# Classifiers


def informed(apart: float) -> float:
    """The Jensen-Shannon divergence of N(0, 1) and N(apart, 1), nats."""

    def integrand(x: float) -> float:
        p, q = norm.pdf(x), norm.pdf(x - apart)
        return float(p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2

    return float(quad(integrand, -8, 8 + apart)[0])


@pytest.mark.parametrize(("apart", "known"), [(1.0, 0.7658498451), (2.0, 1.3653789843)])
def test_classifiers_find_the_distances_of_gaussians(apart: float, known: float) -> None:
    assert 2 * (1 - 2 * norm.cdf(-apart / 2)) == pytest.approx(known, abs=1e-9)
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=6000), draw.normal(size=4000) + apart  # of other sizes, which must not count
    assert value(ADistance(classifier="linear"), left, right) == pytest.approx(known, abs=0.04)
    assert value(JensenShannon(classifier="linear"), left, right) == pytest.approx(informed(apart), abs=0.01)
    assert value(KullbackLeibler(classifier="linear"), left, right) == pytest.approx(apart**2 / 2, rel=0.1)


def test_distances_of_a_wider_sample_need_kernels_and_have_a_direction() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(1000, 2)), 2 * draw.normal(size=(1000, 2))
    assert value(ADistance(classifier="linear"), left, right) < 0.15
    square = 2 * math.log(4) / (1 - 1 / 4)  # of the radius at which the densities cross
    best = 2 * (math.exp(-square / 8) - math.exp(-square / 2))
    found = measured(ADistance(), left, right)
    assert found.value == pytest.approx(best, abs=0.12)
    assert found.notes[0].endswith(f"by Gaussian kernels {found.value:.3f}.")
    wider, narrower = 2 * (1.5 - math.log(2)), 2 * (math.log(2) - 3 / 8)  # of N(0, 4 I) from N(0, I), and back
    there, back = value(KullbackLeibler(), left, right), value(KullbackLeibler(), right, left)
    assert 0.6 * wider < there < 1.2 * wider
    assert back == pytest.approx(narrower, rel=0.25)


def test_bounded_distances_reach_their_bounds() -> None:
    left, right = drawn(200, 150)
    for metric, top in ((ADistance(), 2.0), (JensenShannon(), math.log(2)), (Nearest(), 1.0)):
        found = value(metric, left, right + 1000)
        assert found == pytest.approx(top, abs=0.01)
        assert found <= top + 1e-12


def test_classifiers_find_little_in_one_distribution() -> None:
    draw = np.random.default_rng(3)
    left, right = draw.normal(size=(1000, 4)), draw.normal(size=(1500, 4))
    assert value(ADistance(), left, right) < 0.2
    assert value(JensenShannon(), left, right) < 0.005
    assert value(KullbackLeibler(), left, right) < 0.02


# CKA


def naive_criterion(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased criterion from kernels (n, n) with zero diagonals, term by term."""
    n = len(first)
    a, b = (one @ one.T * (1 - np.eye(n)) for one in (first, second))
    middle = a.sum() * b.sum() / ((n - 1) * (n - 2))
    return float((np.trace(a @ b) + middle - 2 * (a @ b).sum() / (n - 2)) / (n * (n - 3)))


def test_cka_is_the_ratio_of_criteria() -> None:
    left, other = drawn(40, 40, d=5)
    right = left[:, :2] + 0.5 * other[:, 3:]
    ratio = naive_criterion(left, right)
    ratio /= math.sqrt(naive_criterion(left, left) * naive_criterion(right, right))
    found = measured(CKA(), left, right)
    assert found.value == pytest.approx(1 - ratio, abs=1e-10)
    assert found.notes == (f"The alignment itself is {ratio:.4f}.",)
    centre = np.eye(40) - 1 / 40
    a, b = (centre @ one @ one.T @ centre for one in (left, right))
    biased = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    assert value(CKA(debiased=False), left, right) == pytest.approx(1 - biased, abs=1e-12)


def test_cka_by_hand() -> None:
    assert value(CKA(debiased=False), [1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1 - 0.9689922480620, abs=1e-12)


def test_cka_of_independent_features_is_about_1_only_without_bias() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(500, 100)), draw.normal(size=(500, 100))
    assert abs(value(CKA(), left, right) - 1) < 0.1
    assert 1 - value(CKA(debiased=False), left, right) == pytest.approx(0.165, abs=0.01)
    turn = np.linalg.qr(draw.normal(size=(100, 100)))[0]
    for debiased in (True, False):
        assert value(CKA(debiased=debiased), left, 3 * left @ turn + 1) == pytest.approx(0, abs=1e-12)
