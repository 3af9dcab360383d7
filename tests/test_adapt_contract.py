"""What every method of `adapt/` promises, checked for whatever files the folder holds; nothing here names one.

Data are small: 60 rows a side, 4 features, two classes, the target moved so that a head that knows nothing of it is
right about two times in three.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sterna import adapting, estimators, folder
from sterna.contracts import Aligned, Answering, Pair
from sterna.crossing import Across, Scale
from sterna.errors import DataError
from sterna.maths.flat_trees import flat

NAMES = folder.names("adapt")
ROWS = 60
NEW = np.random.default_rng(9).normal(1.0, size=(7, 4))

every_method = pytest.mark.parametrize("name", NAMES)
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def drawn(shift: float, seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Two classes 3 apart along the first feature, moved along it by `shift`; spread 1, and 2 along the last."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(rows) % 2)
    features = draw.normal(size=(rows, 4)) * [1.0, 1.0, 1.0, 2.0]
    features[:, 0] += 3.0 * labels - 1.5 + shift
    return features, labels


def problem(task: str, rows: int = ROWS) -> tuple[Pair, np.ndarray]:
    """A pair, and the truth of its target, which no method is given."""
    (source, labels), (target, truth) = drawn(0.0, 0, rows), drawn(2.0, 1, rows + rows // 3)
    if task == "classify":
        return Pair(source, labels, target, 2, 5), truth
    slope = np.array([1.0, 0.5, 0.0, 0.2])
    return Pair(source, source @ slope, target, 0, 5), (target - [2.0, 0.0, 0.0, 0.0]) @ slope


def suited(name: str, pair: Pair, truth: np.ndarray) -> Pair:
    """With a few labels of the target where the method needs them."""
    if folder.load("adapt", name)().needs != "labels":
        return pair
    known = np.arange(min(10, len(pair.target)))
    return replace(pair, known=known, known_labels=truth[known])


@cache
def given(name: str, task: str = "") -> tuple[Any, Pair, Aligned | Answering]:
    """A method with its defaults, a pair for it and what it made of it; the task is the method's first by default."""
    made = folder.load("adapt", name)()
    pair, truth = problem(task or made.tasks[0])
    pair = suited(name, pair, truth)
    return made, pair, made.adapt(pair)


@cache
def model(name: str, task: str = "") -> adapting.Model:
    made, pair, found = given(name, task)
    return adapting.model_of(made, found, pair, "nearest")


def tasks(name: str) -> tuple[str, ...]:
    found: tuple[str, ...] = folder.load("adapt", name)().tasks
    return found


CASES = [(name, task) for name in NAMES for task in tasks(name)]
every_task = pytest.mark.parametrize(("name", "task"), CASES, ids=[f"{name}-{task}" for name, task in CASES])


def tried(made: Any, pair: Pair) -> tuple[np.ndarray | None, str]:
    """Answers for the target, or the sentence of what cannot be; any other exception is a fault."""
    try:
        return adapting.fit(made, pair, "nearest").answer(pair.target), ""
    except DataError as error:
        return None, str(error)


@every_method
def test_it_says_what_it_is_for(name: str) -> None:
    cls = folder.load("adapt", name)
    assert cls.needs in ("", "labels")
    assert cls.tasks
    assert set(cls.tasks) <= {"classify", "regress"}


@every_task
def test_what_it_makes_fits_together(name: str, task: str) -> None:
    _, pair, made = given(name, task)
    for note in made.notes:
        assert note.endswith(".")
    if isinstance(made, Aligned):
        n, k = made.features.shape
        assert made.labels.shape == made.weights.shape == (n,)
        assert np.isfinite(made.features).all()
        assert (made.weights >= 0).all()
        assert made.weights.mean() == pytest.approx(1)
        assert set(np.unique(made.labels)) <= set(np.unique(np.concatenate([pair.labels, pair.known_labels])))
        for rows in (pair.target, NEW):
            view = made.view(rows)
            assert view.shape == (len(rows), k)
            assert np.isfinite(view).all()


@every_task
def test_it_answers_for_the_target_and_for_new_rows(name: str, task: str) -> None:
    _, pair, _ = given(name, task)
    for rows in (pair.target, NEW):
        answers = model(name, task).answer(rows)
        assert answers.shape == ((len(rows), 2) if task == "classify" else (len(rows),))
        if task == "classify":
            assert (answers >= 0).all()
            assert answers.sum(axis=1) == pytest.approx(1)
    alone = np.concatenate([model(name, task).answer(NEW[place : place + 1]) for place in range(3)])
    assert alone == pytest.approx(model(name, task).answer(NEW)[:3], abs=1e-6)


@every_method
def test_a_second_fit_gives_the_same_bits_and_changes_nothing(name: str) -> None:
    """Of arrays that cannot be written to, with the global generators as they were."""
    made, pair, _ = given(name)
    arrays = {"source": pair.source, "labels": pair.labels, "target": pair.target}
    copies = {key: one.copy() for key, one in arrays.items()}
    for one in copies.values():
        one.setflags(write=False)
    state, other = np.random.get_state(), random.getstate()
    answers = adapting.fit(made, replace(pair, **copies), "nearest").answer(copies["target"])
    assert all(np.array_equal(one, two) for one, two in zip(state, np.random.get_state(), strict=True))
    assert random.getstate() == other
    assert (answers == model(name).answer(pair.target)).all()


@every_method
def test_what_it_is_given_stays_as_it_is(name: str) -> None:
    """The pair of `given`, which a fit has seen, is the one that was drawn."""
    made, pair, _ = given(name)
    drawn_again, truth = problem(made.tasks[0])
    again = suited(name, drawn_again, truth)
    for key in ("source", "labels", "target", "known", "known_labels"):
        assert (getattr(pair, key) == getattr(again, key)).all()


@every_method
def test_the_order_of_the_target_does_not_count(name: str) -> None:
    """For methods that draw nothing at random: those which another seed does not change."""
    made, pair, _ = given(name)
    answers = model(name).answer(pair.target)
    if (adapting.fit(made, replace(pair, seed=6), "nearest").answer(pair.target) != answers).any():
        pytest.skip("it draws at random, so that the order of rows counts")
    turn = np.random.default_rng(2).permutation(len(pair.target))
    back = np.argsort(turn)
    turned = replace(pair, target=pair.target[turn], known=back[pair.known])
    found = adapting.fit(made, turned, "nearest").answer(pair.target)
    # Where a neighbour is nearest by a hair, rounding may find another.
    assert np.mean(np.abs(found - answers) > 0.02) <= 0.05


@every_method
@pytest.mark.parametrize("case", ["one source row", "one target row", "one of each", "one feature", "wide", "constant"])
def test_odd_data_are_answered_or_refused_in_a_sentence(name: str, case: str) -> None:
    made = folder.load("adapt", name)()
    pair, truth = problem(made.tasks[0], 30)
    if "source" in case or "each" in case:
        pair = replace(pair, source=pair.source[:1], labels=pair.labels[:1])
    if "target" in case or "each" in case:
        pair = replace(pair, target=pair.target[:1])
    if case == "one feature":
        pair = replace(pair, source=pair.source[:, :1], target=pair.target[:, :1])
    if case == "wide":
        more = np.random.default_rng(3).normal(size=(70, 90))
        pair = replace(pair, source=np.hstack([pair.source, more[:30]]), target=np.hstack([pair.target, more[30:]]))
    if case == "constant":
        pair = replace(pair, source=pair.source * [1, 0, 1, 0] + 3, target=pair.target * [1, 0, 0, 0] + 3)
    answers, told = tried(made, suited(name, pair, truth))
    assert answers is not None or (told.endswith(".") and "\n" not in told)
    if case in ("wide", "constant"):
        assert not told, "data of this form are no reason to refuse"


@every_method
def test_a_source_of_one_class_is_answered_or_refused(name: str) -> None:
    if "classify" not in tasks(name):
        pytest.skip("it is for values")
    made = folder.load("adapt", name)()
    pair, _ = problem("classify")
    one = suited(name, replace(pair, labels=np.ones_like(pair.labels)), np.ones(len(pair.target), dtype=np.int64))
    answers, told = tried(made, one)
    assert set(answers.argmax(axis=1)) == {1} if answers is not None else told.endswith(".")


def hits(name: str, pair: Pair, truth: np.ndarray) -> float:
    """The share of target rows that are answered rightly, of those whose labels the method has not seen."""
    pair = suited(name, pair, truth)
    unseen = np.setdiff1d(np.arange(len(truth)), pair.known)
    answers = adapting.fit(folder.load("adapt", name)(), pair).answer(pair.target)
    return float((answers.argmax(axis=1) == truth)[unseen].mean())


def test_most_methods_are_not_worse_than_doing_nothing() -> None:
    pair, truth = problem("classify", 90)
    nothing = float((adapting.plain(pair).answer(pair.target).argmax(axis=1) == truth).mean())
    assert 0.5 <= nothing <= 0.7
    found = {name: hits(name, pair, truth) for name in NAMES if "classify" in tasks(name)}
    worse = {name: share for name, share in found.items() if share < nothing - 0.1}
    assert len(worse) <= 0.2 * len(found), f"doing nothing: {nothing:.2f}; worse: {worse}"
    better = [name for name, share in found.items() if share > nothing + 0.1]
    assert len(better) >= 0.2 * len(found), f"doing nothing: {nothing:.2f}; found: {found}"


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_model_is_kept_without_code_and_comes_back_to_the_last_bit(name: str, task: str, tmp_path: Path) -> None:
    made, pair, found = given(name, task)
    head = "logistic" if task == "classify" else "ridge"
    kept = Across(None, Scale(np.zeros(4), np.eye(4)), adapting.model_of(made, found, pair, head))
    estimators.save(kept, tmp_path / "model.skops")
    back = estimators.load(tmp_path / "model.skops")
    np.testing.assert_array_equal(back.predict(NEW), kept.predict(NEW))
    np.testing.assert_array_equal(back.predict_proba(NEW), kept.predict_proba(NEW))


@pytest.mark.parametrize("learner", ["tree", "logistic"])
def test_other_learners_are_kept_too(learner: str, tmp_path: Path) -> None:
    pair, truth = problem("classify")
    found = adapting.fit(f"tradaboost(learner={learner})", suited("tradaboost", pair, truth))
    estimators.save(Across(None, Scale(np.zeros(4), np.eye(4)), found), tmp_path / "model.skops")
    np.testing.assert_array_equal(estimators.load(tmp_path / "model.skops").predict_proba(NEW), found.answer(NEW))


@pytest.mark.parametrize("kind", [DecisionTreeClassifier, DecisionTreeRegressor])
def test_flat_trees_answer_as_scikit_learns(kind: type) -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(200, 4)), draw.integers(3, size=200) + 2
    tree = kind(max_depth=6, random_state=0).fit(features, labels)
    asked = draw.normal(size=(500, 4))
    asked[:50] = features[:50]
    np.testing.assert_array_equal(flat(tree)(asked), tree.predict(asked))
    np.testing.assert_array_equal(flat(tree).apply(asked), tree.apply(asked))
