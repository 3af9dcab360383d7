"""What every method file promises, checked for whatever files the method folders hold.

A new method is under this contract from the moment its file exists; nothing here names one.
"""

from __future__ import annotations

import inspect
import keyword
import math
import random
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sterna import catalogue, folder, spec
from sterna.errors import SpecError
from sterna.schedule import Schedule
from sterna.settings import Settings
from sterna.spec import Choice, Range

FOLDERS = ("tasks", "tune", "losses", "shallow", "augment", "optimizers", "ranking", "distances", "adapt", "criteria")
METHODS = [(place, name) for place in FOLDERS for name in folder.names(place)]
CLASSES = [folder.load(place, name) for place, name in METHODS] + [Schedule, Settings]
OPTIONS = [(cls, item) for cls in CLASSES for item in spec.options(cls)]

# Methods too old or too plain to have a paper.
NO_PAPER = {
    "augment": {"blur", "brightness", "color_jitter", "flip", "light", "noise", "none", "rotate", "sharpen", "strong"},
}

every_method = pytest.mark.parametrize(("place", "name"), METHODS, ids=[f"{p}/{n}" for p, n in METHODS])
every_class = pytest.mark.parametrize("cls", CLASSES, ids=[spec.name_of(cls) for cls in CLASSES])
every_option = pytest.mark.parametrize(
    ("cls", "item"), OPTIONS, ids=[f"{spec.name_of(cls)}-{item.name}" for cls, item in OPTIONS]
)


def outside(allowed: Range | Choice | None) -> Iterator[Any]:
    """Values of the right type that the allowed set leaves out."""
    if isinstance(allowed, Choice):
        yield "".join(str(value) for value in allowed.values) + "x"
    if isinstance(allowed, Range):
        if math.isfinite(allowed.low):
            yield math.floor(allowed.low) - 1
            yield from [allowed.low] if allowed.low_open else []
        if math.isfinite(allowed.high):
            yield math.ceil(allowed.high) + 1
            yield from [allowed.high] if allowed.high_open else []


def inside(allowed: Range | Choice | None, kind: Any, draw: random.Random) -> Any:
    """A value of type `kind` that the allowed set holds."""
    if isinstance(allowed, Choice):
        return draw.choice(allowed.values)
    if kind is bool:
        return draw.random() < 0.5
    if kind is str:
        return draw.choice(["word", "two words", 'a "quote"', "3", ""])
    bounds = allowed or Range()
    low = bounds.low if math.isfinite(bounds.low) else -1000
    high = bounds.high if math.isfinite(bounds.high) else low + 1000
    if kind is int:
        return draw.randint(math.ceil(low) + bounds.low_open, math.floor(high) - bounds.high_open)
    return low + (high - low) * draw.uniform(0.01, 0.99)


def kinds(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without `none`."""
    union = typing.get_args(kind) if typing.get_origin(kind) is not tuple else ()
    return tuple(one for one in union or (kind,) if one is not type(None))


def shaped(kind: Any, value: Any) -> Any:
    """`value` alone or, for an option that takes a list, in a list of a length it takes."""
    if typing.get_origin(kind) is not tuple:
        return value
    inner = typing.get_args(kind)
    return [value] * (1 if inner[-1] is ... else len(inner))


def element(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind


@every_method
def test_there_is_one_public_option_class(place: str, name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    cls = folder.load(place, name)
    assert not cls.__name__.startswith("_")
    reserved = keyword.iskeyword(name.capitalize())  # no class can be called None
    assert reserved or cls.__name__.lower() == name.replace("_", "")
    assert inspect.getdoc(cls)


@every_method
def test_the_page_says_what_paper_and_when_not(place: str, name: str) -> None:
    page = catalogue.page(f"{place}/{name}")
    assert (page.folder, page.name) == (place, name)
    assert re.fullmatch(r"[A-Z0-9].{15,115}\.", page.summary), "the first line is one sentence"
    assert page.summary == folder.summary(place, name)
    assert len(page.when_not) > 20, "write a paragraph that starts with 'When not to use:'"
    if name not in NO_PAPER.get(place, ()):
        assert re.search(r"\b(19|20)\d\d\b", page.paper), "write a paragraph that starts with 'Paper:' and has a year"
    assert [row.name for row in page.options] == [item.name for item in spec.options(folder.load(place, name))]
    for row in page.options:
        assert row.type
        assert row.default
        assert "<class" not in row.type


def test_exceptions_are_there() -> None:
    """A paperless method that has got its paper, or is gone, is taken off the list."""
    for place, names in NO_PAPER.items():
        assert names <= set(folder.names(place))
        assert [name for name in names if catalogue.page(f"{place}/{name}").paper] == []


FRAME = {"test_contract_methods", "test_catalogue", "test_folder", "test_spec", "test_layers", "test_budgets"}
OTHER_TESTS = "\n".join(
    path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py") if path.stem not in FRAME
)


@every_method
def test_a_test_of_its_own_names_it(place: str, name: str) -> None:
    patterns = (
        rf"sterna\.{place}\.{name}\b",
        rf"sterna\.{place} import [^\n]*\b{name}\b",
        rf"[\"']{name}\b|[+,] {name}\(|\+ {name}\b",
        rf"names\([\"']{place}[\"']\)",
    )
    assert any(re.search(pattern, OTHER_TESTS) for pattern in patterns), f"write a golden test that names {name}"


@every_class
def test_defaults_are_valid_and_read_back(cls: type) -> None:
    made = cls()
    assert repr(made) == spec.name_of(cls)
    for item in spec.options(cls):
        assert getattr(made, item.name) == item.default
        assert cls(**{item.name: item.default}) == made


@every_class
def test_generated_objects_read_back(cls: type) -> None:
    draw = random.Random(7)
    for _ in range(50):
        words = {
            item.name: shaped(kind, inside(item.allowed, element(kind), draw))
            for item in spec.options(cls)
            for kind in [draw.choice(kinds(item.type))]
        }
        made = cls(**words)
        (call,) = spec.parse_sum(repr(made))
        assert spec.make(cls, call) == made
        assert hash(made) == hash(spec.make(cls, call))


@every_option
def test_the_option_is_explained(cls: type, item: spec.Option) -> None:
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", item.name)
    assert len(item.help) > 10
    assert not item.help.endswith(".")
    assert "\n" not in item.help


@every_option
def test_numbers_have_limits(cls: type, item: spec.Option) -> None:
    if {element(kind) for kind in kinds(item.type)} & {int, float}:
        assert item.allowed is not None, "give the option a Range or a Choice"


@every_option
def test_a_wrong_value_is_refused_by_name(cls: type, item: spec.Option) -> None:
    for kind in kinds(item.type):
        bad = [shaped(kind, value) for value in outside(item.allowed)]
        for value in [*bad, {}, spec.Call("a"), math.nan, math.inf]:
            with pytest.raises(SpecError, match=rf"^{item.name} of {spec.name_of(cls)} must be .*, got .*\.$"):
                cls(**{item.name: value})


def test_the_generators_see_every_bound() -> None:
    assert list(outside(Range(0, 1, True, True))) == [-1, 0, 2, 1]
    assert list(outside(Range(0.5))) == [-1]
    assert list(outside(Choice(("a", "b")))) == ["abx"]
    assert list(outside(None)) == list(outside(Range())) == []
    assert len(METHODS) > 10
    assert len(OPTIONS) > 20
