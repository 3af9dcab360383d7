"""From a library's model to a chain of named stages, whatever its architecture.

One forward pass is watched: which parts of the model run, and whether each hands its output to the next as it is.
Where it does, the parts themselves are the stages. Where something happens in between (a class token joins, a map is
flattened, dropout is a function call), that stretch is run by a *shell*: the library's own model object with every
other part replaced by the identity. So no line of a library's forward pass is written a second time here.

Nothing is believed: a chain counts only when `network.sound` finds it to be the model on real input. What fails is
replaced by coarser stages, in the end by a single one, `features`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sterna.errors import EncoderError
from sterna.maths.seeds import derive
from sterna.network import (
    TOLERANCE,
    Network,
    Stage,
    attempt,
    depends_on,
    deviation,
    empty_head,
    in_sequence,
    in_training,
    sound,
)

POOLED = "features are averaged before the class scores; torchvision's ReLU on the scores is left out."

Call = Callable[[nn.Module, Tensor], Tensor]  # a way to run a model or a stretch of it


def chain(model: nn.Module, inputs: Tensor, head_path: str) -> Network:
    """The model as a chain of stages that has been compared with the model on `inputs`.

    Stages: `stem`, then one for each block or group of blocks under the name it has in the library (dots become
    underscores), then `pool`, which turns the last map into features (b, d) and holds no weights but norms. Dropout
    before the classifier belongs to the stage before it.

    Args:
        model: maps images to logits; `whole` of the network. Left in evaluation mode.
        inputs: (b, c, h, w) with b >= 2, so that a part that mixes the examples of a batch is seen.
        head_path: where the linear classifier sits in `model`, as a dotted name. An identity there means a model
            without a head; it gets one with no rows.

    Raises `EncoderError` when the model is not a linear layer on features (b, d).
    """
    model.eval()
    head = model.get_submodule(head_path)
    bare = _without(model, {head_path}, [])
    with torch.no_grad():
        features = attempt(partial(bare, inputs.clone()))
    if not isinstance(features, Tensor) or features.dim() != 2 or not isinstance(head, (nn.Linear, nn.Identity)):
        raise EncoderError(_refusal(model, head_path))
    headless = isinstance(head, nn.Identity)
    if headless:
        head = empty_head(features.shape[1])
    for stages in _candidates(bare, head_path, inputs):
        network = Network(stages, head, model, head_path)
        if sound(network, bare, inputs):
            if headless:
                network.set_head(head)
            return network.eval()
    raise EncoderError(_refusal(model, head_path))


def head_of(model: nn.Module) -> str:
    """The dotted name of a model's classifier: timm's own answer, else the last linear layer.

    Raises `EncoderError` when there is none, or more than one.
    """
    named = dict(model.named_modules())
    if hasattr(model, "get_classifier"):
        given = model.get_classifier()  # type: ignore[operator]
        found = [path for path, part in named.items() if part is given]
    else:
        found = [path for path, part in named.items() if isinstance(part, nn.Linear)]
    if not found:
        raise EncoderError(_refusal(model, "its last layer"))
    return found[-1]


def pool_before_scores(model: nn.Module) -> bool:
    """Turn a convolutional classifier (SqueezeNet's) into pooling and a linear layer; True when there was one.

    A 1x1 convolution and averaging commute, so the rows of the convolution are the rows of the linear layer, under the
    name that the convolution had. torchvision applies a ReLU to the class scores between the two; it is left out,
    because it does not commute, and because a score that cannot be negative stops learning.
    """
    old = getattr(model, "classifier", None)
    kinds = (nn.Dropout, nn.Conv2d, nn.ReLU, nn.AdaptiveAvgPool2d)
    if not isinstance(old, nn.Sequential) or tuple(type(part) for part in old) != kinds:
        return False
    dropout, scores, _, average = old
    rows = {name: value.flatten(1) if value.dim() > 1 else value for name, value in scores.state_dict().items()}
    linear = nn.Linear(rows["weight"].shape[1], rows["weight"].shape[0], bias="bias" in rows)
    linear.load_state_dict(rows)
    model.classifier = nn.Sequential(nn.Sequential(dropout, average, nn.Flatten()), linear)
    return True


def noise(size: Sequence[int]) -> Tensor:
    """Two inputs of `size` (c, h, w) on which a chain is compared with its model: the same on every call."""
    generator = torch.Generator().manual_seed(derive("chain"))
    return torch.randn(2, *size, generator=generator)


def notes(network: Network) -> tuple[str, ...]:
    """What a person should know about how the network was cut."""
    if network.depth > 1:
        return ()
    return ("this network has no inner cuts that reproduce it: either all of it moves or only the head.",)


def _refusal(model: nn.Module, head_path: str) -> str:
    return (
        f"{type(model).__name__} cannot be used, because its classifier must be one linear layer on pooled features "
        f"and '{head_path}' is not; choose a model with a single classifier (for DeiT, one without 'distilled')."
    )


# The ways to run a model in stretches, finest first. torchvision's ViT has no methods for its two halves.


def _forward(model: nn.Module, inputs: Tensor) -> Tensor:
    return model(inputs)


def _forward_features(model: nn.Module, inputs: Tensor) -> Tensor:
    return model.forward_features(inputs)  # type: ignore[operator]


def _forward_head(model: nn.Module, inputs: Tensor) -> Tensor:
    return model.forward_head(inputs)  # type: ignore[operator]


def _tokens(model: nn.Module, inputs: Tensor) -> Tensor:
    patches = model._process_input(inputs)  # type: ignore[operator]
    first = model.class_token.expand(len(patches), -1, -1)  # type: ignore[operator]
    return model.encoder(torch.cat([first, patches], dim=1))  # type: ignore[operator]


def _first_token(model: nn.Module, inputs: Tensor) -> Tensor:
    return model.heads(inputs[:, 0])  # type: ignore[operator]


STRETCHES: tuple[tuple[Call, ...], ...] = (
    (_forward_features, _forward_head),
    (_tokens, _first_token),
    (_forward,),
)


def _called(call: Call, parts: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    return call(parts[0], inputs)


def _candidates(bare: nn.Module, head_path: str, inputs: Tensor) -> Iterator[dict[str, nn.Module]]:
    """Stages to try, finest first."""
    for stretches in STRETCHES:
        stages = attempt(partial(_stages, bare, head_path, stretches, inputs))
        if stages:
            yield stages
    yield {"features": Stage([bare], partial(_called, _forward))}


@dataclass(frozen=True)
class _Piece:
    """One link of a chain before pieces are grouped into stages."""

    name: str
    module: nn.Module
    opens: bool  # holds a weight of two or more dimensions, so it begins a stage; norms and poolings join one


def _stages(bare: nn.Module, head_path: str, stretches: Sequence[Call], inputs: Tensor) -> dict[str, nn.Module]:
    units = {path: unit for path, unit in _units(bare) if path != head_path}
    pieces: list[_Piece] = []
    for call in stretches:
        with torch.no_grad():
            found = _pieces(bare, call, units, inputs)
            inputs = _run(found, inputs)
        pieces += found
    return _grouped(pieces)


def _units(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The parts that may become stages: blocks and numbered groups, but not what merely contains them."""
    for name, child in module.named_children():
        if _contains_units(name, child):
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _contains_units(name: str, module: nn.Module) -> bool:
    """`blocks`, `features`, `encoder` contain stages; `layer1`, `blocks.3` are stages."""
    if name[-1:].isdigit():
        return False
    inner = [child for child, part in module.named_children() if isinstance(part, nn.Sequential) and len(part) > 1]
    return _runs_in_sequence(module) or any(not child[-1:].isdigit() for child in inner)


def _runs_in_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward and len(module) > 0


def _without(module: nn.Module, paths: set[str], copies: list[nn.Module]) -> nn.Module:
    """The same module with an identity at each of `paths`; the parts that stay are shared, not copied.

    The objects made along the paths are appended to `copies`.
    """
    twin = object.__new__(type(module))
    twin.__dict__.update({key: dict(value) if type(value) is dict else value for key, value in vars(module).items()})
    copies.append(twin)
    below: dict[str, set[str]] = {}
    for path in paths:
        first, _, rest = path.partition(".")
        below.setdefault(first, set()).add(rest)
    for name, rests in below.items():
        part = module.get_submodule(name)
        twin._modules[name] = nn.Identity() if "" in rests else _without(part, rests, copies)
    return twin


@dataclass
class _Seen:
    """One call of a unit: the one tensor it took and the one it gave, with the versions they had then."""

    path: str
    taken: object = None
    taken_version: int = 0
    given: object = None
    given_version: int = 0


def _watch(bare: nn.Module, call: Call, units: dict[str, nn.Module], inputs: Tensor) -> tuple[list[_Seen], Tensor]:
    """The calls of the units, in order, while `call` runs; and its output."""
    seen: list[_Seen] = []

    def enter(path: str, unit: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        taken = args[0] if alone else object()
        seen.append(_Seen(path, taken, getattr(taken, "_version", 0)))

    def leave(path: str, unit: nn.Module, args: tuple[object, ...], output: object) -> None:
        last = next(one for one in reversed(seen) if one.path == path)
        last.given, last.given_version = output, getattr(output, "_version", 0)

    hooks = []
    for path, unit in units.items():
        hooks.append(unit.register_forward_pre_hook(partial(enter, path), with_kwargs=True))
        hooks.append(unit.register_forward_hook(partial(leave, path)))
    try:
        return seen, call(bare, inputs)
    finally:
        for hook in hooks:
            hook.remove()


def _breaks(seen: Sequence[_Seen], inputs: Tensor, version: int, output: Tensor) -> list[int]:
    """The places i, before call i, where the model does more than hand a tensor on; sorted.

    A version tells an operation in place from none. A unit that runs twice breaks everything between its calls.
    """
    given = [(inputs, version), *((one.given, one.given_version) for one in seen)]
    taken = [*((one.taken, one.taken_version) for one in seen), (output, output._version)]
    found = {
        place
        for place, (before, after) in enumerate(zip(given, taken, strict=True))
        if before[0] is not after[0] or before[1] != after[1]
    }
    for path in {one.path for one in seen}:
        places = [place for place, one in enumerate(seen) if one.path == path]
        if len(places) > 1:
            found.update(range(places[0], places[-1] + 2))
    return sorted(found)


def _pieces(bare: nn.Module, call: Call, units: dict[str, nn.Module], inputs: Tensor) -> list[_Piece]:
    """The finest pieces that reproduce one stretch. Raises when even the whole stretch does not."""
    # In evaluation mode a dropout that is a function call hands its input on and would not be seen.
    given = inputs.clone()
    version = given._version
    with in_training([bare]):
        seen, output = _watch(bare, call, units, given)
        places = _breaks(seen, given, version, output)
    wanted = call(bare, inputs.clone())
    paths = [one.path for one in seen]
    low, high = (places[0], places[-1]) if places else (0, 0)
    for start, stop in [*((start, high) for start in range(low, -1, -1)), (0, len(paths))]:
        shelled = (start, stop) if places else None
        found = attempt(partial(_around, bare, call, units, paths, shelled, inputs))
        got = attempt(partial(_run, found, inputs)) if found else None
        if found and got is not None and deviation(got, wanted) <= TOLERANCE:
            return found
    raise RuntimeError(f"no part of {type(bare).__name__} can be run by itself")


def _around(
    bare: nn.Module,
    call: Call,
    units: dict[str, nn.Module],
    paths: Sequence[str],
    shelled: tuple[int, int] | None,
    inputs: Tensor,
) -> list[_Piece]:
    """The units at `paths` as pieces, those from `shelled[0]` up to `shelled[1]` in one shell."""
    if shelled is None:
        return _plain(paths, units)
    start, stop = shelled
    before = _plain(paths[:start], units)
    shell = _shell(bare, call, units, paths[start:stop], _run(before, inputs))
    return [*before, shell, *_plain(paths[stop:], units)]


def _run(pieces: Sequence[_Piece], inputs: Tensor) -> Tensor:
    return in_sequence([piece.module for piece in pieces], inputs.clone())


def _plain(paths: Sequence[str], units: dict[str, nn.Module]) -> list[_Piece]:
    return [_Piece(path, units[path], _heavy(units[path])) for path in paths]


def _heavy(unit: nn.Module) -> bool:
    return any(weight.dim() > 1 for weight in unit.parameters())


def _shell(bare: nn.Module, call: Call, units: dict[str, nn.Module], kept: Sequence[str], inputs: Tensor) -> _Piece:
    """The stretch around the `kept` units, run by the library's own code; `inputs` is what reaches it."""
    copies: list[nn.Module] = []
    shell = _without(bare, set(units) - set(kept), copies)
    _drop_unused(shell, copies, call, inputs)
    stage = Stage([shell], partial(_called, call))
    return _Piece(kept[0] if kept else "between", stage, any(_heavy(units[path]) for path in kept))


def _drop_unused(shell: nn.Module, copies: Sequence[nn.Module], call: Call, inputs: Tensor) -> None:
    """Take from the copied objects the weights of their own that the stretch does not use: another shell may."""
    own = [(owner, name) for owner in copies for name, weight in owner.named_parameters(recurse=False)]
    used = depends_on(partial(call, shell), [getattr(owner, name) for owner, name in own], inputs)
    for (owner, name), needed in zip(own, used, strict=True):
        if not needed:
            owner._parameters[name] = None


def _grouped(pieces: Sequence[_Piece]) -> dict[str, nn.Module]:
    """Pieces as stages: each heavy piece begins one, light ones join it, those after the last heavy one are `pool`."""
    openings = [place for place, piece in enumerate(pieces) if piece.opens]
    if not openings:
        return {}
    starts = [0, *openings[1:]]
    names = ["stem", *(pieces[place].name.replace(".", "_") for place in openings[1:])]
    if openings[-1] + 1 < len(pieces):
        starts.append(openings[-1] + 1)
        names.append("pool")
    stages: dict[str, nn.Module] = {}
    for name, start, stop in zip(names, starts, [*starts[1:], len(pieces)], strict=True):
        while name in stages or hasattr(nn.ModuleDict, name):
            name += "_"
        stages[name] = nn.Sequential(*(piece.module for piece in pieces[start:stop]))
    return stages
