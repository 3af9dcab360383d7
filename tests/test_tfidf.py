"""TF-IDF with linear models: its numbers by hand, what it learns from, how it is kept, how well it does on reviews."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from sterna import estimators
from sterna.contracts import Examples, Given
from sterna.errors import DataError, TrainingError
from sterna.shallow import tfidf
from sterna.shallow.tfidf import Tfidf

GOOD = (
    "good film",
    "a fine film, good acting",
    "great and good",
    "good fun for all",
    "really great fun",
    "fine, great",
)
BAD = ("bad film", "a dull film, bad acting", "awful and bad", "bad, dull for all", "really awful mess", "dull, awful")
TEXTS = [*GOOD, *BAD]
LABELS = np.repeat([1, 0], 6)


def given(texts: Any = TEXTS, labels: np.ndarray = LABELS, task: str = "classify", **changed: Any) -> Given:
    weights = changed.pop("weights", np.ones(len(labels), np.float32))
    checked = changed.pop("validation", (texts, labels))
    validation = Examples(checked[0], checked[1], np.ones(len(checked[1]), np.float32))
    k = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    return Given(Examples(texts, labels, weights), validation, tuple(map(str, range(k))), task, 0)


def test_terms_are_weighed_as_the_page_says() -> None:
    """Against scikit-learn's own vectoriser, which keeps a vocabulary: the same numbers, in other columns."""
    fitted = Tfidf(characters=1).fit(given())
    oracle = TfidfVectorizer(ngram_range=(1, 2), token_pattern=tfidf.TOKEN, sublinear_tf=True)
    there = fitted[0][0].transform(TEXTS)
    wanted = oracle.fit_transform(TEXTS)
    np.testing.assert_allclose((there @ there.T).toarray(), (wanted @ wanted.T).toarray(), atol=1e-6)
    # by hand: "good film" holds good (4 of 12 texts), film (4 of 12) and the two together (1 of 12)
    entries = np.array([1 + np.log(13 / 5), 1 + np.log(13 / 5), 1 + np.log(13 / 2)])
    np.testing.assert_allclose(np.sort(there[0].data), np.sort(entries / np.linalg.norm(entries)), rtol=1e-6)


def test_it_answers_new_texts_and_knows_nothing_but_training_texts() -> None:
    fitted = Tfidf().fit(given())
    answers = estimators.answers(fitted, ["good", "awful", "zzz"], "classify", 2)
    assert answers[0, 1] > 0.5 > answers[1, 1]
    assert answers[2] == pytest.approx([0.5, 0.5], abs=0.1)
    other = Tfidf(inverse_penalties=(2.0,)).fit(given(validation=(["unseen words"] * 2, np.array([0, 1]))))
    alone = Tfidf(inverse_penalties=(2.0,)).fit(given(validation=([], LABELS[:0])))
    assert other[-1].coef_.tobytes() == alone[-1].coef_.tobytes()


def test_the_penalty_is_chosen_on_the_validation_part() -> None:
    wrong = given(validation=(TEXTS, 1 - LABELS))  # the more it learns the worse it is
    assert Tfidf().fit(wrong)[-1].C == 0.5
    assert Tfidf().fit(given())[-1].C == 128
    # Without one, on folds of the training texts; where there are none either, the middle.
    assert Tfidf().fit(given(validation=([], LABELS[:0])))[-1].C == 128
    two = given([TEXTS[0], TEXTS[-1]], np.array([0, 1]), validation=([], LABELS[:0]))
    assert Tfidf().fit(two)[-1].C == 8


def test_a_handful_of_validation_examples_does_not_choose_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    misled = given(validation=(TEXTS[:1], 1 - LABELS[:1]))  # alone it asks for the strongest penalty
    assert Tfidf().fit(misled)[-1].C > 0.5
    monkeypatch.setattr(tfidf, "ENOUGH", 0)
    assert Tfidf().fit(misled)[-1].C == 0.5
    monkeypatch.undo()
    settled = Tfidf().settled(Tfidf().fit(given()))
    assert settled.inverse_penalties == (128.0,)


def test_a_weight_of_two_is_a_text_twice() -> None:
    """Of the model; the frequencies of terms are those of the texts, so the oracle gets the same features."""
    weights = np.array([2.0] * 3 + [1.0] * 9, np.float32)
    one = Tfidf(inverse_penalties=(2.0,)).fit(given(weights=weights))
    features = one[0].transform([*TEXTS, *TEXTS[:3]])
    (model,) = (Tfidf()._model(given(labels=np.concatenate([LABELS, LABELS[:3]])), 2.0, features),)
    np.testing.assert_allclose(one[-1].coef_, model.coef_, atol=2e-3)
    flat = Tfidf(inverse_penalties=(2.0,)).fit(given())
    assert abs(one[-1].coef_ - flat[-1].coef_).max() > 2e-2


def test_balanced_classes_count_alike() -> None:
    texts, labels = [*GOOD, *BAD[:1]], np.array([1] * 6 + [0])
    plain, even = (Tfidf(balanced=each, inverse_penalties=(0.5,)).fit(given(texts, labels)) for each in (False, True))
    assert even.predict_proba(["film"])[0, 0] > plain.predict_proba(["film"])[0, 0] + 0.2


def test_several_labels_at_once() -> None:
    labels = np.stack([LABELS, [("film" in text) for text in TEXTS], np.ones(12, int), np.zeros(12, int)], axis=1)
    fitted = Tfidf().fit(given(TEXTS, labels.astype(np.uint8), "multilabel"))
    answers = estimators.answers(fitted, TEXTS, "multilabel", 4)
    np.testing.assert_array_equal(answers > 0.5, labels > 0)
    np.testing.assert_allclose(answers[0, 2:], [12.5 / 13, 0.5 / 13])
    np.testing.assert_array_equal(fitted.predict(TEXTS), labels)


def test_numbers() -> None:
    values = np.stack([LABELS * 3.0 + 1, [float(len(text)) for text in TEXTS]], axis=1)
    fitted = Tfidf(inverse_penalties=(1.0, 1000.0)).fit(given(TEXTS, values, "regress"))
    answers = estimators.answers(fitted, TEXTS, "regress", 2)
    np.testing.assert_allclose(answers, values, atol=0.5)
    assert fitted[-1].alpha == 1 / 1000


def test_pairs_are_seen_side_by_side() -> None:
    """What tells these pairs apart is only whether their sides agree; either side alone says nothing."""
    words = ("red", "green", "blue", "black", "white", "brown", "grey", "pink")
    pairs = [(f"a {one} car", f"a {other} house") for one in words for other in words]
    labels = np.array([int(one == other) for one in words for other in words])
    keep = np.flatnonzero(labels | (np.arange(64) % 3 == 0))
    fitted = Tfidf().fit(given([pairs[place] for place in keep], labels[keep]))
    new = [("the pink cat", "the pink dog"), ("the pink cat", "the grey dog")]
    assert np.argmax(fitted.predict_proba(new)[:, 1]) == 0
    np.testing.assert_array_equal(fitted.predict([pairs[place] for place in keep]), labels[keep])


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress", "pairs"])
def test_it_is_kept_without_code(tmp_path: Path, task: str) -> None:
    texts: Any = [(text, text[::-1]) for text in TEXTS] if task == "pairs" else TEXTS
    task = "classify" if task == "pairs" else task
    labels = {"classify": LABELS, "multilabel": np.eye(12, 2, dtype=np.uint8), "regress": LABELS[:, None] * 1.5}[task]
    fitted = Tfidf().fit(given(texts, labels, task))
    estimators.save(fitted, tmp_path / "kept.skops")
    k = 1 if task == "regress" else 2
    again = estimators.answers(estimators.load(tmp_path / "kept.skops"), texts, task, k)
    np.testing.assert_array_equal(again, estimators.answers(fitted, texts, task, k))
    assert (tmp_path / "kept.skops").stat().st_size < 6e6


def test_texts_that_say_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="no term that differs between the training texts"):
        Tfidf().fit(given(["same"] * 12))
    with pytest.raises(DataError, match="no term that differs between the training texts"):
        Tfidf().fit(given([" "] * 12))


def test_one_class_is_refused() -> None:
    with pytest.raises(TrainingError, match="at least two classes, got one"):
        Tfidf().fit(given(TEXTS, np.zeros(12, np.int64)))


def test_reviews(data_folder: Path) -> None:
    """200 training reviews of films: far above chance, well under a second a hundred reviews."""
    rows = []
    for part in ("train", "test"):
        with gzip.open(data_folder / "imdb" / f"imdb_{part}_2500_per_class.tsv.gz", "rt", encoding="utf-8") as lines:
            rows.append([line.rstrip("\n").split("\t") for line in lines][1:])
    generator = np.random.default_rng(0)
    train, test = (
        [part[place] for place in generator.choice(len(part), n, False)]
        for part, n in zip(rows, (200, 500), strict=True)
    )
    texts, labels = [row[3] for row in train], np.array([int(row[0]) for row in train])
    fitted = Tfidf().fit(given(texts[:160], labels[:160], validation=(texts[160:], labels[160:])))
    right = fitted.predict([row[3] for row in test]) == [int(row[0]) for row in test]
    assert right.mean() > 0.66  # 71.6 to 75.7 % over seeds, less three standard deviations of 500
