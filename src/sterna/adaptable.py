"""Which layers of a network something can be added to, and the names that they have in the library's own model.

Layers that a library does not call as they are are left out: convolutions in groups, those with padding or weights of
their own making, layers inside torch's attention, and weights that two layers share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn
from torch.nn.utils import parametrize

from sterna.errors import TrainingError
from sterna.network import Network

PRODUCTS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d)  # what can be added to
SHOWN = 6  # ends of names in a message
# Where IA3 rescales a transformer: keys, values, and what the second layer of a feed-forward part reads.
RESCALED = ("key", "value", "k_proj", "v_proj", "k_lin", "v_lin", "k", "v", "qkv", "c_attn", "Wqkv", "query_key_value")
FEEDFORWARD = ("output.dense", "fc2", "lin2", "mlp.c_proj", "mlp.Wo", "down_proj", "output_dense", "wo")
INNER = ("attention.output.dense",)  # ends like a feed-forward layer, and is none

Held = TypeVar("Held", bound=Sized)  # what was put into a network: parts, some or none


@dataclass
class Standing:
    """Layers that were added and stay, as `records.Added`."""

    what: str
    count: int
    plain: frozenset[int] = frozenset()


def parts(network: Network) -> list[nn.Module]:
    """Every part of the stages and of the library's own model, once."""
    both = [*network.modules(), *(network.whole.modules() if network.whole is not None else ())]
    return list({id(part): part for part in both}.values())


def named(network: Network) -> dict[str, nn.Module]:
    """Every part, by the name that it has in the library's own model where it lies in it."""
    found = {id(part): (path, part) for path, part in network.named_modules()}
    found |= {id(part): (path, part) for path, part in library(network).named_modules()}
    return dict(found.values())


@contextmanager
def without(
    network: Network, held: Held, drop: Callable[[Network], None], hold: Callable[[Network, Held], None]
) -> Iterator[None]:
    """Inside, a network does not hold what it held."""
    drop(network)
    try:
        yield
    finally:
        if held:
            hold(network, held)


def fitting(network: Network, cut: int, kinds: tuple[type[nn.Module], ...]) -> dict[str, nn.Module]:
    """The layers of the stages from `cut` on that can be adapted, by the names they have in the library's model."""
    names = {id(part): path for path, part in named(network).items()}
    held = Counter(id(weight) for part in parts(network) for weight in part._parameters.values() if weight is not None)
    found: dict[str, nn.Module] = {}
    for stage in list(network.stages.values())[cut:]:
        attention = [one for one in stage.modules() if isinstance(one, nn.MultiheadAttention)]
        within = {id(part) for one in attention for part in one.modules()}
        for part in stage.modules():
            weight = part._parameters.get("weight")
            single = weight is not None and held[id(weight)] == 1 and id(part) not in within
            if single and (turned(part) or _product(part, kinds)):
                found[names[id(part)]] = part
    return found


def library(network: Network) -> nn.Module:
    """The model that a library would open: within its wrapping, where it has one."""
    whole: Any = network.whole if network.whole is not None else network
    for name in ("body", "model", "backbone"):
        inner = getattr(whole, name, None)
        whole = inner if isinstance(inner, nn.Module) and _wraps(whole) else whole
    return whole  # type: ignore[no-any-return]


def _wraps(module: nn.Module) -> bool:
    """Whether a module is of sterna's own making."""
    return type(module).__module__.startswith("sterna.")


def _product(part: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a layer is torch's product or convolution with its weight, and nothing else."""
    kind = next((kind for kind in kinds if isinstance(part, kind)), None)
    if kind is None or type(part).forward is not kind.forward or parametrize.is_parametrized(part):
        return False
    if part._forward_hooks:  # what it gives is not the product alone
        return False
    if isinstance(part, nn.Linear):
        return True
    layer: Any = part
    own = layer.groups == 1 and layer.padding_mode == "zeros" and set(layer.dilation) == {1}
    return own and type(part)._conv_forward is kind._conv_forward and not layer._forward_pre_hooks  # type: ignore


def turned(part: nn.Module) -> bool:
    """Whether a layer is the linear layer of GPT-2, whose weight is (inputs, outputs)."""
    return type(part).__name__ == "Conv1D" and type(part).__module__ == "transformers.pytorch_utils"


def chosen(found: Mapping[str, nn.Module], targets: Sequence[str]) -> dict[str, nn.Module]:
    """The layers whose names end so. Raises `TrainingError` for none."""
    wanted = {path: part for path, part in found.items() if not targets or ends_in(path, targets)}
    if wanted:
        return wanted
    ends = list(dict.fromkeys(path.rpartition(".")[2] for path in found))
    if not ends:
        raise TrainingError(
            "an adapter needs linear layers or convolutions that are not in groups, and the moving stages have none; "
            "choose another --tune, such as partial."
        )
    shown = ", ".join(ends[:SHOWN]) + (", ..." if len(ends) > SHOWN else "")
    raise TrainingError(
        f"no layer of the moving stages has a name that ends in {' or '.join(targets)}; targets may be among {shown}."
    )


def ends_in(path: str, ends: Sequence[str]) -> bool:
    """Whether the last parts of a dotted name are one of these."""
    return any(path == end or path.endswith(f".{end}") for end in ends)


def second(path: str) -> bool:
    """Whether a layer of a transformer is the second one of a feed-forward part, by its name."""
    return ends_in(path, FEEDFORWARD) and not ends_in(path, INNER)
