"""Augmentations of texts: what each may do, how often it does it, and what it never does."""

from __future__ import annotations

import difflib
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from sterna import augmenting, folder
from sterna.records import Augment

TEXT = "the quick brown fox jumps over the lazy dog, it said"
NAMES = ("word_deletion", "word_swap", "character_noise", "word_dropout")


def changed(written: str, text: str, seed: int) -> str:
    (part,) = folder.resolve("augment", written)
    made: Augment = part.build()
    assert made.text is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return made.text(text)


def many(written: str, text: str = TEXT, count: int = 400) -> list[str]:
    return [changed(written, text, seed) for seed in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_text_also_in_a_worker(name: str) -> None:
    (part,) = folder.resolve("augment", name)
    made = part.build()
    assert part.places == ("text",)
    assert made == Augment(text=made.text, written=name)
    sent = pickle.loads(pickle.dumps(made))
    for seed in range(5):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            assert sent.text(TEXT) == changed(name, TEXT, seed)
    assert len(set(many(name, count=20))) > 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", "  ", "a", "word", "?", "a b", "\t\n"])
def test_short_texts_never_lose_their_last_word(name: str, text: str) -> None:
    full = name + ("(share=1)" if name == "word_swap" else "(probability=1)")
    for got in many(full, text, 20):
        assert bool(got.split()) == bool(text.split())
        if name.startswith("word") and len(text.split()) < 2:
            assert got == text


@pytest.mark.parametrize(
    "written", ["word_deletion(probability=0)", "word_swap(share=0)", "character_noise(probability=0)"]
)
def test_nothing_asked_for_is_nothing_done(written: str) -> None:
    assert set(many(written, count=5)) == {TEXT}


def test_deletion_keeps_the_order_and_the_share() -> None:
    words = TEXT.split()
    made = [text.split() for text in many("word_deletion(probability=0.3)")]
    for one in made:
        rest = iter(words)
        assert all(word in rest for word in one), "what is left stands in its old order"
    lengths = np.array([len(one) for one in made])
    error = np.sqrt(len(words) * 0.3 * 0.7 / len(made))
    assert lengths.mean() == pytest.approx(0.7 * len(words), abs=4 * error)
    assert len(changed("word_deletion(probability=1)", TEXT, 0).split()) == 1


def test_swaps_keep_every_word() -> None:
    words = TEXT.split()
    for one in many("word_swap(share=0.1)", count=50):
        assert sorted(one.split()) == sorted(words)
        moved = sum(a != b for a, b in zip(one.split(), words, strict=True))
        assert moved in (0, 2)  # one swap of the eleven words; the two "the" may change places
    counts = Counter(many("word_swap(share=0.1)", "a b c", 600))
    assert set(counts) == {"b a c", "c b a", "a c b"}
    assert min(counts.values()) > 150


def test_dropout_hides_words_where_they_stand() -> None:
    words = TEXT.split()
    made = [text.split() for text in many("word_dropout(probability=0.3, token='<mask>')")]
    for one in made:
        assert all(got in (word, "<mask>") for got, word in zip(one, words, strict=True))
    hidden = np.mean([one.count("<mask>") for one in made])
    assert hidden == pytest.approx(0.3 * len(words), abs=4 * np.sqrt(len(words) * 0.21 / len(made)))
    full = [text.split() for text in many("word_dropout(probability=1)", count=20)]
    assert all(one.count("[MASK]") == len(words) - 1 for one in full)


def test_noise_hits_letters_alone_and_as_often_as_asked() -> None:
    text = "some, words - and signs!"
    made = many("character_noise(probability=0.3)", text)
    kept = [[letter for letter in one if not letter.isalnum()] for one in made]
    assert all(one == [letter for letter in text if not letter.isalnum()] for one in kept)
    assert all(len(one.split()) == len(text.split()) for one in made)
    assert set("".join(made)) <= set(text)
    lengths = np.array([len(one) for one in many("character_noise(probability=0.2)", "m" * 500)]) - 500
    # A quarter of the hits takes a letter away, a quarter adds one: the mean stays and the variance is known.
    assert abs(lengths.mean()) < 4 * lengths.std() / 20
    assert lengths.std() == pytest.approx(np.sqrt(500 * 0.2 / 2), rel=0.2)


def test_noise_is_small_at_its_default() -> None:
    likeness = [difflib.SequenceMatcher(None, TEXT, one, False).ratio() for one in many("character_noise", count=100)]
    assert 0.97 < np.mean(likeness) < 1


def test_texts_change_in_the_written_order() -> None:
    written = "word_dropout(probability=1, token=x) + word_deletion(probability=1)"
    both = augmenting.combine([part.build() for part in folder.resolve("augment", written)], written)
    seen: set[Any] = set()
    for seed in range(30):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            seen.add(both.text("a b"))  # type: ignore[misc]
    assert seen == {"x", "a", "b"}
