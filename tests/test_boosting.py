"""Gradient boosting of a table: scikit-learn's trees, with leaves that small tables can fill and validated numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from sterna import estimators, folder
from sterna.contracts import Examples, Given
from sterna.errors import SpecError
from sterna.records import Column
from sterna.shallow import boosting
from sterna.shallow.boosting import Boosting

PLAIN = tuple(Column(f"n{place}", "numeric") for place in range(4))


def examples(inputs: list, labels: np.ndarray, weights: np.ndarray | None = None) -> Examples:
    return Examples(inputs, labels, np.ones(len(labels), np.float32) if weights is None else weights)


def crossed(count: int, seed: int, noise: float = 0.0) -> tuple[list[tuple[float, ...]], np.ndarray]:
    """The label is whether two columns have one sign: nothing for a linear model."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(count, 4))
    labels = (values[:, 0] * values[:, 1] + noise * generator.normal(size=count) > 0).astype(np.int64)
    return [tuple(map(float, row)) for row in values], labels


def given(
    target: Examples,
    validation: Examples,
    task: str = "classify",
    k: int = 2,
    columns: tuple[Column, ...] = PLAIN,
) -> Given:
    return Given(target, validation, tuple("abcdef"[:k]), task, 0, columns)


TRAIN, LABELS = crossed(240, 0)
HELD, JUDGED = crossed(120, 1)
TEST, TRUTH = crossed(400, 2)
VALUES = np.array([[row[0] * row[1], row[2]] for row in TRAIN])
NOTHING = examples([], LABELS[:0])


def share(model: Any, k: int = 2) -> float:
    return float((estimators.answers(model, TEST, "classify", k).argmax(axis=1) == TRUTH).mean())


def test_it_is_scikit_learns_boosting_with_the_validated_number_of_trees() -> None:
    model = Boosting(trees=120).fit(given(examples(TRAIN, LABELS), examples(HELD, JUDGED)))
    count = model[1].max_iter
    options = {"learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 20, "l2_regularization": 1.0}
    wanted = HistGradientBoostingClassifier(**options, max_iter=120, early_stopping=False).fit(TRAIN, LABELS)
    losses = [-np.log(p[np.arange(120), JUDGED]).mean() for p in wanted.staged_predict_proba(np.array(HELD))]
    assert count == int(np.argmin(losses)) + 1
    wanted.set_params(max_iter=count).fit(TRAIN, LABELS)
    np.testing.assert_allclose(estimators.answers(model, TEST, "classify", 2), wanted.predict_proba(TEST), atol=1e-12)
    assert share(model) > 0.85


@pytest.mark.parametrize("kinds", [1, 150])
def test_examples_that_weigh_differently_are_binned_coarsely_and_categories_are_not(kinds: int) -> None:
    """Binning columns by weight takes scikit-learn most of the time; a category needs a bin of its own."""
    draw = np.random.default_rng(0)
    rows = [(float(value), f"kind {place % kinds}") for place, value in enumerate(draw.normal(size=900))]
    labels = np.array([int(row[0] > 0) for row in rows])
    columns = (Column("number", "numeric"), Column("kind", "category"))
    held = examples(rows[600:], labels[600:])
    models = [
        Boosting(trees=20).fit(given(examples(rows[:600], labels[:600], weights), held, columns=columns))
        for weights in (np.where(np.arange(600) < 300, 1.0, 0.2), np.ones(600))
    ]
    assert [model[1].max_bins for model in models] == [max(boosting.COARSE, kinds), 255]
    assert all(model.score(rows[600:], labels[600:]) > 0.95 for model in models)


def test_values_are_one_regressor_each() -> None:
    held = np.array([[row[0] * row[1], row[2]] for row in HELD])
    model = Boosting(trees=60).fit(given(examples(TRAIN, VALUES), examples(HELD, held), "regress"))
    got = estimators.answers(model, TEST, "regress", 2)
    options = {"learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 20, "l2_regularization": 1.0}
    for place, part in enumerate(model[1].parts):
        wanted = HistGradientBoostingRegressor(**options, max_iter=part.max_iter, early_stopping=False)
        np.testing.assert_allclose(got[:, place], wanted.fit(TRAIN, VALUES[:, place]).predict(TEST), atol=1e-12)
    assert np.corrcoef(got[:, 1], [row[2] for row in TEST])[0, 1] > 0.95


def test_several_labels_and_one_that_never_occurs() -> None:
    labels = np.stack([LABELS, 1 - LABELS, np.zeros(240)], axis=1).astype(np.uint8)
    held = np.stack([JUDGED, 1 - JUDGED, np.zeros(120)], axis=1).astype(np.uint8)
    model = Boosting(trees=40).fit(given(examples(TRAIN, labels), examples(HELD, held), "multilabel", 3))
    got = estimators.answers(model, TEST, "multilabel", 3)
    np.testing.assert_allclose(got[:, 0] + got[:, 1], 1, atol=1e-6)
    np.testing.assert_allclose(got[:, 2], 0.5 / 241)
    assert ((got[:, 0] > 0.5) == TRUTH).mean() > 0.8


@pytest.mark.parametrize(("labels", "task", "k"), [(LABELS, "classify", 2), (VALUES, "regress", 2)])
def test_settled_trees_are_as_many_and_need_no_validation_part(labels: np.ndarray, task: str, k: int) -> None:
    model = Boosting(trees=60).fit(given(examples(TRAIN, labels), examples(TRAIN[:40], labels[:40]), task, k))
    settled = Boosting(trees=60).settled(model)
    made = model["model"].parts if task == "regress" else [model["model"]]
    assert settled.counts == tuple(part.max_iter for part in made)
    again = settled.fit(given(examples(TRAIN, labels), examples([], labels[:0]), task, k))
    answers = (estimators.answers(one, TEST, task, k) for one in (model, again))
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("count", [20, 30])
def test_small_tables_get_trees(count: int) -> None:
    """With scikit-learn's 20 examples a leaf there is none, and all rows get the same answer."""
    generator = np.random.default_rng(4)
    inputs = [tuple(map(float, row)) for row in generator.normal(size=(count, 4))]
    labels = np.array([int(row[0] > 0) for row in inputs])
    stiff = HistGradientBoostingClassifier(early_stopping=False).fit(inputs, labels).predict_proba(TEST)
    assert np.ptp(stiff[:, 1]) == 0
    model = Boosting().fit(given(examples(inputs, labels), NOTHING))
    found = estimators.answers(model, TEST, "classify", 2)[:, 1]
    assert ((found > 0.5) == [row[0] > 0 for row in TEST]).mean() > 0.8


def test_labels_that_cannot_be_learnt_get_few_trees() -> None:
    generator = np.random.default_rng(5)
    noise = [generator.integers(0, 2, len(one)) for one in (LABELS, JUDGED)]
    lost = Boosting().fit(given(examples(TRAIN, noise[0]), examples(HELD, noise[1])))
    found = Boosting().fit(given(examples(TRAIN, LABELS), examples(HELD, JUDGED)))
    assert lost[1].max_iter < 20
    assert found[1].max_iter > 60


def test_few_validation_examples_do_not_choose_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, labels = crossed(120, 7, noise=0.5)
    few = examples(HELD[:4], 1 - JUDGED[:4])  # four that contradict everything
    counts = []
    for enough in (boosting.ENOUGH, 0):
        monkeypatch.setattr(boosting, "ENOUGH", enough)
        counts.append(Boosting(trees=100).fit(given(examples(inputs, labels), few))[1].max_iter)
    assert counts[0] > 2 * counts[1]


def test_categories_are_split_as_sets_and_unseen_ones_are_missing() -> None:
    """Ten categories of which every other one is of class 1: one split by set tells them apart, no threshold does."""
    names = [f"c{place % 10}" for place in range(200)]
    labels = np.array([place % 2 for place in range(200)])
    columns = (Column("c", "category"),)
    held = examples([(name,) for name in names[:100]], labels[:100])
    parts = examples([(name,) for name in names], labels), held, ("a", "b"), "classify", 0, columns
    model = Boosting(leaves=2, trees=100).fit(Given(*parts))
    found = estimators.answers(model, [("c0",), ("c1",), ("new",), (None,)], "classify", 2)
    assert found[0, 0] > 0.95 < found[1, 1]
    np.testing.assert_array_equal(found[2], found[3])
    tree = model[1]._predictors[0][0].nodes
    assert len(tree) == 3
    assert tree["is_categorical"][0]


def test_a_column_that_is_all_missing() -> None:
    inputs = [(*row[:2], None, None if place % 3 else row[3]) for place, row in enumerate(TRAIN)]
    model = Boosting(trees=40).fit(given(examples(inputs, LABELS), examples(HELD, JUDGED)))
    got = estimators.answers(model, TEST, "classify", 2)
    np.testing.assert_array_equal(
        got, estimators.answers(model, [(*row[:2], None, row[3]) for row in TEST], "classify", 2)
    )


def test_source_examples_weigh_what_they_are_told_to() -> None:
    against = 1 - crossed(240, 8)[1]
    inputs, labels = TRAIN + crossed(240, 8)[0], np.concatenate([LABELS, against])

    def right(weight: float) -> float:
        weights = np.r_[np.ones(240), np.full(240, weight)].astype(np.float32)
        return share(Boosting(trees=60).fit(given(examples(inputs, labels, weights), examples(HELD, JUDGED))))

    assert right(0.02) > 0.8
    assert right(0.02) > right(1.0) + 0.15


def test_balanced_finds_the_rare_class() -> None:
    kept = np.array([place for place in range(240) if LABELS[place] == 0 or place % 6 == 0])
    parts = examples([TRAIN[place] for place in kept], LABELS[kept]), NOTHING
    found = [
        estimators.answers(Boosting(balanced=one).fit(given(*parts)), TEST, "classify", 2).argmax(axis=1)
        for one in (False, True)
    ]
    recall = [float((one[TRUTH == 1] == 1).mean()) for one in found]
    assert recall[1] > recall[0] + 0.1


def test_one_class_alone_and_classes_that_are_not_there() -> None:
    model = Boosting().fit(given(examples(TRAIN[:10], np.full(10, 2)), NOTHING, k=4))
    np.testing.assert_allclose(
        estimators.answers(model, TEST[:3], "classify", 4), np.array([[0.5, 0.5, 10.5, 0.5]] * 3) / 12
    )
    seen = np.where(LABELS == 1, 3, 1)
    held = examples(HELD, np.zeros(120, dtype=np.int64))  # a class that was never learnt
    gaps = Boosting(trees=20).fit(given(examples(TRAIN, seen), held, k=4))
    assert not estimators.answers(gaps, TEST, "classify", 4)[:, [0, 2]].any()
    flat = Boosting().fit(given(examples(TRAIN[:10], np.full((10, 1), 2.5)), NOTHING, "regress", 1))
    np.testing.assert_array_equal(estimators.answers(flat, TEST[:2], "regress", 1), [[2.5], [2.5]])


def test_nothing_to_choose_by() -> None:
    model = Boosting().fit(given(examples(TRAIN[:2], np.array([0, 1])), NOTHING))
    assert model[1].max_iter == boosting.UNCHOSEN
    assert Boosting(trees=7).fit(given(examples(TRAIN[:2], np.array([0, 1])), NOTHING))[1].max_iter == 7


def test_the_same_rows_give_the_same_bits_and_the_file_keeps_them(tmp_path: Path) -> None:
    made = [Boosting(trees=30).fit(given(examples(TRAIN, LABELS), examples(HELD, JUDGED))) for _ in range(2)]
    estimators.save(made[0], tmp_path / "model.skops")
    made.append(estimators.load(tmp_path / "model.skops"))
    found = [estimators.answers(one, TEST, "classify", 2) for one in made]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_it_is_a_floor_on_rows() -> None:
    assert folder.resolve("shallow", "boosting(rate=0.1, leaves=31)") == (Boosting(rate=0.1, leaves=31),)
    assert (Boosting.takes, Boosting.pretrained) == ("row", False)
    assert Boosting.tasks == ("classify", "multilabel", "regress", "several")
    with pytest.raises(SpecError, match=r"leaves of boosting must be in \[2, 1024\], got 1"):
        folder.resolve("shallow", "boosting(leaves=1)")
