"""Bottlenecks behind layers of a network: few weights that are added, and that stay.

A non-linear step cannot become part of the weights around it. So a bottleneck is held by its layer, as the part
`adapter`, and acts in a hook on what the layer gives: a library's own model and the stages that share the layer run it
without knowing, and all weights of the library keep their names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sterna import adaptable
from sterna.adaptable import Standing
from sterna.errors import TrainingError
from sterna.network import Network

KIND = "bottleneck adapter"  # what a kept configuration says that it is
PART = "adapter"  # of the layer that it stands behind
# The last layer of the attention of transformers.
ATTENTION = (
    *("attention.output.dense", "attention.out_lin", "attn.o", "attn.proj", "attn.c_proj", "attn.Wo", "attn.out_proj"),
    *("self_attn.out_proj", "attention.out_proj", "attention.o_proj", "self_attn.o_proj"),
)


class Bottleneck(nn.Module):
    """h + U gelu(D h + d) + u, with U and u zero at the start; products for a linear layer, 1x1 for a convolution.

    Args:
        layer: what it stands behind; D and d are drawn from torch's global generator as torch draws them.
        size: features within, at most half of those that the layer gives.
    """

    def __init__(self, layer: Any, size: int) -> None:
        super().__init__()
        width = layer.weight.shape[1] if adaptable.turned(layer) else layer.weight.shape[0]
        size = max(1, min(size, width // 2))
        kind = next((kind for kind in (nn.Conv1d, nn.Conv2d) if isinstance(layer, kind)), None)
        self.down = nn.Linear(width, size) if kind is None else kind(width, size, 1)
        self.up = nn.Linear(size, width) if kind is None else kind(size, width, 1)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]
        self.to(layer.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = hidden + self.up(nn.functional.gelu(self.down(hidden)))
        return found


def _behind(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    """The hook of a layer that holds a bottleneck."""
    found: Tensor = layer.get_submodule(PART)(output)
    return found


@dataclass(frozen=True)
class Bottlenecks:
    """One behind each second feed-forward layer of a transformer (Pfeiffer et al. 2021), with `attention` one behind
    each attention as well (Houlsby et al. 2019); in networks without layers of such names behind every layer.

    `targets`: ends of the names of the layers in their stead.
    """

    size: int
    attention: bool = False
    targets: tuple[str, ...] = ()

    lasting: ClassVar[bool] = True

    def add(self, network: Network, cut: int, twin: Network | None) -> Standing:
        layers = self._chosen(adaptable.fitting(network, cut, adaptable.PRODUCTS))
        paths = {id(part): path for path, part in network.named_modules()}
        network.stages.requires_grad_(False)
        for layer in layers.values():
            _hold(layer, Bottleneck(layer, self.size))
            if twin is not None:
                shared: dict[int, Any] = {id(weight): weight for weight in layer.parameters()}
                _hold(twin.get_submodule(paths[id(layer)]), copy.deepcopy(layer.get_submodule(PART), shared))
        added = [weight for layer in layers.values() for weight in layer.get_submodule(PART).parameters()]
        return Standing(f"adapters behind {len(layers)} layers", sum(weight.numel() for weight in added))

    def _chosen(self, fitting: Mapping[str, nn.Module]) -> Mapping[str, nn.Module]:
        """The layers by the names that they have in the library's own model."""
        known = {path: part for path, part in fitting.items() if adaptable.second(path)}
        inner = {path: part for path, part in fitting.items() if adaptable.ends_in(path, ATTENTION)}
        if not self.targets and self.attention and not inner:
            raise TrainingError(
                "no attention of the moving stages ends in a layer of a usual name; leave attention out, or give the "
                "ends of the names of layers as targets."
            )
        if self.targets or not known:
            return adaptable.chosen(fitting, self.targets)
        return {**known, **(inner if self.attention else {})}


def of(network: Network) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What a network holds of them: a configuration in plain values, and tensors by name; None where it holds none."""
    paths = {id(part): path for path, part in adaptable.named(network).items()}
    layers = {paths[id(layer)]: layer.get_submodule(PART) for layer in _layers(network)}
    tensors = {
        f"{path}.{name}": value.detach().cpu().clone().contiguous()
        for path, part in layers.items()
        for name, value in part.state_dict().items()
    }
    return ({"kind": KIND, "non_linearity": "gelu", "target_modules": [*layers]}, tensors) if layers else None


def put(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Have a network hold what `of` gave of another one of the same kind; where it holds some, these weights."""
    named = adaptable.named(network)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        path, inner, leaf = name.rsplit(".", 2)
        parts.setdefault(path, {})[f"{inner}.{leaf}"] = value
    for path, state in parts.items():
        layer = named[path]
        if PART not in layer._modules:
            with torch.random.fork_rng(devices=[]):
                _hold(layer, Bottleneck(layer, len(state["down.weight"])))
        layer.get_submodule(PART).load_state_dict(state)


@contextmanager
def without(network: Network) -> Iterator[None]:
    """Inside, a network is what its library knows: no layer holds anything."""
    held = [(layer, layer._modules.pop(PART)) for layer in _layers(network)]
    for layer, _ in held:
        for key in [key for key, hook in layer._forward_hooks.items() if hook is _behind]:
            del layer._forward_hooks[key]
    try:
        yield
    finally:
        for layer, part in held:
            assert part is not None
            _hold(layer, part)


def _hold(layer: nn.Module, part: nn.Module) -> None:
    layer.add_module(PART, part)
    layer.register_forward_hook(_behind)


def _layers(network: Network) -> list[nn.Module]:
    """The layers that hold one."""
    return [part for part in network.modules() if isinstance(part._modules.get(PART), Bottleneck)]
