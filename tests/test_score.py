"""`sterna.score` against scikit-learn, hand-made values and simulated coverage; and who may open sealed labels."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from growing import MOST, growth
from sklearn import metrics as reference

import sterna
from sterna import folder
from sterna.errors import DataError, TrainingError
from sterna.maths.seeds import derive
from sterna.records import Labels, Sealed
from sterna.score import Scored
from sterna.score import measure as measure_task

CLASSIFY = folder.load("tasks", "classify")()


def measure(probabilities: np.ndarray, sealed: Sealed, *, seed: int, draws: int = 2000) -> Scored:
    return measure_task(CLASSIFY, probabilities, sealed, _classes(probabilities), seed=seed, draws=draws)


def _classes(probabilities: np.ndarray) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(probabilities.shape[-1]))


def judge(probabilities: np.ndarray, labels: Labels) -> dict[str, float]:
    found: dict[str, float] = CLASSIFY.judge(probabilities, labels, _classes(probabilities))
    return found


def _predictions(n: int, k: int, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, and those probabilities made `sharpness` times too sure."""
    generator = np.random.default_rng(derive("predictions", n, k, seed))
    logits = generator.normal(0, 2, (n, k))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.minimum((generator.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1), k - 1)
    given = np.exp(logits * sharpness)
    return given / given.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize(("n", "k"), [(400, 5), (50, 2), (60, 30)])
def test_values_equal_scikit_learn(n: int, k: int) -> None:
    probabilities, labels = _predictions(n, k)
    predicted, seen = probabilities.argmax(axis=1), np.unique(labels)
    got = {
        name: score.value for name, score in measure(probabilities, Sealed(labels), seed=0, draws=10).metrics.items()
    }
    assert tuple(got) == CLASSIFY.metrics
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert got["balanced_accuracy"] == pytest.approx(
        reference.recall_score(labels, predicted, labels=seen, average="macro")
    )
    assert got["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, labels=seen, average="macro"))
    assert got["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities, labels=np.arange(k)))
    simple = judge(probabilities, labels)
    assert simple == {"accuracy": pytest.approx(got["accuracy"]), "loss": pytest.approx(got["log_loss"])}


def test_absent_classes_are_left_out_of_means_over_classes() -> None:
    """Class 2 has no example; the one prediction of it costs class 1 its recall and nothing else."""
    probabilities = np.eye(3)[[0, 0, 1, 2]]
    got = measure(probabilities, Sealed(np.array([0, 0, 1, 1])), seed=0, draws=200).metrics
    assert got["balanced_accuracy"].value == pytest.approx((1 + 0.5) / 2)
    assert got["macro_f1"].value == pytest.approx((1 + 2 / 3) / 2)


def test_correctness_and_losses_of_each_example() -> None:
    scored = measure(np.array([[0.9, 0.1], [0.6, 0.4]]), Sealed(np.array([0, 1])), seed=0, draws=10)
    assert scored.merits.tolist() == [1, 0]
    assert scored.losses == pytest.approx([-np.log(0.9), -np.log(0.4)])


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    assert judge(np.eye(2), np.array([1, 0]))["loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_calibration_error_of_one_bin_by_hand() -> None:
    """Four examples fall into one bin: mean confidence 0.75, accuracy 0.5."""
    top = np.array([0.9, 0.8, 0.7, 0.6])
    score = measure(np.stack([top, 1 - top], axis=1), Sealed(np.array([0, 0, 1, 1])), seed=0, draws=10)
    assert score.metrics["calibration_error"].value == pytest.approx(0.25)


def test_calibration_error_of_two_bins_by_hand() -> None:
    """Over- and underconfidence in different bins do not cancel: (|0.6 - 0.2| + |0.9 - 1|) / 2."""
    top = np.repeat([0.6, 0.9], 60)
    labels = np.concatenate([np.arange(60) % 5 != 0, np.zeros(60, dtype=bool)]).astype(np.int64)
    score = measure(np.stack([top, 1 - top], axis=1), Sealed(labels), seed=0, draws=10)
    assert score.metrics["calibration_error"].value == pytest.approx((0.4 + 0.1) / 2)


def test_calibration_error_equals_a_plain_loop_over_equal_bins() -> None:
    probabilities, labels = _predictions(1500, 4, sharpness=2.0)
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence), 15)
    wanted = sum(len(part) / 1500 * abs(confidence[part].mean() - hits[part].mean()) for part in parts)
    got = measure(probabilities, Sealed(labels), seed=0, draws=10).metrics["calibration_error"].value
    assert got == pytest.approx(wanted, abs=1e-3)
    order = np.random.default_rng(0).permutation(1500)
    mixed = measure(probabilities[order], Sealed(labels[order]), seed=0, draws=10)
    assert mixed.metrics["calibration_error"].value == pytest.approx(got)


def test_intervals_hold_their_values_and_shrink_with_n() -> None:
    small = measure(*_sealed(_predictions(100, 5, 1.5)), seed=3).metrics
    large = measure(*_sealed(_predictions(10_000, 5, 1.5)), seed=3).metrics
    for name in CLASSIFY.metrics:
        assert small[name].low <= small[name].value <= small[name].high
        assert large[name].high - large[name].low < 0.3 * (small[name].high - small[name].low)


def test_calibration_interval_is_not_pushed_up_by_resampling() -> None:
    """Resampling adds noise, which a sum of absolute values takes for miscalibration."""
    got = measure(*_sealed(_predictions(1000, 5)), seed=0).metrics["calibration_error"]
    assert 0.3 < (got.value - got.low) / (got.high - got.low) < 0.7


def test_accuracy_interval_equals_the_binomial_quantiles() -> None:
    """300 of 400 right: the bootstrap of a share is Binomial(400, 0.75) / 400."""
    probabilities = np.eye(2)[(np.arange(400) >= 300).astype(int)]
    score = measure(probabilities, Sealed(np.zeros(400, dtype=np.int64)), seed=0).metrics["accuracy"]
    assert (score.low, score.high) == pytest.approx((0.7075, 0.7925), abs=0.004)


def test_coverage_of_the_intervals() -> None:
    """Against the values on 200,000 examples of the same kind; 95 +- 3 % of intervals hold them."""
    probabilities, labels = _predictions(200_000, 4, 1.3, seed=1)
    names = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "average_precision", "log_loss")
    truth = measure(probabilities, Sealed(labels), seed=0, draws=1).metrics
    hits, rounds = dict.fromkeys(names, 0), 200
    for place in range(rounds):
        part = slice(place * 250, place * 250 + 250)
        got = measure(probabilities[part], Sealed(labels[part]), seed=place, draws=250).metrics
        for name in names:
            hits[name] += got[name].low <= truth[name].value <= got[name].high
    for name in names:
        assert 0.92 <= hits[name] / rounds <= 0.98, name


def test_no_error_in_a_small_sample_is_not_certainty() -> None:
    right = measure(np.eye(2)[[0, 1] * 10], Sealed(np.array([0, 1] * 10)), seed=0, draws=50).metrics
    wrong = measure(np.eye(2)[[1, 0] * 10], Sealed(np.array([0, 1] * 10)), seed=0, draws=50).metrics
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert (right[name].low, right[name].high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
        assert (wrong[name].low, wrong[name].high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_the_same_seed_gives_the_same_bits() -> None:
    probabilities, labels = _predictions(80, 3)
    first, second = (measure(probabilities, Sealed(labels), seed=5, draws=100).metrics for _ in range(2))
    assert first == second
    assert first != measure(probabilities, Sealed(labels), seed=6, draws=100).metrics


def test_time_grows_with_the_examples_and_not_with_their_square() -> None:
    def prepared(count: int) -> Callable[[], object]:
        probabilities, labels = _predictions(count, 120)
        return lambda: measure(probabilities, Sealed(labels), seed=0, draws=100)

    assert growth(prepared, 800) < MOST


def test_an_empty_test_part_is_told() -> None:
    with pytest.raises(DataError, match=r"no held-out example to score, .*: give more labelled examples\."):
        measure(np.zeros((0, 2)), Sealed(np.zeros(0, dtype=np.int64)), seed=0)


def test_a_diverged_network_is_told() -> None:
    probabilities = np.array([[0.5, 0.5], [np.nan, np.nan]])
    with pytest.raises(TrainingError, match=r"must be finite, got 1 examples of 2 .*smaller learning rate\."):
        measure(probabilities, Sealed(np.array([0, 1])), seed=0)


@pytest.mark.parametrize(
    ("probabilities", "labels", "told"),
    [
        (np.array([[0.5, 0.4]]), [0], "each row must sum to 1"),
        (np.array([[1.5, -0.5]]), [0], r"must be in \[0, 1\]"),
        (np.array([[0.5, 0.5]]), [2], "got 2 to 2"),
        (np.array([[0.5, 0.5]]), [0, 1], r"must be \(2, 2\), got \(1, 2\)"),
        (np.array([0.5, 0.5]), [0, 1], r"got \(2,\)"),
    ],
)
def test_what_is_not_a_probability_is_refused(probabilities: np.ndarray, labels: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measure(probabilities, Sealed(np.array(labels)), seed=0)


def test_only_score_opens_sealed_labels() -> None:
    """Read from the code: nothing else names the opener or the field behind it."""
    root = Path(sterna.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr == "open_for_scoring")
        or (isinstance(node, ast.Constant) and node.value == "open_for_scoring")
    }
    assert found == {"score.py"}


def _sealed(predictions: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, Sealed]:
    return predictions[0], Sealed(predictions[1])
