"""Prototypes against scikit-learn's classifiers, leave-one-out by doing it, and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from sterna.contracts import Examples, Given, Linear
from sterna.errors import TrainingError
from sterna.shallow import prototypes
from sterna.shallow.prototypes import Prototypes


def drawn(n: int, d: int, k: int, seed: int = 0, apart: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Normal classes of one skewed spread and unequal size; the seed changes the examples and not the classes."""
    fixed, generator = np.random.default_rng(99), np.random.default_rng(seed)
    means, skew = apart * fixed.normal(size=(k, d)), 0.4 * fixed.normal(size=(d, d))
    labels = np.concatenate([np.arange(k), np.minimum(generator.geometric(0.4, n - k) - 1, k - 1)])
    return (means[labels] + generator.normal(size=(n, d)) @ skew).astype(np.float32), labels


def fitted(features: np.ndarray, labels: np.ndarray, k: int, written: Prototypes, weights: np.ndarray | None = None):
    weights = np.ones(len(labels), np.float32) if weights is None else weights
    empty = Examples(features[:0], labels[:0], weights[:0])
    return written.fit(Given(Examples(features, labels, weights), empty, tuple(map(str, range(k))), "classify", 0))


def logits(head: Linear, features: np.ndarray) -> np.ndarray:
    return features.astype(np.float64) @ head.weight.T + head.bias


def test_plain_distances_are_those_of_nearest_centroid() -> None:
    features, labels = drawn(200, 12, 5)
    new = drawn(500, 12, 5, seed=1)[0]
    head = fitted(features, labels, 5, Prototypes(spherical=1, prior=False))
    np.testing.assert_array_equal(
        logits(head, new).argmax(axis=1), NearestCentroid().fit(features, labels).predict(new)
    )


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
def test_a_shared_covariance_is_linear_discriminant_analysis(share: float) -> None:
    """Their logits differ by the temperature alone, once ln p_c is taken off both."""
    features, labels = drawn(300, 6, 4)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(features, labels)
    head = fitted(features, labels, 4, Prototypes(spherical=share, prior=False))
    centred = head.weight - head.weight.mean(axis=0), oracle.coef_ - oracle.coef_.mean(axis=0)
    scale = (centred[0] * centred[1]).sum() / (centred[1] ** 2).sum()
    np.testing.assert_allclose(centred[0], scale * centred[1], atol=1e-4 * abs(centred[0]).max())
    bias = oracle.intercept_ - np.log(oracle.priors_)
    np.testing.assert_allclose(head.bias - head.bias.mean(), scale * (bias - bias.mean()), rtol=1e-3, atol=1e-3)
    assert (
        share or 0.6 < scale < 1.5
    )  # these data are what the model takes them for, so its probabilities are right as they are


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_leaving_out_is_leaving_out(share: float) -> None:
    """Each example's class mean and the scatter are computed without it; divisor and trace stay, as the page says."""
    features, labels = drawn(30, 4, 3)
    x, n = features.astype(np.float64), len(labels)
    weights = np.random.default_rng(2).integers(1, 4, n).astype(np.float64)
    classes = prototypes._classes(x, labels, weights, 3, 0.0)
    space = prototypes._space(x - classes.own[labels], weights, classes)
    examples = prototypes._Examples(x @ space.basis, labels, weights)
    got, kept = prototypes.left_out(examples, classes, space, share)
    scatter = sum(w * np.outer(r, r) for w, r in zip(weights, x - classes.own[labels], strict=True))
    assert kept.sum() > 20
    for place, i in enumerate(np.flatnonzero(kept)):
        others = np.arange(n) != i
        means = [
            np.average(x[others & (labels == c)], axis=0, weights=weights[others & (labels == c)]) for c in (0, 1, 2)
        ]
        rest = x[others] - np.array(means)[labels[others]]
        within = (rest * weights[others, None]).T @ rest / weights.sum()
        covariance = (1 - share) * within + share * np.trace(scatter) / weights.sum() / 4 * np.eye(4)
        wanted = [-(x[i] - mean) @ np.linalg.solve(covariance, x[i] - mean) / 2 for mean in means]
        np.testing.assert_allclose(got[place], wanted, rtol=1e-6)


def test_the_temperature_is_the_best_one() -> None:
    generator = np.random.default_rng(0)
    labels, weights = generator.integers(0, 3, 50), generator.random(50)
    scores = generator.normal(size=(50, 3)) * 5 + 4 * np.eye(3)[labels]
    prior = np.log([0.5, 0.3, 0.2])
    truth = np.full((50, 3), 0.1 / 3) + 0.9 * np.eye(3)[labels]

    def loss(exponent: float) -> float:
        return -(weights @ (truth * log_softmax(np.exp(exponent) * scores + prior, axis=1)).sum(axis=1)) / weights.sum()

    oracle = minimize_scalar(loss, bounds=(-14, 7), method="bounded", options={"xatol": 1e-9})
    scale, got = prototypes._temper(prototypes._Examples(scores, labels, weights), prior, smoothing=0.1)
    assert np.log(scale) == pytest.approx(oracle.x, abs=1e-4)
    assert got == pytest.approx(oracle.fun)


@pytest.mark.parametrize(("n", "d"), [(40, 60), (400, 20)])
def test_probabilities_are_calibrated(n: int, d: int) -> None:
    """On new data, no other temperature is much better than the one found on the training examples."""
    features, labels = drawn(n, d, 3)
    new, truth = drawn(4000, d, 3, seed=1)
    found = logits(fitted(features, labels, 3, Prototypes(prior=False)), new)
    losses = [-log_softmax(factor * found, axis=1)[np.arange(len(found)), truth].mean() for factor in (0.25, 1, 4)]
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]
    assert losses[1] < np.log(3)


def test_few_examples_want_plain_distances_and_many_their_covariance() -> None:
    """Which share of the identity is chosen depends on the number of examples."""
    for n, spherical in ((12, True), (3000, False)):
        features, labels = drawn(n, 30, 3, apart=0.3)
        head = fitted(features, labels, 3, Prototypes(prior=False))
        plain = fitted(features, labels, 3, Prototypes(spherical=1, prior=False))
        cosine = (head.weight * plain.weight).sum() / np.linalg.norm(head.weight) / np.linalg.norm(plain.weight)
        assert (cosine > 0.9) == spherical


def test_a_weight_of_two_is_an_example_twice() -> None:
    features, labels = drawn(60, 5, 3)
    weights = np.ones(60, np.float32)
    weights[10:30] = 2
    twice = np.concatenate([np.arange(60), np.arange(10, 30)])
    one = fitted(features, labels, 3, Prototypes(spherical=1, shrinkage=3), weights)
    two = fitted(features[twice], labels[twice], 3, Prototypes(spherical=1, shrinkage=3))
    assert np.corrcoef(one.weight.ravel(), two.weight.ravel())[0, 1] == pytest.approx(1, abs=1e-9)


def test_shrinkage_draws_small_classes_in() -> None:
    features, labels = np.array([[0.0], [2.0], [0.0], [2.0], [9.0], [11.0]], np.float32), np.array([0, 0, 0, 0, 1, 1])
    head = fitted(features, labels, 2, Prototypes(spherical=1, shrinkage=2, prior=False))
    # Means 1 and 10, of all 4: (4 x 1 + 2 x 4) / 6 = 2 and (2 x 10 + 2 x 4) / 4 = 7; the border lies half way.
    border = -(head.bias[1] - head.bias[0]) / (head.weight[1, 0] - head.weight[0, 0])
    assert border == pytest.approx(4.5)


def test_frequent_classes_are_likelier_beforehand() -> None:
    features, labels = drawn(300, 4, 3)
    flat = fitted(np.zeros_like(features), labels, 3, Prototypes())
    answers = np.exp(log_softmax(flat.bias))
    np.testing.assert_allclose(answers, np.bincount(labels) / 300, atol=1e-9)


def test_a_class_without_examples_is_unlikely_and_one_example_a_class_is_enough() -> None:
    features, labels = drawn(50, 4, 3)
    answers = np.exp(log_softmax(logits(fitted(features, labels, 4, Prototypes()), features), axis=1))
    assert answers[:, 3].max() < 0.1
    assert np.isfinite(answers).all()
    single = np.eye(3, 6, dtype=np.float32)
    head = fitted(single, np.arange(3), 3, Prototypes())
    answers = np.exp(log_softmax(logits(head, single), axis=1))
    assert (answers.argmax(axis=1) == np.arange(3)).all()
    assert answers.max() < 0.95  # unsure: nothing is known of the spread within a class


def test_features_that_are_not_finite_are_refused() -> None:
    features, labels = drawn(20, 4, 3)
    features[3, 1] = np.inf
    with pytest.raises(TrainingError, match="features must be finite"):
        fitted(features, labels, 3, Prototypes())


def test_the_same_bits_twice() -> None:
    features, labels = drawn(80, 10, 4)
    one, two = (fitted(features, labels, 4, Prototypes()) for _ in range(2))
    assert one.weight.tobytes() == two.weight.tobytes()
