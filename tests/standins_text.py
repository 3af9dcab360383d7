"""Tiny transformers with random weights and tokenizers of a few sentences, as folders like those of the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SENTENCES = (
    "The film was a delight from the first scene to the last, and the actors never miss a note.",
    "A dull story; nobody in the theatre stayed awake until its end.",
    "What is the capital of France?",
    "EU rejects German call to boycott British lamb.",
    "She sells sea shells by the sea shore, unbelievably quickly.",
    "Two plus two makes four, except on Tuesdays.",
)
TEXTS = [*SENTENCES, "Short.", "", "A much longer text, " * 6, "naïve café — déjà vu", "one two three"]
SIZE, BYTES = 200, 390  # pieces of a tokenizer of words, and of one of bytes
SIZES = {"vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
WIDE = {**SIZES, "intermediate_size": 24, "max_position_embeddings": 48}


def wordpiece() -> Tokenizer:
    """BERT's kind: lower case, [CLS] text [SEP], segments for pairs."""
    # Pieces are written out, not trained: the trainer breaks ties otherwise in each process.
    words = list(dict.fromkeys(re.findall("[a-z]+|[^a-z ]", " ".join(SENTENCES).lower())))
    letters = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    pieces = list(dict.fromkeys(pieces))[:SIZE]
    made = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cls, sep = ("[CLS]", 2), ("[SEP]", 3)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[cls, sep]
    )
    made.decoder = decoders.WordPiece()
    return made


def byte_pairs(special: tuple[str, ...], around: bool) -> Tokenizer:
    """RoBERTa's kind (with <s> and </s> around a text) or GPT-2's (with nothing)."""
    pieces = dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    merges: list[tuple[str, str]] = []
    for word in re.findall(" ?[A-Za-z]+", " ".join(SENTENCES)):
        letters = word.replace(" ", "Ġ")  # as the alphabet writes a space
        for end in range(1, len(letters)):
            if letters[: end + 1] not in pieces and len(pieces) < BYTES:
                pieces[letters[: end + 1]] = None
                merges.append((letters[:end], letters[end]))
    unknown = "<unk>" if "<unk>" in special else None
    made = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges, unk_token=unknown))
    made.add_special_tokens(list(special))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if around:
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def _of_bert(name: str) -> tuple[Tokenizer, dict]:
    words = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return wordpiece(), {"tokenizer_class": name, **words, "mask_token": "[MASK]", "do_lower_case": True}


def _of_roberta() -> tuple[Tokenizer, dict]:
    words = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    ends = {"bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"}
    made = byte_pairs(("<s>", "<pad>", "</s>", "<unk>", "<mask>"), around=True)
    return made, {"tokenizer_class": "RobertaTokenizer", **words, **ends}


def _of_gpt2() -> tuple[Tokenizer, dict]:
    end = "<|endoftext|>"
    words = {"bos_token": end, "eos_token": end, "unk_token": end}
    return byte_pairs((end,), around=False), {"tokenizer_class": "GPT2Tokenizer", **words}


FAST = "PreTrainedTokenizerFast"
KINDS = {
    "bert": lambda: (transformers.BertConfig(**WIDE), *_of_bert("BertTokenizer")),
    "electra": lambda: (transformers.ElectraConfig(**WIDE, embedding_size=8), *_of_bert("ElectraTokenizer")),
    "distilbert": lambda: (
        transformers.DistilBertConfig(
            vocab_size=200, dim=16, n_layers=3, n_heads=2, hidden_dim=24, max_position_embeddings=48
        ),
        *_of_bert("DistilBertTokenizer"),
    ),
    "roberta": lambda: (
        transformers.RobertaConfig(**{**WIDE, "vocab_size": BYTES}, pad_token_id=1, type_vocab_size=1),
        *_of_roberta(),
    ),
    "mpnet": lambda: (transformers.MPNetConfig(**{**WIDE, "vocab_size": BYTES}, pad_token_id=1), *_of_roberta()),
    "deberta-v2": lambda: (
        transformers.DebertaV2Config(
            **WIDE,
            relative_attention=True,
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
            pooler_hidden_size=16,
            conv_kernel_size=3,
        ),
        *_of_bert(FAST),
    ),
    "modernbert": lambda: (
        transformers.ModernBertConfig(
            **WIDE,
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
            local_attention=6,
            global_attn_every_n_layers=2,
            attention_dropout=0.1,
            embedding_dropout=0.1,
            mlp_dropout=0.1,
        ),
        *_of_bert(FAST),
    ),
    "gpt2": lambda: (
        transformers.GPT2Config(
            vocab_size=BYTES, n_embd=16, n_layer=3, n_head=2, n_positions=48, bos_token_id=0, eos_token_id=0
        ),
        *_of_gpt2(),
    ),
    "albert": lambda: (transformers.AlbertConfig(**WIDE, embedding_size=8), *_of_bert(FAST)),
}


def config_of(kind: str) -> transformers.PretrainedConfig:
    """A configuration of that family, three layers of width 16."""
    return KINDS[kind]()[0]


def folder(place: Path, kind: str, auto: type = transformers.AutoModel, **labels: object) -> Path:
    """A folder of config, random weights and tokenizer, as the hub has them."""
    config, tokenizer, words = KINDS[kind]()
    for name, value in labels.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = auto.from_config(config)
        with torch.no_grad():  # norms of 1 and biases of 0 would hide mistakes
            for weight in model.parameters():
                weight += 0.1 * torch.randn_like(weight)
    model.save_pretrained(place)
    tokenizer.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps({**words, "model_max_length": 40}))
    return place


def small_bert(place: Path, layers: int, width: int) -> str:
    """A BERT of a few layers with random weights, the same every time, and the tokenizer of a few sentences."""
    folder(place, "bert")
    settings = transformers.BertConfig(
        vocab_size=200,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=width,
        max_position_embeddings=48,
        initializer_range=0.05,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(settings).save_pretrained(place)
    return f"hf:{place}"
