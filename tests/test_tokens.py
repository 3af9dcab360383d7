"""Texts, pairs and words become the tokens that their tokenizer gives, unpadded, with kinds that say what is what."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from standins_text import SENTENCES, TEXTS, byte_pairs, wordpiece

from sterna import tokens
from sterna.errors import DataError, EncoderError
from sterna.records import Augment
from sterna.tokens import PairPreparation, TextPreparation


def data_of(made):
    return made.to_str().encode()


WORDPIECE = data_of(wordpiece())
ROBERTA = data_of(byte_pairs(("<s>", "<pad>", "</s>", "<unk>", "<mask>"), around=True))
GPT2 = data_of(byte_pairs(("<|endoftext|>",), around=False))


@pytest.mark.parametrize("data", [WORDPIECE, ROBERTA], ids=["wordpiece", "byte pairs"])
def test_a_text_is_what_the_tokenizer_makes_of_it(data):
    prepare, made = TextPreparation(data, 999), tokens.read(data)
    for text in TEXTS:
        frame = prepare.frame(text)
        assert frame.dtype == np.int32
        assert frame[:, 0].tolist() == made.encode(text).ids
        assert frame[:, 1:].tolist() == [[0, 1]] * len(frame)


def test_the_second_text_of_a_pair_is_the_second_segment():
    frame = TextPreparation(WORDPIECE, 999).frame(("A dull story", "the film"))
    made = wordpiece()
    second = made.encode("the film", add_special_tokens=False).ids
    assert frame[:, 0].tolist() == made.encode("A dull story").ids + second + [3]
    assert frame[:, 1].sum() == len(second) + 1


def test_long_texts_lose_their_end_and_keep_the_special_tokens():
    whole, cut = (TextPreparation(WORDPIECE, longest).frame(TEXTS[8]) for longest in (999, 10))
    assert len(whole) > 10
    assert cut[:, 0].tolist() == [*whole[:9, 0], 3]
    long, short = " ".join(SENTENCES), "one two"
    pair = TextPreparation(WORDPIECE, 24).frame((long, short))
    assert len(pair) == 24
    assert pair[:, 1].sum() == len(wordpiece().encode(short, add_special_tokens=False)) + 1


def test_what_a_saved_tokenizer_says_of_padding_and_length_does_not_count():
    made = wordpiece()
    made.enable_truncation(5)
    made.enable_padding(length=30)
    assert TextPreparation(data_of(made), 999).frame(TEXTS[0]).tolist() == (
        TextPreparation(WORDPIECE, 999).frame(TEXTS[0]).tolist()
    )
    assert json.loads(tokens.plain(data_of(made)))["truncation"] is None


@pytest.mark.parametrize("data", [WORDPIECE, ROBERTA, GPT2], ids=["wordpiece", "roberta", "gpt2"])
def test_each_word_begins_once(data):
    prepare = TextPreparation(tokens.for_words(data), 999, "words")
    words = ("Unbelievably", "", "EU", "\u200b", "rejects", "a", "qwertyuiop")
    frame = prepare.frame(words)
    begins = np.flatnonzero(frame[:, 2] == 2)
    assert len(begins) == len(words)
    alone = [prepare.frame((word,)) for word in words]
    first = [one[np.flatnonzero(one[:, 2] == 2)[0], 0] for one in alone]
    assert frame[begins, 0].tolist() == first
    assert len(prepare.frame(())) >= 1


def test_a_word_without_a_piece_is_the_unknown_token():
    frame = TextPreparation(WORDPIECE, 999, "words").frame(("the", "\u200b", "film"))
    assert frame[np.flatnonzero(frame[:, 2] == 2)[1], 0] == 1


def test_words_are_cut_by_tokens_and_keep_the_special_ones():
    frame = TextPreparation(WORDPIECE, 9, "words").frame(("What", "is", "the", "capital") * 6)
    assert len(frame) == 9
    assert (frame[0, 0], frame[-1, 0]) == (2, 3)
    assert frame[[0, -1], 2].tolist() == [1, 1]


def test_words_of_byte_pairs_follow_a_space():
    frame = TextPreparation(tokens.for_words(GPT2), 999, "words").frame(("the", "film"))
    assert frame[:, 0].tolist() == tokens.read(GPT2).encode(" the film").ids


def test_words_of_sentence_pieces_follow_a_space():
    rules = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Metaspace", "prepend_scheme": "first"}]}}
    changed = json.loads(tokens.for_words(json.dumps(rules).encode()))
    assert changed["pre_tokenizer"]["pretokenizers"][0]["prepend_scheme"] == "always"


def test_an_empty_text_is_one_token_at_least():
    assert TextPreparation(GPT2, 9).frame("").tolist() == [[0, 0, 1]]
    assert TextPreparation(WORDPIECE, 9).frame("").tolist() == [[2, 0, 1], [3, 0, 1]]


def test_the_filler_is_the_unknown_token_where_there_is_one():
    assert tokens.filler(WORDPIECE) == 1
    assert tokens.filler(ROBERTA) == 3
    assert tokens.filler(GPT2) == 0


def test_padding_is_the_configs_else_the_tokenizers_else_an_end_of_text():
    assert tokens.padding(7, {"pad_token": "<pad>"}, ROBERTA) == 7
    assert tokens.padding(None, {"pad_token": {"content": "<pad>"}}, ROBERTA) == 1
    assert tokens.padding(None, {"eos_token": "</s>"}, ROBERTA) == 2
    assert tokens.padding(None, {}, WORDPIECE) == 1


def test_it_travels_and_is_named_by_what_changes_its_output():
    prepare = TextPreparation(WORDPIECE, 20)
    prepare.frame("the film")
    again = pickle.loads(pickle.dumps(prepare))
    assert again == prepare
    assert again.frame("the film").tolist() == prepare.frame("the film").tolist()
    others = [TextPreparation(ROBERTA, 20), TextPreparation(WORDPIECE, 21), TextPreparation(WORDPIECE, 20, "words")]
    assert len({repr(one) for one in (prepare, again, *others)}) == 4
    assert len(repr(prepare)) < 100
    assert (prepare.ragged, prepare.hint, prepare.modality) == (True, 0, "text")


def test_threads_agree():
    prepare = TextPreparation(WORDPIECE, 12)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(prepare.frame, TEXTS * 20))
    for frame, text in zip(found, TEXTS * 20, strict=True):
        assert frame.tolist() == prepare.frame(text).tolist()


def test_augmentation_reaches_each_text_and_each_word():
    shout = Augment(text=lambda text: text.replace("film", "story"))
    prepare = TextPreparation(WORDPIECE, 99)
    assert prepare.frame("the film", shout).tolist() == prepare.frame("the story").tolist()
    assert prepare.frame(("a film", "film"), shout).tolist() == prepare.frame(("a story", "story")).tolist()
    words = TextPreparation(WORDPIECE, 99, "words")
    assert words.frame(("a", "film"), shout).tolist() == words.frame(("a", "story")).tolist()


def test_a_damaged_tokenizer_is_named():
    with pytest.raises(EncoderError, match=r"tokenizer\.json cannot be read"):
        TextPreparation(b"{}", 9).frame("text")


def test_frames_are_stacked_and_become_whole_numbers():
    prepare = TextPreparation(WORDPIECE, 99)
    made = tokens.stacked(prepare, ["the film", "a"])
    assert made.dtype == torch.int64
    assert made.shape[0] == 2
    assert (made[1, len(prepare.frame("a")) :] == 0).all()


def test_embedded_texts_come_back_in_their_order():
    prepare = TextPreparation(WORDPIECE, 99)
    embed = tokens.Embedding(lambda inputs: inputs[..., :1].sum(dim=1), prepare)
    found = embed(TEXTS)
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [float(prepare.frame(text)[:, 0].sum()) for text in TEXTS]
    assert embed([]).shape == (0, 0)


def test_the_texts_of_a_pair_read_apart_are_prepared_as_if_alone():
    text = TextPreparation(WORDPIECE, 10)
    prepare = PairPreparation(text)
    first, second = "A dull story", TEXTS[8]
    frame = prepare.frame((first, second))
    alone = [text.frame(one) for one in (first, second)]
    assert frame.dtype == np.int32
    assert frame[:, :2].tolist() == [*alone[0][:, :2].tolist(), *alone[1][:, :2].tolist()]
    assert frame[:, 2].tolist() == [1] * len(alone[0]) + [3] * len(alone[1])
    assert len(alone[1]) == 10  # cut off by itself, with its own special tokens
    assert (prepare.longest, prepare.modality, prepare.ragged) == (20, "text", True)
    change = Augment(text=lambda text: text[::-1])
    assert prepare.frame(("abc", "film"), change).tolist() == prepare.frame(("cba", "mlif")).tolist()
    again = pickle.loads(pickle.dumps(prepare))
    assert again.frame((first, second)).tolist() == frame.tolist()
    assert repr(again) == repr(prepare) != repr(PairPreparation(TextPreparation(WORDPIECE, 11)))


@pytest.mark.parametrize("item", ["one text", ("one",)], ids=str)
def test_a_single_text_cannot_be_read_apart(item):
    with pytest.raises(DataError, match="compares two texts, and this item is a single one; give a table"):
        PairPreparation(TextPreparation(WORDPIECE, 10)).frame(item)
