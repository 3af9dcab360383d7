"""Image models of transformers: cut, prepared as their own processor does it, saved so that the library answers."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from sterna import artifact
from sterna.encoders import _hf_pictures, hf
from sterna.errors import EncoderError
from sterna.records import Fitted

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
NAMES = {"id2label": {0: "tench, Tinca tinca", 1: "goldfish"}, "label2id": {"tench, Tinca tinca": 0, "goldfish": 1}}
LAYERS = ["stem", "layer_0", "layer_1", "layer_2", "pool"]
SQUASHED = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2}
CUT = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
SHARED = {
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_pct": 0.875,
    "resample": 3,
}
KINDS = {
    "vit": (transformers.ViTConfig(**SMALL, intermediate_size=24, hidden_dropout_prob=0.1, **NAMES), SQUASHED, LAYERS),
    "dinov2": (transformers.Dinov2Config(**SMALL, **NAMES), CUT, LAYERS),
    "convnext": (
        transformers.ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 2, 1], image_size=32, **NAMES),
        SHARED,
        [*LAYERS[:-1], "layer_3", "pool"],
    ),
}
PICTURE = Image.fromarray(
    np.kron(np.random.default_rng(0).integers(0, 255, (6, 9, 3)), np.ones((10, 10, 1))).astype(np.uint8)
)


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    config, processor, _ = KINDS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(4)
        transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / request.param)
    (tmp_path / request.param / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path / request.param


@torch.no_grad()
def test_a_saved_classifier_answers_without_sterna(place, tmp_path):
    encoder = hf.load(str(place))
    assert list(encoder.network.stages) == KINDS[place.name][2]
    assert encoder.source_classes == ("tench, Tinca tinca", "goldfish")
    assert (encoder.preparation.modality, encoder.words, encoder.describe) == ("image", None, None)
    inputs = torch.randn(3, *encoder.preparation.size)
    theirs = transformers.AutoModelForImageClassification.from_pretrained(place)
    assert torch.equal(encoder.network(inputs).logits, theirs(pixel_values=inputs).logits)
    for cut in range(encoder.network.depth):
        split = encoder.network.suffix(cut)(encoder.network.prefix(cut)(inputs))
        assert torch.equal(split.logits, theirs(pixel_values=inputs).logits)
    with torch.random.fork_rng():
        network = encoder.network.with_head(3, {})
    artifact.save(Fitted(network, encoder, ("a", "b", "c")), tmp_path / "saved", inputs, "", {"task": "classify"})
    again = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "saved")
    assert torch.allclose(again(pixel_values=inputs).logits, network(inputs).logits, atol=1e-5)
    assert artifact.load(tmp_path / "saved").encoder.preparation == encoder.preparation


def test_pictures_are_prepared_as_the_library_does(place):
    prepare = hf.load(str(place)).preparation
    got = prepare.tensor(torch.from_numpy(prepare.frame(PICTURE)[None]))
    kind = json.loads((place / "preprocessor_config.json").read_text())["image_processor_type"]
    processor = getattr(transformers, kind).from_pretrained(place)
    wanted = processor(PICTURE, return_tensors="pt")["pixel_values"]
    assert got.shape == wanted.shape
    # Two libraries resize; levels of 255 may differ by a few where colours change.
    assert (got - wanted).abs().mean() < 0.05 * wanted.std()


def test_large_convnext_takes_whole_pictures():
    made = _hf_pictures.stated({**SHARED, "size": {"shortest_edge": 384}}, 3, "file")
    assert (made.size, made.crop_mode, made.crop_pct) == ((3, 384, 384), "squash", 1.0)


def test_unnormalised_pictures_stay_so():
    made = _hf_pictures.stated({"size": 16, "do_normalize": False, "resample": 0}, 1, "file")
    assert (made.size, made.mean, made.std, made.interpolation) == ((1, 16, 16), (0.0,), (1.0,), "nearest")


@pytest.mark.parametrize("config", [{}, {"size": 16, "rescale_factor": 1.0}])
def test_what_cannot_be_followed_is_said(config):
    with pytest.raises(EncoderError, match="must state a size, and pixels scaled by 1/255"):
        _hf_pictures.stated(config, 3, "preprocessor_config.json")
