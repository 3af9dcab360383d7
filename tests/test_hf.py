"""Folders of transformers: opened, untrained layers filled, and saved so that the library answers as sterna does."""

import json
import pickle
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from standins_text import KINDS, TEXTS, folder

from sterna import artifact, hub, tokens
from sterna import folder as methods
from sterna.encoders import _hf_head, hf
from sterna.errors import EncoderError
from sterna.records import Fitted

FAMILIES = list(KINDS)
CLASSES = ("bad", "fair", "good")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders as pretraining leaves them: a language model without a classifier."""
    made = {}

    def of(kind):
        if kind not in made:
            auto = transformers.AutoModel if kind == "gpt2" else transformers.AutoModelForMaskedLM
            made[kind] = folder(tmp_path_factory.mktemp(kind) / kind, kind, auto)
        return made[kind]

    return of


def fitted(encoder, seed=0, task="classify"):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = encoder.network.with_head(len(CLASSES), {})
        torch.nn.init.normal_(network.head.bias)
    return Fitted(network.eval(), encoder, CLASSES, task)


def batch(preparation):
    items = TEXTS if preparation.modality == "text" else [tuple(text.split()) for text in TEXTS if text]
    return tokens.stacked(preparation, items), items


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_a_saved_classifier_answers_without_sterna(folders, kind, tmp_path):
    model = fitted(hf.load(str(folders(kind))))
    inputs, items = batch(model.encoder.preparation)
    artifact.save(model, tmp_path / "model", inputs, "# card", {"task": "classify", "shipped": "probe"})
    wanted = model.network(inputs).logits
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    items = [text or "<|endoftext|>" for text in items] if kind == "gpt2" else items
    given = tokenizer(list(items), padding=True, truncation=True, return_tensors="pt")
    assert torch.allclose(theirs(**given).logits, wanted, atol=1e-5)
    assert theirs.config.id2label == dict(enumerate(CLASSES))
    assert theirs.config.label2id == {"bad": 0, "fair": 1, "good": 2}
    assert theirs.config.problem_type == "single_label_classification"
    assert theirs.config.sterna == {"task": "classify", "shipped": "probe"}
    again = artifact.load(tmp_path / "model")
    assert again.classes == CLASSES
    assert torch.allclose(again.network(inputs).logits, wanted, atol=1e-5)
    assert (tmp_path / "model" / "README.md").read_text() == "# card"


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_a_saved_tagger_answers_without_sterna(folders, kind, tmp_path):
    model = fitted(hf.load(str(folders(kind))).words(), task="tag")
    inputs, items = batch(model.encoder.preparation)
    artifact.save(model, tmp_path / "model", inputs, "", {"task": "tag"})
    output = model.network(inputs)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    listed = [list(item) for item in items]
    given = tokenizer(listed, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt")
    logits = theirs(**given).logits
    for row in range(len(items)):
        owners = given.word_ids(row)
        first = [at for at, word in enumerate(owners) if word is not None and word not in owners[:at]]
        assert int(output.mask[row].sum()) == len(first)
        assert torch.allclose(logits[row, first], output.logits[row, : len(first)], atol=1e-5)
    again = artifact.load(tmp_path / "model")
    assert again.classes == CLASSES
    assert again.encoder.preparation.modality == "words"
    assert again.encoder.words is None


@pytest.mark.parametrize(
    ("task", "problem"), [("multilabel", "multi_label_classification"), ("regress", "regression"), ("tag", None)]
)
def test_the_problem_is_stated_for_the_library(folders, task, problem, tmp_path):
    model = fitted(hf.load(str(folders("bert"))))
    model.encoder.write(model, tmp_path, {"task": task})
    assert transformers.AutoConfig.from_pretrained(tmp_path).problem_type == problem


def test_a_classifier_in_the_folder_is_the_source_head(tmp_path):
    names = {"id2label": {0: "x", 1: "y"}, "label2id": {"x": 0, "y": 1}}
    place = folder(tmp_path / "bert", "bert", transformers.AutoModelForSequenceClassification, **names)
    encoder = hf.load(str(place))
    assert encoder.source_classes == ("x", "y")
    assert encoder.network.classes == 2
    assert encoder.notes == ("features are the last hidden state of the first token, through bert.pooler.dense.",)
    # A head for words is none for texts, though its weights have the same name.
    tagger = folder(tmp_path / "tags", "bert", transformers.AutoModelForTokenClassification, **names)
    assert hf.load(str(tagger)).network.classes == 0
    assert hf.words(str(tagger)).source_classes == ("x", "y")


@pytest.mark.parametrize(
    ("kind", "layer", "how"),
    [
        ("bert", "bert.pooler.dense", "times 0.25"),
        ("roberta", "classifier.dense", "times 0.25"),
        ("distilbert", "pre_classifier", "plus 4"),
        ("electra", "classifier.dense", "plus 4"),
        ("deberta-v2", "pooler.dense", "plus 4"),
    ],
)
@torch.no_grad()
def test_a_layer_without_pretraining_passes_features_on(folders, kind, layer, how):
    encoder = hf.load(str(folders(kind)))
    assert any(layer in note and how in note for note in encoder.notes), encoder.notes
    inputs, _ = batch(encoder.preparation)
    hidden = encoder.network.prefix(4)(inputs)[:, 0, :-1]
    features = encoder.network(inputs).features
    plain = features / _hf_head.SLOPE if "times" in how else features - _hf_head.SHIFT
    inside = hidden.abs() < 1.5
    assert inside.float().mean() > 0.6
    assert (plain - hidden)[inside].abs().max() < 0.1


def test_the_last_layer_is_pooled_as_the_library_does(folders):
    said = {kind: hf.load(str(folders(kind))).notes for kind in ("gpt2", "modernbert", "albert")}
    assert said["gpt2"] == ("features are the last hidden state of the last token.",)
    assert said["modernbert"] == ("features are the last hidden state of the first token, through head.dense.",)
    assert "features are those that the library pools." in said["albert"]
    words = hf.words(str(folders("gpt2")))
    assert "of the first token of each word" in words.notes[0]


@torch.no_grad()
def test_a_mean_is_said_to_be_one(tmp_path):
    place = folder(tmp_path / "m", "modernbert", transformers.AutoModelForMaskedLM, classifier_pooling="mean")
    assert "the mean of the last hidden states of all tokens, through" in hf.load(str(place)).notes[0]


@torch.no_grad()
def test_folding_a_bias_changes_no_logit():
    norm, features = torch.nn.LayerNorm(8), torch.randn(20, 8)
    model = torch.nn.Sequential(norm)
    torch.nn.init.normal_(norm.weight, 1, 0.3)
    torch.nn.init.normal_(norm.bias)
    weight, bias = torch.randn(3, 8), torch.tensor([1.0, -2.0, 30.0])
    weight[1] = -weight[0]  # rows that do not span: no shift of the features alone would do
    weight[2] = 0
    assert _hf_head.norm_of(model, model(features)) == "0"
    wanted = model(features) @ weight.T + bias
    folded = _hf_head.fold(model, "0", weight, bias)
    assert torch.allclose(model(features) @ folded.T, wanted, atol=1e-4)
    with pytest.raises(EncoderError, match="has no bias and does not read a LayerNorm"):
        _hf_head.norm_of(model, torch.randn(20, 8))
    with pytest.raises(EncoderError, match="no scale and bias"):
        _hf_head.norm_of(torch.nn.Sequential(torch.nn.LayerNorm(8, elementwise_affine=False)), torch.randn(2, 8))


@torch.no_grad()
def test_a_layer_that_cannot_pass_features_on_is_said_to_be_random():
    squares = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Softmax(dim=-1))
    wide = torch.nn.Sequential(torch.nn.Linear(3, 4))
    plain = torch.nn.Sequential(torch.nn.Linear(3, 3))
    inputs = torch.randn(4, 3)
    before = squares[0].weight.clone()
    for model in (squares, wide):
        assert "starts at random" in _hf_head.pass_through(model, "0", lambda model=model: model(inputs))
    assert torch.equal(squares[0].weight, before)
    assert "as the identity, so" in _hf_head.pass_through(plain, "0", lambda: plain(inputs))
    assert torch.equal(plain(inputs), inputs)


def test_random_weights_have_the_same_shape(folders):
    encoder = hf.load(str(folders("distilbert")))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = encoder.fresh()
        torch.manual_seed(5)
        second = encoder.fresh()
    state, own = first.state_dict(), encoder.network.state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in own.items()}
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in state.items())
    assert any(not torch.equal(value, own[key]) for key, value in state.items() if "lin1.weight" in key)


def test_opening_twice_gives_the_same_and_other_weights_another_digest(folders, tmp_path):
    place = folders("roberta")
    first, second = hf.load(str(place)), hf.load(str(place))
    assert first.digest == second.digest
    assert first.reference == f"hf:{place}"
    inputs, _ = batch(first.preparation)
    assert torch.equal(first.network(inputs).features, second.network(inputs).features)
    other = folder(tmp_path / "other", "roberta", transformers.AutoModelForMaskedLM, hidden_act="relu")
    assert hf.load(str(other)).digest != first.digest


def test_texts_are_described_by_their_features(folders):
    encoder = hf.load(str(folders("bert")))
    inputs, items = batch(encoder.preparation)
    with torch.no_grad():
        wanted = encoder.network(inputs).features
    assert torch.allclose(torch.from_numpy(encoder.describe(items)), wanted, atol=1e-5)


def test_local_opens_folders_of_transformers(folders):
    encoder = methods.module("encoders", "local").load(str(folders("bert")))
    assert encoder.reference == f"local:{folders('bert')}"
    assert encoder.preparation.modality == "text"


def test_longest_counts_what_positions_there_are(folders, tmp_path):
    assert hf.load(str(folders("bert"))).preparation.longest == 40  # the tokenizer's limit
    place = folder(tmp_path / "r", "roberta", transformers.AutoModelForMaskedLM)
    (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    assert hf.load(str(place)).preparation.longest == 46  # 48 less the two that RoBERTa leaves out


def test_old_tokenizer_files_become_new_ones(folders, tmp_path):
    place = folder(tmp_path / "old", "bert", transformers.AutoModelForMaskedLM)
    wanted = hf.load(str(place)).preparation.frame(TEXTS[0]).tolist()
    words = json.loads((place / "tokenizer.json").read_text())["model"]["vocab"]
    (place / "tokenizer.json").unlink()
    (place / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)))
    assert hf.load(str(place)).preparation.frame(TEXTS[0]).tolist() == wanted


class Spoiled:
    """A folder to break in one way."""

    def __init__(self, place):
        self.place = folder(place, "bert", transformers.AutoModelForMaskedLM)

    def config(self, **changes):
        file = self.place / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    def weights(self, change):
        file = self.place / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})


def without_a_layer(state):
    return {name: value for name, value in state.items() if "layer.1" not in name}


def pickled(spoiled):
    (spoiled.place / "model.safetensors").unlink()
    with open(spoiled.place / "pytorch_model.bin", "wb") as file:
        pickle.dump({"weight": Spoiled}, file)


def damaged_vocabulary(spoiled):
    (spoiled.place / "tokenizer.json").unlink()
    (spoiled.place / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (spoiled.place / "vocab.json").write_text("{")
    (spoiled.place / "merges.txt").write_text("")


WRONG = {
    "no config": (lambda s: (s.place / "config.json").unlink(), "has no config.json"),
    "unknown type": (lambda s: s.config(model_type="parrot"), "is not one that transformers"),
    "code": (lambda s: s.config(model_type="parrot", auto_map={"AutoConfig": "a.B"}), "their own code are not run"),
    "no classifier": (lambda s: s.config(model_type="encodec"), "no model of type 'encodec' .* can classify texts"),
    "no weights": (lambda s: (s.place / "model.safetensors").unlink(), "absent or damaged"),
    "damaged": (lambda s: (s.place / "model.safetensors").write_bytes(b"12345678"), "absent or damaged"),
    "pickled": (pickled, "the weights in .* (do not fit|are absent)"),
    "another size": (lambda s: s.config(hidden_size=32), "do not fit its config.json"),
    "a layer short": (lambda s: s.weights(without_a_layer), r"they lack bert\.encoder\.layer\.1\..* and \d+ more"),
    "no tokenizer": (lambda s: (s.place / "tokenizer.json").unlink(), "has no tokenizer.json and none can be made"),
    "bad vocabulary": (damaged_vocabulary, "has no tokenizer.json and none can be made"),
    "bad json": (lambda s: (s.place / "tokenizer_config.json").write_text("{"), "is not JSON"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_folder_is_said(wrong, tmp_path):
    spoiled = Spoiled(tmp_path / "bert")
    spoil, message = WRONG[wrong]
    spoil(spoiled)
    with pytest.raises(EncoderError, match=message) as caught:
        hf.load(str(spoiled.place))
    assert "\n" not in str(caught.value)


def test_models_that_cannot_tag_are_named(folders, tmp_path):
    place = folder(tmp_path / "m", "bert", transformers.AutoModelForMaskedLM)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "model_type": "bart"}))
    with pytest.raises(EncoderError, match="can tag words"):
        hf.words(str(place))


def test_out_of_reach_is_said_at_once(monkeypatch, tmp_path):
    def refuse(address, timeout):
        assert timeout <= 3
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", local_only)
    with pytest.raises(EncoderError, match=r"neither a folder nor in the cache of the hub, and .* cannot be reached"):
        hf.load("no-such-owner/no-such-model")
    with pytest.raises(EncoderError, match="cannot be the name of a model on the hub"):
        hf.load(f"{tmp_path}/absent")


def local_only(name, local_files_only=False, **rest):
    if name.startswith("/"):
        raise hub.HFValidationError(name)
    if local_files_only:
        raise hub.LocalEntryNotFoundError(name)
    raise OSError("404: no such model")


def test_a_name_that_the_hub_does_not_have_is_said(monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", local_only)
    monkeypatch.setattr(hub.huggingface_hub, "list_repo_files", local_only)
    with pytest.raises(EncoderError, match=r"could not be fetched \(404: no such model\)"):
        hf.load("no-such-model")


def test_old_weights_are_fetched_only_where_there_are_no_others():
    around = ["config.json", "tokenizer.json", "README.md", "tf_model.h5", "onnx/model.onnx", "training_args.bin"]
    taken = ["config.json", "tokenizer.json"]
    old, safe = "pytorch_model.bin", "model.safetensors"
    assert hub.wanted([*around, old]) == [*taken, old]
    assert hub.wanted([*around, old, safe]) == [*taken, safe]
    parts = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
    assert hub.wanted([*around, *parts, f"{old}.index.json"]) == [*taken, *parts, f"{old}.index.json"]
    cut = ["model-00001-of-00001.safetensors", "model.safetensors.index.json"]
    assert hub.wanted([*parts, *cut]) == cut
    # An adapter or a dense layer beside them is not the model.
    assert hub.wanted([old, "2_Dense/model.safetensors"]) == [old, "2_Dense/model.safetensors"]
    assert hub.wanted([safe, "2_Dense/pytorch_model.bin"]) == [safe, "2_Dense/pytorch_model.bin"]
    assert hub.wanted([old, "adapter.safetensors", "onnx/model.safetensors"]) == [old, "adapter.safetensors"]


@pytest.mark.parametrize("both", [False, True])
def test_a_model_with_old_weights_is_fetched_and_opened(monkeypatch, tmp_path, both):
    place, cache, asked = tmp_path / "there", tmp_path / "cache", []
    folder(place, "bert", transformers.AutoModelForMaskedLM)
    wanted = hf.load(str(place))
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    if not both:
        (place / "model.safetensors").unlink()

    def fetch(name, local_files_only=False, allow_patterns=()):
        if local_files_only:
            raise hub.LocalEntryNotFoundError(name)
        cache.mkdir()
        asked.extend(file.name for file in place.iterdir() if any(map(file.match, allow_patterns)))
        for one in asked:
            shutil.copy(place / one, cache / one)
        return str(cache)

    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.setattr(hub.huggingface_hub, "list_repo_files", lambda name: [one.name for one in place.iterdir()])
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", fetch)
    found = hf.load("owner/old")
    assert ("model.safetensors" in asked, "pytorch_model.bin" in asked) == (both, not both)
    assert found.digest == wanted.digest
    assert np.array_equal(found.describe(TEXTS[:2]), wanted.describe(TEXTS[:2]))


class Running:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("both", [False, True])
def test_old_weights_run_nothing(tmp_path, both):
    place, ran = folder(tmp_path / "m", "bert", transformers.AutoModelForMaskedLM), tmp_path / "ran"
    torch.save({**load_file(place / "model.safetensors"), "more": Running(ran)}, place / "pytorch_model.bin")
    if both:
        hf.load(str(place))  # the safe ones come first
    else:
        (place / "model.safetensors").unlink()
        with pytest.raises(EncoderError, match="the weights in"):
            hf.load(str(place))
    assert not ran.exists()


def test_a_model_in_the_cache_needs_no_connection(monkeypatch, folders):
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", lambda name, **rest: str(folders("bert")))
    assert hf.load("owner/bert").reference == "hf:owner/bert"


def test_it_says_nothing_itself(folders, capfd):
    capfd.readouterr()
    hf.load(str(folders("roberta")))
    said = capfd.readouterr()
    assert said.out + said.err == ""
