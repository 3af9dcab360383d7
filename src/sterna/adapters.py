"""Layers of few weights that are added to a network for a phase, and become part of its plain weights at its end.

The layers are those of the package peft: low-rank updates (LoRA), the same with a magnitude of its own (DoRA), and
vectors that rescale (IA3). Each stands in the place of a layer of the network and holds it. A library's own model, the
shells in which stages run it and a twin with statistics of its own share that layer, so it is exchanged wherever it is
held, and everything runs through it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import peft
from torch import Tensor, nn

from sterna import adaptable
from sterna.network import Network

NAME = "default"  # of the one adapter that a layer holds


@dataclass(frozen=True)
class LowRank:
    """W x + (alpha / rank) B A x, with B zero at the start (Hu et al. 2021); with `magnitude` DoRA's, (Liu et al.
    2024), in which each row of the sum has a norm of its own.

    `targets`: ends of the names of layers; empty for all linear layers and convolutions.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    magnitude: bool = False

    lasting: ClassVar[bool] = False

    def add(self, network: Network, cut: int, twin: Network | None) -> Merging:
        fitting = adaptable.chosen(adaptable.fitting(network, cut, adaptable.PRODUCTS), self.targets)
        return _added("dora" if self.magnitude else "lora", self, fitting, (network, twin))

    def configured(self, names: Sequence[str], turned: bool) -> peft.PeftConfig:
        return peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=list(names),
            fan_in_fan_out=turned,
            use_dora=self.magnitude,
        )


@dataclass(frozen=True)
class Rescaling:
    """l * (W x + b) for each output, or W (l * x) + b for each input of a feed-forward layer, with l one at the start.

    `targets`: ends of the names of layers whose outputs are rescaled. Empty: keys, values and the second feed-forward
    layers of a transformer, as in the paper (Liu et al. 2022); in other networks the outputs of all layers.
    """

    targets: tuple[str, ...] = ()

    lasting: ClassVar[bool] = False

    def add(self, network: Network, cut: int, twin: Network | None) -> Merging:
        fitting = adaptable.fitting(network, cut, (nn.Linear, nn.Conv2d))
        paper = {
            path: part
            for path, part in fitting.items()
            if adaptable.ends_in(path, adaptable.RESCALED) or adaptable.second(path)
        }
        known = any(adaptable.ends_in(path, adaptable.RESCALED) for path in paper)
        chosen = paper if known and not self.targets else adaptable.chosen(fitting, self.targets)
        return _added("ia3", self, chosen, (network, twin))

    def configured(self, names: Sequence[str], turned: bool) -> peft.PeftConfig:
        second = [] if self.targets else [name for name in names if adaptable.second(name)]
        return peft.IA3Config(target_modules=list(names), feedforward_modules=second, fan_in_fan_out=turned)


@dataclass
class Merging:
    """Layers in their places."""

    what: str
    count: int
    plain: frozenset[int]
    layers: Mapping[str, Any]  # peft's, by the name that the layer has in the library's own model
    places: list[tuple[Network, dict[int, nn.Module]]]  # networks, and what to put back by the identity of each layer
    settings: Mapping[str, Any] = field(default_factory=dict)

    def merge(self) -> None:
        for layer in self.layers.values():
            layer.merge(safe_merge=True)
        for network, table in self.places:
            _exchange(network, table)

    def alone(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        found = {}
        for path, layer in self.layers.items():
            for name, value in layer.state_dict().items():
                if not name.startswith("base_layer."):
                    found[f"base_model.model.{path}.{_unnamed(name)}"] = value.detach().cpu().clone().contiguous()
        return dict(self.settings), found


def _unnamed(name: str) -> str:
    """As peft writes it: without the name of the adapter, and the magnitude of DoRA without that of its only part."""
    plain = name.replace(f".{NAME}", "", 1)
    return plain.removesuffix(".weight") if plain.startswith("lora_magnitude_vector") else plain


def _added(
    what: str,
    adapter: LowRank | Rescaling,
    fitting: Mapping[str, nn.Module],
    networks: tuple[Network, Network | None],
) -> Merging:
    network, twin = networks
    layers: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for turned in (False, True):
        parts = {path: part for path, part in fitting.items() if adaptable.turned(part) is turned}
        if parts:
            config, made = _wrapped(adapter, parts, turned)
            layers |= made
            settings = settings or _plain(config)
    layers = {path: layers[path] for path in fitting}
    own = [(name, w) for one in layers.values() for name, w in one.named_parameters() if "base_layer." not in name]
    network.stages.requires_grad_(False)
    for _, weight in own:
        weight.requires_grad_(True)
    places = _placed(network, twin, {id(fitting[path]): layer for path, layer in layers.items()})
    plain = frozenset(id(weight) for name, weight in own if "magnitude" in name or "ia3" in name)
    settings["target_modules"] = list(layers)
    settings["modules_to_save"] = [
        path for path, one in adaptable.library(network).named_modules() if one is network.head
    ]
    if settings.get("feedforward_modules") is not None:
        settings["feedforward_modules"] = [path for path, one in layers.items() if one.is_feedforward]
    return Merging(f"{what} on {len(layers)} layers", sum(w.numel() for _, w in own), plain, layers, places, settings)


def _wrapped(
    adapter: LowRank | Rescaling, parts: Mapping[str, nn.Module], turned: bool
) -> tuple[peft.PeftConfig, dict[str, Any]]:
    """The layers of peft around these parts, which stay what they are.

    They are made in a container of their own: by the names that layers have in a network, peft would find some of them
    twice and others not at all.
    """
    keys = {path: f"part_{number}_{path.replace('.', '_')}" for number, path in enumerate(parts)}
    held = nn.ModuleDict({keys[path]: part for path, part in parts.items()})
    config = adapter.configured(list(parts), turned)
    inner = copy.deepcopy(config)
    inner.target_modules = set(keys.values())  # type: ignore[attr-defined]
    if getattr(config, "feedforward_modules", None) is not None:
        inner.feedforward_modules = {keys[path] for path in config.feedforward_modules}  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is said to people who call peft themselves
        peft.inject_adapter_in_model(inner, held, NAME)
    return config, {path: held[key] for path, key in keys.items()}


def _plain(config: peft.PeftConfig) -> dict[str, Any]:
    """A configuration in values that JSON knows, as peft itself writes it."""
    found = {name: sorted(one) if isinstance(one, set) else one for name, one in config.to_dict().items()}
    found["inference_mode"] = True
    kinds = (str, int, float, bool, list, dict, type(None))
    return {name: getattr(one, "value", one) for name, one in found.items() if isinstance(one, kinds)}


def _placed(
    network: Network, twin: Network | None, table: Mapping[int, nn.Module]
) -> list[tuple[Network, dict[int, nn.Module]]]:
    """The layers put where their parts were; returns what puts the parts back."""
    paths = {path: id(part) for path, part in network.named_modules() if id(part) in table}
    found = [(network, _exchange(network, table))]
    if twin is not None:
        others = {}
        for path, number in paths.items():
            layer = table[number]
            shared: dict[int, Any] = {id(weight): weight for weight in layer.parameters()}
            others[id(twin.get_submodule(path))] = copy.deepcopy(layer, shared)
        found.append((twin, _exchange(twin, others)))
    return found


def _exchange(network: Network, table: Mapping[int, nn.Module]) -> dict[int, nn.Module]:
    """Put other parts in the place of some, by identity, wherever they are held; returns what undoes it."""
    back: dict[int, nn.Module] = {}
    for owner in adaptable.parts(network):
        # Shells hold parts that another stage owns without registering them.
        for held in (owner._modules, owner.__dict__):
            for name, part in [*held.items()]:
                if isinstance(part, nn.Module) and id(part) in table:
                    held[name] = table[id(part)]
                    back[id(table[id(part)])] = part
    return back
