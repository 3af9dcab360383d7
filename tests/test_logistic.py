"""`sterna.maths.logistic` against scikit-learn and the conditions of an optimum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sterna.errors import TrainingError
from sterna.maths import logistic
from sterna.maths.logistic import Fit, Slices, choose, fit_path


def _slices(features: np.ndarray) -> Slices:
    def blocks(size: int) -> Iterator[np.ndarray]:
        return (features[start : start + size] for start in range(0, len(features), size))

    return blocks


def _problem(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of very different means and scales, and labels that partly follow them."""
    generator = np.random.default_rng(seed)
    hidden = generator.standard_normal((n, d)) @ generator.standard_normal((d, d)) / np.sqrt(d)
    labels = (hidden @ generator.standard_normal((d, k)) + 2 * generator.standard_normal((n, k))).argmax(axis=1)
    features = hidden * 10.0 ** generator.uniform(-2, 2, d) + generator.uniform(-5, 5, d)
    return features.astype(np.float32), labels


def _probabilities(fit: Fit, features: np.ndarray) -> np.ndarray:
    powers = features.astype(np.float64) @ fit.weight.T + fit.bias
    powers = np.exp(powers - powers.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _standardised(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return (wide - wide.mean(axis=0)) / wide.std(axis=0)


def _reference(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, c: float) -> np.ndarray:
    ready = _standardised(features)
    # With two classes scikit-learn penalises one row w = W[1] - W[0], which is half as much: its C is twice ours.
    c = 2 * c if len(np.unique(labels)) == 2 else c
    model = LogisticRegression(C=c, tol=1e-8, max_iter=20_000)
    return model.fit(ready, labels, sample_weight=weights).predict_proba(ready)


@pytest.mark.parametrize(("n", "d", "k"), [(300, 10, 3), (300, 10, 2), (60, 200, 3), (40, 100, 2), (50, 50, 7)])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(n: int, d: int, k: int, weighted: bool) -> None:
    features, labels = _problem(n, d, k)
    weights = np.random.default_rng(1).uniform(0.2, 3.0, n) if weighted else np.ones(n)
    path = list(fit_path(_slices(features), labels, weights, k, (1e-3, 1e-1, 1.0)))
    for fit in path:
        wanted = _reference(features, labels, weights, fit.inverse_penalty)
        assert np.abs(_probabilities(fit, features) - wanted).max() < 1e-4, fit.inverse_penalty


def test_whole_default_path_ends_at_optima_of_real_data() -> None:
    """The gradient of the objective, written out here in the space of standardised features, vanishes."""
    data = load_digits()
    used = data.data.std(axis=0) > 0
    features, labels = data.data[:500, used].astype(np.float32), data.target[:500]
    used = features.std(axis=0) > 0
    features = features[:, used]
    ready, one_hot = _standardised(features), np.eye(10)[labels]
    for fit in fit_path(_slices(features), labels, np.ones(500), 10):
        residual = _probabilities(fit, features) - one_hot
        weight = fit.weight * features.astype(np.float64).std(axis=0)
        slope = residual.T @ ready + weight / fit.inverse_penalty
        assert np.abs(slope).max() < 2e-3, fit.inverse_penalty
        assert np.abs(residual.sum(axis=0)).max() < 2e-3


def test_streaming_gives_the_same_as_memory() -> None:
    features, labels = _problem(3000, 12, 4)
    held, streamed = (
        list(fit_path(_slices(features), labels, np.ones(3000), 4, (1e-2, 1.0), memory=memory))
        for memory in (1 << 30, 0)
    )
    for one, other in zip(held, streamed, strict=True):
        assert np.abs(_probabilities(one, features) - _probabilities(other, features)).max() < 1e-5


def test_streaming_keeps_no_more_than_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass asks for more rows than fit the block size, whatever n is."""
    features, labels = _problem(2500, 8, 3)
    monkeypatch.setattr(logistic, "_BLOCK", 8 * 8 * 100)
    asked: set[int] = set()

    def blocks(size: int) -> Iterator[np.ndarray]:
        asked.add(size)
        return _slices(features)(size)

    list(fit_path(blocks, labels, np.ones(2500), 3, (1.0,), memory=0))
    assert max(asked) <= 1024


def test_an_example_of_weight_two_is_two_examples() -> None:
    features, labels = _problem(80, 5, 3)
    doubled = [np.concatenate([part, part[:30]]) for part in (features, labels)]
    scaled = LogisticRegression(C=0.5, tol=1e-8, max_iter=5000)
    mean, spread = features.astype(float).mean(axis=0), features.astype(float).std(axis=0)
    scaled.fit((doubled[0] - mean) / spread, doubled[1])
    weights = np.where(np.arange(80) < 30, 2.0, 1.0)
    (fit,) = fit_path(_slices(features), labels, weights, 3, (0.5,))
    assert np.abs(_probabilities(fit, features) - scaled.predict_proba((features - mean) / spread)).max() < 1e-4


def test_features_far_from_zero_lose_nothing() -> None:
    features, labels = _problem(200, 6, 3)
    ready = _standardised(features).astype(np.float32)
    near, far = (
        next(fit_path(_slices(given), labels, np.ones(200), 3, (1.0,)))
        for given in (ready, (ready * 64 + 4096).astype(np.float32))
    )
    moved = _probabilities(far, (ready * 64 + 4096).astype(np.float32))
    assert np.abs(_probabilities(near, ready) - moved).max() < 1e-3


@pytest.mark.parametrize("n", [200, 4])
def test_constant_features_get_weight_zero(n: int) -> None:
    features, labels = _problem(n, 6, 3)
    labels[:3] = [0, 1, 2]
    with_constants = np.concatenate([features, np.full((n, 1), 0.1), np.zeros((n, 1))], axis=1).astype(np.float32)
    plain = next(fit_path(_slices(features), labels, np.ones(n), 3, (1.0,)))
    fit = next(fit_path(_slices(with_constants), labels, np.ones(n), 3, (1.0,)))
    assert np.all(fit.weight[:, 6:] == 0)
    assert np.abs(_probabilities(fit, with_constants) - _probabilities(plain, features)).max() < 1e-5


@pytest.mark.parametrize("n", [30, 3])
def test_only_constant_features_give_the_class_shares(n: int) -> None:
    labels = np.arange(n) % 3 // 2
    fit = next(fit_path(_slices(np.full((n, 5), 7.0, np.float32)), labels, np.ones(n), 2, (1.0,)))
    got = _probabilities(fit, np.full((1, 5), 7.0))
    assert got[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-5)


def test_fewer_examples_than_classes() -> None:
    features, _ = _problem(3, 20, 3)
    labels = np.array([4, 0, 7])
    fit = next(fit_path(_slices(features), labels, np.ones(3), 10, (1.0,)))
    got = _probabilities(fit, features)
    assert fit.weight.shape == (10, 20)
    assert got.argmax(axis=1).tolist() == [4, 0, 7]
    assert np.isfinite(got).all()
    absent = [place for place in range(10) if place not in labels]
    assert np.all(fit.weight[absent] == 0)
    assert got[:, absent].max() < 1 / 4


def test_one_class_only_is_predicted_with_the_rest_possible() -> None:
    features, _ = _problem(20, 4, 3)
    fits = list(fit_path(_slices(features), np.full(20, 1), np.ones(20), 3, (0.1, 1.0)))
    assert [fit.inverse_penalty for fit in fits] == [0.1, 1.0]
    got = _probabilities(fits[0], features)
    assert got[0] == pytest.approx(np.array([1, 21, 1]) / 23)


def test_examples_of_weight_zero_do_not_make_a_class() -> None:
    features, labels = _problem(60, 4, 3)
    weights = (labels != 2).astype(float)
    fit = next(fit_path(_slices(features), labels, weights, 3, (1.0,)))
    assert np.all(fit.weight[2] == 0)
    assert np.isfinite(fit.bias).all()


def test_the_same_input_gives_the_same_bits() -> None:
    features, labels = _problem(150, 30, 4)
    first, second = (list(fit_path(_slices(features), labels, np.ones(150), 4, (1e-2, 1.0))) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.weight.tobytes() == other.weight.tobytes()
        assert one.bias.tobytes() == other.bias.tobytes()


def _constant_fit(c: float, own: float) -> Fit:
    """Predicts class 0 with probability `own` whatever the features."""
    return Fit(c, np.zeros((2, 1)), np.log([own, 1 - own]))


def test_choose_takes_the_least_validation_loss_and_stops_there() -> None:
    seen: list[float] = []

    def path() -> Iterator[Fit]:
        for c, own in ((0.1, 0.5), (1.0, 0.8), (10.0, 0.7), (100.0, 0.6), (1000.0, 0.9)):
            seen.append(c)
            yield _constant_fit(c, own)

    chosen = choose(path(), _slices(np.zeros((4, 1), np.float32)), np.zeros(4, dtype=np.int64))
    assert chosen.fit.inverse_penalty == 1.0
    assert seen == [0.1, 1.0, 10.0, 100.0]
    assert [loss for _, loss in chosen.losses] == pytest.approx(-np.log([0.5, 0.8, 0.7, 0.6]))


def test_one_rise_does_not_stop_the_path_and_ties_go_to_the_stronger_penalty() -> None:
    features, labels = _slices(np.zeros((4, 1), np.float32)), np.zeros(4, dtype=np.int64)
    bumpy = [_constant_fit(c, own) for c, own in ((1.0, 0.8), (2.0, 0.7), (3.0, 0.9), (4.0, 0.9))]
    chosen = choose(bumpy, features, labels)
    assert chosen.fit.inverse_penalty == 3.0
    assert [c for c, _ in chosen.losses] == [1.0, 2.0, 3.0, 4.0]


def test_the_chosen_penalty_is_the_best_of_the_grid_on_real_data() -> None:
    data = load_digits()
    features, labels = data.data.astype(np.float32), data.target
    chosen = choose(
        fit_path(_slices(features[:100]), labels[:100], np.ones(100), 10), _slices(features[100:]), labels[100:]
    )
    held_out = {}
    for fit in fit_path(_slices(features[:100]), labels[:100], np.ones(100), 10):
        own = _probabilities(fit, features[100:])[np.arange(1697), labels[100:]]
        held_out[fit.inverse_penalty] = -np.log(np.maximum(own, np.finfo(float).eps)).mean()
    assert chosen.fit.inverse_penalty == min(held_out, key=lambda c: held_out[c])
    assert len(chosen.losses) < len(logistic.GRID)
    for c, loss in chosen.losses:
        assert loss == pytest.approx(held_out[c], rel=1e-6)
    accuracy = (_probabilities(chosen.fit, features[100:]).argmax(axis=1) == labels[100:]).mean()
    assert accuracy > 0.77


def test_features_that_are_not_finite_are_told() -> None:
    features, labels = _problem(20, 4, 3)
    features[3, 2] = np.inf
    with pytest.raises(TrainingError, match=r"features must be finite, .*float32 or another encoder\."):
        next(fit_path(_slices(features), labels, np.ones(20), 3))


def test_lengths_that_differ_are_refused() -> None:
    features, labels = _problem(20, 4, 3)
    with pytest.raises(ValueError, match="got 0 and 0"):
        next(fit_path(_slices(features), labels[:0], np.ones(0), 3))
    with pytest.raises(ValueError, match="got 20 and 19"):
        next(fit_path(_slices(features), labels, np.ones(19), 3))
    with pytest.raises(ValueError, match="20 rows of features for 19 labels"):
        next(fit_path(_slices(features), labels[:19], np.ones(19), 3))
    with pytest.raises(ValueError, match="got none"):
        choose([], _slices(features), labels[:0])
    with pytest.raises(ValueError, match="path is empty"):
        choose([], _slices(features), labels)


@pytest.mark.parametrize("size", [1e-33, 1e-9])
def test_a_dead_feature_gets_no_weight_however_small_it_is(size: float) -> None:
    """Units of 1e-33 beside others of 1 would ask for weights of 1e33, which float32 cannot square."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4))
    features[:, 3] = size * rng.normal(size=60)
    labels = (features[:, 0] > 0).astype(np.int64)
    assert logistic.is_flat(features.mean(axis=0), features.std(axis=0)).tolist() == [False, False, False, True]
    alone = features[:, :3]
    fits = [
        next(logistic.fit_path(lambda size, x=x: iter([x.astype(np.float32)]), labels, np.ones(60), 2, (1.0,)))
        for x in (features, alone)
    ]
    assert np.all(fits[0].weight[:, 3] == 0)
    np.testing.assert_allclose(fits[0].weight[:, :3], fits[1].weight, rtol=1e-9)
