"""Layers of few weights: what they compute, how many there are, that nothing else moves, and that they can be kept."""

import copy
import json
from functools import cache

import numpy as np
import peft
import pytest
import torch
import transformers
from networks import ArrayFeed, convolutional
from PIL import Image
from sklearn.datasets import load_digits
from standins_text import TEXTS
from standins_text import folder as stand_in
from test_train import Frozen, run, same, trained
from torch import nn

import sterna
from sterna import adapters, addition, artifact, descent, domainwise, folder, tokens, train
from sterna.encoders import hf
from sterna.errors import MissingPackageError, SpecError, TrainingError
from sterna.network import Network, copied_state, deviation
from sterna.recipe import Parts, Recipe
from sterna.records import Fitted, Phase, Setting
from sterna.settings import Settings
from sterna.wording import schedule


def linear(seed=0):
    """Two linear stages and a head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stages = {"one": nn.Sequential(nn.Linear(5, 7), nn.ReLU()), "two": nn.Sequential(nn.Linear(7, 4), nn.Tanh())}
        return Network(stages, nn.Linear(4, 3))


def added(adapter, network, cut=0, twin=None, spread=0.3):
    """The adapter in the network, its weights moved away from where they start."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = adapter.add(network, cut, twin)
        for layer in found.layers.values():
            for name, weight in layer.named_parameters():
                if "base_layer" not in name:
                    weight.data += spread * torch.randn_like(weight)
    return found


def of(layer, name):
    """One weight of a layer of peft."""
    return next(value.detach() for path, value in layer.named_parameters() if path.startswith(name))


def test_a_low_rank_update_is_the_product_of_its_two_parts():
    network, bare = linear(), linear()
    found = added(adapters.LowRank(2, 6.0), network, cut=1)
    assert list(found.layers) == ["stages.two.0"]
    layer, inputs = found.layers["stages.two.0"], torch.randn(9, 7)
    weight = bare.stages["two"][0].weight + 6 / 2 * of(layer, "lora_B") @ of(layer, "lora_A")
    wanted = torch.tanh(inputs @ weight.T + bare.stages["two"][0].bias)
    assert torch.allclose(network.stages["two"](inputs), wanted, atol=1e-6)
    assert found.count == 2 * (7 + 4)
    found.merge()
    assert network.state_dict().keys() == bare.state_dict().keys()
    assert torch.allclose(network.stages["two"][0].weight, weight, atol=1e-6)
    assert torch.equal(network.stages["one"][0].weight, bare.stages["one"][0].weight)
    assert torch.allclose(network.stages["two"](inputs), wanted, atol=1e-6)


def test_an_update_starts_at_nothing():
    network, inputs = convolutional().eval(), torch.randn(4, 3, 8, 8)
    before = network(inputs).logits
    for adapter in (adapters.LowRank(3, 3.0), adapters.LowRank(3, 3.0, magnitude=True), adapters.Rescaling()):
        found = added(adapter, network, spread=0.0)
        assert torch.allclose(network.eval()(inputs).logits, before, atol=1e-5)
        found.merge()


def test_an_update_of_a_convolution_is_one_of_its_kernel():
    network, bare = convolutional().eval(), convolutional().eval()
    found = added(adapters.LowRank(2, 4.0), network)
    assert found.count == sum(2 * (low * 9 + high) for low, high in ((3, 8), (8, 12), (12, 16)))
    layer = found.layers["stages.stage1.0"]
    kernel = torch.einsum("or,rihw->oihw", of(layer, "lora_B")[:, :, 0, 0], of(layer, "lora_A"))
    logits = network.eval()(inputs := torch.randn(4, 3, 8, 8)).logits
    found.merge()
    moved = bare.stages["stage1"][0].weight + 4 / 2 * kernel
    assert torch.allclose(network.stages["stage1"][0].weight, moved, atol=1e-6)
    assert deviation(network(inputs).logits, logits) < 1e-5
    assert deviation(bare(inputs).logits, logits) > 0.01


def test_dora_has_a_direction_and_a_magnitude():
    network, bare = linear(), linear()
    found = added(adapters.LowRank(2, 2.0, magnitude=True), network)
    assert found.count == 2 * (5 + 7) + 7 + 2 * (7 + 4) + 4
    layer, inputs = found.layers["stages.two.0"], torch.randn(9, 5)
    summed = bare.stages["two"][0].weight + of(layer, "lora_B") @ of(layer, "lora_A")
    magnitude = of(layer, "lora_magnitude_vector")
    logits = network(inputs).logits
    found.merge()
    weight = network.stages["two"][0].weight
    assert torch.allclose(weight.norm(dim=1), magnitude.abs(), atol=1e-5)
    assert torch.allclose(weight, magnitude[:, None] * summed / summed.norm(dim=1, keepdim=True), atol=1e-5)
    assert deviation(network(inputs).logits, logits) < 1e-5
    assert len(found.plain) == 2  # magnitudes are not decayed


def test_ia3_rescales_each_output():
    network, bare = linear(), linear()
    found = added(adapters.Rescaling(), network)
    assert found.count == 7 + 4 == len(torch.cat([of(one, "ia3_l").flatten() for one in found.layers.values()]))
    scale, inputs = of(found.layers["stages.one.0"], "ia3_l").flatten(), torch.randn(9, 5)
    assert torch.allclose(network.stages["one"][0](inputs), scale * bare.stages["one"][0](inputs), atol=1e-6)
    found.merge()
    assert torch.allclose(network.stages["one"][0](inputs), scale * bare.stages["one"][0](inputs), atol=1e-6)
    assert len(found.plain) == 2


@pytest.mark.parametrize("adapter", [adapters.LowRank(2, 4.0, magnitude=True), adapters.Rescaling()])
def test_a_twin_with_statistics_of_its_own_shares_the_adapter(adapter):
    network, inputs = convolutional().eval(), torch.randn(4, 3, 8, 8)
    other = convolutional()
    for norm in domainwise.norms(other):
        norm.running_mean += 1
    twin = domainwise.tied(network, other).eval()
    plain, names = twin(inputs).logits, list(twin.state_dict())
    found = added(adapter, network, twin=twin)
    moved = twin(inputs).logits
    assert deviation(moved, plain) > 0.01
    assert deviation(network(inputs).logits, moved) > 0.01
    found.merge()
    assert deviation(twin(inputs).logits, moved) < 1e-5
    assert list(twin.state_dict()) == names
    assert all(mine is theirs for mine, theirs in zip(network.parameters(), twin.parameters(), strict=True))


def test_layers_that_are_not_a_product_with_their_weight_are_left_out():
    class Padded(nn.Conv2d):
        def forward(self, inputs):
            return super().forward(nn.functional.pad(inputs, (1, 1, 1, 1)))

    shared = nn.Linear(4, 4)
    tied = nn.Linear(4, 4)
    tied.weight = shared.weight
    parts = [
        nn.Conv2d(4, 4, 3, groups=2),
        Padded(4, 4, 3),
        nn.MultiheadAttention(4, 2),
        shared,
        tied,
        nn.Conv2d(4, 4, 1),
    ]
    network = Network({"all": nn.Sequential(*parts)}, nn.Linear(4, 2))
    assert list(added(adapters.LowRank(1, 1.0), network).layers) == ["stages.all.5"]


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (adapters.LowRank(1, 1.0, targets=("query",)), "no layer .* ends in query; targets may be among 0"),
        (adapters.Rescaling(("key", "value")), "ends in key or value"),
    ],
)
def test_targets_that_are_not_there_are_said(adapter, said):
    with pytest.raises(TrainingError, match=said):
        adapter.add(linear(), 0, None)


def test_a_network_without_layers_to_adapt_is_said():
    network = Network({"pool": nn.Sequential(nn.Flatten())}, nn.Linear(4, 2))
    with pytest.raises(TrainingError, match="needs linear layers or convolutions"):
        adapters.LowRank(1, 1.0).add(network, 0, None)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    monkeypatch.delitem(__import__("sys").modules, "sterna.adapters")
    monkeypatch.delitem(__import__("sys").modules, "sterna.tune.lora", raising=False)
    monkeypatch.setattr(folder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'peft'.*pip install"):
        folder.module("tune", "lora")


# Whole phases.

ADAPTED = ["lora(rank=2)", "lora(stages=1, dropout=0.1)", "dora(rank=2)", "ia3", "bitfit", "norm_only"]


@cache
def penalties():
    """Of the head, as the validation part chooses them."""
    return trained("probe")[1].choices[0]


@pytest.mark.parametrize("tune", ADAPTED)
def test_a_fit_moves_what_it_says_and_nothing_else(tune):
    start = copied_state(convolutional())
    network, found, _ = trained(tune, written="epochs=8, batch=8", settled=(penalties(), (8.0,)))
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, start[name])}
    assert network.state_dict().keys() == start.keys()
    stages = [name for name in moved if name.startswith("stages.")]
    kinds = {name.rpartition(".")[0][-1] + name.rpartition(".")[2] for name in stages}
    wanted = {"bitfit": {"0bias", "1bias"}, "norm_only": {"1weight", "1bias"}, "ia3": {"0weight", "0bias"}}
    assert kinds == wanted.get(tune, {"0weight"})
    if "stages=1" in tune:
        assert {name.split(".")[1] for name in stages} == {"stage2"}
    (note,) = found.notes
    count = sum(start[name].numel() for name in stages)
    numbers = {
        "lora(rank=2)": sum(2 * (low * 9 + high) for low, high in ((3, 8), (8, 12), (12, 16))),
        "lora(stages=1, dropout=0.1)": 8 * (12 * 9 + 16),
        "dora(rank=2)": sum(2 * (low * 9 + high) + high for low, high in ((3, 8), (8, 12), (12, 16))),
        "ia3": 8 + 12 + 16,
    }
    assert f" {numbers.get(tune, count):,} weights moved" in note


def interrupted(tune, written, stop, place):
    """A fit that is stopped at a report of its progress, and taken up again."""
    told = []

    def interrupting(progress):
        told.append(progress)
        if len(told) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tune, written=written, place=place, report=interrupting)
    return trained(tune, written=written, place=place)


@pytest.mark.parametrize(
    ("tune", "stop"),
    [("lora(rank=2)", 2), ("dora(rank=2)", 4), ("ia3", 3), ("bitfit", 3), ("lora(warm_head=false)", 3)],
)
@pytest.mark.parametrize("written", ["epochs=4, batch=8, patience=9, average=0.9"])
def test_an_interrupted_fit_ends_with_the_bits_of_an_undisturbed_one(tmp_path, monkeypatch, tune, stop, written):
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    straight, one, _ = trained(tune, written=written)
    resumed, again, _ = interrupted(tune, written, stop, tmp_path / "checkpoint.pt")
    assert same(straight, resumed)
    assert (again.history, again.notes, again.choices) == (one.history, one.notes, one.choices)
    assert (straight.added is None) == (resumed.added is None)
    if straight.added is not None:
        assert all(torch.equal(value, resumed.added[1][name]) for name, value in straight.added[1].items())


def test_a_fit_with_settled_choices_runs_for_them():
    _, found, _ = trained("lora(rank=2, warm_head=false)", written="epochs=5, batch=8")
    _, again, _ = trained("lora(rank=2, warm_head=false)", written="epochs=5, batch=8", settled=found.choices)
    assert again.choices == found.choices
    assert len(again.history) == found.choices[-1][0] > 0


def test_an_adapter_refuses_addends_that_act_on_the_weights():
    with pytest.raises(TrainingError, match=r"l2sp holds weights .* stand still under an adapter"):
        run("lora", loss="cross_entropy + l2sp")


@pytest.mark.parametrize(("only", "what"), [("bias", "biases"), ("norm", "scales and shifts")])
def test_a_network_without_such_weights_is_said(only, what):
    network = Network({"one": nn.Sequential(nn.Linear(4, 4, bias=False))}, nn.Linear(4, 2))
    with pytest.raises(TrainingError, match=f"have no {what}"):
        descent.narrow(network, only)


def test_magnitudes_and_rescalings_are_not_decayed_and_the_rate_is_that_of_the_phase():
    network = linear()
    found = added(adapters.LowRank(2, 2.0, magnitude=True), network)
    groups = descent.parameter_groups(network, Phase("x", 0, pace=5.0), 0.1, 0.01, plain=found.plain)
    decays = {id(weight): group["weight_decay"] for group in groups for weight in group["params"]}
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert {decays[one] for one in found.plain} == {0.0}
    low = [w for one in found.layers.values() for name, w in one.named_parameters() if "lora_A" in name]
    assert {decays[id(w)] for w in low} == {0.01}
    assert {rates[id(w)] for w in low} == {0.5}
    assert rates[id(network.head.weight)] == 0.1


# Transformers, whose stages run the library's own code.


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    made = {}

    def of(kind):
        if kind not in made:
            place = tmp_path_factory.mktemp(kind) / kind
            stand_in(place, kind, transformers.AutoModelForSequenceClassification, id2label={0: "x", 1: "y", 2: "z"})
            made[kind] = hf.load(str(place))
        return made[kind]

    return of


@pytest.mark.parametrize(
    "kind", ["bert", "distilbert", "roberta", "mpnet", "deberta-v2", "modernbert", "gpt2", "electra"]
)
@torch.no_grad()
def test_every_adapted_layer_of_a_transformer_is_run(encoders, kind):
    encoder = encoders(kind)
    network = copy.deepcopy(encoder.network).eval()
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    before, names = network(inputs).logits, list(network.state_dict())
    for adapter in (adapters.LowRank(2, 4.0), adapters.Rescaling()):
        with torch.random.fork_rng():
            found = adapter.add(network, 0, None)
        for layer in found.layers.values():
            part = layer.lora_B[adapters.NAME].weight if hasattr(layer, "lora_B") else layer.ia3_l[adapters.NAME]
            kept = part.detach().clone()
            part += 0.5 * torch.randn_like(part)  # a constant would be lost in the next normalisation
            moved = network(inputs).logits
            assert deviation(moved, before) > 1e-5
            assert torch.allclose(moved, network.whole(inputs), atol=1e-5)
            part.copy_(kept)
        for layer in found.layers.values():
            part = layer.lora_B[adapters.NAME].weight if hasattr(layer, "lora_B") else layer.ia3_l[adapters.NAME]
            part += 0.1
        logits = network(inputs).logits
        found.merge()
        assert deviation(network(inputs).logits, logits) < 1e-5
        assert deviation(network.whole(inputs), logits) < 1e-5
        assert list(network.state_dict()) == names
        network = copy.deepcopy(encoder.network).eval()


def test_ia3_finds_the_papers_layers_in_bert(encoders):
    with torch.random.fork_rng():
        found = adapters.Rescaling().add(copy.deepcopy(encoders("bert").network), 0, None)
    ends = {".".join(path.split(".")[4:]) for path in found.layers}
    assert ends == {"attention.self.key", "attention.self.value", "output.dense"}
    assert {layer.is_feedforward for path, layer in found.layers.items() if "attention" not in path} == {True}
    assert found.count == 3 * (16 + 16 + 24)


@pytest.mark.parametrize(
    "adapter", [adapters.LowRank(2, 4.0), adapters.LowRank(2, 4.0, magnitude=True), adapters.Rescaling()]
)
def test_the_package_peft_puts_a_kept_adapter_onto_the_first_model(encoders, adapter, tmp_path):
    encoder = encoders("bert")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = encoder.network.with_head(2, {})
    inputs = tokens.stacked(encoder.preparation, TEXTS[:4])
    found = added(adapter, network)
    network.added = found.alone()
    found.merge()
    fitted = Fitted(network.eval(), encoder, ("no", "yes"))
    artifact.save(fitted, tmp_path / "model", inputs, "card", {"task": "classify"})
    place = tmp_path / "model" / addition.FOLDER
    assert json.loads((place / addition.CONFIG).read_text())["base_model_name_or_path"] == encoder.reference[3:]
    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        encoder.reference[3:], num_labels=2, ignore_mismatched_sizes=True
    )
    model = peft.PeftModel.from_pretrained(base, place).eval()
    with torch.no_grad():
        given = network.whole.reader.inputs(inputs)
        assert deviation(model(**given).logits, network(inputs).logits) < 1e-5
    network.added = None
    addition.write(network, tmp_path / "none")
    assert addition.read(tmp_path / "none") is None


# Soups and stochastic normalisation.


def test_a_soup_is_no_worse_on_validation_than_its_best_member():
    _, found, _ = trained("soup(rates=[0.5, 2, 30], rate=1)", written="epochs=4, batch=8, patience=9")
    members = {}
    for entry in found.history:
        if entry["phase"].startswith("all "):
            key = (entry["accuracy"], -entry["loss"])
            members[entry["phase"]] = max(members.get(entry["phase"], key), key)
    last = found.history[-1]
    assert last["phase"] == "all"
    assert len(members) == 3
    assert (last["accuracy"], -last["loss"]) >= max(members.values())
    assert "the average of" in found.notes[0]
    epochs, taken = found.choices[1][:3], found.choices[1][3:]
    assert set(taken) <= {0.0, 1.0}
    assert sum(taken) >= 1
    assert all(0 <= one <= 4 for one in epochs)


def test_a_soup_whose_choices_are_settled_is_the_mean_of_the_fits_that_were_taken():
    options = {"written": "epochs=3, batch=8"}
    choices = ((1.0,), (2.0, 1.0, 3.0, 1.0, 0.0, 1.0))
    network, found, _ = trained("soup(rates=[0.5, 1, 2], rate=1)", settled=choices, **options)
    assert [entry["phase"] for entry in found.history] == ["all 1"] * 2 + ["all 3"] * 3
    alone = [(choices[0], (2.0, 1.0, 3.0, *taken)) for taken in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))]
    ones = [trained("soup(rates=[0.5, 1, 2], rate=1)", settled=one, **options)[0] for one in alone]
    for name, value in network.state_dict().items():
        mean = sum(one.state_dict()[name].double() for one in ones) / 2
        assert torch.allclose(value.double(), mean, atol=1e-7), name


@cache
def undisturbed(tune, written):
    return trained(tune, written=written)


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_an_interrupted_soup_ends_with_the_bits_of_an_undisturbed_one(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    tune, written = "soup(rates=[1, 3], rate=1)", "epochs=3, batch=8, patience=9"
    straight, one, _ = undisturbed(tune, written)
    resumed, again, _ = interrupted(tune, written, stop, tmp_path / "checkpoint.pt")
    assert same(straight, resumed)
    assert (again.history, again.choices) == (one.history, one.choices)


def test_a_soup_of_one_is_refused():
    with pytest.raises(SpecError, match="two factors or more, got 1"):
        run("soup(rates=[1])")


def test_the_mean_of_one_state_is_that_state_and_counts_are_kept():
    states = [
        {"w": torch.tensor([1.0, 3.0]), "n": torch.tensor(5)},
        {"w": torch.tensor([2.0, 5.0]), "n": torch.tensor(9)},
    ]
    assert descent.mean(states[:1])["w"] is states[0]["w"]
    assert descent.mean(states)["w"].tolist() == [1.5, 4.0]
    assert descent.mean(states)["n"] == 5


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_stochastic_normalisation_takes_each_channel_from_the_batch_or_from_the_past(probability):
    norm, inputs = nn.BatchNorm2d(64), 3 + 2 * torch.randn(8, 64, 4, 4)
    plain, past = copy.deepcopy(norm).train(), copy.deepcopy(norm)
    batch = plain(inputs)
    past.load_state_dict(plain.state_dict())
    moving = past.eval()(inputs)
    with descent.stochastic([norm], probability), torch.random.fork_rng():
        torch.manual_seed(0)
        got = norm.train()(inputs)
        steady = norm.eval()(inputs)
    from_past = [bool(torch.allclose(got[:, one], moving[:, one], atol=1e-6)) for one in range(64)]
    from_batch = [bool(torch.allclose(got[:, one], batch[:, one], atol=1e-6)) for one in range(64)]
    assert [a != b for a, b in zip(from_past, from_batch, strict=True)] == [True] * 64
    share = np.mean(from_past)
    assert share == probability if probability != 0.5 else 0.25 < share < 0.75
    assert torch.equal(steady, moving)
    assert torch.equal(norm.running_mean, plain.running_mean)
    assert not norm._forward_hooks


def test_two_passes_before_a_step_have_gradients():
    norm = nn.BatchNorm1d(3)
    with descent.stochastic([norm], 0.5):
        (norm(torch.randn(4, 3)) + norm(torch.randn(4, 3))).square().sum().backward()
    assert torch.isfinite(norm.weight.grad).all()


REVIEWS = [
    (f"A {word} film, number {n}, and the actors never miss a note.", kind)
    for n in range(16)
    for word, kind in (("dull", "bad"), ("great", "good"))
]


def test_a_text_classifier_of_few_moved_weights_ships_with_its_adapter(tmp_path):
    place = stand_in(tmp_path / "bert", "bert")
    lines = ["text,label", *(f'"{text}",{kind}' for text, kind in REVIEWS)]
    (tmp_path / "reviews.csv").write_text("\n".join(lines))
    result = sterna.fit(
        tmp_path / "reviews.csv",
        encoder=f"hf:{place}",
        tune="lora(rank=2, rate=30)",
        schedule="epochs=4, batch=8",
        out=tmp_path / "out",
        settings=Settings(floors="classical", mitigate=False, refit=0),
    )
    assert any("lora on 19 layers: " in one for one in result.warnings)  # six in each layer, and the pooler's
    (kept,) = (tmp_path / "out" / "routes").glob("lora*/adapter")
    assert addition.read(kept)[0]["peft_type"] == "LORA"
    assert (tmp_path / "out" / "model" / "adapter").exists() == result.shipped.startswith("lora")


@pytest.mark.parametrize("tune", ["lora(stages=2, warm_head=false)", "ia3"])
def test_real_digits_are_read_by_a_network_with_few_moved_weights(tune):
    encoder, digits = folder.module("encoders", "builtin").load("glyphs"), load_digits()
    pictures = [Image.fromarray((16 * one).clip(0, 255).astype(np.uint8)).convert("RGB") for one in digits.images[:500]]
    frames = torch.from_numpy(np.stack([encoder.preparation.frame(one) for one in pictures]))
    inputs, labels = encoder.preparation.tensor(frames), digits.target[:500].astype(np.int64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = encoder.network.with_head(10, {})
    (policy,), task = folder.resolve("tune", tune), folder.load("tasks", "classify")()
    phases = policy.plan([sum(w.numel() for w in stage.parameters()) for stage in network.stages.values()])
    feeds = [ArrayFeed(inputs[part], labels[part]) for part in (slice(0, 150), slice(150, 250), slice(250, 500))]
    losses, (chosen,) = folder.resolve("losses", "cross_entropy"), folder.resolve("optimizers", "adamw")
    recipe = Recipe(phases, losses, chosen, schedule("epochs=6, batch=16"), 0, task)
    classes = tuple("0123456789")
    train.train(
        network,
        recipe,
        lambda phase: Parts(*(Frozen(feed, network, phase.cut).feed for feed in feeds[:2])),
        Setting(network, np.bincount(feeds[0].labels), classes),
    )
    answers = descent.answers(network, feeds[2], 50, task, classes)
    assert task.judge(answers, feeds[2].labels, classes)["accuracy"] > 0.7
