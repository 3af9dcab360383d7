"""Networks of timm with their weights from the hub, by the names that `timm.list_pretrained()` gives.

`timm:resnet50.a1_in1k` names an architecture and a training of it; without the tag, timm's default training is taken.
When not to use: without a connection; a model folder that lies on this machine opens as `local:FOLDER`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import timm
import torch
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import nn

from sterna import chains, network, preparation
from sterna.errors import EncoderError
from sterna.network import Network
from sterna.records import Encoder

# Where weights came from and how they had to be changed on the way in: no longer true of what is saved.
PROVENANCE = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture")
CONVERSIONS = ("custom_load", "label_offset", "label_descriptions")


def load(name: str) -> Encoder:
    """The pretrained network `name`. Raises `EncoderError` for an unknown name and when the hub cannot be reached."""
    architecture, _, tag = name.partition(".")
    _check_name(name, architecture, tag)
    model = _download(name)
    config = _config(model, architecture)
    prepare = preparation.from_config(config["pretrained_cfg"])
    state = model.state_dict()
    chain = chains.chain(model, chains.noise(prepare.size), chains.head_of(model))
    return Encoder(
        reference=f"timm:{name}",
        network=chain,
        preparation=prepare,
        source_classes=_classes(model),
        digest=network.digest(json.dumps(["timm", architecture]), state),
        config=config,
        fresh=partial(_fresh, architecture, chain.classes, prepare.size),
        notes=chains.notes(chain),
    )


def _check_name(name: str, architecture: str, tag: str) -> None:
    if not timm.is_model(architecture):
        raise EncoderError(_unknown("timm model", architecture, timm.list_models()))
    known = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in known:
        raise EncoderError(_unknown(f"weights of {architecture}", name, known))


def _unknown(kind: str, got: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(got, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "choose one that timm.list_pretrained() names."
    return f"unknown {kind} '{got}'; {hint}"


def _download(name: str) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            model: nn.Module = timm.create_model(name, pretrained=True)
    except OSError as error:
        raise EncoderError(
            f"the weights of timm:{name} could not be fetched from the hub; on a machine with a connection, save the "
            f"model's config.json and model.safetensors to a folder, bring it here and give local:FOLDER."
        ) from error
    except RuntimeError as error:
        raise EncoderError(
            f"timm has no usable weights for '{name}' ({str(error).splitlines()[0]}); choose one that "
            f"timm.list_pretrained() names."
        ) from error
    return model


def _config(model: nn.Module, architecture: str) -> dict[str, Any]:
    given: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    kept = {
        name: value
        for name, value in given.items()
        if value is not None and name not in (*PROVENANCE, *CONVERSIONS, "label_names")
    }
    prepared = preparation.to_config(preparation.from_config(given))
    return {
        "library": "timm",
        "architecture": architecture,
        "num_features": model.num_features,
        "model_args": {},
        "pretrained_cfg": {**kept, **prepared},
    }


def _classes(model: nn.Module) -> tuple[str, ...]:
    """ImageNet's words for the rows of the head where the head is ImageNet's, else the names that the config gives."""
    subset = infer_imagenet_subset(model)
    if subset is not None:
        return tuple(ImageNetInfo(subset).label_descriptions())
    names = tuple(model.pretrained_cfg.get("label_names") or ())  # type: ignore[operator, union-attr]
    return names if len(names) == model.num_classes else ()


def _fresh(architecture: str, classes: int, size: tuple[int, int, int]) -> Network:
    model = timm.create_model(architecture, pretrained=False, num_classes=classes)
    return chains.chain(model, chains.noise(size), chains.head_of(model))
