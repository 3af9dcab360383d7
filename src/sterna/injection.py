"""Entering a library's forward pass at a layer and leaving it at the next, by modules that stand in for its parts.

The hidden states that a pass is entered with belong to the thread that runs it and lie in no module, so networks can be
copied, and run in several threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from torch import Tensor, nn

_GIVEN: ContextVar[Tensor] = ContextVar("given")


@contextmanager
def entered(hidden: Tensor) -> Iterator[None]:
    """Inside, passes are entered with these hidden states."""
    token = _GIVEN.set(hidden)
    try:
        yield
    finally:
        _GIVEN.reset(token)


class _ReachedError(Exception):
    """Carries hidden states out of the library's forward pass, at the place where a stage ends."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


def left(shell: nn.Module, given: Mapping[str, Any]) -> Tensor:
    """The hidden states with which the pass of `shell` on `given` is left."""
    try:
        shell(**given)
    except _ReachedError as reached:
        return reached.hidden
    raise RuntimeError("the model ran past the end of a stage")


def _collect(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Before `forward`: whatever a part is called with becomes one argument."""
    return ((args, named),), {}


class Gives(nn.Module):
    """In place of a part: the hidden states that the pass was entered with, in the form of that part's output.

    With `inside`, the library finds what lies in that part (ViT asks for the dtype of a weight); nothing there runs.
    With `turned`, they are given as (b, d, t), as filters over time have them.
    """

    def __init__(self, like: nn.Module, size: int, inside: bool = False, turned: bool = False) -> None:
        super().__init__()
        _borrow_attributes(self, like)
        if inside:
            self.__dict__.update(like._modules)
        self.size = size
        self.turned = turned
        self.register_forward_pre_hook(_collect, with_kwargs=True)

    def forward(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        hidden = _GIVEN.get().transpose(1, 2) if self.turned else _GIVEN.get()
        return (hidden, *[None] * (self.size - 1)) if self.size else hidden


class Enters(nn.Module):
    """A layer that gets the hidden states that the pass was entered with, and all else that the library passes."""

    def __init__(self, layer: nn.Module, last: bool) -> None:
        super().__init__()
        _borrow_attributes(self, layer)
        self.entered = layer
        self.last = last
        self.register_forward_pre_hook(_collect, with_kwargs=True)

    def forward(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, named = call
        if args:
            output = self.entered(_GIVEN.get(), *args[1:], **named)
        else:
            output = self.entered(**{**named, "hidden_states": _GIVEN.get()})
        if self.last:
            raise _ReachedError(first_of(output))
        return output


class Leaves(nn.Module):
    """In place of the layer at which a stage ends."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        _borrow_attributes(self, like)
        self.register_forward_pre_hook(_collect, with_kwargs=True)

    def forward(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, named = call
        raise _ReachedError(args[0] if args else named["hidden_states"])


def twin(module: nn.Module, changes: Mapping[str, nn.Module]) -> nn.Module:
    """The same module with other parts at some paths; the parts that stay are shared, not copied."""
    made = object.__new__(type(module))
    made.__dict__.update({key: dict(value) if type(value) is dict else value for key, value in vars(module).items()})
    below: dict[str, dict[str, nn.Module]] = {}
    for path, part in changes.items():
        first, _, rest = path.partition(".")
        below.setdefault(first, {})[rest] = part
    for name, inner in below.items():
        made._modules[name] = inner[""] if "" in inner else twin(module.get_submodule(name), inner)
    return made


@contextmanager
def watched(parts: Mapping[str, Any]) -> Iterator[tuple[list[tuple[str, Any]], dict[str, Any]]]:
    """What runs inside, in order and by name with the first thing it is given, and what it gives.

    Args:
        parts: modules by name; what else is among them never runs.
    """
    given: list[tuple[str, Any]] = []
    gave: dict[str, Any] = {}
    hooks = []
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            hooks.append(part.register_forward_pre_hook(partial(_note_given, given, name), with_kwargs=True))
            hooks.append(part.register_forward_hook(partial(_note_output, gave, name)))
    try:
        yield given, gave
    finally:
        for hook in hooks:
            hook.remove()


def _note_given(
    given: list[tuple[str, Any]], name: str, part: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    given.append((name, args[0] if args else named.get("hidden_states")))


def _note_output(gave: dict[str, Any], name: str, part: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    gave[name] = output


def _borrow_attributes(module: nn.Module, like: nn.Module) -> None:
    """What a library reads off its layers: numbers, names of kinds of attention."""
    own = set(vars(module))
    module.__dict__.update({name: value for name, value in vars(like).items() if name not in own and name[0] != "_"})


def first_of(output: Any) -> Tensor:
    """The hidden states of what a layer gives: a tensor, or several values of which they are the first."""
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found
