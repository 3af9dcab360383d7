"""From a transformer of the library `transformers` to a chain of stages, without writing its forward pass again.

Every stage runs the library's own code in a *shell*: the model object, copied along the path to its list of layers,
with other parts in their places. The stem runs up to the first layer; stage i is entered at layer i with given hidden
states and left where the next layer would begin; the last one, `pool`, is entered behind the last layer and runs to
the end. So masks, rotary angles and relative positions are those that the library computes. Parts that only prepare
hidden states nobody reads give way to stand-ins, found by trying.

A weight lies in one stage. What several stages read (relative positions of DeBERTa and MPNet) belongs to the stem; the
others *borrow* it: they hold the same object, unregistered. Nothing is believed: the chain is compared with the model
by `network.sound`, and a model that cannot be cut so becomes one stage, `features`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sterna import sequences
from sterna.injection import Enters, Gives, Leaves, entered, first_of, left, twin, watched
from sterna.network import (
    TOLERANCE,
    Network,
    Stage,
    attempt,
    depends_on,
    deviation,
    empty_head,
    in_sequence,
    one_thread,
    sound,
)

WHOLE = "this network has no inner cuts that reproduce it: either all of it moves or only the head."


class Reader(Protocol):
    """How a model is called, and how hidden states travel between stages; picklable."""

    def inputs(self, given: Tensor) -> dict[str, Any]:
        """What the model's `forward` takes, from the input of the chain."""

    def again(self, packed: Tensor) -> dict[str, Any]:
        """The same when only the hidden states are left; what was read from tokens is no longer used."""

    def pack(self, hidden: Tensor, before: Tensor) -> Tensor:
        """Hidden states as they go to the next stage; `before` is what this stage was given."""

    def hidden(self, packed: Tensor) -> Tensor:
        """What `pack` packed."""


@dataclass(frozen=True)
class Tokens:
    """The reader of token numbers: input (b, t, 3) of number, segment and kind; packed hidden states in between."""

    pad: int  # what the model takes for padding
    other: int  # any token that is not padding
    segments: bool  # whether the model tells first and second texts apart

    def inputs(self, given: Tensor) -> dict[str, Any]:
        there = sequences.mask(given)
        found = {"input_ids": torch.where(there, given[..., 0], self.pad), "attention_mask": there.long()}
        if self.segments:
            found["token_type_ids"] = given[..., 1]
        return found

    def again(self, packed: Tensor) -> dict[str, Any]:
        there = sequences.mask(packed)
        found = {"input_ids": torch.where(there, self.other, self.pad), "attention_mask": there.long()}
        if self.segments:
            found["token_type_ids"] = torch.zeros_like(found["input_ids"])
        return found

    def pack(self, hidden: Tensor, before: Tensor) -> Tensor:
        return sequences.pack(hidden, before[..., -1])

    def hidden(self, packed: Tensor) -> Tensor:
        return sequences.values(packed).contiguous()  # rows of a whole number of vectors: products are faster


@dataclass(frozen=True)
class Pixels:
    """The reader of pictures (b, c, h, w) and spectrograms (b, ...); hidden states go on as they are."""

    size: tuple[int, ...]
    name: str = "pixel_values"  # what the model calls its input

    def inputs(self, given: Tensor) -> dict[str, Any]:
        return {self.name: given}

    def again(self, packed: Tensor) -> dict[str, Any]:
        return {self.name: packed.new_zeros(1).expand(len(packed), *self.size)}

    def pack(self, hidden: Tensor, before: Tensor) -> Tensor:
        return hidden

    def hidden(self, packed: Tensor) -> Tensor:
        return packed


Ending = Callable[[Any, Tensor], Tensor]  # the library's output and the packed input -> features


def logits(output: Any, packed: Tensor) -> Tensor:
    """What the model gives for an item."""
    found: Tensor = output.logits
    return found


class Packed(nn.Module):
    """A library's model that takes the input of a chain and gives what `ending` takes from its output."""

    def __init__(self, model: nn.Module, reader: Reader, ending: Ending) -> None:
        super().__init__()
        self.model = model
        self.reader = reader
        self.ending = ending

    def forward(self, inputs: Tensor) -> Tensor:
        return self.ending(self.model(**self.reader.inputs(inputs)), inputs)


def texts(network: Network) -> list[Any]:
    """The library's own model as it is called, where that takes the tokens of a text."""
    found = [] if network.whole is None else [part for part in network.whole.modules() if isinstance(part, Packed)]
    return [part for part in found if isinstance(part.reader, Tokens)]


@one_thread()
def chain(model: nn.Module, layers: str, head_path: str, reader: Reader, ending: Ending, inputs: Tensor) -> Network:
    """The model as stages `stem`, `layer_0`, `layer_1`, ..., `pool`; as one stage, `features`, where that fails.

    Args:
        model: the library's model with a linear layer at the end; left in evaluation mode.
        layers: the dotted name of its list of layers; "" when it has none.
        head_path: the dotted name of that last linear layer.
        reader: how it is called.
        ending: what to take from its output.
        inputs: (b, ...) input of the chain with b >= 2, on which chain and model are compared.
    """
    model.eval()
    head = model.get_submodule(head_path)
    bare = Packed(twin(model, {head_path: nn.Identity()}), reader, ending)
    whole = Packed(model, reader, ending)
    found = attempt(partial(_stages, bare, layers, inputs)) if layers else None
    for stages in (found, {"features": Stage([bare], in_sequence)}):
        if stages and sound(Network(stages, head), bare, inputs):
            return Network(stages, head, whole, f"model.{head_path}").eval()
    raise RuntimeError(f"{type(model).__name__} does not give the same twice")


def before_head(model: nn.Module, head_path: str, reader: Reader, inputs: Tensor) -> Tensor:
    """What the linear layer at `head_path` reads."""
    return Packed(twin(model, {head_path: nn.Identity()}), reader, logits)(inputs)


def without_rows(network: Network) -> Network:
    """The same network with a head of no rows, where the one it has was never trained."""
    network.set_head(empty_head(network.width))
    return network


def pace(network: Network) -> float:
    """How fast pretrained layers learn, as a factor on the rate of layers that start at random.

    A tenth for 768 features: 3e-5 with adamw's default, inside the 2e-5 to 5e-5 of Devlin et al. 2019, appendix A.3.
    The rate that suits Adam falls with the width (Yang et al. 2022, arXiv 2203.03466, table 3), so narrow networks take
    more.
    """
    return min(1.0, 0.1 * 768 / network.width)


def notes(network: Network) -> tuple[str, ...]:
    """What a person should know about how the network was cut."""
    return () if network.depth > 1 else (WHOLE,)


def layers_of(model: nn.Module, count: int) -> str:
    """The dotted name of a model's list of layers: of the lists of `count` parts, the one with most weights."""
    sizes = {
        path: sum(weight.numel() for weight in part.parameters())
        for path, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) == count
    }
    return max(sizes, key=lambda path: sizes[path], default="")


def _stem(reader: Reader, parts: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    return reader.pack(left(parts[0], reader.inputs(inputs)), inputs)


def _layer(reader: Reader, parts: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    with entered(reader.hidden(inputs)):
        return reader.pack(left(parts[0], reader.again(inputs)), inputs)


def _pool(reader: Reader, ending: Ending, parts: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    with entered(reader.hidden(inputs)):
        return ending(parts[0](**reader.again(inputs)), inputs)


@dataclass
class _Shell:
    """A stage in the making. Its units are unregistered until it is known whose they are."""

    model: nn.Module
    run: Callable[[Sequence[nn.Module], Tensor], Tensor]
    reads: set[str] = field(default_factory=set)  # units and weights of containers that its output depends on


def _stages(bare: Packed, layers: str, inputs: Tensor) -> dict[str, nn.Module]:
    """The stages; fails where the model does not run its layers one after the other."""
    model, reader = bare.model, bare.reader
    parts = list(model.get_submodule(layers))  # type: ignore[call-overload]
    units = _units(model, layers)
    trace = _trace(bare, units, parts, inputs)
    gives = [Gives(part, trace.sizes["layer 0"]) for part in parts]
    shells: dict[str, _Shell] = {}
    stand_ins: dict[str, nn.Module] = {}
    runs: list[Callable[..., Tensor]] = [partial(_stem, reader)]
    runs += [partial(_layer, reader)] * len(parts) + [partial(_pool, reader, bare.ending)]
    for place, call in enumerate(runs):
        name = "stem" if place == 0 else "pool" if place > len(parts) else f"layer_{place - 1}"
        listed = _listed(parts, gives, place)
        shell = _Shell(twin(model, {layers: listed}), call)
        _lend(shell.model, units)
        with torch.no_grad():
            if place:
                _simplify(shell, trace, stand_ins, trace.hidden[place], inputs)
        _note_reads(shell, units, inputs)
        shells[name], inputs = shell, trace.hidden[place]
    return _settled(shells, units, runs)


def _listed(parts: Sequence[nn.Module], gives: Sequence[nn.Module], place: int) -> nn.ModuleList:
    """The list of layers in the shell of a stage."""
    if place == 0:
        return nn.ModuleList([Leaves(parts[0])])
    if place > len(parts):
        return nn.ModuleList(gives)
    last = place == len(parts)
    end = [] if last else [Leaves(parts[place])]
    return nn.ModuleList([*gives[: place - 1], Enters(parts[place - 1], last), *end])


def _units(model: nn.Module, layers: str) -> dict[str, Any]:
    """What stands beside the path to the list of layers: parts, and weights that the objects on it hold themselves."""
    found: dict[str, Any] = {}
    steps, owner, prefix = layers.split("."), model, ""
    for step in steps:
        found.update({f"{prefix}{name}": weight for name, weight in owner.named_parameters(recurse=False)})
        found.update({f"{prefix}{name}": part for name, part in owner.named_children() if name != step})
        owner, prefix = owner.get_submodule(step), f"{prefix}{step}."
    return found


@dataclass(frozen=True)
class _Trace:
    """One forward pass of the library's model, as seen."""

    front: tuple[str, ...]  # units that run before the last layer and never after it, the latest first
    sizes: Mapping[str, int]  # values that a unit or layer gives, 0 for a tensor by itself
    hidden: tuple[Tensor, ...]  # what each stage gives


@torch.no_grad()
def _trace(bare: Packed, units: Mapping[str, Any], parts: Sequence[nn.Module], inputs: Tensor) -> _Trace:
    """Which units run when, and what goes from layer to layer. Fails where a layer runs twice or out of turn."""
    wanted = [f"layer {place}" for place in range(len(parts))]
    with watched({**units, **dict(zip(wanted, parts, strict=True))}) as (given, gave):
        features = bare(inputs)
    seen = [name for name, _ in given]
    if [name for name in seen if name in wanted] != wanted:
        raise RuntimeError("the layers do not run once, in order")
    end = seen.index(wanted[-1])
    front = dict.fromkeys(name for name in reversed(seen[:end]) if name not in wanted and name not in seen[end:])
    taken = [one for name, one in given if name in wanted]
    hidden = [bare.reader.pack(one, inputs) for one in (*taken, first_of(gave[wanted[-1]]))]
    sizes = {path: len(output) if isinstance(output, (tuple, list)) else 0 for path, output in gave.items()}
    return _Trace(tuple(front), sizes, (*hidden, features))


def _lend(shell: nn.Module, units: Mapping[str, Any]) -> None:
    """Hold all units unregistered: the library finds them, and no stage owns them yet."""
    for path, unit in units.items():
        owner, leaf = _owner(shell, path)
        owner._modules.pop(leaf, None)
        owner._parameters.pop(leaf, None)
        owner.__dict__[leaf] = unit


def _owner(shell: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, leaf = path.rpartition(".")
    return shell.get_submodule(parent), leaf


def _simplify(shell: _Shell, trace: _Trace, stand_ins: dict[str, nn.Module], wanted: Tensor, inputs: Tensor) -> None:
    """Stand-ins for the units that run first, wherever the stage then gives what it does in the library's own pass.

    `stand_ins`: those that served in the stage before. Layers are alike, so they mostly serve again, which takes one
    pass to know and not one for each stand-in there could be.
    """
    units = {path: _swapped(shell, path, stand_in) for path, stand_in in stand_ins.items()}
    if stand_ins and not _gives(shell, wanted, inputs):
        for path, unit in units.items():
            _swapped(shell, path, unit)
        stand_ins.clear()
    for path in [path for path in trace.front if path not in stand_ins]:
        gives = partial(Gives, size=trace.sizes[path])
        unit = _swapped(shell, path, nn.Identity())
        for stand_in in (gives(nn.Identity()), gives(unit, inside=True), gives(unit, turned=True)):
            _swapped(shell, path, stand_in)
            if _gives(shell, wanted, inputs):
                stand_ins[path] = stand_in
                break
            _swapped(shell, path, unit)


def _swapped(shell: _Shell, path: str, new: Any) -> Any:
    """What stood at a path, where `new` stands now."""
    owner, leaf = _owner(shell.model, path)
    before, owner.__dict__[leaf] = owner.__dict__[leaf], new
    return before


def _gives(shell: _Shell, wanted: Tensor, inputs: Tensor) -> bool:
    got = attempt(partial(shell.run, [shell.model], inputs))
    return got is not None and got.shape == wanted.shape and deviation(got, wanted) <= TOLERANCE


def _note_reads(shell: _Shell, units: Mapping[str, Any], inputs: Tensor) -> None:
    """Which units the stage needs; the others are taken out of it, also those that run for nobody (BERT's pooler)."""
    with torch.no_grad(), watched(units) as (given, _):
        shell.run([shell.model], inputs)
    ran = {path for path, _ in given}
    for path, unit in units.items():
        owner, leaf = _owner(shell.model, path)
        if id(owner.__dict__.get(leaf)) != id(unit):
            continue
        weights = [unit] if isinstance(unit, nn.Parameter) else list(unit.parameters())
        used = depends_on(partial(shell.run, [shell.model]), weights, inputs) if weights else []
        if any(used) or (not weights and path in ran):
            shell.reads.add(path)
            continue
        owner.__dict__[leaf] = None
        if attempt(partial(shell.run, [shell.model], inputs)) is None:
            owner.__dict__[leaf] = unit
            shell.reads |= {path} & ran


def _settled(
    shells: Mapping[str, _Shell], units: Mapping[str, Any], runs: Sequence[Callable[..., Tensor]]
) -> dict[str, nn.Module]:
    """Every unit registered with its owner: the one stage that reads it, else the stem."""
    for path, unit in units.items():
        readers = [name for name, shell in shells.items() if path in shell.reads]
        if isinstance(unit, nn.Module) and not [*unit.parameters(), *unit.buffers()]:
            # Dropout acts in a stage if that stage moves: each has its own.
            for name in readers:
                _register(shells[name].model, path, copy.deepcopy(unit))
        elif readers and (isinstance(unit, nn.Parameter) or unit.state_dict()):
            _register(shells[readers[0] if len(readers) == 1 else "stem"].model, path, unit)
        for shell in shells.values():
            owner, leaf = _owner(shell.model, path)
            if isinstance(owner.__dict__.get(leaf), Gives):
                _register(shell.model, path, owner.__dict__[leaf])
    return {name: Stage([shell.model], call) for (name, shell), call in zip(shells.items(), runs, strict=True)}


def _register(shell: nn.Module, path: str, unit: Any) -> None:
    owner, leaf = _owner(shell, path)
    owner.__dict__.pop(leaf, None)
    setattr(owner, leaf, unit)
