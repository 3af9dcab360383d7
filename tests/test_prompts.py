"""Learnt vectors among the tokens of a text: where they stand, that nothing else moves, that folders keep them."""

import copy

import numpy as np
import pytest
import torch
import transformers
from networks import ArrayFeed, convolutional
from standins_text import TEXTS
from test_train import TASK, Frozen, same
from torch import nn

from sterna import adaptable, addition, artifact, opening, prompts, sequences, shipping, tokens, train
from sterna.encoders import hf, sentence
from sterna.errors import TrainingError
from sterna.folder import resolve
from sterna.network import copied_state, deviation
from sterna.prompts import Longer, Prompts, Vectors
from sterna.recipe import Parts, Recipe
from sterna.records import Fitted, Setting
from sterna.wording import schedule


def with_prompt(network, size=3, deep=False):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Prompts(size, deep).add(network, 0, None)


def vectors_of(network):
    return [part for part in adaptable.parts(network) if isinstance(part, Vectors)]


def test_room_is_made_behind_the_first_token_and_no_item_grows_too_long():
    inputs = torch.zeros(3, 6, 3, dtype=torch.int64)
    for row, length in enumerate((6, 2, 5)):
        inputs[row, :length] = torch.stack([torch.arange(1, length + 1), torch.ones(length), torch.ones(length)], 1)
    (found,) = Longer(2, 100, 9)(nn.Identity(), (inputs,))
    assert found[0, :, 0].tolist() == [1, 9, 9, 2, 3, 4, 5, 6]
    assert found[1, :, 0].tolist() == [1, 9, 9, 2, 0, 0, 0, 0]
    assert found[1].tolist()[:4] == [[1, 1, 1], [9, 0, 1], [9, 0, 1], [2, 1, 1]]
    assert sequences.lengths(found).tolist() == [8, 4, 7]
    (short,) = Longer(2, 6, 9)(nn.Identity(), (inputs,))
    assert short[..., 0].tolist() == [[1, 9, 9, 2, 3, 6], [1, 9, 9, 2, 0, 0], [1, 9, 9, 2, 3, 5]]  # ends stay ends
    inputs[0, 5, 2] = sequences.WORD  # the last token begins a word: it is not moved to another's place
    (words,) = Longer(2, 6, 9)(nn.Identity(), (inputs,))
    assert words[0, :, 0].tolist() == [1, 9, 9, 2, 3, 4]


@pytest.mark.parametrize(
    "kind", ["bert", "distilbert", "roberta", "mpnet", "deberta-v2", "modernbert", "gpt2", "electra"]
)
@pytest.mark.parametrize("deep", [False, True])
@torch.no_grad()
def test_every_vector_is_read_by_the_chain_and_by_the_librarys_model(text_encoder, kind, deep):
    encoder = text_encoder(kind)
    network = copy.deepcopy(encoder.network).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    with_prompt(network, deep=deep)
    found = vectors_of(network)
    assert len(found) == (3 if deep else 1)
    before = network(inputs).logits
    assert deviation(network.whole(inputs), before) < 1e-5
    for part in found:
        for row in part.weight:
            row += torch.randn_like(row)
            moved = network(inputs).logits
            assert deviation(moved, before) > 1e-6
            before = moved
    assert deviation(network.whole(inputs), before) < 1e-5
    shortest = int(sequences.lengths(inputs).argmin())
    alone = network(inputs[[shortest], : int(sequences.lengths(inputs)[shortest])]).logits
    assert deviation(alone, before[[shortest]]) < 1e-5  # padding does nothing


@torch.no_grad()
def test_bert_reads_the_embeddings_with_the_vectors_among_them(text_encoder):
    encoder = text_encoder("bert")
    network = copy.deepcopy(encoder.network).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:1])
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(encoder.reference[3:]).eval()
    with_prompt(network)
    (vectors,) = vectors_of(network)
    rows = plain.get_input_embeddings().weight
    assert all(any(torch.equal(one, row) for row in rows) for one in vectors.weight)
    embedded = plain.get_input_embeddings()(inputs[..., 0])
    embedded = torch.cat([embedded[:, :1], vectors.weight[None], embedded[:, 1:]], dim=1)
    assert deviation(network(inputs).logits, plain(inputs_embeds=embedded).logits) < 1e-5
    assert with_prompt(copy.deepcopy(encoder.network), deep=True).count == 3 * 3 * 16


@torch.no_grad()
def test_deep_vectors_take_the_places_of_those_below(text_encoder):
    encoder = text_encoder("bert")
    network = copy.deepcopy(encoder.network).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:2])
    with_prompt(network, deep=True)
    parts = vectors_of(network)
    hidden = network.prefix(2)(inputs)  # what layer 1 is given
    other = hidden.clone()
    other[:, 1:4, :-1] = 7.0
    assert torch.equal(network.stages["layer_1"](hidden), network.stages["layer_1"](other))
    given = []
    hook = network.whole.model.bert.encoder.layer[1].attention.register_forward_pre_hook(
        lambda part, args, named: given.append(args[0] if args else named["hidden_states"]), with_kwargs=True
    )
    network(inputs)
    hook.remove()
    assert torch.equal(given[0][:, 1:4], parts[1].weight.expand(2, -1, -1))


@pytest.mark.parametrize(
    ("made", "options", "said"),
    [
        (lambda text_encoder: convolutional(), {}, "stands among the tokens of a text, and this network takes none"),
        (lambda text_encoder: text_encoder("bert").network, {"size": 30}, "half of the 48 tokens .* 24, got size=30"),
    ],
)
def test_a_network_that_cannot_take_them_is_said(text_encoder, made, options, said):
    with pytest.raises(TrainingError, match=said):
        with_prompt(copy.deepcopy(made(text_encoder)), **options)


# Whole phases.


def fitted(encoder, tune, place=None, stop=0):
    """A network fitted to twelve texts of two classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = encoder.network.with_head(3, {})
    inputs = tokens.stacked(encoder.preparation, TEXTS[:6] * 2)
    feed = ArrayFeed(inputs, np.arange(12) % 3)
    (policy,), (chosen,) = resolve("tune", tune), resolve("optimizers", "adamw(rate=0.01)")
    phases = policy.plan([sum(w.numel() for w in stage.parameters()) for stage in network.stages.values()])
    written = schedule("epochs=3, batch=4, patience=9")
    recipe = Recipe(phases, resolve("losses", "cross_entropy"), chosen, written, 0, TASK, fingerprint="one")
    told = []

    def report(progress):
        told.append(progress)
        if len(told) == stop:
            raise KeyboardInterrupt

    def feeds(phase):
        return Parts(*(Frozen(feed, network, phase.cut).feed for _ in range(2)))

    setting = Setting(network, np.full(3, 4), ("a", "b", "c"))
    return network, train.train(network, recipe, feeds, setting, place=place, report=report)


def test_a_fit_moves_them_and_the_head_and_nothing_else_and_can_be_interrupted(text_encoder, tmp_path, monkeypatch):
    encoder, tune = text_encoder("bert"), "prompt(size=4, deep=true, warm_head=false)"
    start = copied_state(encoder.network)
    network, found = fitted(encoder, tune)
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in start.items() if name.startswith("stages."))
    new = {name: value for name, value in state.items() if name not in start}
    assert sum(value.numel() for value in new.values()) == 3 * 4 * 16
    assert len(new) == 3
    assert "a prompt of 4 vectors before each of 3 layers: 192 weights moved" in found.notes[0]
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    with pytest.raises(KeyboardInterrupt):
        fitted(encoder, tune, tmp_path / "checkpoint.pt", stop=2)
    again, resumed = fitted(encoder, tune, tmp_path / "checkpoint.pt")
    assert same(network, again)
    assert (resumed.history, resumed.notes) == (found.history, found.notes)
    done, _ = fitted(encoder, tune, tmp_path / "checkpoint.pt")
    assert same(network, done)
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    made = Fitted(network, encoder, ("a", "b", "c"))
    artifact.save(made, tmp_path / "model", inputs, "card", {"task": "classify"})
    with pytest.raises(TrainingError, match="holds adapters, a prompt or a prefix of a former run"):
        fitted(opening.open_encoder(f"local:{tmp_path / 'model'}"), "adapter(warm_head=false)")


@pytest.mark.parametrize("origin", [hf, sentence])
@pytest.mark.parametrize("deep", [False, True])
@torch.no_grad()
def test_a_model_folder_gives_them_back(tmp_path, text_encoder, origin, deep):
    encoder = origin.load(text_encoder("bert").reference[3:])
    network = encoder.network.with_head(2, {}).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS)
    with_prompt(network, 12, deep)
    longest = [int(sequences.lengths(one).max()) for one in (inputs, network.prefix(1)(inputs))]
    assert longest == [40, 48]  # and not 52, for which there are no positions
    logits = network(inputs).logits
    artifact.save(Fitted(network, encoder, ("no", "yes")), tmp_path / "model", inputs, "card", {"task": "classify"})
    assert torch.equal(network(inputs).logits, logits)
    assert torch.equal(artifact.load(tmp_path / "model").network.eval()(inputs).logits, logits)
    assert addition.read(tmp_path / "model" / addition.FOLDER)[0]["kind"] == "prompt"
    found = opening.open_encoder(f"{'sentence' if origin is sentence else 'hf'}:{tmp_path / 'model'}")
    assert torch.equal(found.network.eval()(inputs).features, network(inputs).features)
    if origin is sentence:
        pairs = found.pairs()
        inputs = pairs.preparation.tensor(torch.from_numpy(pairs.preparation.frame(("Short.", "A dull story."))[None]))
        both, single = pairs.network(inputs).features, tokens.stacked(found.preparation, ["Short."])
        assert torch.allclose(both[:, :16], found.network(single).features, atol=1e-5)
        with prompts.without(pairs.network):
            assert deviation(pairs.network(inputs).features, both) > 1e-3
    assert "leaves the prompt out and gives other answers" in shipping._how(encoder.config, prompts.of(network)[0])
