"""Likely label errors, near duplicates, CKA, maps and calibration: numbers by hand, limits and invariances."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from sterna.maths import alignment, confident, mistakes, neighbours, procrustes, twins
from sterna.planar import CURVED, LINEAR, planar


@pytest.fixture(scope="module")
def digits():
    found = load_digits()
    return found.data[:900].astype(np.float32), found.target[:900]


def test_thresholds_and_suspects_by_hand():
    """Three of class 0, two of class 1, worked on paper: t = ((.9 + .2 + .7) / 3, (.8 + .55) / 2) = (.6, .675)."""
    own = np.array([0.9, 0.2, 0.7, 0.2, 0.45])
    probabilities = np.stack([own, 1 - own], axis=1)
    labels = np.array([0, 0, 0, 1, 1])
    limits = confident.thresholds(probabilities, labels)
    np.testing.assert_allclose(limits, [0.6, 0.675])
    # The last reaches neither threshold; the second is confidently of class 1 and labelled 0.
    assert confident.likely_classes(probabilities, limits).tolist() == [0, 1, 0, 1, -1]
    assert confident.suspects(probabilities, labels, limits).tolist() == [1]


def test_suspects_come_by_margin_and_absent_classes_are_never_likely():
    probabilities = np.array([[0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05], [0.1, 0.5, 0.4]])
    labels = np.array([0, 0, 0, 1])
    limits = confident.thresholds(probabilities, labels)
    assert np.isinf(limits[2])
    assert confident.suspects(probabilities, labels, limits).tolist() == [1, 0]


@pytest.mark.parametrize("seed", [0, 1])
def test_half_of_flipped_labels_are_found(digits, seed):
    features, truth = digits
    generator = np.random.default_rng(seed)
    flipped = generator.permutation(len(truth))[: len(truth) // 10]
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + generator.integers(1, 10, len(flipped))) % 10
    probabilities, rest = confident.judged(features[:700], labels[:700], 10, features[700:], seed)
    # The last 200 are judged by probes that know none of their labels.
    np.testing.assert_allclose(rest.sum(axis=1), 1)
    everything = np.concatenate([probabilities, rest])
    found = confident.suspects(everything, labels, confident.thresholds(probabilities, labels[:700]))
    assert np.isin(found[: len(flipped)], flipped).sum() >= len(flipped) / 2
    assert np.isin(found, flipped).mean() > 0.5


def test_labels_to_be_judged_do_not_teach_themselves(digits):
    """An example that is alone with a wrong label is judged by the others: its own label gives it no probability."""
    features, truth = digits
    labels = truth[:300].copy()
    labels[7] = (labels[7] + 5) % 10
    probabilities, _ = confident.judged(features[:300], labels, 10, features[:0], 0)
    assert probabilities[7].argmax() == truth[7]
    assert probabilities[7, labels[7]] < 0.2


def test_classes_that_cannot_be_divided_are_not_judged():
    assert confident.judged(np.eye(3, dtype=np.float32), np.arange(3), 3, np.zeros((0, 3)), 0) is None


def test_cka_is_one_for_what_is_only_turned_scaled_and_shifted():
    generator = np.random.default_rng(0)
    left = generator.normal(size=(60, 20))
    turn, _ = np.linalg.qr(generator.normal(size=(20, 20)))
    assert alignment.debiased_cka(left, 3 * left @ turn + 1) == pytest.approx(1, abs=1e-9)
    assert alignment.debiased_cka(left, left**2) == pytest.approx(alignment.debiased_cka(left**2, left), abs=1e-12)


def test_cka_of_independent_features_is_nothing_where_the_plain_one_is_much():
    generator = np.random.default_rng(1)
    values = [alignment.debiased_cka(*generator.normal(size=(2, 200, 100))) for _ in range(10)]
    assert abs(np.mean(values)) < 0.01
    assert max(map(abs, values)) < 0.05


def test_cka_agrees_with_u_centred_kernels():
    """Szekely and Rizzo's U-centring gives the same estimate by another way: n (n - 3) HSIC = sum of products."""
    generator = np.random.default_rng(2)
    left, right = generator.normal(size=(12, 3)), generator.normal(size=(12, 5))
    right[:, :3] += left

    def centred(features):
        kernel = features @ features.T
        np.fill_diagonal(kernel, 0)
        n, sums = len(kernel), kernel.sum(axis=0)
        made = kernel - sums[:, None] / (n - 2) - sums / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(made, 0)
        return made

    a, b = centred(left), centred(right)
    wanted = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert alignment.debiased_cka(left, right) == pytest.approx(wanted, rel=1e-9)


def test_cka_says_where_it_cannot_be_had():
    assert np.isnan(alignment.debiased_cka(np.ones((8, 2)), np.random.default_rng(0).normal(size=(8, 2))))
    with pytest.raises(ValueError, match="4 at least, got 3 and 3"):
        alignment.debiased_cka(np.ones((3, 2)), np.ones((3, 2)))


def test_reliability_by_hand():
    """Four bins of two: gaps .05, .1, .35, .1 (right 1, 1, .5, .5), so the error is their mean."""
    confidences = np.array([0.9, 1.0, 0.85, 0.95, 0.8, 0.9 - 1e-9, 0.7, 0.5])
    hits = np.array([1, 1, 1, 1, 0, 1, 0, 1], dtype=bool)
    found = mistakes.reliability(confidences, hits, bins=4)
    assert [count for *_, count in found.bins] == [2, 2, 2, 2]
    by_hand = [(0.6, 0.5), (0.825, 0.5), (0.9, 1.0), (0.975, 1.0)]
    np.testing.assert_allclose([one[:2] for one in found.bins], by_hand, atol=1e-8)
    assert found.error == pytest.approx((0.1 + 0.325 + 0.1 + 0.025) / 4, abs=1e-8)


def test_reliability_does_not_depend_on_the_order_and_keeps_ties_together():
    generator = np.random.default_rng(0)
    confidences, hits = generator.choice([0.5, 0.8, 1.0], 100), generator.random(100) < 0.7
    order = generator.permutation(100)
    found, other = mistakes.reliability(confidences, hits), mistakes.reliability(confidences[order], hits[order])
    assert found == other
    assert len(found.bins) <= 3
    assert sum(count for *_, count in mistakes.reliability(generator.random(25), np.ones(25)).bins) == 25
    assert {count for *_, count in mistakes.reliability(generator.random(25), np.ones(25)).bins} == {2, 3}
    assert mistakes.reliability(np.zeros(0), np.zeros(0)).error == 0


def test_confusions():
    matrix = mistakes.confusion(np.array([0, 1, 1, 1, 2]), np.array([0, 0, 0, 1, 1]), 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 1, 1], [0, 0, 0]]
    assert mistakes.confused(matrix, 5) == [(0, 1, 2), (1, 2, 1)]
    assert mistakes.confused(matrix, 1) == [(0, 1, 2)]


def test_near_duplicates_are_found_and_mere_neighbours_are_not(digits):
    features = digits[0].copy()
    generator = np.random.default_rng(0)
    features[3] = 2 * features[500] - features.mean(axis=0)  # the same direction from the middle
    features[4] = features[600] + generator.normal(0, 0.3, 64)
    pairs, cosines = twins.near_duplicates(features)
    assert [3, 500] in pairs[:3].tolist()
    assert [4, 600] in pairs[:3].tolist()
    assert len(pairs) < 20
    assert (np.diff(cosines) <= 0).all()
    centred = features - features.mean(axis=0)
    one, other = centred[pairs[-1]]
    assert cosines[-1] == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-5)
    noise = generator.normal(size=(300, 500))
    assert len(twins.near_duplicates(noise)[0]) == 0
    assert len(twins.near_duplicates(noise[:5])[0]) == 0


def test_affinities_have_the_wanted_perplexity(digits):
    """Against widths found one by one by a root finder; 40 examples are all among the 46 nearest that count."""
    features = digits[0][:40].astype(float)
    squares = cdist(features, features, "sqeuclidean")

    def shares(row, width):
        one = np.exp(-(squares[row] - np.delete(squares[row], row).min()) / width)
        one[row] = 0
        return one / one.sum()

    def excess(log_width, row):
        one = shares(row, np.exp(log_width))
        return -(one[one > 0] * np.log2(one[one > 0])).sum() - np.log2(15)

    widths = [np.exp(brentq(excess, 3, 20, args=(row,))) for row in range(40)]
    conditional = np.stack([shares(row, width) for row, width in enumerate(widths)])
    found = neighbours.affinities(features, 15)
    np.testing.assert_allclose(found, (conditional + conditional.T) / 80, rtol=1e-6, atol=1e-15)
    # Of many examples only the 46 nearest count, and the perplexity is the same.
    many = neighbours.affinities(digits[0][:300].astype(float), 15)
    assert many.sum() == pytest.approx(1)
    assert ((many > 0).sum(axis=1) >= 46).all()


def test_the_slope_is_that_of_the_divergence():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(12, 2))
    wanted = neighbours.affinities(generator.normal(size=(12, 5)), 3)

    def divergence(at):
        near = 1 / (1 + cdist(at, at, "sqeuclidean"))
        np.fill_diagonal(near, 0)
        shares = near / near.sum()
        there = wanted > 0
        return (wanted[there] * np.log(wanted[there] / shares[there])).sum()

    slope = neighbours.gradient(points, wanted, 1.0)
    for row, column in ((0, 0), (3, 1), (11, 0)):
        step = np.zeros_like(points)
        step[row, column] = 1e-5
        numeric = (divergence(points + step) - divergence(points - step)) / 2e-5
        assert slope[row, column] == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def test_the_map_shows_classes_that_principal_directions_hide(digits):
    features, labels = digits[0][:400], digits[1][:400]
    drawn = planar(features, features[:, ::-1] * 2)
    assert drawn.method == CURVED
    centred = features.astype(float) - features.mean(axis=0)
    flat = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    score = {
        name: KNeighborsClassifier(5).fit(at[:300], labels[:300]).score(at[300:], labels[300:])
        for name, at in (("map", drawn.before), ("flat", flat))
    }
    assert score["map"] > 0.85 > score["flat"] + 0.1
    assert trustworthiness(features, drawn.before) > 0.97
    np.testing.assert_array_equal(drawn.before, planar(features, None).before)
    # The same features under another name: each point stays about where it was.
    assert np.linalg.norm(drawn.after - drawn.before, axis=1).mean() < 0.5


def test_few_points_are_drawn_by_principal_directions():
    features = np.random.default_rng(0).normal(size=(8, 5))
    drawn = planar(features, None)
    assert drawn.method == LINEAR
    assert drawn.after is None
    assert planar(np.ones((5, 3)), np.ones((5, 1))).after.tolist() == [[0, 0]] * 5


def test_a_turned_configuration_is_turned_back():
    points = np.random.default_rng(0).normal(size=(30, 2))
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])  # with a reflection
    np.testing.assert_allclose(procrustes.oriented(5 * points @ turn + 2, points), procrustes.unit(points), atol=1e-12)
    assert (procrustes.unit(points) ** 2).sum(axis=1).mean() == pytest.approx(1)
