"""Estimators answer for all classes, survive their file bit by bit, and no file makes what is not on the list."""

from __future__ import annotations

import collections
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skops import io

from sterna import estimators, folder
from sterna.contracts import Examples, Given
from sterna.errors import EncoderError
from sterna.records import Column
from sterna.rows import Coded, Standardised

COLUMNS = (Column("size", "numeric"), Column("colour", "category"), Column("weight", "numeric"))
ROWS = [
    (float(number % 7), ["red", "green", "blue"][number % 3] if number % 5 else None, None if number % 4 else 1.5)
    for number in range(60)
]
TEXTS = ["a fine day", "rain again", "fine rain", "day after day"] * 10
NUMBERS = np.random.default_rng(0).normal(size=(60, 4))
CLASSES = (NUMBERS[:, 0] + 0.3 * NUMBERS[:, 1] > 0).astype(np.int64)
LABELS = np.stack([CLASSES, np.zeros(60, dtype=np.int64), 1 - CLASSES], axis=1)
VALUES = NUMBERS[:, :2] ** 2
TEXT_CLASSES = np.tile([0, 1, 2, 0], 10)


def boosting(words: list[int] | None = None) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3, categorical_features=words)


def words() -> Any:
    return make_union(TfidfVectorizer(ngram_range=(1, 2)), TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)))


def quietly(model: Any, inputs: Any, labels: Any) -> Any:
    """Fitted, without scikit-learn's warning that a label is always the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return model.fit(inputs, labels)


def floor(texts: list[Any], labels: np.ndarray, task: str, k: int) -> Any:
    """The floor for texts, as it comes."""
    parts = [Examples(texts[:count], labels[:count], np.ones(count, np.float32)) for count in (40, 8)]
    return folder.load("shallow", "tfidf")().fit(Given(*parts, tuple("abc"[:k]), task, 0))


PAIRS = list(zip(TEXTS, TEXTS[::-1], strict=True))


# What the floors are made of: estimator fitted, inputs, task, k.
FLOORS: dict[str, tuple[Any, Any, str, int]] = {
    "tfidf": (make_pipeline(words(), LogisticRegression()).fit(TEXTS, TEXT_CLASSES), TEXTS, "classify", 3),
    "tfidf labels": (
        make_pipeline(words(), OneVsRestClassifier(LogisticRegression())).fit(TEXTS, np.eye(3)[TEXT_CLASSES]),
        TEXTS,
        "multilabel",
        3,
    ),
    "tfidf values": (make_pipeline(words(), Ridge()).fit(TEXTS, np.eye(2)[[0, 1] * 20]), TEXTS, "regress", 2),
    "texts": (floor(TEXTS, TEXT_CLASSES, "classify", 3), TEXTS, "classify", 3),
    "pairs": (floor(PAIRS, np.eye(3, dtype=np.uint8)[TEXT_CLASSES], "multilabel", 3), PAIRS, "multilabel", 3),
    "standardised": (
        make_pipeline(Standardised(COLUMNS), LogisticRegression()).fit(ROWS, CLASSES),
        ROWS,
        "classify",
        2,
    ),
    "coded": (make_pipeline(Coded(COLUMNS), boosting([1])).fit(ROWS, CLASSES), ROWS, "classify", 2),
    "boosting labels": (
        OneVsRestClassifier(boosting()).fit(NUMBERS, LABELS[:, [0, 2]]),
        NUMBERS,
        "multilabel",
        2,
    ),
    "constant label": (quietly(OneVsRestClassifier(LogisticRegression()), NUMBERS, LABELS), NUMBERS, "multilabel", 3),
    "several labels": (MultiOutputClassifier(boosting()).fit(NUMBERS, LABELS[:, [0, 2]]), NUMBERS, "multilabel", 2),
    "boosting values": (
        MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=5)).fit(NUMBERS, VALUES),
        NUMBERS,
        "regress",
        2,
    ),
    "one value": (make_pipeline(StandardScaler(), Ridge()).fit(NUMBERS, VALUES[:, 0]), NUMBERS, "regress", 1),
    "affine": (estimators.Affine(np.eye(4)[:2], np.array([0.5, -0.25])), NUMBERS, "classify", 2),
    "side by side": (
        estimators.OneEach([boosting().fit(NUMBERS, CLASSES), DummyClassifier().fit(NUMBERS, np.ones(60, int))]),
        NUMBERS,
        "multilabel",
        2,
    ),
}


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_kept_answers_to_the_last_bit(name: str, tmp_path: Path) -> None:
    estimator, inputs, task, k = FLOORS[name]
    before = estimators.answers(estimator, inputs, task, k)
    assert before.shape == (len(inputs), k)
    assert before.dtype == np.float64
    assert np.ptp(before) > 0
    estimators.save(estimator, tmp_path / "model.skops")
    np.testing.assert_array_equal(
        estimators.answers(estimators.load(tmp_path / "model.skops"), inputs, task, k), before
    )


def test_classes_never_seen_get_nothing_and_the_others_keep_their_places() -> None:
    labels = np.where(CLASSES == 1, 3, 1)
    model = LogisticRegression().fit(NUMBERS, labels)
    found = estimators.answers(model, NUMBERS, "classify", 5)
    np.testing.assert_array_equal(found[:, [1, 3]], model.predict_proba(NUMBERS))
    assert not found[:, [0, 2, 4]].any()


def test_labels_seen_in_one_state_only() -> None:
    found = estimators.answers(FLOORS["side by side"][0], NUMBERS, "multilabel", 2)
    np.testing.assert_array_equal(found[:, 1], 1.0)
    never = estimators.OneEach([DummyClassifier().fit(NUMBERS, np.zeros(60, int))])
    np.testing.assert_array_equal(estimators.answers(never, NUMBERS, "multilabel", 1), 0.0)


def test_several_labels_are_the_probabilities_of_one() -> None:
    model, inputs, task, k = FLOORS["several labels"]
    each = [part.predict_proba(inputs)[:, 1] for part in model.estimators_]
    np.testing.assert_array_equal(estimators.answers(model, inputs, task, k), np.stack(each, axis=1))


@pytest.mark.parametrize(("link", "wanted"), [("softmax", softmax), ("sigmoid", expit)])
def test_an_affine_model_is_its_equation(link: str, wanted: Any) -> None:
    weight, bias = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]]), np.array([0.1, 0.2, -0.3])
    point = np.array([[0.3, 0.7]])
    values = np.array([[0.3 - 1.4 + 0.1, 0.15 + 0.2, 2.1 - 0.3]])
    arguments = {"axis": 1} if link == "softmax" else {}
    model = estimators.Affine(weight, bias, link)
    np.testing.assert_allclose(model.predict_proba(point), wanted(values, **arguments), rtol=1e-14)
    np.testing.assert_allclose(estimators.Affine(weight, bias, "identity").predict(point), values, rtol=1e-14)
    assert make_pipeline(StandardScaler().fit(NUMBERS[:, :2]), model).predict_proba(point).shape == (1, 3)


class Stranger(BaseEstimator):
    """An estimator that nobody has vouched for."""

    def predict(self, items: Any) -> Any:
        return items


def test_a_stranger_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"holds objects that sterna does not keep \(.*Stranger\); use scikit-learn"):
        estimators.save(Stranger(), tmp_path / "model.skops")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "stranger",
    [Stranger(), FunctionTransformer(func=zipfile.is_zipfile), [collections.Counter("a")]],
    ids=["class", "function", "inside"],
)
def test_a_stranger_in_a_file_is_refused_before_it_is_made(
    stranger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io.dump(stranger, tmp_path / "model.skops")
    made: list[str] = []
    monkeypatch.setattr(Stranger, "__new__", lambda cls: made.append("made"))
    with pytest.raises(EncoderError, match=r"asks for objects that sterna does not make .* can run code; use a model"):
        estimators.load(tmp_path / "model.skops")
    assert made == []


@pytest.mark.parametrize("damage", ["cut", "text", "schema", "array"])
def test_a_damaged_file_is_said_to_be_damaged(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    estimators.save(FLOORS["one value"][0], path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "text":
        path.write_text("model")
    else:
        with zipfile.ZipFile(path) as archive:
            inside = {name: archive.read(name) for name in archive.namelist()}
        spoilt = "schema.json" if damage == "schema" else next(name for name in inside if name.endswith(".npy"))
        inside[spoilt] = inside[spoilt][: len(inside[spoilt]) // 2]
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in inside.items():
                archive.writestr(name, data)
    with pytest.raises(EncoderError, match=r"model.skops is damaged \(.*\); save the model again\.") as raised:
        estimators.load(path)
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 3), ("feature_idx", -1), ("bitset_idx", 99)]
)
def test_a_tree_that_points_outside_itself_is_refused(field: str, value: int, tmp_path: Path) -> None:
    model = make_pipeline(Coded(COLUMNS), boosting([1])).fit(ROWS, CLASSES)
    trees = [tree for round_ in model[1]._predictors for tree in round_]
    tree = next(one for one in trees if (one.nodes["is_categorical"] & ~one.nodes["is_leaf"] & 1).any())
    place = int(np.flatnonzero(tree.nodes["is_categorical"] & ~tree.nodes["is_leaf"] & 1)[0])
    tree.nodes[field][place] = value
    path = tmp_path / "model.skops"
    estimators.save(estimators.OneEach([model]), path)
    with pytest.raises(
        EncoderError, match=r"is damaged \(a tree in it points outside itself\); save the model again\."
    ):
        estimators.load(path)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"there is no file .*model.skops; give the model folder of a run\."):
        estimators.load(tmp_path / "model.skops")


def test_every_trusted_type_is_needed() -> None:
    """What nothing uses any more is trusted no longer."""
    tags = np.empty(2, dtype=object)
    tags[:] = [np.array([0, 1]), np.array([1, 0])]
    words = Examples([("in", "Rome"), ("Rome", "is")], tags, np.ones(2, np.float32))
    window = folder.load("shallow", "window")().fit(Given(words, words, ("O", "B"), "tag", 0))
    points = Examples(np.eye(4), np.array([0, 1, 0, 1]), np.ones(4, np.float32))
    spread = folder.load("shallow", "label_propagation")().fit(Given(points, points, ("a", "b"), "classify", 0))
    each = estimators.PerTask([window], [2], ["tag"])  # of several tasks
    joined = estimators.of_words(Pipeline([("model", Ridge())]))
    models = [window, spread, each, joined, *(model for model, *_ in FLOORS.values())]
    asked = {one for model in models for one in io.get_untrusted_types(data=io.dumps(model))}
    assert asked == set(estimators.TRUSTED)
