"""Averaged word vectors: every form of file gives the same words; sums by hand; every refusal with its line."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sterna.encoders import _vectors, vectors
from sterna.errors import EncoderError
from sterna.records import Table

WORDS = {"the": [1.0, 0.5], "cat": [0.0, 2.0], "do": [3.0, 1.0], "n't": [-1.0, 4.0], "well": [0.25, -8.0]}


class Texts:
    """Items in memory."""

    modality, in_memory, lengths = "text", True, None

    def __init__(self, given: Sequence[Any]) -> None:
        self.given = given

    def __len__(self) -> int:
        return len(self.given)

    def read(self, index: int, hint: int) -> Any:
        return self.given[index]

    def digest(self, index: int) -> str:
        return str(self.given[index])

    def name(self, index: int) -> str:
        return f"row {index}"


def table(given: Sequence[Any], rows: Sequence[int] | None = None) -> Table:
    chosen = np.arange(len(given)) if rows is None else np.array(rows)
    return Table(Texts(given), chosen, np.zeros(len(chosen), np.int64), ("a", "b"))


def glove(place: Path, words: dict[str, list[float]] = WORDS) -> Path:
    place.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in words.items()), "utf-8")
    return place


def binary(words: dict[str, list[float]], between: bytes = b"\n") -> bytes:
    rows = (word.encode() + b" " + struct.pack(f"<{len(row)}f", *row) + between for word, row in words.items())
    return f"{len(words)} 2\n".encode() + b"".join(rows)


def forms(folder: Path) -> dict[str, Path]:
    plain = glove(folder / "plain.txt").read_bytes()
    written = {
        "glove": plain,
        "gzip": gzip.compress(plain, mtime=0),
        "word2vec": b"5 2\n" + plain,
        "binary": binary(WORDS),
        "unbroken": binary(WORDS, b""),
        "zipped binary": gzip.compress(binary(WORDS)),
        "json": json.dumps(WORDS).encode(),
    }
    for name, data in written.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in written}


def test_every_form_of_file_holds_the_same_words(tmp_path: Path) -> None:
    for name, place in forms(tmp_path).items():
        got = _vectors.read(place)
        assert list(got.places) == list(WORDS), name
        np.testing.assert_array_equal(got.matrix, np.array(list(WORDS.values()), np.float32))
        assert got.complete


def test_the_first_of_two_equal_words_counts_and_words_may_hold_spaces(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a 1 2\na 3 4\n. . . 5 6\n\n")
    got = _vectors.read(tmp_path / "f")
    assert list(got.places) == ["a", ". . ."]
    assert got.matrix.tolist() == [[1, 2], [5, 6]]


def test_of_a_long_file_the_first_words_are_used_and_that_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(_vectors, "MOST", 2)
    encoder = vectors.load(str(glove(tmp_path / "f")))
    assert list(encoder.preparation.words.places) == ["the", "cat"]
    assert encoder.notes == ("the file holds more than 2 words; the first of them are used.",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"a 1 2\nb 1\n", r"line 2 of .* must be a word and 2 numbers, got 'b 1'"),
        (b"a 1 2\nb 1 x\n", r"line 2 of .* must be a word and 2 numbers, got 'b 1 x'"),
        (b"2 2\na 1 2\nb nan 2\n", r"line 3 of .* must be a word and 2 numbers, got 'b nan 2'"),
        (b"word\n", r"line 1 of .* must be a word and some numbers, got 'word'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), r"line 1 of .* must be a word and some numbers"),
        (binary(WORDS)[:-6], r"5 vectors of 2 numbers and breaks off or goes wrong at word 5"),
        (b"9 2\n\xff\xfe" + b"z" * 5000, r"breaks off or goes wrong at word 1"),
        (binary({"a": [1, 2], "b": [float("inf"), 1]}), "word 2 of .* not finite"),
        (b'{"a": [1, 2]', "is not JSON"),
        (b'{"a": [1, 2], "b": [1]}', r"the entry 'b' of .* must be a list of 2 numbers, got '\[1\]'"),
        (b'{"a": "x"}', r"the entry 'a' of .* must be a list of some numbers"),
        (b"{}", "is empty"),
        (gzip.compress(b"a 1 2\n" * 99, mtime=0)[:-9], "cannot be read"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(EncoderError, match=message):
        vectors.load(str(tmp_path / "f"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    glove(tmp_path / "glove.txt")
    with pytest.raises(EncoderError, match=r"did you mean .*glove\.txt"):
        vectors.load(str(tmp_path / "glov.txt"))
    with pytest.raises(EncoderError, match="give a file of GloVe"):
        vectors.load(str(tmp_path / "nothing" / "like.bin"))


def test_words_are_looked_up_as_they_are_then_small_then_in_parts() -> None:
    places = {"Cat": 0, "cat": 1, "do": 2, "n't": 3, "well": 4, "'s": 5}
    wanted = {"Cat": [0], "CAT": [1], "don't": [2, 3], "Don’t": [2, 3], "well-done": [4], "cat's": [1, 5], "x": []}
    assert {word: vectors.found(word, places) for word in wanted} == wanted


def test_unfitted_features_follow_zipf(tmp_path: Path) -> None:
    encoder = vectors.load(f"{glove(tmp_path / 'f')}:sif")
    shares = np.array([1 / rank for rank in range(1, 6)]) / sum(1 / rank for rank in range(1, 6))
    weights = 0.001 / (0.001 + shares)
    got = encoder.preparation.frame("The cat, zebra!")
    np.testing.assert_allclose(got, (weights[0] * np.array([1, 0.5]) + weights[1] * np.array([0, 2])) / 2, rtol=1e-6)
    assert got.dtype == np.float32
    assert not encoder.preparation.frame("zebra").any()
    assert encoder.network(torch.from_numpy(got)[None]).features.tolist() == [got.tolist()]
    np.testing.assert_array_equal(encoder.describe(["The cat, zebra!"]), got[None])  # type: ignore[misc]


def test_fitted_features_are_arora_liang_and_ma_by_hand(tmp_path: Path) -> None:
    texts = ["the cat", "the the do", "well cat", "never read"]
    encoder = vectors.load(f"{glove(tmp_path / 'f')}:sif").fitted(table(texts, [0, 1, 2]))  # type: ignore[misc]
    share = {"the": 3 / 7, "cat": 2 / 7, "do": 1 / 7, "well": 1 / 7}
    sums = [
        np.mean([0.001 / (0.001 + share[word]) * np.array(WORDS[word]) for word in text.split()], axis=0)
        for text in texts[:3]
    ]
    first = np.linalg.svd(np.array(sums))[2][0]
    wanted = [one - first * (first @ one) for one in sums]
    np.testing.assert_allclose([encoder.preparation.frame(text) for text in texts[:3]], wanted, atol=1e-8)
    assert encoder.notes == ()  # the fourth text is no training row, so nothing is known of its words


def test_unknown_words_are_counted_and_said(tmp_path: Path) -> None:
    given = ["the Zebra, zebra apple", "okapi"]
    encoder = vectors.load(str(glove(tmp_path / "f"))).fitted(table(given))  # type: ignore[misc]
    assert encoder.notes == (
        "67 % of the words of the training texts are not in the file, most often: zebra, apple, okapi.",
        "1 of the training texts have no word that is in the file; their features are zeros.",
    )


def test_pairs_give_both_sides_their_difference_and_product(tmp_path: Path) -> None:
    pairs = [("the cat", "cat do"), ("well", "the")]
    encoder = vectors.load(str(glove(tmp_path / "f"))).fitted(table(pairs))  # type: ignore[misc]
    left, right = (encoder.preparation.features(text) for text in pairs[0])
    wanted = np.concatenate([left, right, abs(left - right), left * right])
    np.testing.assert_array_equal(encoder.preparation.frame(pairs[0]), wanted)
    assert encoder.network.width == encoder.config["num_features"] == encoder.fresh().width == 8
    assert encoder.describe is None


@pytest.mark.parametrize("weighting", ["mean", "sif"])
@pytest.mark.parametrize("texts", [["the cat", "do well", "the"], [("the cat", "do"), ("well", "cat")]])
def test_a_saved_config_gives_the_same_features_back(tmp_path: Path, weighting: str, texts: list[Any]) -> None:
    encoder = vectors.load(f"{glove(tmp_path / 'f')}:{weighting}").fitted(table(texts))  # type: ignore[misc]
    again = vectors.rebuilt(json.loads(json.dumps(encoder.config)))
    np.testing.assert_array_equal(again.preparation.frame(texts[0]), encoder.preparation.frame(texts[0]))
    assert (again.digest, repr(again.preparation)) == (encoder.digest, repr(encoder.preparation))
    sent = pickle.loads(pickle.dumps(encoder.preparation))
    np.testing.assert_array_equal(sent.frame(texts[0]), encoder.preparation.frame(texts[0]))
    plain = vectors.load(str(tmp_path / "f"))
    assert vectors.rebuilt(plain.config).digest == plain.digest
    glove(tmp_path / "f", {"the": [1.0, 2.0]})
    with pytest.raises(EncoderError, match="not the file of word vectors that this model was trained on"):
        vectors.rebuilt(encoder.config)


def test_what_changes_the_features_changes_the_names_of_the_cache(tmp_path: Path) -> None:
    plain = vectors.load(f"{glove(tmp_path / 'f')}:sif")
    other = vectors.load(f"{glove(tmp_path / 'g', {**WORDS, 'cat': [9.0, 9.0]})}:sif")
    mean = vectors.load(str(tmp_path / "f"))
    fits = [plain.fitted(table(texts)) for texts in (["the cat"], ["the cat", "do"])]  # type: ignore[misc]
    made = [plain, other, mean, *fits]
    assert len({repr(one.preparation) for one in made}) == len({one.digest for one in made}) == 5
    same = [mean.fitted(table(texts)) for texts in (["the cat"], ["do"])]  # type: ignore[misc]
    assert {one.digest for one in same} == {mean.digest}
    assert plain.pretrained


def test_plain_means_are_means(tmp_path: Path) -> None:
    for name in ("f", "f:mean"):
        encoder = vectors.load(str(glove(tmp_path / "f").with_name(name)))
        for each in (encoder, encoder.fitted(table(["do well"]))):  # type: ignore[misc]
            np.testing.assert_allclose(each.preparation.frame("The cat, the zebra"), [2 / 3, 1.0], rtol=1e-6)


def test_glove_tells_questions_apart(data_folder: Path) -> None:
    """Real vectors: words of a kind lie together, and a mean of vectors knows cities from animals."""
    encoder = vectors.load(f"{data_folder / 'vectors' / 'glove-50d-5k.json'}:sif")
    assert encoder.network.width == 50
    given = [
        *("the city of paris in france", "london is a town in england", "berlin and rome"),
        *("a dog and a cat", "the horse ate with the dogs", "a bird and a fish"),
    ]
    fitted = encoder.fitted(table(given))  # type: ignore[misc]
    rows = np.stack([fitted.preparation.frame(text) for text in given])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -1)
    assert [int(place) // 3 for place in likeness.argmax(axis=1)] == [0, 0, 0, 1, 1, 1]
