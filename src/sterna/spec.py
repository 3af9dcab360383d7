"""The one grammar of sterna: `name(key=value) + name`.

The command line, Python strings, TOML files and saved results are written in it, and it is also the `repr` of every
option object, so what a result records can be pasted back into a command. An option is declared once, as a field with
a default, a help text and an allowed set, and checked once, when its object is made.

    alternatives := sum ("," sum)*          probe, partial(stages=1), full
    sum          := call ("+" call)*        cross_entropy(smoothing=0.1) + l2sp(weight=0.01)
    call         := name ["(" pairs ")"]    l2sp(weight=0.01, head=0.001)
    value        := number | true | false | none | word | "text" | "[" values "]" | call

`docs/specification.md` describes it for those who write it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import reprlib
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Integral, Real
from types import UnionType
from typing import Any

from sterna.errors import SpecError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an open end leaves the bound itself out."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        left = "(" if self.low_open or math.isinf(self.low) else "["
        right = ")" if self.high_open or math.isinf(self.high) else "]"
        return f"in {left}{_short(self.low)}, {_short(self.high)}{right}"


@dataclass(frozen=True)
class Choice:
    """One of the named values."""

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return "one of " + ", ".join(written(value) for value in self.values)


def option(default: Any, help: str, allowed: Range | Choice | None = None) -> Any:
    """A field of an option object: its default, what it does, and the values it may take."""
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed})


@dataclass(frozen=True)
class Option:
    """An option as declared, for the help pages."""

    name: str
    default: Any
    help: str
    allowed: Range | Choice | None
    type: Any


def options(cls: type) -> tuple[Option, ...]:
    """The declared options of a method class, in order."""
    kinds = typing.get_type_hints(cls)
    return tuple(
        Option(item.name, item.default, item.metadata["help"], item.metadata["allowed"], kinds[item.name])
        for item in dataclasses.fields(cls)
    )


def method(cls: type) -> type:
    """Make a frozen option class: fields checked when the object is made, `repr` in the grammar.

    The name of a method is the name of its file.
    """

    def check(self: Any) -> None:
        for item in options(cls):
            value = _fitted(getattr(self, item.name), item, cls)
            object.__setattr__(self, item.name, value)

    cls.__post_init__ = check  # type: ignore[attr-defined]
    cls.__repr__ = _repr  # type: ignore[assignment]
    made: type = dataclass(frozen=True, repr=False)(cls)
    made.__sterna_method__ = True  # type: ignore[attr-defined]
    return made


def is_method(value: object) -> bool:
    """Whether `value` is an option class made by `method`."""
    return isinstance(value, type) and "__sterna_method__" in vars(value)


def name_of(method_class: type) -> str:
    """The name by which a method is written: its file's name."""
    return method_class.__module__.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Call:
    """`name(key=value)` as parsed: not yet looked up or checked."""

    name: str
    pairs: tuple[tuple[str, Any], ...] = ()


def make(cls: type, call: Call) -> Any:
    """An option object from a parsed call. Unknown and repeated options raise `SpecError`."""
    known = [item.name for item in dataclasses.fields(cls)]
    chosen: dict[str, Any] = {}
    for key, value in call.pairs:
        if key not in known:
            allowed = f"Its options: {', '.join(known)}." if known else "It has no options."
            raise SpecError(f"{call.name} has no option '{key}'.{did_you_mean(key, known)} {allowed}")
        if key in chosen:
            raise SpecError(f"option '{key}' of {call.name} is given twice; write it once.")
        chosen[key] = value
    return cls(**chosen)


def parse_alternatives(text: str) -> tuple[tuple[Call, ...], ...]:
    """`"a, b + c"` -> ((a,), (b, c)): the sums that commas separate."""
    reader = _Reader(text)
    found = [_sum(reader)]
    while reader.take(","):
        found.append(_sum(reader))
    reader.finish()
    return tuple(found)


def parse_sum(text: str) -> tuple[Call, ...]:
    """`"a + b(c=1)"` -> (a, b(c=1))."""
    reader = _Reader(text)
    calls = _sum(reader)
    reader.finish()
    return calls


def write(methods: Sequence[Any]) -> str:
    """A sum of option objects in the grammar: the inverse of parsing and resolving."""
    return " + ".join(repr(item) for item in methods)


def did_you_mean(got: str, known: Sequence[str]) -> str:
    """The nearest known name as a question with a space before it, or nothing."""
    plain = {one.lower(): one for one in reversed(known)}
    near = difflib.get_close_matches(got.lower(), plain, n=1, cutoff=0.6)
    return f" Did you mean '{plain[near[0]]}'?" if near else ""


def written(value: Any) -> str:
    """A value in the grammar; parsing it gives the value back. What the grammar cannot say is shown as Python does."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _KEYWORDS
        return str(value) if plain else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if isinstance(value, Call):
        return _called(value.name, [f"{key}={written(one)}" for key, one in value.pairs])
    if isinstance(value, int) and value.bit_length() > _WHOLE_BITS:
        return "a number beyond 64 bits"
    return repr(value) if is_method(type(value)) else reprlib.repr(value)


def type_name(kind: Any) -> str:
    """The type of an option in words: `tuple[int, ...]` -> "a list of whole numbers"."""
    if len(_kinds(kind)) > 1:
        return " or ".join(type_name(one) for one in _kinds(kind))
    if typing.get_origin(kind) is not tuple:
        return _NAMES.get(kind, str(kind))
    inner, *rest = typing.get_args(kind)
    count = "" if rest == [...] else f"{1 + len(rest)} "
    return f"a list of {count}" + " or ".join(_PLURALS.get(one, str(one)) for one in _kinds(inner))


def _repr(self: Any) -> str:
    fields = dataclasses.fields(self)
    moved = [item.name for item in fields if getattr(self, item.name) != item.default]
    return _called(name_of(type(self)), [f"{name}={written(getattr(self, name))}" for name in moved])


def _called(name: str, pairs: Sequence[str]) -> str:
    return name + (f"({', '.join(pairs)})" if pairs else "")


def _short(number: float) -> str:
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


_PLAIN = re.compile(r"[A-Za-z_][\w.:/-]*")  # text that needs no quotes
_KEYWORDS = {"true": True, "false": False, "none": None}
_NAMES = {float: "a number", int: "a whole number", bool: "true or false", str: "a word", type(None): "none"}
_PLURALS = {float: "numbers", int: "whole numbers", bool: "true or false", str: "words"}
_WHOLE_BITS = 63  # what torch and numpy can hold
_DEEPEST = 20  # far beyond any sensible specification, far below Python's recursion limit


def _fitted(value: Any, item: Option, cls: type) -> Any:
    """`value` in the type its option declares, or a `SpecError` that names the option."""
    what = f"{item.name} of {name_of(cls)}"
    fits, fitted = _as_type(value, item.type)
    if not fits:
        raise SpecError(f"{what} must be {type_name(item.type)}, got {written(value)}.")
    if item.allowed is not None and not all(one in item.allowed for one in _leaves(fitted)):
        raise SpecError(f"{what} must be {item.allowed}, got {written(value)}.")
    return fitted


def _kinds(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union; any other type alone."""
    return typing.get_args(kind) if typing.get_origin(kind) in (UnionType, typing.Union) else (kind,)


def _leaves(fitted: Any) -> Iterator[Any]:
    """The values an allowed set speaks about: those in lists one by one; `none` is allowed by the type alone."""
    if isinstance(fitted, tuple):
        for one in fitted:
            yield from _leaves(one)
    elif fitted is not None:
        yield fitted


def _as_type(value: Any, kind: Any) -> tuple[bool, Any]:
    """Whether `value` may stand for `kind`, and what it becomes: lists become tuples, whole numbers may be numbers."""
    if len(_kinds(kind)) > 1:
        tried = [_as_type(value, one) for one in _kinds(kind)]
        return next((one for one in tried if one[0]), (False, None))
    if typing.get_origin(kind) is tuple:
        return _as_tuple(value, typing.get_args(kind))
    if kind is type(None):
        return value is None, None
    if kind in (bool, str):
        return isinstance(value, kind), value
    if isinstance(value, bool):
        return False, None
    if kind is int and isinstance(value, Integral):
        return int(value).bit_length() <= _WHOLE_BITS, int(value)
    if kind is float and isinstance(value, Real) and not (isinstance(value, int) and value.bit_length() > 1000):
        return math.isfinite(value), float(value)
    return False, None


def _as_tuple(value: Any, inner: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, (tuple, list)):
        return False, None
    kinds = (inner[0],) * len(value) if inner[-1] is ... else inner
    parts = [_as_type(one, kind) for one, kind in zip(value, kinds, strict=False)]
    return len(kinds) == len(value) and all(fits for fits, _ in parts), tuple(one for _, one in parts)


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.:/-]))
      | (?P<word>\w[\w.:/-]*)
      | "(?P<text>(?:[^"\\]|\\.)*)"
      | '(?P<quoted>(?:[^'\\]|\\.)*)'
      | (?P<sign>[()\[\]=,+])
    )""",
    re.VERBOSE | re.DOTALL,
)


class _Reader:
    """Walks over the tokens of one specification."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split())
        self.place = 0
        opened = [(sign in "([") - (sign in ")]") for kind, sign in self.tokens if kind == "sign"]
        if max(accumulate(opened), default=0) > _DEEPEST:
            raise SpecError(f"brackets may be nested {_DEEPEST} deep, got more in '{reprlib.repr(text)[1:-1]}'.")

    def _split(self) -> Iterator[tuple[str, str]]:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            found = _TOKEN.match(self.text, place)
            if not found:
                rest = self.text[place:].strip()
                raise SpecError(
                    f"cannot read '{rest}' in '{self.text}'; write name(key=value), and quotes around text that has "
                    "spaces or signs."
                )
            place = found.end()
            kind = str(found.lastgroup)
            yield kind, found[kind]

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("end", "")

    def next(self) -> tuple[str, str]:
        token = self.peek()
        self.place += 1
        return token

    def take(self, sign: str) -> bool:
        """Step over `sign` if it comes next."""
        if self.peek() == ("sign", sign):
            self.place += 1
            return True
        return False

    def listed(self, close: str, read: Callable[[_Reader], Any]) -> list[Any]:
        """What `read` makes of the entries that commas separate, up to the closing sign."""
        found: list[Any] = []
        while not self.take(close):
            if found and not self.take(","):
                raise self.wrong(f"expected ',' or '{close}'", self.peek())
            found.append(read(self))
        return found

    def finish(self) -> None:
        if self.peek()[0] != "end":
            raise self.wrong("expected the end or '+'", self.peek())

    def wrong(self, expected: str, got: tuple[str, str]) -> SpecError:
        """The error for a token that does not fit."""
        shown = "the end" if got[0] == "end" else f"'{got[1]}'"
        return SpecError(f"{expected}, got {shown} in '{self.text}'; write name(key=value) + name.")


def _sum(reader: _Reader) -> tuple[Call, ...]:
    calls = [_call(reader)]
    while reader.take("+"):
        calls.append(_call(reader))
    return tuple(calls)


def _call(reader: _Reader) -> Call:
    kind, name = reader.next()
    if kind != "word":
        raise reader.wrong("expected a method's name", (kind, name))
    pairs = reader.listed(")", _pair) if reader.take("(") else []
    return Call(name.replace("-", "_"), tuple(pairs))


def _pair(reader: _Reader) -> tuple[str, Any]:
    kind, key = reader.next()
    if kind != "word" or not reader.take("="):
        raise reader.wrong("options are written key=value", (kind, key))
    return key.replace("-", "_"), _value(reader)


def _value(reader: _Reader) -> Any:
    kind, text = reader.next()
    if kind == "number":
        # Longer digit strings fit no whole number of torch or numpy, and Python refuses to read very long ones.
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,20}", text) else float(text)
    if kind in ("text", "quoted"):
        return re.sub(r"(?s)\\(.)", r"\1", text)
    if kind == "word" and reader.peek() == ("sign", "("):
        reader.place -= 1
        return _call(reader)
    if kind == "word":
        return _KEYWORDS.get(text.lower(), text)
    if (kind, text) == ("sign", "["):
        return tuple(reader.listed("]", _value))
    raise reader.wrong("expected a value", (kind, text))
