"""CLIP and SigLIP: pictures and descriptions in the library's own space, cut, saved and opened without sterna."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from standins_text import SENTENCES, byte_pairs
from tokenizers import processors

from sterna import artifact, network, study
from sterna.encoders import hf
from sterna.errors import EncoderError
from sterna.network import Network
from sterna.records import Fitted

ENDS = ("<|startoftext|>", "<|endoftext|>")
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXTS = {**TOWER, "vocab_size": 390, "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 1}
SIGHT = {**TOWER, "image_size": 32, "patch_size": 8}
KINDS = {
    "clip": transformers.CLIPConfig(
        text_config={**TEXTS, "pad_token_id": 1}, vision_config={**SIGHT, "hidden_size": 20}, projection_dim=12
    ),
    "siglip": transformers.SiglipConfig(text_config={**TEXTS, "pad_token_id": 1}, vision_config=SIGHT),
}
PREPARED = {
    "clip": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 36, "crop_size": 32},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3},
}
DESCRIBED = ["a photo of a cat.", "", "two plus two makes four, except on Tuesdays", "very long " * 20, *SENTENCES[:2]]


def folder(place, kind):
    """A folder with random weights, as the hub has them."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = transformers.AutoModel.from_config(KINDS[kind])
        with torch.no_grad():  # embeddings of unlike length, and no norm of 1 or bias of 0
            for weight in model.parameters():
                weight += 0.2 * torch.randn_like(weight)
    model.save_pretrained(place)
    made = byte_pairs(ENDS, around=False)
    made.post_processor = processors.RobertaProcessing((ENDS[1], 1), (ENDS[0], 0), add_prefix_space=False)
    made.save(str(place / "tokenizer.json"))
    words = {"bos_token": ENDS[0], "eos_token": ENDS[1], "pad_token": ENDS[1], "model_max_length": 24}
    (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **words}))
    (place / "preprocessor_config.json").write_text(json.dumps(PREPARED[kind]))
    return place


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    return folder(tmp_path / request.param, request.param)


@torch.no_grad()
def theirs(place, inputs):
    """The library's image embeddings, of length 1."""
    found = transformers.AutoModel.from_pretrained(place).get_image_features(pixel_values=inputs).pooler_output
    return found / found.norm(dim=-1, keepdim=True)


@torch.no_grad()
def spoken(place, texts):
    """The library's text embeddings, of length 1, padded as each model was trained."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    padding = "max_length" if place.name == "siglip" else True
    given = tokenizer(texts, padding=padding, truncation=True, max_length=24, return_tensors="pt")
    names = ["input_ids"] if place.name == "siglip" else ["input_ids", "attention_mask"]
    model = transformers.AutoModel.from_pretrained(place)
    found = model.get_text_features(**{name: given[name] for name in names}).pooler_output
    return found / found.norm(dim=-1, keepdim=True)


@torch.no_grad()
def test_pictures_and_descriptions_lie_where_the_library_puts_them(place):
    encoder = hf.load(str(place))
    inputs = torch.randn(3, *encoder.preparation.size)
    torch.testing.assert_close(encoder.network(inputs).features, theirs(place, inputs), atol=1e-5, rtol=0)
    wanted = spoken(place, DESCRIBED)
    np.testing.assert_allclose(encoder.describe(DESCRIBED), wanted.numpy(), atol=1e-5)
    assert len(wanted.unique(dim=0)) == len(DESCRIBED)


def test_the_chain_is_the_image_tower(place):
    encoder = hf.load(str(place))
    chain = encoder.network
    assert list(chain.stages) == ["stem", "layer_0", "layer_1", "pool"]
    inputs = torch.randn(3, *encoder.preparation.size)
    for cut in range(chain.depth + 1):
        split = chain.suffix(cut)(chain.prefix(cut)(inputs))
        torch.testing.assert_close(split.features, theirs(place, inputs), atol=1e-5, rtol=0)
    model = transformers.AutoModel.from_pretrained(place)
    projection = getattr(model, "visual_projection", torch.nn.Identity())
    tower = [*model.vision_model.parameters(), *projection.parameters()]
    assert sum(weight.numel() for weight in chain.stages.parameters()) == sum(weight.numel() for weight in tower)
    assert (encoder.source_classes, chain.classes, encoder.words) == ((), 0, None)
    assert encoder.head_pace == pytest.approx(chain.width**0.25)
    with torch.random.fork_rng():
        fresh = encoder.fresh()
    assert isinstance(fresh, Network)
    assert network.deviation(fresh(inputs).features, chain(inputs).features) > 0.1


def test_pictures_are_prepared_as_the_library_does(place):
    prepare = hf.load(str(place)).preparation
    noise = np.random.default_rng(0).integers(0, 255, (6, 9, 3))
    picture = Image.fromarray(np.kron(noise, np.ones((10, 10, 1))).astype(np.uint8))
    got = prepare.tensor(torch.from_numpy(prepare.frame(picture)[None]))
    kind = transformers.CLIPImageProcessor if place.name == "clip" else transformers.SiglipImageProcessor
    wanted = kind.from_pretrained(place)(picture, return_tensors="pt")["pixel_values"]
    assert got.shape == wanted.shape
    assert (got - wanted).abs().mean() < 0.05 * wanted.std()


def test_the_preparation_may_lie_in_the_file_of_the_processor(place):
    wanted = hf.load(str(place)).preparation
    (place / "preprocessor_config.json").unlink()
    (place / "processor_config.json").write_text(json.dumps({"image_processor": PREPARED[place.name]}))
    assert hf.load(str(place)).preparation == wanted


@torch.no_grad()
def test_a_saved_model_reopens_and_opens_without_sterna(place, tmp_path):
    encoder = hf.load(str(place))
    inputs = torch.randn(3, *encoder.preparation.size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = encoder.network.with_head(3, {})
        for weight in trained.parameters():
            weight += 0.05 * torch.randn_like(weight)
    saved = tmp_path / "saved"
    artifact.save(Fitted(trained, encoder, ("a", "b", "c"), "multilabel"), saved, inputs, "", {"task": "multilabel"})
    again = artifact.load(saved)
    torch.testing.assert_close(again.network(inputs).logits, trained(inputs).logits)
    assert (again.classes, again.task) == (("a", "b", "c"), "multilabel")
    assert again.encoder.preparation == encoder.preparation
    np.testing.assert_array_equal(again.encoder.describe(DESCRIBED), encoder.describe(DESCRIBED))
    head = load_file(saved / "head.safetensors")
    logits = theirs(saved, inputs) @ head["weight"].T + head["bias"]
    torch.testing.assert_close(logits, trained(inputs).logits, atol=1e-5, rtol=0)
    assert network.deviation(theirs(saved, inputs), theirs(place, inputs)) > 1e-3  # the trained tower was saved
    ids = [transformers.AutoTokenizer.from_pretrained(one)(DESCRIBED[:3])["input_ids"] for one in (place, saved)]
    assert ids[0] == ids[1]
    told = [one for one in encoder.notes if "head.safetensors" in one]
    assert [type(transformers.AutoModel.from_pretrained(saved)).__name__ in one for one in told] == [True]


def test_what_a_folder_lacks_is_said(tmp_path):
    place = folder(tmp_path / "clip", "clip")
    save_file({"weight": torch.zeros(3, 5), "bias": torch.zeros(3)}, place / "head.safetensors")
    with pytest.raises(EncoderError, match=r"must hold weight \(k, 12\) and bias \(k,\); take it out"):
        hf.load(str(place))
    (place / "head.safetensors").unlink()
    (place / "preprocessor_config.json").write_text(json.dumps({**PREPARED["clip"], "crop_size": 36}))
    with pytest.raises(EncoderError, match=r"must give pictures of 32 x 32 px, as config.json says, got 36 x 36"):
        hf.load(str(place))
    state = load_file(place / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"they lack visual_projection\.weight; fetch them again"):
        hf.load(str(place))


def test_a_classifier_made_of_clip_stays_one(tmp_path):
    place = folder(tmp_path / "clip", "clip")
    (place / "preprocessor_config.json").write_text(json.dumps(PREPARED["siglip"]))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transformers.CLIPForImageClassification(KINDS["clip"]).save_pretrained(place)
    encoder = hf.load(str(place))
    assert (encoder.describe, encoder.network.width) == (None, 20)


def test_the_same_weights_elsewhere_have_the_same_digest(place, tmp_path):
    made = hf.load(str(place)).digest
    assert made == hf.load(str(folder(tmp_path / "elsewhere", place.name))).digest
    state = load_file(place / "model.safetensors")
    state["vision_model.post_layernorm.bias"] += 1
    save_file(state, place / "model.safetensors", metadata={"format": "pt"})
    assert made != hf.load(str(place)).digest


@pytest.fixture
def pictures(tmp_path):
    """24 pictures of two colours."""
    generator = np.random.default_rng(0)
    for number in range(24):
        name = ("red", "blue")[number % 2]
        (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 90, (40, 40, 3)).astype(np.uint8)
        pixels[..., 0 if name == "red" else 2] += 150
        Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def test_zero_shot_on_pictures(pictures, tmp_path):
    place, out = folder(tmp_path / "clip", "clip"), tmp_path / "run"
    written = "zero_shot(template='a photo of {}.', centred=False)"
    study.fit(pictures, encoder=f"hf:{place}", method=written, out=out, settings="floors=classical")
    (kept,) = (out / "routes").glob("zero_shot*/predictions.npz")
    names = [name for name, *_ in json.loads((out / "splits" / "seed0.json").read_text())["parts"]["test"]]
    prepare = hf.load(str(place)).preparation
    frames = np.stack([prepare.frame(Image.open(pictures / name)) for name in names])
    said = spoken(place, ["a photo of blue.", "a photo of red."])
    wanted = torch.softmax(20 * theirs(place, prepare.tensor(torch.from_numpy(frames))) @ said.T, dim=1)
    np.testing.assert_allclose(np.load(kept)["test"], wanted.numpy(), atol=1e-4)


def test_its_stages_train(pictures, tmp_path):
    place = folder(tmp_path / "clip", "clip")
    made = study.fit(
        pictures,
        encoder=f"hf:{place}",
        tune="probe, partial, full",
        schedule="epochs=1",
        out=tmp_path / "run",
        settings="floors=classical",
    )
    assert {one.tune for one in made.routes if not one.floor} >= {"probe", "partial", "full"}
