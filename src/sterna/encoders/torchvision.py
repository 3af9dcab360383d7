"""Networks of torchvision with their own weights, AlexNet among them.

`torchvision:alexnet` takes torchvision's default weights, `torchvision:alexnet.IMAGENET1K_V1` the named ones.
When not to use: where timm has the same architecture with a newer training, which is usually better.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn

from sterna import chains, network, preparation
from sterna.errors import EncoderError
from sterna.network import Network
from sterna.records import Encoder

# These two normalise their input a second time, to mean and deviation one half; done once, in the preparation, the
# network's first layer is the first thing that runs. Their auxiliary classifiers are for training from scratch.
RENORMALISING = ("googlenet", "inception_v3")
HALF = (0.5, 0.5, 0.5)


def load(name: str) -> Encoder:
    """The pretrained network `name`. Raises `EncoderError` for an unknown name and when weights cannot be fetched."""
    architecture, _, tag = name.partition(".")
    weights = _weights(architecture, tag)
    options = {"aux_logits": False, "transform_input": False} if architecture in RENORMALISING else {}
    model = _download(name, architecture, weights, options)
    prepare = _preparation(weights, architecture)
    with torch.random.fork_rng(devices=[]):
        pooled = chains.pool_before_scores(model)
    state = model.state_dict()
    chain = chains.chain(model, chains.noise(prepare.size), chains.head_of(model))
    return Encoder(
        reference=f"torchvision:{name}",
        network=chain,
        preparation=prepare,
        source_classes=tuple(weights.meta["categories"]),
        digest=network.digest(json.dumps(["torchvision", architecture]), state),
        config={
            "library": "torchvision",
            "architecture": architecture,
            "num_features": chain.width,
            "model_args": options,
            "pretrained_cfg": {"tag": weights.name, **preparation.to_config(prepare)},
        },
        fresh=partial(_fresh, architecture, len(weights.meta["categories"]), options, prepare.size),
        notes=(*chains.notes(chain), *((chains.POOLED,) if pooled else ())),
    )


def _weights(architecture: str, tag: str) -> Any:
    """The entry of torchvision's list of weights."""
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise EncoderError(_unknown("torchvision model", architecture, known))
    listed = torchvision.models.get_model_weights(architecture)
    if tag and tag not in listed.__members__:
        raise EncoderError(_unknown(f"weights of {architecture}", tag, list(listed.__members__)))
    return listed[tag or "DEFAULT"]


def _unknown(kind: str, got: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(got, known, n=3) or known[:5]
    return f"unknown {kind} '{got}'; did you mean {' or '.join(near)}?"


def _download(name: str, architecture: str, weights: Any, options: dict[str, Any]) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            model: nn.Module = torchvision.models.get_model(architecture, weights=weights, progress=False, **options)
    except (OSError, RuntimeError) as error:
        raise EncoderError(
            f"the weights of torchvision:{name} could not be fetched; on a machine with a connection, save them as "
            f'model.safetensors beside a config.json with "library": "torchvision" and "architecture": '
            f'"{architecture}", bring the folder here and give local:FOLDER.'
        ) from error
    return model


def _preparation(weights: Any, architecture: str) -> preparation.ImagePreparation:
    stated = weights.transforms()
    crop, resize = stated.crop_size[0], stated.resize_size[0]
    halved = architecture in RENORMALISING
    return preparation.from_config(
        {
            "input_size": (3, crop, crop),
            "interpolation": stated.interpolation.value,
            "crop_pct": preparation.crop_share(crop, resize),
            "mean": HALF if halved else stated.mean,
            "std": HALF if halved else stated.std,
        }
    )


def _fresh(architecture: str, classes: int, options: dict[str, Any], size: tuple[int, int, int]) -> Network:
    started = {"init_weights": True} if architecture in RENORMALISING else {}
    model = torchvision.models.get_model(architecture, weights=None, num_classes=classes, **options, **started)
    chains.pool_before_scores(model)
    return chains.chain(model, chains.noise(size), chains.head_of(model))
