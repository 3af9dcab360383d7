"""Encoders of every origin: real weights against the outputs of their first runtimes, folders, every refusal."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images
from timm.models import save_for_hf

from sterna.encoders import _cifar, classical, local
from sterna.encoders import timm as from_timm
from sterna.encoders import torchvision as from_torchvision
from sterna.errors import EncoderError
from sterna.network import deviation, matching_rows
from sterna.records import Augment, Encoder

ARCHITECTURE = "mobilenetv3_small_050"
CONFIG = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.4] * 3, "std": [0.3] * 3}


def photographs(encoder: Encoder) -> torch.Tensor:
    frames = [encoder.preparation.frame(Image.fromarray(one)) for one in load_sample_images().images]
    return encoder.preparation.tensor(torch.from_numpy(np.stack(frames)))


def seeded(make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def saved(place: Path, safe: bool = True, names: tuple[str, ...] = ("a", "b", "c")) -> Path:
    """A small model as timm itself saves it."""
    model = seeded(partial(timm.create_model, ARCHITECTURE, num_classes=len(names)))
    config = {"label_names": list(names), "pretrained_cfg": CONFIG}
    save_for_hf(model, str(place), model_config=config, safe_serialization=safe)
    return place


def alter(place: Path, **changes: Any) -> Path:
    """The folder with entries of its config changed; None removes one."""
    config = json.loads((place / "config.json").read_text())
    config.update(changes)
    (place / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return place


# --- real weights


def test_mobilenet_gives_the_outputs_of_its_first_runtime(weights_folder: Path) -> None:
    encoder = local.load(str(weights_folder / "mobilenetv2"))
    outputs = weights_folder / "reference_outputs"
    inputs = torch.from_numpy(np.load(outputs / "mobilenetv2_nhwc_0_input.npy")).permute(0, 3, 1, 2)
    wanted = torch.from_numpy(np.load(outputs / "mobilenetv2_nhwc_0_output.npy"))[:, 1:]  # row 0 is background
    with torch.no_grad():
        got = encoder.network(inputs).logits.log_softmax(1)
    # Raw inputs of 0 to 255: a hard test. Its BatchNorm was folded and measured again, so 0.01 remains; a convolution
    # padded on the wrong side gives 0.9.
    assert got.argmax() == wanted.argmax()
    assert (got - wanted.log()).std() < 0.02


def test_squeezenet_gives_the_outputs_of_its_first_runtime(weights_folder: Path) -> None:
    encoder = local.load(str(weights_folder / "squeezenet1_1"))
    outputs = weights_folder / "reference_outputs"
    inputs = torch.from_numpy(np.load(outputs / "squeezenet1.1_nchw_0_input.npy"))
    wanted = torch.from_numpy(np.load(outputs / "squeezenet1.1_nchw_0_output.npy"))
    head = encoder.network.head
    with torch.no_grad():
        maps = encoder.network.prefix(encoder.network.depth - 1)(inputs)
        scores = F.conv2d(maps, head.weight[:, :, None, None], head.bias)
        assert deviation(F.relu(scores).mean((2, 3)), wanted) < 1e-5
        assert deviation(encoder.network(inputs).logits, scores.mean((2, 3))) < 1e-5
    assert any("ReLU" in note for note in encoder.notes)


def test_timm_opens_the_same_folder_to_the_same_logits(weights_folder: Path) -> None:
    place = weights_folder / "mobilenetv2"
    encoder = local.load(str(place))
    theirs = timm.create_model(f"local-dir:{place}", pretrained=True).eval()
    inputs = photographs(encoder)
    with torch.no_grad():
        assert torch.equal(encoder.network(inputs).logits, theirs(inputs))
    assert encoder.config["model_args"] == {"pad_type": "same"}


def test_the_real_mobilenet_knows_a_backpack_and_its_row_is_reused(weights_folder: Path, data_folder: Path) -> None:
    encoder = local.load(str(weights_folder / "mobilenetv2"))
    rows = matching_rows(("daisy", "tulip", "back_pack", "projector"), encoder.source_classes)
    assert {target: encoder.source_classes[row].split(",")[0] for target, row in rows.items()} == {
        0: "daisy",
        2: "backpack",
        3: "projector",
    }
    files = sorted((data_folder / "office" / "images" / "amazon" / "backpack").glob("*.jpg"))[:12]
    frames = np.stack([encoder.preparation.frame(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        found = encoder.network(encoder.preparation.tensor(torch.from_numpy(frames))).logits.argmax(1)
    assert (found == rows[2]).float().mean() >= 0.5


def test_the_real_backbone_without_a_head_gives_features(weights_folder: Path) -> None:
    encoder = local.load(str(weights_folder / "mobilenetv2_b"))
    theirs = timm.create_model(f"local-dir:{weights_folder / 'mobilenetv2_b'}", pretrained=True).eval()
    inputs = photographs(encoder)
    with torch.no_grad():
        output = encoder.network(inputs)
        assert torch.equal(output.features, theirs(inputs))
    assert (encoder.network.classes, encoder.source_classes) == (0, ())


def coco_objects(place: Path) -> tuple[list[Image.Image], list[int]]:
    """Objects of CIFAR's kinds, cut out of COCO photographs by their boxes."""
    kinds = {4: 0, 2: 1, 14: 2, 15: 3, 16: 5, 17: 7, 8: 8, 7: 9}  # COCO's number -> CIFAR-10's
    found, labels = [], []
    for file in sorted((place / "coco" / "object_detection").rglob("*.txt")):
        photo = next((place / "coco" / "images").rglob(f"{file.stem}.jpg"), None)
        for line in file.read_text().splitlines() if photo else ():
            kind, *box = (float(number) for number in line.split())
            picture = Image.open(photo).convert("RGB")
            x, y, w, h = (part * side for part, side in zip(box, picture.size * 2, strict=True))
            if int(kind) in kinds and min(w, h) >= 40:
                found.append(picture.crop((int(x - w / 2), int(y - h / 2), int(x + w / 2), int(y + h / 2))))
                labels.append(kinds[int(kind)])
    return found, labels


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_resnet56"])
def test_the_cifar_networks_recognise_objects_in_photographs(
    name: str, weights_folder: Path, data_folder: Path
) -> None:
    encoder = local.load(str(weights_folder / name))
    assert list(encoder.network.stages) == ["stem", "layer1", "layer2", "layer3", "pool"]
    assert len(encoder.source_classes) == 10
    pictures, labels = coco_objects(data_folder)
    assert len(labels) >= 25
    frames = torch.from_numpy(np.stack([encoder.preparation.frame(one.resize((32, 32), 4)) for one in pictures]))
    with torch.no_grad():
        found = encoder.network(encoder.preparation.tensor(frames)).logits.argmax(1)
    # Chance is 0.1; zero maps on one side of the shortcut instead of both give about that.
    assert (found == torch.tensor(labels)).float().mean() > 0.5


# --- what timm saves


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_that_timm_saved_opens(tmp_path: Path, safe: bool) -> None:
    encoder = local.load(str(saved(tmp_path, safe)))
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    inputs = photographs(encoder)
    with torch.no_grad():
        assert torch.equal(encoder.network(inputs).logits, theirs(inputs))
    assert encoder.source_classes == ("a", "b", "c")
    assert encoder.preparation.size == (3, 32, 32)
    assert encoder.preparation.mean == (0.4, 0.4, 0.4)
    assert encoder.reference == f"local:{tmp_path}"


def save_as_sterna_does(encoder: Encoder, classes: tuple[str, ...], place: Path) -> torch.nn.Module:
    """The library's own model with a new head, and the encoder's config with what the artifact adds."""
    network = seeded(partial(encoder.network.with_head, len(classes), {}))
    place.mkdir()
    save_file(
        {name: value.contiguous() for name, value in network.whole.state_dict().items()}, place / "model.safetensors"
    )
    config = {**encoder.config, "num_classes": len(classes), "label_names": list(classes), "sterna": {"seed": 0}}
    config["pretrained_cfg"] = {**config["pretrained_cfg"], "num_classes": len(classes), "label_names": list(classes)}
    (place / "config.json").write_text(json.dumps(config))
    return network


def test_a_model_with_a_new_head_opens_in_timm_and_again_here(tmp_path: Path) -> None:
    encoder = local.load(str(saved(tmp_path / "source")))
    network = save_as_sterna_does(encoder, ("x", "y"), tmp_path / "target")
    again = local.load(str(tmp_path / "target"))
    theirs = timm.create_model(f"local-dir:{tmp_path / 'target'}", pretrained=True).eval()
    inputs = photographs(encoder)
    with torch.no_grad():
        wanted = network(inputs).logits
        assert wanted.shape == (2, 2)
        assert torch.equal(again.network(inputs).logits, wanted)
        assert torch.equal(theirs(inputs), wanted)
    assert again.source_classes == ("x", "y")
    assert again.preparation == encoder.preparation
    assert "sterna" not in again.config
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    item = Image.fromarray(load_sample_images().images[0])
    assert torch.equal(transform(item), inputs[0])


def test_model_arguments_reach_the_network_and_its_fresh_copy(tmp_path: Path) -> None:
    saved(tmp_path)
    model = seeded(partial(timm.create_model, ARCHITECTURE, num_classes=3, act_layer="relu"))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    encoder = local.load(str(alter(tmp_path, model_args={"act_layer": "relu"})))
    inputs = photographs(encoder)
    with torch.no_grad():
        assert torch.equal(encoder.network(inputs).logits, model.eval()(inputs))
        fresh = seeded(encoder.fresh)
        assert torch.equal(fresh(inputs).logits, model(inputs))  # the same seed as `model` was made with
    assert encoder.digest != local.load(str(alter(tmp_path, model_args=None))).digest


def test_fresh_draws_from_the_global_generator_and_loading_does_not(tmp_path: Path) -> None:
    saved(tmp_path)
    state = torch.get_rng_state()
    encoder = local.load(str(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    one, same = seeded(encoder.fresh), seeded(encoder.fresh)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        other = encoder.fresh()
    weights = [network.stages["stem"].state_dict()["0.weight"] for network in (one, same, other, encoder.network)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert list(one.stages) == list(encoder.network.stages)
    assert one.classes == 3


def test_the_digest_follows_the_weights_and_nothing_else(tmp_path: Path) -> None:
    first = local.load(str(saved(tmp_path / "one"))).digest
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert local.load(str(alter(tmp_path / "two", label_names=["x", "y", "z"]))).digest == first
    state = load_file(tmp_path / "two" / "model.safetensors")
    save_file({**state, "classifier.bias": state["classifier.bias"] + 1e-3}, tmp_path / "two" / "model.safetensors")
    assert local.load(str(tmp_path / "two")).digest != first


def test_an_encoder_and_its_parts_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    encoder = local.load(str(saved(tmp_path)))
    again = pickle.loads(pickle.dumps(encoder))
    inputs = photographs(encoder)
    assert torch.equal(again.network(inputs).logits, encoder.network(inputs).logits)
    assert torch.equal(copy.deepcopy(encoder.network)(inputs).logits, encoder.network(inputs).logits)


def test_codes_are_given_in_words_and_unnamed_rows_are_said(tmp_path: Path) -> None:
    saved(tmp_path, names=("n1", "n2", "n3"))
    words = {"n1": "daisy", "n2": "tulip, Tulipa"}
    assert local.load(str(alter(tmp_path, label_descriptions=words))).source_classes == ("daisy", "tulip, Tulipa", "n3")
    assert local.load(str(alter(tmp_path, label_names={"0": "n1", "1": "n2", "2": "n3"}))).source_classes[0] == "daisy"
    unnamed = local.load(str(alter(tmp_path, label_names=["only", "two"], label_descriptions=None)))
    assert unnamed.source_classes == ()
    assert any("does not name the 3 classes" in note for note in unnamed.notes)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "model")
    assert local.load("~/model").reference == "local:~/model"


# --- other layouts


@pytest.mark.parametrize("linear", [False, True])
def test_a_torchvision_folder_opens_with_either_form_of_classifier(tmp_path: Path, linear: bool) -> None:
    model = seeded(partial(torchvision.models.squeezenet1_1, num_classes=4)).eval()
    state = model.state_dict()
    if linear:
        state["classifier.1.weight"] = state["classifier.1.weight"].flatten(1)
    save_file(state, tmp_path / "model.safetensors")
    config = {"library": "torchvision", "architecture": "squeezenet1_1", "num_classes": 4, "pretrained_cfg": CONFIG}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = local.load(str(tmp_path))
    inputs = photographs(encoder)
    with torch.no_grad():
        wanted = model.classifier[1](model.features(inputs)).mean((2, 3))
        assert deviation(encoder.network(inputs).logits, wanted) < 1e-5
    network = save_as_sterna_does(encoder, ("x", "y"), tmp_path / "target")
    assert torch.equal(local.load(str(tmp_path / "target")).network(inputs).logits, network(inputs).logits)


def test_auxiliary_classifiers_in_a_file_are_left_out(tmp_path: Path) -> None:
    make = partial(torchvision.models.googlenet, num_classes=3, init_weights=False)
    model = seeded(partial(make, aux_logits=True)).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {"library": "torchvision", "architecture": "googlenet", "num_classes": 3, "pretrained_cfg": CONFIG}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = local.load(str(tmp_path))
    inputs = photographs(encoder)
    assert torch.equal(encoder.network(inputs).logits, model(inputs))
    assert encoder.network.depth > 5


def test_a_cifar_network_as_sterna_saves_it_opens_again(tmp_path: Path) -> None:
    place = tmp_path / "source"
    place.mkdir()
    model = seeded(partial(_cifar.CifarResNet, 8, 10))
    save_file(model.state_dict(), place / "model.safetensors")
    config = {"library": "none", "architecture": "cifar_resnet8 (small)", "num_classes": 10}
    (place / "config.json").write_text(json.dumps(config))
    encoder = local.load(str(place))
    assert encoder.preparation.size == (3, 32, 32)
    assert encoder.preparation.crop_pct == 1
    network = save_as_sterna_does(encoder, ("x", "y"), tmp_path / "target")
    inputs = photographs(encoder)
    assert torch.equal(local.load(str(tmp_path / "target")).network(inputs).logits, network(inputs).logits)
    assert seeded(encoder.fresh).classes == 10


def test_the_shortcut_of_option_a_by_hand() -> None:
    block = _cifar.Block(2, 4).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    inputs = torch.arange(32.0).reshape(1, 2, 4, 4)
    wanted = torch.zeros(1, 4, 2, 2)
    wanted[0, 1] = torch.tensor([[0.0, 2.0], [8.0, 10.0]])
    wanted[0, 2] = torch.tensor([[16.0, 18.0], [24.0, 26.0]])
    assert torch.equal(block(inputs), wanted)
    assert len([part for part in _cifar.CifarResNet(56, 10).modules() if isinstance(part, torch.nn.Conv2d)]) == 55


# --- refusals of local


def drop(place: Path, name: str) -> None:
    (place / name).unlink()


def change_weights(place: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(place / "model.safetensors")
    change(state)
    save_file(state, place / "model.safetensors")


class Evil:
    """What no weights file may hold: something that runs."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("touched"),)


def only_pickled(place: Path) -> None:
    drop(place, "model.safetensors")
    torch.save({"a": Evil()}, place / "pytorch_model.bin")


REFUSALS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (partial(drop, name="config.json"), "has no config.json; write one with at least the architecture"),
    "no weights": (partial(drop, name="model.safetensors"), "has no model.safetensors; it must hold config.json and"),
    "config not JSON": (lambda place: (place / "config.json").write_text("{"), "is not JSON .*; fetch or write it"),
    "config a list": (lambda place: (place / "config.json").write_text("[]"), "names no architecture; add a line"),
    "no architecture": (partial(alter, architecture=None), "names no architecture; add a line such as"),
    "unknown architecture": (
        partial(alter, architecture="mobilenetv3_smal_050"),
        "unknown architecture 'mobilenetv3_smal_050' in .*; did you mean mobilenetv3_small_050",
    ),
    "strange architecture": (
        partial(alter, architecture="§§§§"),
        "unknown architecture '§§§§' in .*; this version of the library does not have it",
    ),
    "unknown torchvision architecture": (
        partial(alter, library="torchvision", architecture="alexnett"),
        "unknown architecture 'alexnett' in .*; did you mean alexnet",
    ),
    "unknown library": (
        partial(alter, library="sterna"),
        "library in .* must be one of timm, torchvision, none, got 'sterna'; a model on hand-made features",
    ),
    "unknown cifar network": (
        partial(alter, library="none", architecture="cifar_resnet21"),
        'with "library": "none", the architecture in .* must be cifar_resnet20 or another .* got \'cifar_resnet21\'',
    ),
    "classes not a number": (partial(alter, num_classes="three"), "num_classes in .* must be a whole number, got 'thr"),
    "arguments unknown": (partial(alter, model_args={"wheels": 4}), "the architecture in .* cannot be built: .*wheels"),
    "damaged": (
        lambda place: (place / "model.safetensors").write_bytes(b"\x00" * 40),
        "model.safetensors is damaged .*; fetch it again",
    ),
    "pickle": (only_pickled, "pytorch_model.bin is damaged or holds more than tensors, and such files can run code"),
    "missing": (
        partial(change_weights, change=lambda state: [state.pop(key) for key in list(state) if "conv_head" in key]),
        "do not fit the architecture in its config.json: the file lacks conv_head.weight, conv_head.bias",
    ),
    "many missing": (
        partial(change_weights, change=lambda state: [state.pop(key) for key in list(state) if "blocks.1" in key]),
        "the file lacks blocks.1.0.conv_pw.weight, .*, .* and [0-9]+ more",
    ),
    "extra": (
        partial(change_weights, change=lambda state: state.update(surplus=torch.zeros(1))),
        "the file has besides surplus",
    ),
    "mis-shaped": (
        partial(change_weights, change=lambda state: state.update({"conv_stem.weight": torch.zeros(16, 3, 5, 5)})),
        r"conv_stem.weight \(16, 3, 5, 5\), where conv_stem.weight must be \(16, 3, 3, 3\)",
    ),
    "bad preparation": (partial(alter, pretrained_cfg={"crop_mode": "odd"}), "crop_mode in the encoder's config"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_folder_with_one_thing_wrong_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spoil, sentence = REFUSALS[kind]
    place = saved(tmp_path / "model")
    spoil(place)
    with pytest.raises(EncoderError, match=sentence):
        local.load(str(place))
    assert not Path("touched").exists()


def test_a_missing_folder_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "mobilenetv2").mkdir()
    with pytest.raises(EncoderError, match=r"there is no folder .*mobilnetv2; did you mean .*/mobilenetv2\?"):
        local.load(str(tmp_path / "mobilnetv2"))
    with pytest.raises(EncoderError, match=r"give a folder with config\.json and model\.safetensors"):
        local.load(str(tmp_path / "nowhere" / "at all"))


def test_counters_of_batchnorm_may_be_absent(tmp_path: Path) -> None:
    saved(tmp_path)
    counters = lambda state: [state.pop(key) for key in list(state) if "num_batches" in key]  # noqa: E731
    before = local.load(str(tmp_path))
    change_weights(tmp_path, counters)
    assert local.load(str(tmp_path)).digest == before.digest


# --- timm by name


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """timm's own loading of pretrained weights, from a file in place of the hub. Gives the model in the file."""
    model = seeded(partial(timm.create_model, ARCHITECTURE))
    save_file(model.state_dict(), tmp_path / "hub.safetensors")
    real = timm.create_model

    def create(name: str, pretrained: bool, num_classes: int | None = None) -> torch.nn.Module:
        overlay = {"file": str(tmp_path / "hub.safetensors")} if pretrained else None
        return real(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, num_classes=num_classes)

    monkeypatch.setattr(timm, "create_model", create)
    return model.eval()


def test_a_timm_model_by_name(hub: torch.nn.Module) -> None:
    encoder = from_timm.load(f"{ARCHITECTURE}.lamb_in1k")
    inputs = photographs(encoder)
    with torch.no_grad():
        assert torch.equal(encoder.network(inputs).logits, hub(inputs))
    assert encoder.reference == f"timm:{ARCHITECTURE}.lamb_in1k"
    assert encoder.source_classes[985] == "daisy"
    assert len(encoder.source_classes) == 1000
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(hub))
    assert torch.equal(theirs(Image.fromarray(load_sample_images().images[0])), inputs[0])
    assert seeded(encoder.fresh).classes == 1000
    assert encoder.pretrained


def test_a_timm_model_by_name_can_be_saved_and_opened_as_a_folder(hub: torch.nn.Module, tmp_path: Path) -> None:
    encoder = from_timm.load(ARCHITECTURE)
    assert not set(encoder.config["pretrained_cfg"]) & {"url", "file", "hf_hub_id", "source", "custom_load"}
    network = save_as_sterna_does(encoder, ("x", "y"), tmp_path / "target")
    inputs = photographs(encoder)
    theirs = timm.models.create_model(f"local-dir:{tmp_path / 'target'}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(theirs(inputs), network(inputs).logits)


def test_other_heads_of_timm_are_named_by_their_config_or_not_at_all() -> None:
    model = timm.create_model(ARCHITECTURE, num_classes=3)
    assert from_timm._classes(model) == ()
    model.pretrained_cfg = {**model.pretrained_cfg, "label_names": ["x", "y", "z"]}
    assert from_timm._classes(model) == ("x", "y", "z")


def test_without_a_connection_timm_weights_are_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match=r"could not be fetched from the hub; .* give local:FOLDER\.$"):
        from_timm.load(ARCHITECTURE)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet5O", r"unknown timm model 'resnet5O'; did you mean resnet50"),
        ("§§§§", r"unknown timm model '§§§§'; choose one that timm.list_pretrained\(\) names"),
        ("resnet50.a1_in1", r"unknown weights of resnet50 'resnet50.a1_in1'; did you mean resnet50.a1_in1k"),
        ("hf-hub:timm/resnet50", r"unknown timm model"),
    ],
)
def test_unknown_timm_names_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(EncoderError, match=sentence):
        from_timm.load(name)


def test_a_timm_architecture_without_weights_is_refused() -> None:
    bare = sorted(set(timm.list_models()) - {name.split(".")[0] for name in timm.list_pretrained()})
    name = next(one for one in bare if one.startswith("resnet"))
    with pytest.raises(EncoderError, match="timm has no usable weights for"):
        from_timm.load(name)


# --- torchvision by name


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's own cache of downloads, empty, and nothing beyond it."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise URLError("no connection")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("name", ["squeezenet1_1", "squeezenet1_1.IMAGENET1K_V1"])
def test_a_torchvision_model_by_name(name: str, downloads: Path) -> None:
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    model = seeded(torchvision.models.squeezenet1_1).eval()
    torch.save(model.state_dict(), downloads / weights.url.rsplit("/", 1)[1])
    state = torch.get_rng_state()
    encoder = from_torchvision.load(name)
    assert torch.equal(torch.get_rng_state(), state)
    inputs = photographs(encoder)
    assert torch.equal(inputs[0], weights.transforms()(Image.fromarray(load_sample_images().images[0])))
    with torch.no_grad():
        wanted = model.classifier[1](model.features(inputs)).mean((2, 3))
        assert deviation(encoder.network(inputs).logits, wanted) < 1e-5
    assert encoder.source_classes[985] == "daisy"
    assert encoder.config["library"] == "torchvision"
    assert encoder.reference == f"torchvision:{name}"
    assert seeded(encoder.fresh).classes == 1000


def test_the_second_normalisation_of_googlenet_and_inception_is_done_once() -> None:
    make = partial(torchvision.models.googlenet, num_classes=5, aux_logits=False, init_weights=False)
    twice = seeded(partial(make, transform_input=True)).eval()
    once = seeded(partial(make, transform_input=False)).eval()
    weights = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1
    item = Image.fromarray(load_sample_images().images[0])
    prepare = from_torchvision._preparation(weights, "googlenet")
    ours = prepare.tensor(torch.from_numpy(prepare.frame(item)[None]))
    with torch.no_grad():
        assert deviation(once(ours), twice(weights.transforms()(item)[None])) < 1e-5
    assert from_torchvision._preparation(torchvision.models.Inception_V3_Weights.DEFAULT, "inception_v3").mean[0] == 0.5
    fresh = from_torchvision._fresh("googlenet", 5, {"aux_logits": False, "transform_input": False}, (3, 64, 64))
    assert fresh.depth > 5


def test_without_a_connection_torchvision_weights_are_refused_in_one_sentence(downloads: Path) -> None:
    with pytest.raises(EncoderError, match=r"torchvision:squeezenet1_1 could not be fetched; .* local:FOLDER\.$"):
        from_torchvision.load("squeezenet1_1")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("alexnett", r"unknown torchvision model 'alexnett'; did you mean alexnet"),
        ("fasterrcnn_resnet50_fpn", r"unknown torchvision model"),
        ("alexnet.IMAGENET", r"unknown weights of alexnet 'IMAGENET'; did you mean IMAGENET1K_V1"),
    ],
)
def test_unknown_torchvision_names_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(EncoderError, match=sentence):
        from_torchvision.load(name)


# --- features made by hand


def test_hand_made_features_have_a_fixed_size_and_no_weights() -> None:
    encoder = classical.load("hog_colour")
    frames = [
        encoder.preparation.frame(Image.fromarray(picture))
        for picture in (*load_sample_images().images, np.arange(64, dtype=np.uint8).reshape(8, 8))
    ]
    features = encoder.preparation.tensor(torch.from_numpy(np.stack(frames)))
    output = encoder.network(features)
    assert torch.equal(output.features, features)
    assert (features.shape, features.dtype) == ((3, encoder.network.width), torch.float32)
    assert output.logits.shape == (3, 0)
    assert list(encoder.network.stages) == ["features"]
    assert sum(weight.numel() for weight in encoder.network.parameters()) == 0
    assert not encoder.pretrained
    assert encoder.source_classes == ()
    assert encoder.fresh()(features).features.equal(features)
    assert encoder.network.with_head(3, {})(features).logits.shape == (3, 3)
    assert encoder.config == {
        "library": "sterna",
        "architecture": "classical:hog_colour",
        "num_features": encoder.network.width,
    }
    assert encoder.digest == classical.load("hog_colour").digest


def test_colours_are_shares_of_each_quarter() -> None:
    picture = np.zeros((128, 128, 3), dtype=np.uint8)
    picture[:64, :64] = (255, 0, 0)
    picture[64:, :32] = (0, 0, 255)
    shares = classical.colours(picture).reshape(4, 8, 4, 4) ** 2
    assert np.allclose(shares.sum((1, 2, 3)), 1)
    assert shares[0, 0, 3, 3] == pytest.approx(1)  # top left: red, saturated, bright
    assert shares[1, 0, 0, 0] == pytest.approx(1)  # top right: black
    assert shares[2, 5, 3, 3] == pytest.approx(0.5)  # bottom left: half blue, hue 2/3
    assert shares[2, 0, 0, 0] == pytest.approx(0.5)


def test_edges_tell_directions_apart_and_ignore_brightness() -> None:
    bars = np.zeros((128, 128, 3), dtype=np.uint8)
    bars[:, ::16] = bars[:, 1::16] = 200
    lying = classical.edges(bars.transpose(1, 0, 2)).reshape(-1, 9).sum(0)
    standing = classical.edges(bars).reshape(-1, 9).sum(0)
    assert standing.argmax() != lying.argmax()
    assert np.allclose(classical.edges(bars), classical.edges(bars // 2), atol=1e-3)


def test_augmentations_act_before_the_features() -> None:
    preparation, item = classical.load("hog_colour").preparation, Image.fromarray(load_sample_images().images[0])
    mirrored = Augment(pixels=lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    plain, other = preparation.frame(item), preparation.frame(item, mirrored)
    assert not np.allclose(plain, other)
    quarters, turned = plain[324:].reshape(2, 2, 128), other[324:].reshape(2, 2, 128)
    assert np.allclose(quarters[:, ::-1], turned)
    corner = Augment(crop=lambda picture, size: picture.crop((0, 0, size[1], size[0])))
    assert np.allclose(preparation.frame(item, corner), preparation.frame(item.crop((0, 0, 128, 128))))


def test_unknown_features_are_refused() -> None:
    with pytest.raises(EncoderError, match=r"unknown features made by hand 'hog_color'\. Did you mean 'hog_colour'"):
        classical.load("hog_color")
