"""A saved model is checked before it counts, and a folder that is none is said to be none."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sterna import artifact, folder
from sterna.errors import DataError, EncoderError
from sterna.prediction import predict
from sterna.records import Fitted


@pytest.fixture
def fitted():
    encoder = folder.module("encoders", "builtin").load("glyphs")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = encoder.network.with_head(3, {})
    return Fitted(network.eval(), encoder, ("a", "b", "c"))


@pytest.fixture
def inputs(fitted):
    size = fitted.encoder.preparation.size
    return torch.randn(4, *size, generator=torch.Generator().manual_seed(1))


def test_a_model_folder_comes_back_as_it_was(fitted, inputs, tmp_path):
    artifact.save(fitted, tmp_path / "model", inputs, "# card", {"shipped": "probe"})
    again = artifact.load(tmp_path / "model")
    assert again.classes == ("a", "b", "c")
    assert again.encoder.preparation == fitted.encoder.preparation
    assert torch.equal(again.network(inputs).logits, fitted.network(inputs).logits)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["sterna"] == {"shipped": "probe"}
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_a_hand_made_encoder_comes_back_too(tmp_path):
    encoder = folder.module("encoders", "classical").load("hog_colour")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = encoder.network.with_head(2, {})
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8))
    inputs = encoder.preparation.tensor(torch.from_numpy(encoder.preparation.frame(picture)[None]))
    artifact.save(Fitted(network, encoder, ("x", "y")), tmp_path / "model", inputs, "", {})
    again = artifact.load(tmp_path / "model")
    assert again.classes == ("x", "y")
    assert torch.equal(again.network(inputs).logits, network(inputs).logits)


def test_a_model_that_answers_otherwise_when_reopened_is_not_saved(fitted, inputs, tmp_path):
    # The head in use is not the one in the library's model: what is written is not what was fitted.
    fitted.network.head = torch.nn.Linear(fitted.network.width, 3)
    torch.nn.init.ones_(fitted.network.head.weight)
    with pytest.raises(EncoderError, match="does not give the fitted network's answers back"):
        artifact.save(fitted, tmp_path / "model", inputs, "", {})
    assert list(tmp_path.iterdir()) == []


def test_a_model_saved_over_another_replaces_it(fitted, inputs, tmp_path):
    for name in ("one", "two"):
        artifact.save(fitted, tmp_path / "model", inputs, name, {})
    assert (tmp_path / "model" / "README.md").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_is_no_model_folder_is_said(tmp_path):
    with pytest.raises(EncoderError, match=r"is not a model folder: it has no config\.json"):
        artifact.load(tmp_path)


def test_nothing_to_predict_is_said(fitted, inputs, tmp_path):
    artifact.save(fitted, tmp_path / "model", inputs, "", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        predict(tmp_path / "model", tmp_path / "empty")


def test_an_encoder_that_writes_its_own_folder_is_checked_too(fitted, inputs, tmp_path):
    def write(model, place, facts):
        artifact._write(Fitted(fitted.network, fitted.encoder, model.classes), place, {"by": "itself", **facts})

    def other(model, place, facts):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            changed = model.network.with_head(3, {})
        artifact._write(Fitted(changed, fitted.encoder, model.classes), place, facts)

    own, wrong = (replace(fitted.encoder, write=way) for way in (write, other))
    artifact.save(
        Fitted(fitted.network, own, fitted.classes), tmp_path / "model", inputs, "# card", {"task": "classify"}
    )
    assert json.loads((tmp_path / "model" / "config.json").read_text())["sterna"] == {
        "by": "itself",
        "task": "classify",
    }
    assert (tmp_path / "model" / "README.md").read_text() == "# card"
    with pytest.raises(EncoderError, match="does not give the fitted network's answers back"):
        artifact.save(Fitted(fitted.network, wrong, fitted.classes), tmp_path / "wrong", inputs, "", {})
    assert not (tmp_path / "wrong").exists()
