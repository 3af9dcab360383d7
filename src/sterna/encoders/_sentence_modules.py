"""The modules of a sentence-transformers folder: read from their files and written again, without that package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from sterna import files, hub
from sterna.errors import EncoderError

NAMES = ("Transformer", "Pooling", "Dense", "Normalize")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
# In the order in which sentence-transformers joins them.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
MODES = tuple(FLAGS.values())
PREFIX = "sentence_transformers.models."


class Pooling(nn.Module):
    """Hidden states (b, t, d) and mask (b, t) -> (b, m d), one part for each of the m modes."""

    def __init__(self, modes: tuple[str, ...]) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        there = mask.unsqueeze(-1).to(hidden.dtype)
        return torch.cat([_pooled(mode, hidden, there) for mode in self.modes], dim=-1)


def _pooled(mode: str, hidden: Tensor, there: Tensor) -> Tensor:
    if mode == "cls":
        return hidden[:, 0]
    if mode == "lasttoken":
        last = there.sum(dim=1).long().clamp(min=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last.squeeze(-1)]
    if mode == "max":
        return hidden.masked_fill(there == 0, torch.finfo(hidden.dtype).min).amax(dim=1)
    if mode == "weightedmean":
        there = there * torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype).view(1, -1, 1)
    count = there.sum(dim=1).clamp(min=1e-9)
    total = (hidden * there).sum(dim=1)
    return total / count.sqrt() if mode == "mean_sqrt_len_tokens" else total / count


class Normalize(nn.Module):
    """Vectors of length 1."""

    def forward(self, vectors: Tensor) -> Tensor:
        return nn.functional.normalize(vectors, dim=-1)


class Dense(nn.Module):
    """A linear layer and a function."""

    def __init__(self, linear: nn.Linear, activation: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.activation = activation

    def forward(self, vectors: Tensor) -> Tensor:
        found: Tensor = self.activation(self.linear(vectors))
        return found


class Sentences(nn.Module):
    """A transformer, a pooling, what follows it, and a head: called as transformers calls its models."""

    def __init__(self, backbone: nn.Module, pooling: Pooling, after: Iterable[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.after = nn.Sequential(*after)
        self.head = head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        hidden = self.backbone(**given).last_hidden_state
        return SimpleNamespace(logits=self.head(self.after(self.pooling(hidden, attention_mask))))


@dataclass(frozen=True)
class Layout:
    """What `modules.json` lists."""

    transformer: Path
    modes: tuple[str, ...]
    after: tuple[nn.Module, ...]
    head: nn.Linear | None  # of a folder that sterna wrote
    stated: bool  # False: a plain transformer, with mean pooling

    @property
    def unit(self) -> bool:
        """Whether features have length 1."""
        return bool(self.after) and isinstance(self.after[-1], Normalize)


def layout(place: Path, head: str) -> Layout:
    """The modules of a folder; `head` is the path of the one that holds a classifier, "" where there is none.

    Raises `EncoderError` for a module of another kind than `NAMES`.
    """
    listed = hub.read(place / "modules.json")
    if not listed:
        return Layout(place, ("mean",), (), None, False)
    kinds = [str(entry.get("type", "")).rpartition(".")[2] for entry in listed]
    unknown = [kind for kind in kinds if kind not in NAMES]
    if unknown or kinds[:2] != ["Transformer", "Pooling"]:
        raise EncoderError(
            f"{place / 'modules.json'} must list a Transformer, a Pooling and then Dense or Normalize, got "
            f"{', '.join(kinds)}; choose another model."
        )
    paths = [place / str(entry.get("path", "")) for entry in listed]
    after: list[nn.Module] = []
    found: nn.Linear | None = None
    for kind, path, entry in list(zip(kinds, paths, listed, strict=True))[2:]:
        if head and str(entry.get("path", "")) == head:
            found = _dense(path).linear
        else:
            after.append(_dense(path) if kind == "Dense" else Normalize())
    return Layout(paths[0], _modes(paths[1]), tuple(after), found, True)


def _modes(place: Path) -> tuple[str, ...]:
    config = hub.read(place / "config.json")
    given = config.get("pooling_mode") or [mode for flag, mode in FLAGS.items() if config.get(flag)] or ["mean"]
    modes = (given,) if isinstance(given, str) else tuple(given)
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown:
        raise EncoderError(f"the pooling in {place / 'config.json'} must be of {', '.join(MODES)}, got '{unknown[0]}'.")
    return modes


def _dense(place: Path) -> Dense:
    config = hub.read(place / "config.json")
    name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    plain = config.get("module_input_name", "sentence_embedding") == "sentence_embedding"
    if name not in ACTIVATIONS or config.get("use_residual") or not plain:
        raise EncoderError(
            f"the layer in {place} must be a plain one on sentence vectors, with an activation of "
            f"{', '.join(ACTIVATIONS)}, got {name}; choose another model."
        )
    state = hub.tensors(place / "model.safetensors")
    weight = state.get("linear.weight")
    if weight is None:
        raise EncoderError(f"{place / 'model.safetensors'} has no linear.weight; fetch it again.")
    linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias="linear.bias" in state)
    linear.load_state_dict({key.removeprefix("linear."): value.float() for key, value in state.items()})
    return Dense(linear, getattr(nn, name)())


def write(model: Sentences, place: Path, longest: int) -> str:
    """Everything but the transformer's own files; returns the path of the last module.

    That one is the head, where the model has a linear one.
    """
    head = [Dense(model.head, nn.Identity())] if isinstance(model.head, nn.Linear) else []
    dense = [*model.after, *head]
    modules = ["Transformer", "Pooling", *(type(part).__name__ for part in dense)]
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(modules) if number)]
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": PREFIX + kind}
        for number, (path, kind) in enumerate(zip(paths, modules, strict=True))
    ]
    files.write_json(place / "modules.json", entries)
    files.write_json(place / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    width = model.backbone.config.hidden_size  # type: ignore[union-attr]
    flags = {flag: mode in model.pooling.modes for flag, mode in FLAGS.items()}
    files.write_json(place / paths[1] / "config.json", {"word_embedding_dimension": width, **flags})
    for path, part in zip(paths[2:], dense, strict=True):
        (place / path).mkdir(parents=True, exist_ok=True)
        if isinstance(part, Dense):
            _write_dense(part, place / path)
    return paths[-1]


def _write_dense(part: Dense, place: Path) -> None:
    kind = type(part.activation)
    config: Mapping[str, Any] = {
        "in_features": part.linear.in_features,
        "out_features": part.linear.out_features,
        "bias": part.linear.bias is not None,
        "activation_function": f"{kind.__module__}.{kind.__name__}",
    }
    files.write_json(place / "config.json", config)
    hub.write_weights(nn.ModuleDict({"linear": part.linear}), place / "model.safetensors")
