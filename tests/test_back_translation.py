"""Back-translation through two tiny random models: what is drawn, what is fenced, what is refused."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

from sterna import folder
from sterna.augment.back_translation import BackTranslation
from sterna.errors import EncoderError, SpecError
from sterna.records import Augment

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "good", "film", "bad", "ein", "guter", "schlechter"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two model folders with random weights and a vocabulary of words."""
    places = [tmp_path_factory.mktemp(name) for name in ("there", "back")]
    for place in places:
        level = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
        level.pre_tokenizer = pre_tokenizers.Whitespace()
        names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        PreTrainedTokenizerFast(tokenizer_object=level, model_max_length=32, **names).save_pretrained(place)
        config = BartConfig(
            vocab_size=len(WORDS), d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
            decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=64,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            BartForConditionalGeneration(config).save_pretrained(place)
    return ";".join(map(str, places))


def drawn(made: Augment, text: str, seed: int) -> str:
    assert made.text is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return made.text(text)


def test_the_same_seed_gives_the_same_words_also_in_a_worker(pair: str) -> None:
    made = BackTranslation(model=pair).build()
    sent = pickle.loads(pickle.dumps(made))
    got = [drawn(made, "a good film", seed) for seed in range(6)]
    assert got == [drawn(sent, "a good film", seed) for seed in range(6)]
    assert len(set(got)) > 2
    assert {word for text in got for word in text.split()} <= set(WORDS[3:])


def test_it_ends_and_leaves_empty_texts_alone(pair: str) -> None:
    made = BackTranslation(model=pair, temperature=5.0).build()
    assert drawn(made, "  ", 0) == "  "
    assert 0 < len(drawn(made, "film " * 100, 0).split()) <= 2 * (2 * 32 + 16) + 16


def test_a_cold_model_says_its_likeliest_words(pair: str) -> None:
    made = BackTranslation(model=pair, temperature=0.05).build()
    warm = BackTranslation(model=pair, temperature=5.0).build()
    cold = {drawn(made, "a good film", seed) for seed in range(8)}
    assert len(cold) < len({drawn(warm, "a good film", seed) for seed in range(8)})


@pytest.mark.parametrize(
    "written", ["back_translation", "back_translation(model='here')", "back_translation(model='a;b')"]
)
def test_without_two_models_it_is_refused(written: str) -> None:
    (part,) = folder.resolve("augment", written)
    with pytest.raises(SpecError, match="needs two folders of translation models, there and back, got '"):
        part.build()


def test_a_folder_that_is_no_translation_model(pair: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(pair.split(";")[0], broken)
    (broken / "model.safetensors").unlink()
    made = BackTranslation(model=f"{broken};{broken}").build()
    with pytest.raises(
        EncoderError, match=r"is no translation model that transformers can open \(.*\); give the folder"
    ):
        drawn(made, "a film", 0)
