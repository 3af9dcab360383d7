"""The floor of words: what it sees, that it learns from neighbours, and that it is kept."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sterna import estimators
from sterna.contracts import Examples, Given
from sterna.errors import TrainingError
from sterna.shallow import window
from sterna.shallow.window import Look, Window, shape

CLASSES = ("O", "B-place", "B-person")


def examples(count: int, seed: int) -> Examples:
    """«lives in X» is a place, «met X» a person: the word itself does not tell."""
    made = np.random.default_rng(seed)
    items, labels = [], []
    for number in range(count):
        name = "".join(made.choice(list("abcdefgh"), 5)).title()
        before = ("she", "lives", "in") if number % 2 else ("he", "has", "met")
        items.append((*before, name, "today"))
        labels.append(np.array([0, 0, 0, 1 if number % 2 else 2, 0]))
    packed = np.empty(count, dtype=object)
    packed[:] = labels
    return Examples(items, packed, np.ones(count, np.float32))


def given(count: int = 40, checked: int = 10) -> Given:
    return Given(examples(count, 0), examples(checked, 1), CLASSES, "tag", 0)


@pytest.fixture(autouse=True)
def _few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a few dozen words; 2^18 would be a million weights for each fit and its oracle."""
    monkeypatch.setattr(window, "PLACES", 2**13)


@pytest.mark.parametrize(("word", "seen"), [("Berlin", "Xx"), ("USA", "X"), ("2009", "d"), ("iPhone-7", "xXx-d")])
def test_shapes(word: str, seen: str) -> None:
    assert shape(word) == seen


def test_a_word_sees_its_neighbours_and_no_other_item() -> None:
    first, second, alone = Look(1).transform([("In", "Rome"), ("2009",)])
    assert {"first", "0=in", "0#Xx", "1=rome", "-1=\n", "=In", "<i", ">n"} <= set(first)
    assert {"-1=in", "1=\n", "=Rome", "<rom", ">ome"} <= set(second)
    assert "first" not in second
    assert not {"-1=rome", "1=rome"} & set(alone)


def test_neighbours_tell_what_the_word_does_not() -> None:
    model = Window().fit(given())
    held = examples(30, 2)
    answers = estimators.answers(model, held.inputs, "tag", 3)
    truth = np.concatenate(list(held.labels))
    assert answers.shape == (150, 3)
    assert (answers.argmax(axis=1) == truth).all()
    blind = estimators.answers(Window(reach=0).fit(given()), held.inputs, "tag", 3)
    assert (blind.argmax(axis=1)[truth > 0] == truth[truth > 0]).mean() < 0.8


def test_it_is_the_logistic_regression_on_what_is_seen() -> None:
    made = given()
    model = Window(inverse_penalties=(2.0,)).fit(made)
    seen = model["words"].transform(made.target.inputs)
    oracle = LogisticRegression(C=2.0, max_iter=3000, tol=1e-8).fit(
        seen.toarray()[:, :], np.concatenate(list(made.target.labels))
    )
    answers = model.predict_proba(made.target.inputs)
    assert answers == pytest.approx(oracle.predict_proba(seen.toarray()), abs=0.02)


def test_a_settled_method_needs_no_validation_part() -> None:
    made = given()
    model = Window().fit(made)
    empty = Examples([], np.empty(0, dtype=object), np.ones(0, np.float32))
    again = Window().settled(model).fit(Given(made.target, empty, CLASSES, "tag", 0))
    assert np.array_equal(again["model"].coef_, model["model"].coef_)


def test_tags_that_were_never_seen_and_a_single_tag(tmp_path) -> None:
    made = given()
    model = Window().fit(Given(made.target, made.validation, (*CLASSES, "B-time"), "tag", 0))
    place = tmp_path / "model.skops"
    estimators.save(model, place)
    kept = estimators.answers(estimators.load(place), made.validation.inputs, "tag", 4)
    assert np.array_equal(kept, estimators.answers(model, made.validation.inputs, "tag", 4))
    assert (kept[:, 3] == 0).all()
    alike = np.empty(2, dtype=object)
    alike[:] = [np.zeros(5, int)] * 2
    with pytest.raises(TrainingError, match="at least two tags, got one"):
        Window().fit(
            Given(Examples(made.target.inputs[:2], alike, np.ones(2, np.float32)), made.validation, CLASSES, "tag", 0)
        )
