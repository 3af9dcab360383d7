"""Learnt keys and values in attention: what they compute, that nothing else moves, that folders keep them."""

import copy
import csv

import numpy as np
import pytest
import torch
import transformers
from networks import convolutional
from standins_text import BYTES, KINDS, SENTENCES, TEXTS
from standins_text import folder as standin
from test_prompts import fitted
from test_train import same
from torch import nn

import sterna
from sterna import (
    adaptable,
    addition,
    artifact,
    domainwise,
    files,
    opening,
    prefixes,
    sequences,
    shipping,
    tokens,
    train,
)
from sterna.encoders import hf, sentence
from sterna.errors import TrainingError
from sterna.network import copied_state, deviation
from sterna.prefixes import Prefix, Prefixes
from sterna.records import Fitted
from sterna.settings import Settings
from sterna.store import Store


def with_prefix(network, length=3, cut=0, twin=None):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Prefixes(length).add(network, cut, twin)


def prefixes_of(network):
    return [part for part in adaptable.parts(network) if isinstance(part, Prefix)]


class Attention(nn.Module):
    """What a library's attention tells of itself."""

    def __init__(self, prefix=None, causal=False, groups=1):
        super().__init__()
        self.is_causal = causal
        self.num_key_value_groups = groups
        if prefix is not None:
            self.prefix = prefix


def by_hand(query, key, value, scores, count):
    """(b, t, h, d): a softmax of products for each item, head and token, with what is added to those of tokens."""
    items, heads, length, width = query.shape
    given = torch.zeros(items, length, heads, width, dtype=query.dtype)
    for item, head, place in np.ndindex(items, heads, length):
        group = head * key.shape[1] // heads
        products = torch.stack([query[item, head, place] @ one for one in key[item, group]]) / width**0.5
        products[count:] += scores[item, head, place]
        given[item, place, head] = torch.softmax(products, 0) @ value[item, group]
    return given


def masks(b, h, t):
    """What a library hands to its attention beside keys, whether that is causal, and what it adds to the products."""
    generator = torch.Generator().manual_seed(5)
    barred = torch.zeros(b, 1, t, t, dtype=torch.float64)
    barred[1, ..., t - 2 :] = -torch.inf  # padding
    order = torch.full((t, t), -torch.inf, dtype=torch.float64).triu(1)
    bias = torch.randn(1, h, t, t, generator=generator, dtype=torch.float64)
    zeros = torch.zeros(b, h, t, t, dtype=torch.float64)
    return {
        "none": (None, {}, False, zeros),
        "boolean": (barred == 0, {}, False, zeros + barred),
        "added": (barred, {}, False, zeros + barred),
        "causal": (None, {}, True, zeros + order),
        "causal, as called": (None, {"is_causal": True}, False, zeros + order),
        "not causal, as called": (None, {"is_causal": False}, True, zeros),
        "positions": (barred == 0, {"position_bias": bias}, False, zeros + barred + bias),
        "positions, causal": (None, {"position_bias": bias}, True, zeros + order + bias),
    }


@pytest.mark.parametrize("kind", masks(2, 4, 5))
@pytest.mark.parametrize("groups", [1, 2])
def test_attention_is_what_a_softmax_by_hand_over_prefix_and_tokens_gives(kind, groups):
    b, h, t, d, p = 2, 4, 5, 3, 2
    mask, named, causal, scores = masks(b, h, t)[kind]
    query = torch.randn(b, h, t, d, dtype=torch.float64)
    key, value = torch.randn(2, b, h // groups, t, d, dtype=torch.float64)
    prefix = Prefix(*torch.randn(2, h // groups, p, d, dtype=torch.float64))
    module = Attention(prefix, causal, groups)
    found, _ = prefixes._attend(module, query, key, value, mask, dropout=0.0, scaling=d**-0.5, **named)
    wanted = by_hand(query, *prefix(key, value), scores, p)
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    assert prefix.value.grad.abs().sum(dim=(0, 2)).min() > 0


@pytest.mark.parametrize("kind", masks(2, 4, 5))
@torch.no_grad()
def test_a_prefix_that_nobody_sees_and_one_of_no_length_leave_attention_as_it_was(kind):
    b, h, t, d = 2, 4, 5, 3
    mask, named, causal, _ = masks(b, h, t)[kind]
    query = torch.rand(b, h, t, d, dtype=torch.float64) + 0.1
    key, value = torch.randn(2, b, h, t, d, dtype=torch.float64)
    given = (query, key, value, mask)
    plain, _ = prefixes._attend(Attention(None, causal), *given, dropout=0.0, scaling=1.0, **named)
    far = Prefix(torch.full((h, 2, d), -1e6, dtype=torch.float64), torch.randn(h, 2, d, dtype=torch.float64))
    for prefix in (far, Prefix(*torch.empty(2, h, 0, d, dtype=torch.float64))):
        found, _ = prefixes._attend(Attention(prefix, causal), *given, dropout=0.0, scaling=1.0, **named)
        torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "modernbert", "gpt2", "electra", "albert"])
@torch.no_grad()
def test_every_position_is_read_by_the_chain_and_by_the_librarys_model(text_encoder, kind):
    encoder = text_encoder(kind)
    network = copy.deepcopy(encoder.network).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    plain = network(inputs).logits
    with_prefix(network)
    found = prefixes_of(network)
    assert len(found) == (1 if kind == "albert" else 3)  # whose layers are one
    before = network(inputs).logits
    assert deviation(before, plain) > 1e-3
    assert deviation(network.whole(inputs), before) < 1e-5
    assert [len(one) for one in (network.prefix(2)(inputs), inputs)] == [4, 4]
    for part in found:
        for place in range(3):
            for weight in (part.key, part.value):
                weight[:, place] += torch.randn_like(weight[:, place])
                moved = network(inputs).logits
                assert deviation(moved, before) > 1e-6
                before = moved
    assert deviation(network.whole(inputs), before) < 1e-5
    shortest = int(sequences.lengths(inputs).argmin())
    alone = network(inputs[[shortest], : int(sequences.lengths(inputs)[shortest])]).logits
    assert deviation(alone, before[[shortest]]) < 1e-5  # padding does nothing
    _, tensors = prefixes.of(network)
    prefixes.put(network, {name: value[:, :0] for name, value in tensors.items()})
    assert deviation(network(inputs).logits, plain) < 1e-6
    with prefixes.without(network):
        assert torch.equal(network(inputs).logits, plain)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@torch.no_grad()
def test_it_is_a_cache_of_past_keys_without_positions(text_encoder, kind):
    encoder = text_encoder(kind)
    network = copy.deepcopy(encoder.network).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:3])
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(encoder.reference[3:]).eval()
    with_prefix(network)
    plain.config.pad_token_id = network.whole.model.config.pad_token_id
    past = transformers.DynamicCache(config=plain.config)
    for place, part in enumerate(prefixes_of(network)):
        past.update(part.key.expand(3, -1, -1, -1), part.value.expand(3, -1, -1, -1), place)
    there = sequences.mask(inputs).long()
    mask = torch.cat([torch.ones(3, 3, dtype=torch.int64), there], dim=1)
    positions = torch.arange(inputs.shape[1]).expand(3, -1)
    given = network.whole.reader.inputs(inputs) | {"attention_mask": mask, "position_ids": positions}
    assert deviation(network(inputs).logits, plain(**given, past_key_values=past).logits) < 1e-5


@torch.no_grad()
def test_it_starts_as_the_keys_and_values_of_random_tokens(text_encoder):
    encoder = text_encoder("bert")
    network = copy.deepcopy(encoder.network).train()
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(encoder.reference[3:]).eval()
    added = with_prefix(network, length=4)
    assert added.count == 2 * 3 * 4 * 16
    assert network.training
    torch.manual_seed(1)
    numbers = torch.randint(200, (1, 4))
    hidden = plain(input_ids=numbers, output_hidden_states=True).hidden_states
    for place, part in enumerate(prefixes_of(network)):
        layer = plain.bert.encoder.layer[place].attention.self
        for found, product in ((part.key, layer.key), (part.value, layer.value)):
            assert deviation(found.transpose(0, 1).reshape(4, 16), product(hidden[place])[0]) < 1e-5


@torch.no_grad()
def test_sentence_encoders_that_share_keys_among_heads_take_one(tmp_path):
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "head_dim": 8}
    made = transformers.Qwen3Config(
        vocab_size=BYTES, hidden_size=16, intermediate_size=24, max_position_embeddings=48, pad_token_id=1, **sizes
    )
    place = standin(tmp_path / "bert", "roberta")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(made).save_pretrained(place)
    encoder = sentence.load(str(place))
    network, inputs = encoder.network.eval(), tokens.stacked(encoder.preparation, TEXTS[:4])
    plain = network(inputs).features
    assert with_prefix(network).count == 2 * 2 * (2 * 3 * 8)
    found = network(inputs).features
    assert deviation(found, plain) > 1e-3
    shortest = int(sequences.lengths(inputs).argmin())
    alone = network(inputs[[shortest], : int(sequences.lengths(inputs)[shortest])]).features
    assert deviation(alone, found[[shortest]]) < 1e-5


BOTH = {
    "bart": lambda ends: transformers.BartConfig(
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=48,
        **ends,
    ),
    "t5": lambda ends: transformers.T5Config(
        d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=1, **ends
    ),
}


@pytest.mark.parametrize("kind", BOTH)
@torch.no_grad()
def test_an_encoder_with_a_decoder_has_one_in_either_and_between_them(tmp_path, monkeypatch, kind):
    config = BOTH[kind]({"vocab_size": BYTES, "pad_token_id": 1, "eos_token_id": 2})
    monkeypatch.setitem(KINDS, kind, lambda: (config, *KINDS["roberta"]()[1:]))
    place = standin(tmp_path / kind, kind, transformers.AutoModelForSequenceClassification, num_labels=3)
    encoder = hf.load(str(place))
    network, inputs = encoder.network.eval(), tokens.stacked(encoder.preparation, TEXTS[:4])
    plain = network(inputs).logits
    assert with_prefix(network).count == 2 * (2 + 2 * 2) * 3 * 16
    assert deviation(network(inputs).logits, plain) > 1e-3
    _, tensors = prefixes.of(network)
    prefixes.put(network, {name: value[:, :0] for name, value in tensors.items()})
    assert deviation(network(inputs).logits, plain) < 1e-6


@torch.no_grad()
def test_taggers_of_words_and_readers_of_pairs_take_one(text_encoder):
    words, pairs = text_encoder("bert").words(), sentence.load(text_encoder("bert").reference[3:]).pairs()
    frames = [words.preparation.frame(tuple(text.split())) for text in SENTENCES[:2]]
    frames += [pairs.preparation.frame((SENTENCES[0], SENTENCES[1]))]
    given = [words.preparation.tensor(torch.from_numpy(frame[None])) for frame in frames[:2]]
    given += [pairs.preparation.tensor(torch.from_numpy(frames[2][None]))]
    for encoder, inputs in ((words, given[0]), (words, given[1]), (pairs, given[2])):
        network = encoder.network.with_head(2, {}).eval()
        plain = network(inputs).features
        assert with_prefix(network).count == 2 * 3 * 3 * 16
        found = network(inputs)
        assert found.features.shape == plain.shape
        assert deviation(found.features, plain) > 1e-3
        assert deviation(network.whole(inputs)[..., :2], found.logits) < 1e-5


@torch.no_grad()
def test_a_twin_with_statistics_of_its_own_has_the_same_one(text_encoder):
    encoder = text_encoder("bert")
    network = copy.deepcopy(encoder.network).eval()
    twin = domainwise.tied(network, network)
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    with_prefix(network, twin=twin)
    assert {id(part) for part in prefixes_of(twin)} == {id(part) for part in prefixes_of(network)}
    assert torch.equal(twin(inputs).logits, network(inputs).logits)


INTERFACE = "needs attention that runs through the attention interface of transformers with sdpa, as that of BERT"


@pytest.mark.parametrize(
    ("made", "options", "said"),
    [
        (lambda text_encoder: convolutional(), {}, "before the tokens of a text, and this network takes none; choose"),
        (lambda text_encoder: text_encoder("bert").network, {"length": 49}, "at most 48 tokens, got length=49; give"),
        (
            lambda text_encoder: text_encoder("bert").network,
            {"cut": 4},
            "in attention, and of .* pool have none; give more",
        ),
        (lambda text_encoder: text_encoder("mpnet").network, {}, f"{INTERFACE}.* 3 layers of MPNetFor.* it does not"),
        (lambda text_encoder: text_encoder("deberta-v2").network, {}, INTERFACE),
    ],
)
def test_a_network_that_cannot_take_one_is_said(text_encoder, made, options, said):
    network = copy.deepcopy(made(text_encoder))
    with pytest.raises(TrainingError, match=said):
        with_prefix(network, **options)
    assert prefixes.of(network) is None


# Whole phases.


@pytest.mark.parametrize(("stages", "layers"), [(0, 3), (3, 2)])  # small poolers count as a stage
def test_a_fit_moves_it_and_the_head_and_nothing_else_and_can_be_interrupted(
    text_encoder, tmp_path, monkeypatch, stages, layers
):
    encoder, tune = text_encoder("bert"), f"prefix(length=4, stages={stages}, warm_head=false)"
    start = copied_state(encoder.network)
    network, found = fitted(encoder, tune)
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in start.items() if name.startswith("stages."))
    new = {name: value for name, value in state.items() if name not in start}
    assert sum(value.numel() for value in new.values()) == 2 * layers * 4 * 16
    assert len(new) == 2 * layers
    bare = copy.deepcopy(encoder.network)
    with_prefix(bare, 4, 0 if layers == 3 else 2)
    assert not [part for part in bare.stages.parameters() if part.requires_grad and part.ndim != 3]
    assert f"a prefix of 4 keys and values in {layers} attentions: {128 * layers} weights moved" in found.notes[0]
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    with pytest.raises(KeyboardInterrupt):
        fitted(encoder, tune, tmp_path / "checkpoint.pt", stop=2)
    again, resumed = fitted(encoder, tune, tmp_path / "checkpoint.pt")
    assert same(network, again)
    assert (resumed.history, resumed.notes) == (found.history, found.notes)
    done, _ = fitted(encoder, tune, tmp_path / "checkpoint.pt")
    assert same(network, done)


def test_beside_one_of_a_former_run_stands_no_other(text_encoder, tmp_path):
    encoder = text_encoder("bert")
    network = encoder.network.with_head(2, {}).eval()
    with_prefix(network)
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    artifact.save(Fitted(network, encoder, ("a", "b")), tmp_path / "model", inputs, "card", {"task": "classify"})
    for tune in ("prefix(warm_head=false)", "prompt(warm_head=false)"):
        with pytest.raises(TrainingError, match="holds adapters, a prompt or a prefix of a former run"):
            fitted(opening.open_encoder(f"local:{tmp_path / 'model'}"), tune)


@pytest.mark.parametrize("origin", [hf, sentence])
@torch.no_grad()
def test_a_model_folder_gives_it_back(tmp_path, text_encoder, origin):
    encoder = origin.load(text_encoder("bert").reference[3:])
    network = encoder.network.with_head(2, {}).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS)
    with_prefix(network, 5)
    logits = network(inputs).logits
    artifact.save(Fitted(network, encoder, ("no", "yes")), tmp_path / "model", inputs, "card", {"task": "classify"})
    assert torch.equal(network(inputs).logits, logits)
    assert torch.equal(artifact.load(tmp_path / "model").network.eval()(inputs).logits, logits)
    config, tensors = addition.read(tmp_path / "model" / addition.FOLDER)
    assert (config["kind"], config["length"], len(tensors)) == ("prefix", 5, 2 * 3)
    assert "sterna_prefix" not in str(files.read_json(tmp_path / "model" / "config.json"))
    found = opening.open_encoder(f"{'sentence' if origin is sentence else 'hf'}:{tmp_path / 'model'}")
    assert torch.equal(found.network.eval()(inputs).features, network(inputs).features)
    assert prefixes.of(found.fresh()) is None
    if origin is sentence:
        pairs = found.pairs()
        given = pairs.preparation.tensor(torch.from_numpy(pairs.preparation.frame(("Short.", "A dull story."))[None]))
        both, single = pairs.network(given).features, tokens.stacked(found.preparation, ["Short."])
        assert torch.allclose(both[:, :16], found.network(single).features, atol=1e-5)
    assert "leaves the prefix out and gives other answers" in shipping._how(encoder.config, prefixes.of(network)[0])


@pytest.mark.usefixtures("few_resamples")
def test_a_run_ships_it_and_predicts_with_it_from_stored_activations(tmp_path, text_encoder):
    with (tmp_path / "texts.csv").open("w", newline="") as made:
        texts = [f"{SENTENCES[place % 2]} {place} {SENTENCES[2 + place % 4]}" for place in range(60)]
        csv.writer(made).writerows([("text", "label"), *((text, "ab"[place % 2]) for place, text in enumerate(texts))])
    result = sterna.fit(
        tmp_path / "texts.csv",
        encoder=f"hf:{text_encoder('bert').reference[3:]}",
        tune="prefix(warm_head=false, stages=3, length=4)",
        schedule="epochs=4, batch=8",
        out=tmp_path / "out",
        settings=Settings(floors="scratch", mitigate=False, refit=0, page=False),
        store=Store(tmp_path / "store"),
    )
    assert result.shipped.startswith("prefix")
    assert any("a prefix of 4 keys and values in 2 attentions" in one for one in result.warnings)
    with (tmp_path / "out" / "predictions.csv").open() as kept:
        rows = list(csv.DictReader(kept))
    found = sterna.predict(tmp_path / "out" / "model", [texts[int(row["item"].split()[1]) - 1] for row in rows])
    for row, answer in zip(rows, found.answers, strict=True):
        assert [float(row[one]) for one in "ab"] == pytest.approx(answer.tolist(), abs=2e-3)  # the store's precision
