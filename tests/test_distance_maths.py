"""Kernels, permutation tests, samples, transport and domain classifiers against loops, closed forms and counting."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from scipy.stats import binom, kstest
from two_samples import drawn, measured

from sterna.distances import energy, mmd, nearest
from sterna.errors import DataError
from sterna.maths import domains, kernels, logistic, permutation, samples, transport

# Permutation tests: how often they are wrong, and right

TESTS = {
    "mmd": mmd.MMD(permutations=19),
    "mmd by features": mmd.MMD(permutations=19, estimate="features", features=16),
    "energy": energy.Energy(permutations=19),
}


@pytest.mark.parametrize("name", TESTS)
def test_p_values_are_uniform_where_nothing_differs(name: str) -> None:
    found, draw = [], np.random.default_rng(11)
    for seed in range(200):
        p = measured(TESTS[name], draw.exponential(size=(6, 2)), draw.exponential(size=(9, 2)), seed=seed).p
        assert p is not None
        found.append(p - draw.uniform() / 20)  # 20 p is uniform on 1 to 20, so this is on 0 to 1
    assert kstest(found, "uniform").pvalue > 0.01


def rejected(metric: object, sample: object, repeats: int, level: float) -> int:
    """How many of the repeats have a p value of at most `level`."""
    found = [measured(metric, *sample(seed), seed=seed).p for seed in range(repeats)]  # type: ignore[operator]
    return sum(p <= level + 1e-12 for p in found if p is not None)


@pytest.mark.parametrize("shape", ["continuous", "duplicates"])
def test_nearest_rejects_no_more_than_its_level(shape: str) -> None:
    def same(seed: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        both = draw.normal(size=(40, 2)) if shape == "continuous" else draw.integers(8, size=(40, 1)).astype(float)
        return both[:30], both[30:]

    metric = nearest.Nearest(neighbours=3, permutations=99)
    assert binom.sf(rejected(metric, same, 300, 0.05) - 1, 300, 0.05) > 0.01
    assert binom.cdf(rejected(metric, same, 300, 0.5), 300, 0.5) > 1e-6  # and is not silent either


def test_linear_mmd_rejects_at_its_level() -> None:
    def same(seed: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        return draw.exponential(size=(300, 2)), draw.exponential(size=(300, 2))

    metric = mmd.MMD(estimate="linear")
    found = [measured(metric, *same(seed), seed=seed).p for seed in range(200)]
    assert kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", [*TESTS, "nearest", "linear"])
def test_a_shift_is_found(name: str) -> None:
    others = {"nearest": nearest.Nearest(permutations=19), "linear": mmd.MMD(estimate="linear")}
    size = 400 if name == "linear" else 40

    def shifted(seed: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        return draw.normal(size=(size, 2)), draw.normal(size=(size, 2)) + 1

    assert rejected((TESTS | others)[name], shifted, 30, 0.05) >= 27


@pytest.mark.parametrize("metric", [mmd.MMD(permutations=99), energy.Energy(permutations=99)])
def test_a_p_value_is_never_0_and_can_be_left_out(metric: object) -> None:
    left, right = drawn(30, 30)
    assert measured(metric, left, right + 100).p == pytest.approx(1 / 100)
    assert measured(metric, left, left).p == 1
    none = type(metric)(permutations=0)
    assert measured(none, left, right).p is None


def test_the_p_value_is_the_share_of_all_divisions() -> None:
    left, right = drawn(4, 4, d=1)
    both = np.concatenate([left, right])
    found = []
    for chosen in combinations(range(8), 4):
        own = np.isin(np.arange(8), chosen)
        a, b = both[own], both[~own]
        found.append(2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean())
    exact = np.mean(np.array(found) >= found[0] - 1e-12)
    p = measured(energy.Energy(permutations=9999), left, right).p
    assert p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9999))


def test_p_value_by_hand() -> None:
    assert permutation.p_value(np.array([2.0])) is None
    assert permutation.p_value(np.array([2.0, 1.0, 3.0, 2.0])) == 0.75
    assert permutation.p_value(np.array([2.0, 2.0 - 1e-12, 1.0, 0.0])) == 0.5  # rounding makes no difference
    assert permutation.p_value(np.ones(5)) == 1


def test_the_strongest_is_in_units_of_its_own_spread() -> None:
    statistics = np.array([[3.0, 1.0, 2.0], [100.0, 400.0, 100.0], [5.0, 5.0, 5.0]])
    spread = math.sqrt(2 / 3)
    known = [1 / spread, 200 / math.sqrt(20_000), 0]
    np.testing.assert_allclose(permutation.strongest(statistics), known, atol=1e-12)


def test_divisions_keep_their_sizes_and_the_observed_one_is_first() -> None:
    members = permutation.memberships(3, 4, 500, 0)
    assert members.shape == (7, 501)
    assert members[:, 0].tolist() == [True] * 3 + [False] * 4
    assert (members.sum(axis=0) == 3).all()
    assert len({tuple(column) for column in members.T.tolist()}) == math.comb(7, 3)
    shares = members[:, 1:].mean(axis=1)
    assert np.abs(shares - 3 / 7).max() < 4 * math.sqrt(12 / 49 / 500)


@pytest.mark.parametrize("diagonal", [None, 2.0])
def test_sums_of_pairs_are_loops(diagonal: float | None) -> None:
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(7, 7))
    kernel += kernel.T
    np.fill_diagonal(kernel, 2.0)
    members = permutation.memberships(3, 4, 5, 1)
    found = permutation.difference(permutation.pair_sums(kernel, members), 3, 4, diagonal)
    for value, column in zip(found, members.T, strict=True):
        a, b = np.flatnonzero(column), np.flatnonzero(~column)
        means = []
        for rows in (a, b):
            pairs = [kernel[i, j] for i in rows for j in rows if diagonal is None or i != j]
            means.append(np.mean(pairs))
        across = np.mean([kernel[i, j] for i in a for j in b])
        assert value == pytest.approx(means[0] + means[1] - 2 * across, abs=1e-12)


# Kernels


def test_feature_sums_are_sums_of_the_kernel_of_the_features() -> None:
    draw = np.random.default_rng(0)
    points, directions = draw.normal(size=(9, 3)).astype(np.float32), draw.normal(size=(3, 4)).astype(np.float32)
    members = permutation.memberships(4, 5, 6, 0)
    found = kernels.feature_sums(points, (0.5, 2.0), directions, members)
    for sums, variance in zip(found, (0.5, 2.0), strict=True):
        angles = points.astype(float) @ directions.astype(float) / math.sqrt(variance)
        kernel = np.cos(angles[:, None] - angles).mean(axis=2)
        known = permutation.pair_sums(kernel, members)
        for part in ("left", "right", "across"):
            np.testing.assert_allclose(getattr(sums, part), getattr(known, part), atol=1e-5)


def test_the_median_is_that_of_all_pairs_and_never_0() -> None:
    points = np.array([[0.0], [1.0], [3.0]])
    assert kernels.median_of(points, 0) == 4  # of 1, 4 and 9
    assert kernels.median_of(np.array([[0.0], [0.0], [0.0], [2.0]]), 0) == 2  # the mean, where most are the same
    assert kernels.median_of(np.zeros((5, 2)), 0) == kernels.median_of(np.zeros((1, 2)), 0) == 1
    draw = np.random.default_rng(0)
    both = np.concatenate([draw.normal(size=(3000, 1)), 10 * draw.normal(size=(3000, 1))])
    whole = np.median(cdist(both[::3], both[1::3], "sqeuclidean"))
    assert kernels.median_of(both, 0) == pytest.approx(whole, rel=0.15)


@pytest.mark.parametrize("count", [2, 7, 300, 513, 601])
def test_the_median_of_many_pairs_is_found_without_putting_them_in_order(count: int) -> None:
    draw = np.random.default_rng(count)
    for points in (draw.normal(size=(count, 3)), np.repeat(draw.integers(2, size=(count, 1)), 2, axis=1) * 1.0):
        wanted = np.median(pdist(points, "sqeuclidean"))
        assert kernels.median_of(points, 0) == pytest.approx(wanted or pdist(points, "sqeuclidean").mean(), rel=1e-9)
    rising = np.arange(2**17 + count, dtype=np.float64)
    for values in (rising, rising % 97, draw.permutation(rising), np.where(rising % 8 == 0, 1e9, rising)):
        assert kernels._middle(values) == np.median(values)


@pytest.mark.parametrize("sizes", [(30, 20), (900, 2500)])
def test_pooled_samples_lie_around_the_origin(sizes: tuple[int, int]) -> None:
    left, right = drawn(*sizes)
    found = kernels.pooled(left + 1000, right + 1000)
    assert found.dtype == (np.float64 if sum(sizes) <= 1000 else np.float32)
    both = np.concatenate([left, right])
    np.testing.assert_allclose(found, both - both.mean(axis=0), atol=1e-6)
    squares = kernels.pairwise(found[:100])
    assert (np.diag(squares) == 0).all()
    np.testing.assert_allclose(squares, cdist(found[:100], found[:100], "sqeuclidean"), atol=1e-4)
    np.testing.assert_allclose(kernels.gaussian(squares, 3.0), np.exp(-squares / 6), rtol=1e-5)


def test_alignment_is_nowhere_made_of_rounding() -> None:
    draw = np.random.default_rng(0)
    side = draw.normal(size=(50, 3))
    for flat in (np.full((50, 3), 0.1), np.zeros((50, 2)), np.full((50, 1), 1e9)):
        for debiased in (True, False):
            assert math.isnan(kernels.alignment(flat, side, debiased))
            assert math.isnan(kernels.alignment(side, flat, debiased))
    assert math.isnan(kernels.alignment(side[:3], side[:3]))
    assert math.isnan(kernels.alignment(side[:0], side[:0], False))
    assert kernels.alignment(1e-8 * side + 1, side) == pytest.approx(1, abs=1e-6)


# Samples


def test_thinned_rows_are_drawn_without_order_or_repetition() -> None:
    assert samples.thinned(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    found = samples.thinned(1000, 100, 0, "left")
    assert len(np.unique(found)) == 100
    assert (np.diff(found) > 0).all()
    assert not np.array_equal(found, samples.thinned(1000, 100, 0, "right"))
    counts = np.bincount(np.concatenate([samples.thinned(20, 5, seed) for seed in range(400)]))
    assert np.abs(counts - 100).max() < 45


def test_moments_are_those_of_numpy_block_by_block() -> None:
    left, _ = drawn(25, 2)
    mean, covariance = samples.moments(left + 1e5, size=4)
    np.testing.assert_allclose(mean, (left + 1e5).mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(left.T), atol=1e-9)
    assert (samples.moments(left[:1])[1] == 0).all()


def test_unlike_samples_are_refused() -> None:
    with pytest.raises(DataError, match="x compares samples that have the same features, got 3 and 2 of them; use one"):
        samples.check("x", np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(DataError, match="x needs at least 6 examples on each side, got 7 and 5; add examples"):
        samples.check("x", np.zeros((7, 3)), np.zeros((5, 3)), 6)


# Transport


def test_bures_is_by_square_roots_and_of_several() -> None:
    draw = np.random.default_rng(0)
    first, *others = (one @ one.T for one in draw.normal(size=(4, 3, 3)))
    np.testing.assert_allclose(transport.root(first) @ transport.root(first), first, atol=1e-12)
    found = transport.bures(first, np.stack(others))
    known = [np.trace(first + one - 2 * np.real(sqrtm(first @ one))) for one in others]
    np.testing.assert_allclose(found, known, atol=1e-9)
    flat = np.outer([1.0, 2.0, 2.0], [1.0, 2.0, 2.0])  # of rank 1: 9 along one direction
    assert transport.bures(flat, np.zeros((3, 3))) == pytest.approx(9)
    assert transport.bures(flat, 4 * flat) == pytest.approx(9)  # (6 - 3)^2
    assert transport.bures(first, first) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 2), (6, 4), (7, 1), (5, 13)])
def test_transport_on_a_line_is_that_of_pot(sizes: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    left, right = (np.sort(draw.normal(size=(5, size))) for size in sizes)
    cost = [(a[:, None] - b) ** 2 for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(transport.on_a_line(left, right), [ot.emd2([], [], one) for one in cost], atol=1e-12)


def test_smoothed_transport_goes_from_exact_to_independent() -> None:
    cost = np.random.default_rng(0).uniform(size=(6, 9))
    value, missed = transport.smoothed(cost, 0.01, 20_000, 1e-9)
    # Entropy adds at most the weight times ln n, since no plan is further from the independent one.
    assert 0 <= value - ot.emd2([], [], cost) <= 0.01 * math.log(6)
    assert missed <= 1e-9
    assert transport.smoothed(cost, 1e6, 100, 1e-12)[0] == pytest.approx(cost.mean(), abs=1e-5)
    with np.errstate(all="raise", under="ignore"):  # factors may vanish, but nothing is divided by them
        value, missed = transport.smoothed(1e9 * cost, 1.0, 3, 1e-9)
    assert math.isfinite(value)
    assert missed > 1e-9  # it says when it has not arrived


@pytest.mark.parametrize("seed", [0, 5])
def test_smoothed_transport_of_heavy_tails_stays_within_floats(seed: int) -> None:
    """Factors grow beyond what floats hold, several times, before the outliers have found one another."""
    draw = np.random.default_rng(seed)
    left, right = draw.standard_t(1, size=(60, 2)), draw.standard_t(1, size=(60, 2)) + 1
    cost = cdist(left, right, "sqeuclidean")
    weight = 0.05 * kernels.median_of(np.concatenate([left, right]), 0)
    with np.errstate(all="raise", under="ignore"):
        value, missed = transport.smoothed(cost, weight, 3000, 1e-6)
    exact = float(ot.emd2([], [], cost))
    assert missed < 1e-3
    assert exact * (1 - 1e-6) <= value <= exact + weight * math.log(60)


# Classifiers of domains


def test_losses_and_errors_by_hand() -> None:
    left, right = np.array([-1.0, 2.0, 0.0, -3.0]), np.array([1.0, -1.0])
    assert domains.errors(left, right) == pytest.approx((1.5 / 4 + 1 / 2) / 2)
    by_loop = np.mean([math.log(1 + math.exp(x)) for x in left]) + np.mean([math.log(1 + math.exp(-x)) for x in right])
    assert domains.losses(left, right) == pytest.approx(by_loop / 2)


def test_rows_are_judged_by_models_that_have_not_seen_them() -> None:
    """With more features than rows anything is separable in the sample, and nothing beyond it."""
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(60, 300)), draw.normal(size=(60, 300))
    assert abs(domains.errors(*domains.held_out(left, right, "linear", 0)) - 0.5) < 0.15


def test_odds_are_those_of_the_densities_whatever_the_sizes() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(3000, 2)), draw.normal(size=(150, 2)) + np.array([1.5, 0])
    own, other = domains.held_out(left, right, "linear", 0)
    odds = 1.5 * np.concatenate([left, right])[:, 0] - 1.5**2 / 2
    slope, level = np.polyfit(odds, np.concatenate([own, other]), 1)
    assert slope == pytest.approx(1, abs=0.25)
    assert level == pytest.approx(0, abs=0.25)


def test_the_penalty_is_chosen_by_a_loss_to_which_both_sides_count_alike() -> None:
    draw = np.random.default_rng(2)  # where the loss of the rows as they are would choose another
    labels = np.repeat([0, 1, 0, 1], [60, 60, 200, 10])
    inputs = (draw.normal(size=(330, 20)) + 0.3 * labels[:, None]).astype(np.float32)
    learning, choosing = np.arange(120), np.arange(120, 330)
    repeated = np.concatenate([choosing[:200], np.tile(choosing[200:], 20)])
    found = domains.fitted(inputs, labels, 2, learning, choosing)
    assert found.inverse_penalty == domains.fitted(inputs, labels, 2, learning, repeated).inverse_penalty
    path = list(logistic.fit_path(lambda size: iter([inputs[:120]]), labels[:120], np.ones(120), 2, domains.PENALTIES))
    losses = []
    for fit in path:
        logits = domains.answers(fit, inputs[choosing])
        odds = logits[:, 1] - logits[:, 0]
        losses.append(domains.losses(odds[:200], odds[200:]))
    assert found.inverse_penalty == path[int(np.argmin(losses))].inverse_penalty
