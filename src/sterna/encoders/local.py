"""A model folder on this machine: `config.json` and `model.safetensors`.

It opens what timm saves (`save_for_hf`, `push_to_hf_hub`), what sterna saves, torchvision networks (`"library":
"torchvision"`) and the CIFAR ResNets (`"library": "none"`); folders of transformers (`"model_type"`) and of
sentence-transformers (`modules.json`) are handed to `hf` and `sentence`. Weights in torch's own format are read only as
plain tensors: nothing in a file is ever run.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sterna import chains, folder, network, preparation
from sterna.encoders._cifar import CifarResNet
from sterna.errors import EncoderError
from sterna.network import Network
from sterna.records import Encoder

WEIGHTS = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin", "pytorch_model.pth")
LIBRARIES = ("timm", "torchvision", "none")
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # classifiers that only torchvision's own training uses
OF_THE_HEAD = ("num_classes", "label_names", "label_descriptions", "sterna")  # of the source head, or of its run
SHOWN = 3  # names of weights in a message


def load(name: str) -> Encoder:
    """The model in the folder `name`; `~` is the home folder.

    Raises `EncoderError` when the folder, its config or its weights are missing, damaged or do not fit each other.
    """
    place = _folder(name)
    sentences = (place / "modules.json").is_file()
    config = {} if sentences else _read_config(place)
    if sentences or "model_type" in config:
        opened: Encoder = folder.module("encoders", "sentence" if sentences else "hf").load(name, "local")
        return opened
    library = str(config.get("library") or "timm")
    build = _builder(place, config, library)
    with torch.random.fork_rng(devices=[]):
        model = build()
    state = _fill(model, _read_weights(place), place)
    prepare = preparation.from_config(_stated(config, library))
    with torch.random.fork_rng(devices=[]):
        pooled = chains.pool_before_scores(model)
    chain = chains.chain(model, chains.noise(prepare.size), chains.head_of(model))
    classes = _classes(config, chain.classes)
    kept, inner = _without_head(config), _without_head(config.get("pretrained_cfg") or {})
    options = _without_head(config.get("model_args") or {})
    words = json.dumps([library, config["architecture"], options], sort_keys=True)
    return Encoder(
        reference=f"local:{name}",
        network=chain,
        preparation=prepare,
        source_classes=classes,
        digest=network.digest(words, state),
        config={
            **kept,
            "library": library,
            "num_features": chain.width,
            "model_args": options,
            "pretrained_cfg": {**inner, **preparation.to_config(prepare)},
        },
        fresh=Fresh(build, prepare.size),
        notes=(*chains.notes(chain), *((chains.POOLED,) if pooled else ()), *_named(chain, classes)),
    )


@dataclass(frozen=True)
class Fresh:
    """Makes the same architecture with random weights, drawn from the global generator."""

    build: Callable[[], nn.Module]
    size: tuple[int, int, int]

    def __call__(self) -> Network:
        model = self.build()
        chains.pool_before_scores(model)
        return chains.chain(model, chains.noise(self.size), chains.head_of(model))


def _without_head(config: Mapping[str, Any]) -> dict[str, Any]:
    """A level of the config without what a new head makes untrue."""
    return {key: value for key, value in config.items() if key not in OF_THE_HEAD}


def _folder(name: str) -> Path:
    place = Path(name).expanduser()
    if place.is_dir():
        return place
    beside = [path.name for path in place.parent.iterdir() if path.is_dir()] if place.parent.is_dir() else []
    near = difflib.get_close_matches(place.name, beside, n=1)
    hint = (
        f"did you mean {place.parent / near[0]}?" if near else "give a folder with config.json and model.safetensors."
    )
    raise EncoderError(f"there is no folder {place}; {hint}")


def _read_config(place: Path) -> dict[str, Any]:
    file = place / "config.json"
    if not file.is_file():
        raise EncoderError(
            f"{place} has no config.json; write one with at least the architecture, such as "
            '{"architecture": "resnet50", "num_classes": 1000}.'
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{file} is not JSON ({error}); fetch or write it again.") from error
    if isinstance(config, dict) and config.get("members"):  # the ensemble of a run
        raise EncoderError(
            f"{place} is the mean of {len(config['members'])} models, and one is wanted here; give the folder of one, "
            f"such as {place / str(config['members'][0])}."
        )
    if not isinstance(config, dict) or not isinstance(config.get("architecture", config.get("model_type")), str):
        raise EncoderError(f'{file} names no architecture; add a line such as "architecture": "resnet50".')
    return config


def _builder(place: Path, config: Mapping[str, Any], library: str) -> Callable[[], nn.Module]:
    """What makes the folder's architecture with random weights."""
    if library not in LIBRARIES:
        raise EncoderError(
            f"library in {place / 'config.json'} must be one of {', '.join(LIBRARIES)}, got '{library}'; a model on "
            "hand-made features is used with sterna predict and cannot be an encoder."
        )
    architecture, classes = str(config["architecture"]), _count(place, config)
    options = _without_head(config.get("model_args") or {})
    if library == "timm":
        _check_architecture(place, architecture, timm.list_models())
        return partial(_build, place, partial(timm.create_model, f"local-dir:{place}", pretrained=False))
    if library == "torchvision":
        _check_architecture(place, architecture, torchvision.models.list_models(module=torchvision.models))
        if architecture in ("inception_v3", "googlenet"):
            options = {"init_weights": True, **options, "aux_logits": False}
        made = partial(torchvision.models.get_model, architecture, weights=None, num_classes=classes, **options)
        return partial(_build, place, made)
    word = architecture.split()[0]
    depth = word.removeprefix("cifar_resnet")
    if not depth.isdigit() or int(depth) < 8 or int(depth) % 6 != 2:
        raise EncoderError(
            f'with "library": "none", the architecture in {place / "config.json"} must be cifar_resnet20 or another '
            f"cifar_resnet of 6n + 2 layers, got '{word}'."
        )
    return partial(CifarResNet, int(depth), classes)


def _count(place: Path, config: Mapping[str, Any]) -> int:
    given = config.get("num_classes", (config.get("pretrained_cfg") or {}).get("num_classes", 1000))
    if not isinstance(given, int) or given < 0:
        raise EncoderError(f"num_classes in {place / 'config.json'} must be a whole number, got {given!r}.")
    return given


def _check_architecture(place: Path, architecture: str, known: list[str]) -> None:
    if architecture.split(".")[0] not in known:
        near = difflib.get_close_matches(architecture, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "this version of the library does not have it."
        raise EncoderError(f"unknown architecture '{architecture}' in {place / 'config.json'}; {hint}")


def _build(place: Path, made: Callable[[], nn.Module]) -> nn.Module:
    try:
        return made()
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise EncoderError(f"the architecture in {place / 'config.json'} cannot be built: {error}") from error


def _read_weights(place: Path) -> dict[str, Tensor]:
    files = [place / name for name in WEIGHTS if (place / name).is_file()]
    if not files:
        raise EncoderError(f"{place} has no model.safetensors; it must hold config.json and model.safetensors.")
    try:
        if files[0].suffix == ".safetensors":
            return load_file(str(files[0]))
        state = torch.load(files[0], map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise EncoderError(f"{files[0]} is damaged ({error}); fetch it again.") from error
    except Exception as error:  # torch names no common class for damage and for contents it will not run
        raise EncoderError(
            f"{files[0]} is damaged or holds more than tensors, and such files can run code; save the weights again "
            "as model.safetensors."
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _fill(model: nn.Module, given: Mapping[str, Tensor], place: Path) -> dict[str, Tensor]:
    """Put the weights into the model; each must be there and fit. Counters of BatchNorm may be absent."""
    wanted = model.state_dict()
    given = {name: value for name, value in given.items() if name in wanted or not name.startswith(AUXILIARY)}
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    extra = [name for name in given if name not in wanted]
    for kind, names in (("lacks", missing), ("has besides", extra)):
        if names:
            raise EncoderError(
                f"the weights in {place} do not fit the architecture in its config.json: the file {kind} "
                f"{_listed(names)}."
            )
    # A 1x1 convolution and a linear layer hold the same numbers: a saved SqueezeNet has a linear classifier.
    ready = {name: value.reshape(wanted[name].shape) for name, value in given.items() if _same(value, wanted[name])}
    wrong = [f"{name} {tuple(given[name].shape)}" for name in given if name not in ready]
    if wrong:
        first = next(name for name in given if name not in ready)
        raise EncoderError(
            f"the weights in {place} do not fit the architecture in its config.json: {_listed(wrong)}, where {first} "
            f"must be {tuple(wanted[first].shape)}."
        )
    model.load_state_dict(ready, strict=False)
    return model.state_dict()


def _same(given: Tensor, wanted: Tensor) -> bool:
    flat = wanted.shape[:2] if wanted.dim() == 4 and wanted.shape[2:] == (1, 1) else wanted.shape
    return given.shape in (wanted.shape, flat)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _stated(config: Mapping[str, Any], library: str) -> dict[str, Any]:
    """What the config says about input; the CIFAR networks see whole pictures of 32 px."""
    whole = {"input_size": (3, 32, 32), "crop_pct": 1.0} if library == "none" else {}
    top = {key: config[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct") if key in config}
    return {**whole, **top, **dict(config.get("pretrained_cfg") or {})}


def _classes(config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Names of the head's rows; descriptions in words before the codes that they describe."""
    inner = config.get("pretrained_cfg") or {}
    names = config.get("label_names") or inner.get("label_names") or ()
    words = config.get("label_descriptions") or inner.get("label_descriptions") or {}
    listed = list(names.values()) if isinstance(names, dict) else list(names)
    found = tuple(str(words.get(name, name)) for name in listed)
    return found if len(found) == count else ()


def _named(chain: Network, classes: tuple[str, ...]) -> tuple[str, ...]:
    count = chain.classes
    if classes or not count:
        return ()
    return (f"the folder does not name the {count} classes of its head, so no row of it is reused.",)
