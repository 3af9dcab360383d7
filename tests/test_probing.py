"""Small heads for many fits, against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from sterna.maths import probing

DRAW = np.random.default_rng(0)
FEATURES = DRAW.normal(size=(60, 4)) * [1.0, 0.5, 0.2, 0.1]
LABELS = (FEATURES @ DRAW.normal(size=(4, 3)) + DRAW.normal(size=(60, 3)) * 0.3).argmax(axis=1)
WEIGHTS = DRAW.uniform(0.2, 2.0, size=60)


def test_logistic_heads_are_those_of_scikit_learn():
    for strength, head in zip(
        (1.0, 10.0), probing.logistic_path(FEATURES, LABELS, WEIGHTS, 3, (1.0, 10.0)), strict=True
    ):
        known = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(FEATURES, LABELS, WEIGHTS)
        # The small penalty on the bias is all that differs.
        found = probing.probabilities(head, FEATURES)
        assert found == pytest.approx(known.predict_proba(FEATURES), abs=2e-3)
        assert found.sum(axis=1) == pytest.approx(np.ones(60))


def test_a_weight_of_two_is_an_example_twice():
    double = np.ones(60)
    double[:10] = 2
    (one,) = probing.logistic_path(FEATURES, LABELS, double, 3, (10.0,))
    twice = np.concatenate([np.arange(60), np.arange(10)])
    (other,) = probing.logistic_path(FEATURES[twice], LABELS[twice], np.ones(70), 3, (10.0,))
    assert probing.probabilities(one, FEATURES) == pytest.approx(probing.probabilities(other, FEATURES), abs=1e-3)


def test_a_class_without_examples_is_hardly_expected():
    (head,) = probing.logistic_path(FEATURES, LABELS, np.ones(60), 4, (10.0,))
    assert np.isfinite(head).all()
    assert probing.probabilities(head, FEATURES)[:, 3].max() < 0.01


def test_ridge_heads_are_those_of_scikit_learn():
    values = FEATURES @ DRAW.normal(size=(4, 2)) + 3
    for strength, head in zip((1.0, 50.0), probing.ridge_path(FEATURES, values, WEIGHTS, (1.0, 50.0)), strict=True):
        known = Ridge(alpha=1 / strength).fit(FEATURES, values, WEIGHTS)
        assert probing.predictions(head, FEATURES) == pytest.approx(known.predict(FEATURES), abs=1e-9)


def test_coordinates_keep_distances_of_standardised_features():
    raw = np.hstack([FEATURES * 7 + 2, np.ones((60, 1))])
    one, other = probing.coordinates(raw[:20], raw[20:])
    assert (one.shape, other.shape) == ((20, 4), (40, 4))
    standard = (FEATURES - FEATURES.mean(axis=0)) / FEATURES.std(axis=0)
    gram = np.concatenate([one, other]) @ np.concatenate([one, other]).T
    assert gram * 4 == pytest.approx(standard @ standard.T, abs=1e-9)
    assert np.concatenate([one, other]).var(axis=0).sum() == pytest.approx(1)
    narrow, _ = probing.coordinates(raw[:20], raw[20:], dimensions=2)
    assert narrow.shape == (20, 2)


def test_unseen_features_come_into_the_same_space():
    found = probing.coordinates(FEATURES[:30], FEATURES[30:50], unseen=FEATURES[10:15])
    assert len(found) == 3
    assert found[2] == pytest.approx(found[0][10:15], abs=1e-9)
    (seen,) = probing.coordinates(FEATURES[:30])
    again, _ = probing.coordinates(FEATURES[:30], unseen=1e6 * FEATURES[30:])
    assert np.array_equal(seen, again)


def test_features_that_never_vary_are_a_column_of_zeros():
    one, other = probing.coordinates(np.full((5, 3), 2.0), np.full((4, 3), 2.0))
    assert one.tolist() == [[0.0]] * 5
    assert other.tolist() == [[0.0]] * 4
