"""Bottlenecks behind layers: what they compute, that nothing else moves, and that a model folder gives them back."""

import copy
import csv
import json

import numpy as np
import pytest
import safetensors.torch
import sentence_transformers as sentences
import timm
import torch
import transformers
from networks import convolutional
from PIL import Image
from sklearn.datasets import load_digits
from standins_text import TEXTS
from test_adapters import interrupted
from test_train import same, trained
from torch import nn
from torch.nn import functional

import sterna
from sterna import addition, artifact, bottlenecks, chains, domainwise, fastest, hub, opening, shipping, tokens, train
from sterna.bottlenecks import Bottleneck, Bottlenecks
from sterna.encoders import hf, sentence
from sterna.errors import SpecError, TrainingError
from sterna.folder import resolve
from sterna.network import Network, copied_state, deviation
from sterna.records import Fitted
from sterna.settings import Settings
from sterna.store import Store


def stirred(network, *, spread=0.3, **options):
    """A network that holds bottlenecks, their weights moved away from where they start."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = Bottlenecks(**{"size": 3, **options}).add(network, 0, None)
        for part in network.modules():
            if isinstance(part, Bottleneck):
                for weight in part.parameters():
                    weight.data += spread * torch.randn_like(weight)
    return found


def linear():
    """Two linear stages and a head."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {"one": nn.Sequential(nn.Linear(5, 8), nn.ReLU()), "two": nn.Sequential(nn.Linear(8, 6), nn.Tanh())}
        return Network(stages, nn.Linear(6, 3))


def test_a_bottleneck_adds_its_own_product_to_what_a_layer_gives():
    network, bare = linear(), linear()
    stirred(network)
    inputs, part = torch.randn(9, 5), network.stages["one"][0].adapter
    hidden = bare.stages["one"][0](inputs)
    within = hidden @ part.down.weight.T + part.down.bias
    within = within * 0.5 * (1 + torch.erf(within / 2**0.5))
    wanted = torch.relu(hidden + within @ part.up.weight.T + part.up.bias)
    assert torch.allclose(network.stages["one"](inputs), wanted, atol=1e-6)


def test_on_a_convolution_it_is_the_same_product_at_each_place():
    network, bare = convolutional().eval(), convolutional().eval()
    stirred(network)
    inputs, part = torch.randn(2, 3, 8, 8), network.stages["stage0"][0].adapter
    places = bare.stages["stage0"][0](inputs).movedim(1, -1)
    within = functional.gelu(places @ part.down.weight[:, :, 0, 0].T + part.down.bias)
    wanted = (places + within @ part.up.weight[:, :, 0, 0].T + part.up.bias).movedim(-1, 1)
    assert torch.allclose(network.stages["stage0"][0](inputs), wanted, atol=1e-5)


@torch.no_grad()
def test_a_norm_behind_one_is_not_folded_into_the_convolution_before_it():
    network, inputs = convolutional().eval(), torch.randn(4, 3, 8, 8)
    stirred(network, targets=("stage0.0",))
    stages = network.prefix(3)
    before = stages(inputs)
    assert fastest.fold(stages, inputs[:1]) == 2
    assert deviation(stages(inputs), before) < 1e-5


def test_a_network_begins_as_it_was_and_the_count_is_that_of_two_products():
    network, inputs = convolutional().eval(), torch.randn(4, 3, 8, 8)
    before = network(inputs).logits
    found = Bottlenecks(5).add(network, 0, None)
    assert torch.equal(network.eval()(inputs).logits, before)
    # Of 8, 12 and 16 channels: within are 4, 5 and 5, for a bottleneck is at most half as wide as its layer.
    assert found.count == (2 * 8 * 4 + 8 + 4) + (2 * 12 * 5 + 12 + 5) + (2 * 16 * 5 + 16 + 5)
    assert found.count == sum(weight.numel() for weight in network.stages.parameters() if weight.requires_grad)
    assert found.what == "adapters behind 3 layers"


def test_a_twin_with_statistics_of_its_own_shares_them():
    network, inputs = convolutional().eval(), torch.randn(4, 3, 8, 8)
    other = convolutional()
    for norm in domainwise.norms(other):
        norm.running_mean += 1
    twin = domainwise.tied(network, other).eval()
    plain = twin(inputs).logits
    Bottlenecks(3).add(network, 0, twin)
    assert torch.equal(twin(inputs).logits, plain)
    nn.init.ones_(network.stages["stage1"][0].adapter.up.weight)
    assert deviation(twin(inputs).logits, plain) > 1e-3
    assert all(mine is theirs for mine, theirs in zip(network.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(
    "kind", ["bert", "distilbert", "roberta", "mpnet", "deberta-v2", "modernbert", "gpt2", "electra"]
)
@torch.no_grad()
def test_they_stand_behind_the_feed_forward_parts_of_a_transformer_and_behind_its_attention(text_encoder, kind):
    encoder = text_encoder(kind)
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    for attention, count in ((False, 3), (True, 6)):
        network = copy.deepcopy(encoder.network).eval()
        before = network(inputs).logits
        assert Bottlenecks(4, attention).add(network, 0, None).what == f"adapters behind {count} layers"
        assert torch.equal(network(inputs).logits, before)
        for part in [one for one in network.modules() if isinstance(one, Bottleneck)]:
            part.up.weight.normal_()
            moved = network(inputs).logits
            assert deviation(moved, before) > 1e-5
            assert deviation(network.whole(inputs), moved) < 1e-5
            part.up.weight.zero_()


def test_of_a_vision_transformer_of_timm_as_well():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, num_heads=2)
    network = chains.chain(model, chains.noise((3, 32, 32)), "head")
    Bottlenecks(4, attention=True).add(network, 0, None)
    assert len(bottlenecks.of(network)[0]["target_modules"]) == 4
    ends = {path.partition(".")[2].partition(".")[2] for path in bottlenecks.of(network)[0]["target_modules"]}
    assert ends == {"attn.proj", "mlp.fc2"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": ("query",)}, "no layer .* ends in query; targets may be among 0"),
        ({"attention": True}, "no attention of the moving stages ends in a layer of a usual name; leave attention out"),
    ],
)
def test_what_is_not_there_is_said(options, said):
    with pytest.raises(TrainingError, match=said):
        Bottlenecks(2, **options).add(linear(), 0, None)


def test_a_network_that_cannot_take_them_is_said():
    network = Network({"pool": nn.Sequential(nn.Flatten())}, nn.Linear(4, 2))
    with pytest.raises(TrainingError, match="needs linear layers or convolutions"):
        Bottlenecks(2).add(network, 0, None)


def test_layers_that_hold_one_are_left_out_by_what_is_merged():
    network = linear()
    stirred(network, targets=("one.0",))
    lora = resolve("tune", 'lora(targets=["0"])')[0].plan([1, 1])[-1].adapter
    with torch.random.fork_rng():
        assert list(lora.add(network, 0, None).layers) == ["stages.two.0"]


def test_attention_and_targets_are_not_given_together():
    with pytest.raises(SpecError, match="attention=true or targets, not both"):
        trained("adapter(attention=true, targets=[query])")


# Whole phases.


def test_a_fit_moves_them_and_the_head_and_nothing_else():
    start = copied_state(convolutional())
    network, found, _ = trained("adapter(size=5)", written="epochs=8, batch=8", settled=((1.0,), (8.0,)))
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in start.items() if name.startswith("stages."))
    assert not torch.equal(state["head.weight"], start["head.weight"])
    new = {name: value for name, value in state.items() if name not in start}
    assert {name.split(".")[-3] for name in new} == {"adapter"}
    assert all(value.any() for name, value in new.items() if ".up." in name)
    (note,) = found.notes
    assert f"adapters behind 3 layers: {sum(value.numel() for value in new.values()):,} weights moved" in note
    assert "a library that opens the model without sterna leaves them out and gives other answers" in note
    assert network.added is None


def test_of_the_last_stages_alone_if_so_asked():
    network, _, _ = trained("adapter(stages=1, warm_head=false)", written="epochs=1, batch=8")
    assert bottlenecks.of(network)[0]["target_modules"] == ["stages.stage2.0"]


def test_an_interrupted_fit_ends_with_the_bits_of_an_undisturbed_one(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    written, stop = "epochs=3, batch=8, patience=9, average=0.9", 3
    straight, one, _ = trained("adapter(size=4)", written=written)
    resumed, again, _ = interrupted("adapter(size=4)", written, stop, tmp_path / "checkpoint.pt")
    assert same(straight, resumed)
    assert (again.history, again.notes, again.choices) == (one.history, one.notes, one.choices)
    done, _, _ = trained("adapter(size=4)", written=written, place=tmp_path / "checkpoint.pt")  # nothing is left to do
    assert same(straight, done)


# Model folders.


def opened_by_the_card(lines, model, **packages):
    """The model that the lines of a card make without sterna."""
    found = {"PATH_OF_THIS_FOLDER": str(model), "json": json, "safetensors": safetensors, "functional": functional}
    found |= packages
    exec(lines, found)
    return found["model"].eval()


@pytest.mark.parametrize("origin", [hf, sentence])
@torch.no_grad()
def test_a_model_folder_gives_them_back_and_its_card_puts_them_into_the_library(tmp_path, text_encoder, origin):
    place = text_encoder("bert").reference[3:]
    encoder = origin.load(place)
    network = encoder.network.with_head(2, {}).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    stirred(network, attention=True)
    logits, fitted = network(inputs).logits, Fitted(network, encoder, ("no", "yes"))
    artifact.save(fitted, tmp_path / "model", inputs, "card", {"task": "classify"})
    assert torch.equal(network(inputs).logits, logits)  # it was taken out for a moment, and is there again
    assert not [name for name in hub.tensors(tmp_path / "model" / "model.safetensors") if "adapter" in name]
    again = artifact.load(tmp_path / "model")
    assert torch.equal(again.network.eval()(inputs).logits, logits)
    lines = shipping._how(encoder.config, bottlenecks.of(network)[0])
    model = opened_by_the_card(lines, tmp_path / "model", transformers=transformers, sentence_transformers=sentences)
    if origin is hf:
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
        given = network.whole.reader.inputs(inputs)
        assert deviation(plain(**given).logits, logits) > 1e-3
        assert deviation(model(**given).logits, logits) < 1e-5
    else:
        plain = sentences.SentenceTransformer(str(tmp_path / "model"))
        assert deviation(torch.from_numpy(plain.encode(TEXTS[:4])), logits) > 1e-3
        assert deviation(torch.from_numpy(model.encode(TEXTS[:4])), logits) < 1e-5


@torch.no_grad()
def test_an_encoder_from_such_a_folder_has_them_under_another_digest(tmp_path, text_encoder):
    place = text_encoder("bert").reference[3:]
    encoder = sentence.load(place)
    network = encoder.network.with_head(2, {}).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    stirred(network)
    artifact.save(Fitted(network, encoder, ("no", "yes")), tmp_path / "model", inputs, "card", {"task": "classify"})
    bare = sentence.load(str(tmp_path / "model"))
    for origin in ("local", "sentence"):
        found = opening.open_encoder(f"{origin}:{tmp_path / 'model'}")
        assert found.digest != bare.digest
        assert torch.equal(found.network.eval()(inputs).features, network(inputs).features)
        pairs = found.pairs()
        assert pairs.digest not in (bare.pairs().digest, found.digest)
        assert bottlenecks.of(pairs.network)[1].keys() == bottlenecks.of(network)[1].keys()


@pytest.mark.usefixtures("few_resamples")
def test_a_run_ships_them_and_predicts_with_them(tmp_path):
    digits = load_digits()
    for row, label in enumerate(digits.target[:100]):
        into = tmp_path / "digits" / str(label)
        into.mkdir(parents=True, exist_ok=True)
        Image.fromarray((16 * digits.images[row]).clip(0, 255).astype(np.uint8)).save(into / f"{row}.png")
    result = sterna.fit(
        tmp_path / "digits",
        encoder="builtin:glyphs",
        tune="adapter(warm_head=false, stages=1)",
        schedule="epochs=8, batch=8",
        out=tmp_path / "out",
        settings=Settings(floors="classical", mitigate=False, refit=0, page=False),
        store=Store(tmp_path / "store"),
    )
    assert result.shipped.startswith("adapter")
    assert any("a library that opens the model without sterna leaves them out" in one for one in result.warnings)
    model = tmp_path / "out" / "model"
    card = (model / "README.md").read_text().replace("local-dir:PATH_OF_THIS_FOLDER", f"local-dir:{model}")
    lines = [line[4:] for line in card.splitlines() if line.startswith("    ")]
    fitted = artifact.load(model)
    assert bottlenecks.of(fitted.network)[1].keys() == addition.read(model / addition.FOLDER)[1].keys()
    shown = torch.randn(2, *fitted.encoder.preparation.size)
    with torch.no_grad():
        logits = fitted.network.eval()(shown).logits
        assert deviation(opened_by_the_card("\n".join(lines[:-1]), model, timm=timm)(shown), logits) < 1e-5
        assert deviation(timm.create_model(f"local-dir:{model}", pretrained=True).eval()(shown), logits) > 1e-4
    with (tmp_path / "out" / "predictions.csv").open() as kept:
        rows = {row["item"]: row for row in csv.DictReader(kept)}
    found = sterna.predict(model, [str(tmp_path / "digits" / name) for name in rows])
    for name, answer in zip(found.names, found.answers, strict=True):
        row = next(row for item, row in rows.items() if name.endswith(item))
        assert [float(row[one]) for one in found.classes] == pytest.approx(
            answer.tolist(), abs=2e-3
        )  # the store keeps half precision
