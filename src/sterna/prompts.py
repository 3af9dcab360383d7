"""Learnt vectors among the tokens of a text: few weights that are added, and that stay.

They stand behind the first token, so that models which read their answer off it still do. A stage takes longer inputs
then, with tokens that mean nothing in those places; what the embedding gives there is put aside for the vectors. Inner
layers hold vectors of their own if so asked. All this happens in hooks, as in `bottlenecks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sterna import adaptable, sequences, shells
from sterna.adaptable import Standing
from sterna.errors import TrainingError
from sterna.injection import Enters
from sterna.network import Network, Stage

KIND = "prompt"  # what a kept configuration says that it is
PART = "prompt"  # of the layer that holds vectors
SPREAD = 0.02  # of the first vectors of inner layers


class Vectors(nn.Module):
    """(p, d) in the places behind the first one."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(values)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, 1 + p + t, d) with these vectors in their places."""
        own = self.weight.to(hidden.dtype).expand(len(hidden), -1, -1)
        return torch.cat([hidden[:, :1], own, hidden[:, 1 + len(self.weight) :]], dim=1)


@dataclass(frozen=True)
class Longer:
    """The hook that makes room: (b, t, 3) -> (b, t + p, 3), of which no item exceeds `limit` tokens.

    An item that is too long loses tokens before its last one, which marks its end, unless that begins a word.
    """

    count: int
    limit: int
    token: int  # in the places of the vectors

    def __call__(self, part: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        (inputs,) = given
        most = self.limit - self.count
        if inputs.shape[1] > most:
            lengths = sequences.lengths(inputs)
            last = inputs[torch.arange(len(inputs), device=inputs.device), (lengths - 1).clamp_min(0)]
            cut = (lengths > most) & (last[:, -1] != sequences.WORD)
            inputs = inputs[:, :most].clone()
            inputs[cut, -1] = last[cut]
        room = inputs.new_tensor([self.token, 0, sequences.TOKEN]).expand(len(inputs), self.count, 3)
        return (torch.cat([inputs[:, :1], room, inputs[:, 1:]], dim=1),)


def _filled(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
    """The hook of an embedding that holds vectors."""
    found: Tensor = layer.get_submodule(PART)(output)
    return found


def _entered(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The hook of an inner layer that holds vectors, before it runs."""
    part = layer.get_submodule(PART)
    if given:
        return (part(given[0]), *given[1:]), named
    return given, {**named, "hidden_states": part(named["hidden_states"])}


@dataclass(frozen=True)
class Prompts:
    """`count` vectors among the embedded tokens, which start as embeddings of random tokens (Lester et al. 2021); with
    `deep` others in their places before each further layer (Liu et al. 2022, Jia et al. 2022).
    """

    count: int
    deep: bool = False

    lasting: ClassVar[bool] = True

    def add(self, network: Network, cut: int, twin: Network | None) -> Standing:
        embedding, layers = _embedding(network), _layers(network)
        if embedding is None:
            raise TrainingError(
                "a prompt stands among the tokens of a text, and this network takes none; choose another --tune, such "
                "as adapter."
            )
        longest = sequences.longest(adaptable.library(network), {})
        if self.count > longest // 2:
            raise TrainingError(
                f"a prompt may take half of the {longest} tokens that this network was made for, {longest // 2}, got "
                f"size={self.count}; give a smaller size."
            )
        if self.deep and not layers:
            raise TrainingError("this network has no inner layers that can be told apart; leave deep out.")
        rows = torch.randint(len(embedding.weight), (self.count,))
        values = [embedding.weight.detach()[rows.to(embedding.weight.device)].clone()]
        for _ in layers[1:] if self.deep else ():
            drawn = SPREAD * torch.randn(self.count, int(adaptable.library(network).config.hidden_size))  # type: ignore
            values.append(drawn.to(embedding.weight))
        network.stages.requires_grad_(False)
        found = [Vectors(one) for one in values]
        for one in (network, twin):
            if one is not None:
                _hold(one, found)
        what = f"a prompt of {self.count} vectors" + (f" before each of {len(found)} layers" if found[1:] else "")
        weights = [part.weight for part in found]
        return Standing(what, sum(one.numel() for one in weights), frozenset(map(id, weights)))


def of(network: Network) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What a network holds of them: a configuration in plain values, and tensors by name; None where it holds none."""
    held = _held(network)
    tensors = {f"prompt.{place}": part.weight.detach().cpu().clone() for place, part in enumerate(held)}
    return ({"kind": KIND, "behind": "the first token", "size": len(held[0].weight)}, tensors) if held else None


def put(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Have a network hold what `of` gave of another one of the same kind, in place of what it holds."""
    _drop(network)
    _hold(network, [Vectors(tensors[f"prompt.{place}"].clone()) for place in range(len(tensors))])


def without(network: Network) -> AbstractContextManager[None]:
    """Inside, a network is what its library knows: no layer holds anything."""
    return adaptable.without(network, _held(network), _drop, _hold)


def _hold(network: Network, parts: Sequence[Vectors]) -> None:
    """The vectors of the embedding and, if there are more, of each layer above the first."""
    embedding, layers = _embedding(network), _layers(network)
    assert embedding is not None
    embedding.add_module(PART, parts[0])
    embedding.register_forward_hook(_filled)
    for layer, part in zip(layers[1:], parts[1:], strict=False):
        layer.add_module(PART, part)
        layer.register_forward_pre_hook(_entered, with_kwargs=True)
    limit, token = sequences.longest(adaptable.library(network), {}), shells.texts(network)[0].reader.other
    for place in _doors(network):
        place.register_forward_pre_hook(Longer(len(parts[0].weight), limit, token))


def _drop(network: Network) -> None:
    for layer in _holding(network):
        del layer._modules[PART]
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if hook in (_filled, _entered)]:
                del hooks[key]
                layer._forward_pre_hooks_with_kwargs.pop(key, None)
    for place in _doors(network):
        for key in [key for key, hook in place._forward_pre_hooks.items() if isinstance(hook, Longer)]:
            del place._forward_pre_hooks[key]


def _holding(network: Network) -> list[nn.Module]:
    """The layers that hold vectors: the embedding, then inner ones in their order."""
    embedding = _embedding(network)
    both = [*([] if embedding is None else [embedding]), *_layers(network)]
    return [layer for layer in both if isinstance(layer._modules.get(PART), Vectors)]


def _held(network: Network) -> list[Vectors]:
    found = [layer.get_submodule(PART) for layer in _holding(network)]
    return [part for part in found if isinstance(part, Vectors)]


def _embedding(network: Network) -> nn.Embedding | None:
    """Of tokens, in a network that takes texts."""
    library: Any = adaptable.library(network)
    found = (
        library.get_input_embeddings() if hasattr(library, "get_input_embeddings") and shells.texts(network) else None
    )
    return found if isinstance(found, nn.Embedding) else None


def _layers(network: Network) -> list[nn.Module]:
    """The library's layers, in their order, where the network is a chain of them."""
    return [part.entered for part in network.modules() if isinstance(part, Enters)]


def _doors(network: Network) -> list[nn.Module]:
    """Where single texts enter: the first stage, and the library's own model."""
    first = next(iter(network.stages.values()))
    while isinstance(first, Stage) and isinstance(next(iter(first.parts), None), Stage):
        first = first.parts[0]
    return [first, *shells.texts(network)]
