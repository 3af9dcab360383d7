"""The linear model of a table is the optimum of its equation, at the penalty that loses least on unseen rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

from sterna import estimators, folder
from sterna.contracts import Examples, Given
from sterna.errors import SpecError
from sterna.maths import folds
from sterna.records import Column
from sterna.shallow import linear
from sterna.shallow.linear import Linear

COLUMNS = (Column("a", "numeric"), Column("b", "numeric"), Column("c", "category"))


def rows(count: int, seed: int = 0) -> list[tuple[Any, ...]]:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(count, 2))
    return [
        (float(a), None if place % 7 == 0 else float(b), ["x", "y", "z"][place % 3])
        for place, (a, b) in enumerate(values)
    ]


def examples(inputs: list, labels: np.ndarray, weights: np.ndarray | None = None) -> Examples:
    return Examples(inputs, labels, np.ones(len(labels), np.float32) if weights is None else weights)


def given(target: Examples, validation: Examples | None = None, task: str = "classify", k: int = 2) -> Given:
    nothing = examples([], target.labels[:0])
    return Given(target, validation or nothing, tuple("abcdef"[:k]), task, 0, COLUMNS)


ROWS = rows(90)
CLASSES = np.array([int(row[0] + (row[2] == "x") > 0.4) + int(row[0] > 1) for row in ROWS])
WEIGHTS = np.linspace(0.2, 2, 90).astype(np.float32)


def features(model: Any, inputs: list | None = None) -> np.ndarray:
    return np.asarray(model[0].transform(ROWS if inputs is None else inputs))


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_three_classes_are_multinomial_logistic_regression(c: float) -> None:
    model = Linear(inverse_penalty=c).fit(given(examples(ROWS, CLASSES, WEIGHTS), k=3))
    wanted = LogisticRegression(C=c, tol=1e-10, max_iter=10_000)
    made = features(model)
    # The path standardises the features once more, and the penalty is on weights of those.
    scale = np.where(made.std(axis=0) > 0, made.std(axis=0), 1)
    wanted.fit(made / scale, CLASSES, sample_weight=WEIGHTS)
    got = estimators.answers(model, ROWS, "classify", 3)
    np.testing.assert_allclose(got, wanted.predict_proba(made / scale), atol=2e-4)


def test_several_labels_are_each_a_penalised_logistic_regression() -> None:
    """Against the equation itself: with two rows of weights of one label, the penalty on their difference is halved."""
    labels = np.stack([CLASSES > 0, CLASSES == 2], axis=1).astype(np.uint8)
    model = Linear(inverse_penalty=0.5).fit(given(examples(ROWS, labels), task="multilabel"))
    made = features(model)
    made = (made - made.mean(axis=0)) / np.where(made.std(axis=0) > 0, made.std(axis=0), 1)
    got = estimators.answers(model, ROWS, "multilabel", 2)
    for place in range(2):
        signs = 2.0 * labels[:, place] - 1

        def objective(point: np.ndarray, signs: np.ndarray = signs) -> float:
            return float(np.logaddexp(0, -signs * (made @ point[1:] + point[0])).sum() + point[1:] @ point[1:] / 2)

        best = minimize(objective, np.zeros(made.shape[1] + 1), tol=1e-12).x
        np.testing.assert_allclose(got[:, place], 1 / (1 + np.exp(-made @ best[1:] - best[0])), atol=1e-3)


def test_values_are_ridge_regression() -> None:
    values = np.array([[3 * row[0] + 1, (row[2] == "y") * 5.0] for row in ROWS])
    model = Linear(inverse_penalty=0.25).fit(given(examples(ROWS, values, WEIGHTS), task="regress"))
    wanted = Ridge(alpha=4).fit(features(model), values, sample_weight=WEIGHTS).predict(features(model))
    np.testing.assert_allclose(estimators.answers(model, ROWS, "regress", 2), wanted, atol=1e-10)
    one = Linear(inverse_penalty=0.25).fit(given(examples(ROWS, values[:, :1], WEIGHTS), task="regress", k=1))
    np.testing.assert_allclose(estimators.answers(one, ROWS, "regress", 1), wanted[:, :1], atol=1e-10)


def noisy(count: int, seed: int) -> tuple[list, np.ndarray]:
    """Labels that the rows say little about: a weak penalty learns the noise."""
    generator = np.random.default_rng(seed)
    inputs = [tuple(map(float, row)) for row in generator.normal(size=(count, 12))]
    return inputs, (np.array(inputs)[:, 0] + 2 * generator.normal(size=count) > 0).astype(np.int64)


NOISY = tuple(Column(f"n{place}", "numeric") for place in range(12))


def test_validation_chooses_the_penalty() -> None:
    inputs, labels = noisy(60, 1)
    held, judged = noisy(200, 2)
    parts = examples(inputs, labels), examples(held, judged)
    chosen = Linear().fit(Given(*parts, ("a", "b"), "classify", 0, NOISY))

    def loss(model: Any) -> float:
        found = estimators.answers(model, held, "classify", 2)
        return float(-np.log(found[np.arange(len(judged)), judged]).mean())

    each = [
        Linear(inverse_penalty=c).fit(Given(*parts, ("a", "b"), "classify", 0, NOISY)) for c in linear.logistic.GRID
    ]
    assert loss(chosen) == pytest.approx(min(map(loss, each)), rel=1e-4)
    assert loss(chosen) < 0.95 * loss(each[-1])


def test_few_validation_examples_do_not_choose_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four examples would choose by chance; with cross-validation beside them the choice is about the best."""
    test, truth = noisy(1500, 99)

    def loss(seed: int) -> float:
        inputs, labels = noisy(40, seed)
        held, judged = noisy(4, seed + 1000)
        model = Linear().fit(Given(examples(inputs, labels), examples(held, judged), ("a", "b"), "classify", 0, NOISY))
        found = estimators.answers(model, test, "classify", 2)
        return float(-np.log(found[np.arange(len(truth)), truth]).mean())

    together = [loss(seed) for seed in range(8)]
    monkeypatch.setattr(linear, "ENOUGH", 0)
    alone = [loss(seed) for seed in range(8)]
    assert np.mean(together) < np.mean(alone) - 0.02
    assert max(together) < 0.8 < max(alone)


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_without_validation_examples(task: str) -> None:
    inputs, labels = noisy(40, 3)
    made = labels if task == "classify" else labels[:, None].astype(float)
    nothing = examples([], made[:0])
    model = Linear().fit(
        Given(examples(inputs, made), nothing, ("a", "b")[: 2 if task == "classify" else 1], task, 0, NOISY)
    )
    assert np.isfinite(estimators.answers(model, inputs, task, 2 if task == "classify" else 1)).all()
    two = examples(inputs[:2], np.array([0, 1]))
    tiny = Linear().fit(Given(two, nothing, ("a", "b"), "classify", 0, NOISY))
    stated = Linear(inverse_penalty=linear.UNCHOSEN).fit(Given(two, nothing, ("a", "b"), "classify", 0, NOISY))
    np.testing.assert_array_equal(tiny[1].weight, stated[1].weight)


def test_a_class_or_label_without_examples() -> None:
    model = Linear().fit(given(examples(ROWS, np.where(CLASSES == 1, 3, 0)), k=5))
    found = estimators.answers(model, ROWS, "classify", 5)
    assert found.shape == (90, 5)
    assert found[:, [1, 2, 4]].max() < 0.05
    labels = np.zeros((90, 2), dtype=np.uint8)
    labels[:, 0] = CLASSES > 0
    never = estimators.answers(Linear().fit(given(examples(ROWS, labels), task="multilabel")), ROWS, "multilabel", 2)
    assert never[:, 1].max() < 0.05


def test_source_examples_weigh_what_they_are_told_to() -> None:
    """Source rows of the opposite rule: at weight 1 they turn the answer, at weight 0.001 they hardly count."""
    target, labels = ROWS[:30], (np.array([row[0] for row in ROWS[:30]]) > 0).astype(np.int64)
    source = ROWS[30:]
    against = (np.array([row[0] for row in source]) < 0).astype(np.int64)
    both = np.concatenate([labels, against])

    def slope(weight: float) -> float:
        weights = np.r_[np.ones(30), np.full(60, weight)].astype(np.float32)
        model = Linear(inverse_penalty=1.0).fit(given(examples(target + source, both, weights)))
        return float(model[1].weight[1, 0] - model[1].weight[0, 0])

    alone = Linear(inverse_penalty=1.0).fit(given(examples(target, labels)))
    assert slope(1.0) < 0 < slope(0.1)
    assert slope(1e-6) > 0.5 * float(alone[1].weight[1, 0] - alone[1].weight[0, 0])


def test_balanced_moves_the_border_towards_the_many() -> None:
    inputs, labels = noisy(200, 5)
    rare = np.array([place for place in range(200) if labels[place] == 0 or place % 8 == 0])
    parts = [inputs[place] for place in rare], labels[rare]
    plain, fair = (
        Linear(inverse_penalty=0.1, balanced=one).fit(
            Given(examples(*parts), examples([], labels[:0]), ("a", "b"), "classify", 0, NOISY)
        )
        for one in (False, True)
    )
    shares = [estimators.answers(model, inputs, "classify", 2)[:, 1].mean() for model in (plain, fair)]
    assert shares[0] < 0.2
    assert shares[1] == pytest.approx(0.5, abs=0.12)


def test_the_same_seed_gives_the_same_bits_and_the_file_keeps_them(tmp_path: Path) -> None:
    first, second = (Linear().fit(given(examples(ROWS, CLASSES), k=3)) for _ in range(2))
    np.testing.assert_array_equal(first[1].weight, second[1].weight)
    estimators.save(first, tmp_path / "model.skops")
    np.testing.assert_array_equal(
        estimators.answers(estimators.load(tmp_path / "model.skops"), ROWS, "classify", 3),
        estimators.answers(first, ROWS, "classify", 3),
    )


def test_it_is_a_floor_on_rows() -> None:
    assert folder.resolve("shallow", "linear(inverse_penalty=0.5)") == (Linear(inverse_penalty=0.5),)
    assert (Linear.takes, Linear.pretrained) == ("row", False)
    with pytest.raises(SpecError, match=r"inverse_penalty of linear must be in \(0, 1e\+06\], got 0"):
        folder.resolve("shallow", "linear(inverse_penalty=0)")


# Folds -------------------------------------------------------------------------------------------------------------


def test_folds_judge_each_target_example_once_and_learn_from_all_others() -> None:
    labels, weights = np.array([0] * 12 + [1] * 8 + [0] * 5), np.r_[np.ones(20), np.full(5, 0.3)]
    pairs = folds.folds(labels, weights, "classify", 3)
    assert len(pairs) == folds.FOLDS
    np.testing.assert_array_equal(np.sort(np.concatenate([judged for _, judged in pairs])), np.arange(20))
    for learnt, judged in pairs:
        assert set(learnt) | set(judged) == set(range(25))
        assert not set(learnt) & set(judged)
        assert 1 <= (labels[judged] == 1).sum() <= 2
    assert [tuple(one) for one, _ in pairs] == [tuple(one) for one, _ in folds.folds(labels, weights, "classify", 3)]


@pytest.mark.parametrize(
    ("labels", "count"), [([], 0), ([0], 0), ([0, 1], 0), ([0, 0, 1, 1], 2), ([0] * 9 + [1] * 3, 5)]
)
def test_folds_of_few(labels: list[int], count: int) -> None:
    made = np.array(labels, dtype=np.int64)
    assert len(folds.folds(made, np.ones(len(made)), "classify", 0)) == count


def test_balanced_weights_by_hand() -> None:
    got = folds.balanced(np.array([0, 0, 0, 2]), np.array([1.0, 1.0, 2.0, 1.0]), "classify")
    np.testing.assert_allclose(got, [2.5 / 4, 2.5 / 4, 5 / 4, 2.5])
    labels = np.ones((2, 2), dtype=np.uint8)
    np.testing.assert_array_equal(folds.balanced(labels, np.array([1.0, 3.0]), "multilabel"), [1, 3])


@pytest.mark.parametrize("task", ["classify", "regress", "multilabel"])
def test_a_settled_method_keeps_the_penalty_and_needs_no_validation_part(task: str) -> None:
    inputs, labels = noisy(60, 0)
    values = {"classify": labels, "regress": labels[:, None] * 1.0, "multilabel": np.eye(2, dtype=np.uint8)[labels]}[
        task
    ]
    k = 1 if task == "regress" else 2
    target, held = examples(inputs[:40], values[:40]), examples(inputs[40:], values[40:])
    names = tuple("abc"[:k])
    model = Linear().fit(Given(target, held, names, task, 0, NOISY))
    settled = Linear().settled(model)
    assert settled.inverse_penalty == model["model"].inverse_penalty
    again = settled.fit(Given(target, examples([], values[:0]), names, task, 0, NOISY))
    assert again["model"].weight == pytest.approx(model["model"].weight, abs=1e-3)
