"""Learnt keys and values before those of the tokens, in the attention of a text network: few weights that stay.

Attention holds its own as the part `prefix`. The library looks up by name how attention is computed, and the function
behind that name here puts the prefix before the keys and values it is given and hands on to the library's sdpa. Queries
are those of the tokens alone, so every text is as long as it was, and stages, stores and pooling know of nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adaptable, sequences, shells
from sterna.adaptable import Standing
from sterna.errors import TrainingError
from sterna.injection import Enters
from sterna.network import Network

KIND = "prefix"  # what a kept configuration says that it is
PART = "prefix"  # of the attention that holds one
NAME, PLAIN = "sterna_prefix", "sdpa"  # how attention is computed, as the library looks it up

Call = tuple[nn.Module, Tensor, Tensor]  # an attention, and the keys and values (b, h, t, d) that it was given
_CALLS: ContextVar[list[Call] | None] = ContextVar("calls", default=None)  # where calls are noted, if anywhere


class Prefix(nn.Module):
    """Keys (h, p, d) and values (h, p, d) of p positions for h heads."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        super().__init__()
        self.key = nn.Parameter(key)
        self.value = nn.Parameter(value)

    def __len__(self) -> int:
        return self.key.shape[1]

    def forward(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """(b, h, t, d) each -> (b, h, p + t, d) each."""
        return _before(self.key, key), _before(self.value, value)


def _before(own: Tensor, given: Tensor) -> Tensor:
    return torch.cat([own.to(given.dtype).expand(len(given), -1, -1, -1), given], dim=2)


def _wider(seen: Tensor | None, count: int) -> Tensor | None:
    """What each query may see, or how it is biased, (..., t) -> (..., p + t): the prefix is seen by all, unbiased."""
    return None if seen is None else functional.pad(seen, (count, 0), value=float(seen.dtype == torch.bool))


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **named: Any
) -> tuple[Tensor, Tensor | None]:
    """The library's sdpa, over a prefix as well where the module holds one. The library sets the signature."""
    calls = _CALLS.get()
    if calls is not None:
        calls.append((module, key, value))
    part = module._modules.get(PART)
    if isinstance(part, Prefix):
        given = named.get("is_causal")
        causal = getattr(module, "is_causal", True) if given is None else given  # as sdpa takes it
        if attention_mask is None and causal and query.shape[2] > 1:
            attention_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()[None, None]
        attention_mask = _wider(attention_mask, len(part))
        if "position_bias" in named:
            named["position_bias"] = _wider(named["position_bias"], len(part))
        key, value = part(key, value)
    plain: Any = _library().AttentionInterface()[PLAIN]
    found: tuple[Tensor, Tensor | None] = plain(module, query, key, value, attention_mask, **named)
    return found


@dataclass(frozen=True)
class Prefixes:
    """`length` keys and values in each attention of the stages that move (Li and Liang 2021); they start as those of a
    text of random tokens.
    """

    length: int

    lasting: ClassVar[bool] = True

    def add(self, network: Network, cut: int, twin: Network | None) -> Standing:
        if not shells.texts(network):
            raise TrainingError(
                "a prefix stands before the tokens of a text, and this network takes none; choose another --tune, such "
                "as adapter."
            )
        longest = sequences.longest(adaptable.library(network), {})
        if self.length > longest:
            raise TrainingError(
                f"a prefix starts as a text that this network can read, of at most {longest} tokens, got "
                f"length={self.length}; give a smaller length."
            )
        names = {id(part): path for path, part in adaptable.named(network).items()}
        within = {id(part) for stage in list(network.stages.values())[cut:] for part in stage.modules()}
        calls = [call for call in _calls(network, self.length) if id(call[0]) in within]
        _check(network, cut, calls)
        parts: dict[str, Prefix] = {}
        for module, key, value in calls:  # a module that runs for several layers has one prefix for all
            start = (key[0, :, : self.length].clone(), value[0, :, : self.length].clone())
            parts.setdefault(names[id(module)], Prefix(*start))
        network.stages.requires_grad_(False)
        for one in (network, twin):
            if one is not None:
                _hold(one, parts)
        weights = [weight for part in parts.values() for weight in part.parameters()]
        what = f"a prefix of {self.length} keys and values in {len(parts)} attentions"
        return Standing(what, sum(one.numel() for one in weights), frozenset(map(id, weights)))


def of(network: Network) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What a network holds of them: a configuration in plain values, and tensors by name; None where it holds none."""
    held = _held(network)
    tensors = {
        f"{path}.{name}": value.detach().cpu().clone().contiguous()
        for path, part in held.items()
        for name, value in part.state_dict().items()
    }
    lengths = [len(part) for part in held.values()]
    return ({"kind": KIND, "length": lengths[0], "target_modules": [*held]}, tensors) if held else None


def put(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Have a network hold what `of` gave of another one of the same kind, in place of what it holds."""
    _drop(network)
    paths = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    _hold(network, {path: Prefix(*(tensors[f"{path}.{name}"].clone() for name in ("key", "value"))) for path in paths})


def without(network: Network) -> AbstractContextManager[None]:
    """Inside, a network is what its library knows: no attention holds anything."""
    return adaptable.without(network, _held(network), _drop, _hold)


@torch.no_grad()
def _calls(network: Network, length: int) -> list[Call]:
    """The calls of attention while the library's own model reads a text of random tokens; none where attention is not
    looked up by name.
    """
    library: Any = adaptable.library(network)
    if library.config._attn_implementation != PLAIN or not hasattr(library, "set_attn_implementation"):
        return []
    weight = library.get_input_embeddings().weight
    numbers = torch.randint(len(weight), (length,))
    end = getattr(library.config, "eos_token_id", None)
    if isinstance(end, int):  # some read their answer there
        numbers[-1] = end
    inputs = torch.stack([numbers, torch.zeros_like(numbers), torch.full_like(numbers, sequences.TOKEN)], dim=1)
    was, calls = network.training, _CALLS.set([])
    network.eval()
    _look_up(network, NAME)
    try:
        shells.texts(network)[0](inputs[None].to(weight.device))
        return _CALLS.get() or []
    finally:
        _CALLS.reset(calls)
        _look_up(network, PLAIN)
        network.train(was)


def _check(network: Network, cut: int, calls: Sequence[Call]) -> None:
    """Raises `TrainingError` where the layers of the stages that move have attention of another making, or none."""
    called, moving = {id(module) for module, _, _ in calls}, dict(list(network.stages.items())[cut:])
    layers = [part.entered for stage in moving.values() for part in stage.modules() if isinstance(part, Enters)]
    other = [layer for layer in layers if called.isdisjoint(map(id, layer.modules()))]
    if not other and (layers or calls):
        return
    if not layers and any(isinstance(part, Enters) for part in network.modules()):
        raise TrainingError(
            f"a prefix stands in attention, and of the last stages of this network {' and '.join(moving)} have none; "
            "give more stages."
        )
    raise TrainingError(
        f"a prefix needs attention that runs through the attention interface of transformers with {PLAIN}, as that of "
        f"BERT, RoBERTa, DistilBERT and ModernBERT does, and in {len(other) or 'all'} layers of "
        f"{type(adaptable.library(network)).__name__} (transformers {_library().__version__}) it does not; choose "
        "another --tune, such as adapter."
    )


def _hold(network: Network, parts: Mapping[str, Prefix]) -> None:
    """Prefixes by the names of attention in the library's own model."""
    named = adaptable.named(network)
    for path, part in parts.items():
        named[path].add_module(PART, part)
    _look_up(network, NAME)


def _drop(network: Network) -> None:
    named = adaptable.named(network)
    held = [named[path] for path in _held(network)]
    for module in held:
        del module._modules[PART]
    if held:
        _look_up(network, PLAIN)


def _held(network: Network) -> dict[str, Prefix]:
    """The prefixes of a network, by the names of attention in the library's own model."""
    found = {path: module._modules.get(PART) for path, module in adaptable.named(network).items()}
    return {path: part for path, part in found.items() if isinstance(part, Prefix)}


def _look_up(network: Network, name: str) -> None:
    """Have attention be what the library knows by this name.

    Ours is registered here and not at the top: the library takes seconds to load what that needs, for pictures as well.
    """
    _library().AttentionInterface.register(NAME, _attend)
    _library().AttentionMaskInterface.register(NAME, _library().AttentionMaskInterface()[PLAIN])
    library: Any = adaptable.library(network)
    library.set_attn_implementation(name)


def _library() -> Any:
    """transformers, which has been imported by whatever opened a network of its own; pictures do without it."""
    return sys.modules["transformers"]
