"""Limits on size and shape: what a reader has to hold in mind at once.

Each rule is a function from one file to the sentences that say what is over the limit, held against the whole package
and against bad samples.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "sterna"

FILE_LINES = 400
BODY_LINES = 60
BODY_LINES_P90 = 30
ARGUMENTS = 8

# Doors to the whole product, whose arguments are its options: (module, function), or a module for all of it.
# Take what a signature names that is not theirs: one made at run time, and that of attention in transformers.
SIGNED = {("cli", "run"), ("prefixes", "_attend")}
WIDE_DOORS = {("study", "fit"), ("shortlist", "rank"), ("cli", "*")}

# A class of torch asks its heirs to call these; anything else reached through `super()` is inheritance for reuse.
TORCH_SUPER = ("__init__", "train", "_apply")

# Added to the standard library after Python 3.11.
TOO_NEW = {
    "typing.override",
    "typing.TypeAliasType",
    "itertools.batched",
    "math.sumprod",
    "pathlib.UnsupportedOperation",
    "calendar.Month",
    "copy.replace",
    "warnings.deprecated",
}


@dataclass(frozen=True)
class Source:
    """One file of the package, as text and as a tree."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[Source], Iterator[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "sterna"


SOURCES = [Source(module_name(path), path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]
OWN_CLASSES = {node.name for source in SOURCES for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)}


def functions(source: Source) -> list[Function]:
    return [node for node in ast.walk(source.tree) if isinstance(node, Function)]


def body_lines(function: Function) -> int:
    """Lines of a function from its first statement to its last, docstring and signature excluded."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def files_are_short(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines >= FILE_LINES:
        yield f"{source.name} has {lines} lines; below {FILE_LINES}: split it by what its parts are about"


def functions_are_short(source: Source) -> Iterator[str]:
    for function in functions(source):
        if body_lines(function) > BODY_LINES:
            yield f"{source.name}.{function.name} has {body_lines(function)} lines; at most {BODY_LINES}"


def arguments_are_few(source: Source) -> Iterator[str]:
    for function in functions(source):
        given = function.args
        named = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        count = len([name for name in named if name not in ("self", "cls")]) + (given.vararg is not None)
        if count > ARGUMENTS and not WIDE_DOORS & {(source.name, function.name), (source.name, "*")}:
            yield f"{source.name}.{function.name} takes {count} arguments; at most {ARGUMENTS}"


def arguments_have_names(source: Source) -> Iterator[str]:
    for function in functions(source):
        if function.args.kwarg and (source.name, function.name) not in SIGNED:
            yield f"{source.name}.{function.name} takes **{function.args.kwarg.arg}, which hides a misspelt name"


def public_things_are_explained(source: Source) -> Iterator[str]:
    if not ast.get_docstring(source.tree):
        yield f"{source.name} has no docstring"
    for node in source.tree.body:
        named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if named and not node.name.startswith("_") and not ast.get_docstring(node):
            yield f"{source.name}.{node.name} has no docstring"


def classes_are_final(source: Source) -> Iterator[str]:
    """Nothing inherits from a class of sterna, except kinds of error; protocols are not classes to inherit from."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and source.name != "errors":
            for base in node.bases:
                name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                if name in OWN_CLASSES:
                    yield f"{source.name}.{node.name} inherits from {name}; hold one and call it instead"


def super_is_for_torch(source: Source) -> Iterator[str]:
    tree = source.tree
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "super":
            use = parents[parents[node]]  # super -> super() -> super().name
            if not (isinstance(use, ast.Attribute) and use.attr in TORCH_SUPER):
                yield f"{source.name}:{node.lineno} uses super() for something else than {', '.join(TORCH_SUPER)}"


def errors_are_raised(source: Source) -> Iterator[str]:
    """An `assert` is a crash without a sentence, and is gone under `python -O`.

    A bare `assert x is not None` tells the type checker what the code around it makes sure of, and may stay.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assert) and (node.msg or not ast.unparse(node.test).endswith(" is not None")):
            yield f"{source.name}:{node.lineno} asserts; raise a SternaError, or make it impossible"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{source.name}:{node.lineno} catches everything, interruptions included"


def python_3_11_reads_it(source: Source) -> Iterator[str]:
    try:
        tree = ast.parse(source.text, feature_version=(3, 11))
    except SyntaxError as error:
        yield f"{source.name}:{error.lineno} {error.msg}"
        return
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, (ast.Attribute, ast.Name)):
            names = [ast.unparse(node)]
        yield from (f"{source.name}:{node.lineno} uses {name}, newer than 3.11" for name in names if name in TOO_NEW)


def long_function(lines: int) -> str:
    return "def f():\n" + "    x = 1\n" * lines


WIDE = "def f(a, b, c, d, e, f, g, h, i): ..."
RULES: dict[Rule, list[tuple[str, str]]] = {
    # rule -> samples (module, code) that it must refuse
    files_are_short: [("a", "x = 1\n" * 400)],
    functions_are_short: [
        ("a", long_function(61)),
        ("a", 'def f():\n    """Text."""\n' + "    x = 1\n" * 61),
        ("a", "def f():\n    def g():\n" + "        x = 1\n" * 61 + "    return g"),
        ("a", "class A:\n    def f(self):\n        return [\n" + "            1,\n" * 60 + "        ]"),
    ],
    arguments_are_few: [
        ("a", WIDE),
        ("study", WIDE.replace("f(", "g(")),
        ("a", "class A:\n    def f(self, a, b, c, d, *, e, f, g, h, i): ..."),
        ("a", "def f(a, b, c, d, e, f, g, h, *i): ..."),
    ],
    arguments_have_names: [("a", "def f(**kwargs): ..."), ("a", "class A:\n    def f(self, a, **rest): ...")],
    public_things_are_explained: [
        ("a", ""),
        ("a", '"""Text."""\ndef f(): ...'),
        ("a", '"""Text."""\nclass A:\n    x = 1'),
    ],
    classes_are_final: [
        ("a", "from sterna.network import Network\nclass A(Network): ..."),
        ("a", "from sterna import records\nclass A(records.Table): ..."),
    ],
    super_is_for_torch: [
        ("a", "class A(nn.Module):\n    def forward(self, x):\n        return super().forward(x)"),
        ("a", "class A(B):\n    def f(self):\n        parent = super()\n        return parent.f()"),
    ],
    errors_are_raised: [
        ("a", "assert x, 'no x'"),
        ("a", "assert x"),
        ("a", "assert x is not None, 'no x'"),
        ("a", "try:\n    f()\nexcept:\n    pass"),
    ],
    python_3_11_reads_it: [
        ("a", "def f[T](x: T) -> T:\n    return x"),
        ("a", "type X = int"),
        ("a", "def f[T](x: T) -> T: ..."),
        ("a", "from copy import replace"),
        ("a", "from itertools import batched"),
        ("a", "import typing\n@typing.override\ndef f(): ..."),
        ("a", "import math\nmath.sumprod([1], [2])"),
    ],
}

GOOD = (
    '''
    """A file."""
    class Layer(nn.Module):
        """A layer."""
        def __init__(self):
            super().__init__()
        def train(self, mode=True):
            return super().train(mode)
    class _Hidden:
        def method(self, a, b, c, d, e, f, g, h): ...
    def explained(*rest):
        """Text.
'''
    + "        more\n" * 80
    + '''        """
        assert rest is not None
        try:
            return f(**{"a": 1})
        except ValueError:
            return None
    def _helper(): ...
'''
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule) -> None:
    wrong = [sentence for source in SOURCES for sentence in rule(source)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("rule", "name", "code"), [(rule, *bad) for rule, samples in RULES.items() for bad in samples])
def test_the_rule_refuses(rule: Rule, name: str, code: str) -> None:
    assert list(rule(Source(name, code)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_accepts(rule: Rule) -> None:
    assert list(rule(Source("good", textwrap.dedent(GOOD)))) == []


def test_limits_are_exact() -> None:
    assert list(functions_are_short(Source("a", long_function(60)))) == []
    assert list(files_are_short(Source("a", "x = 1\n" * 399))) == []
    assert list(arguments_are_few(Source("study", WIDE.replace("f(", "fit(", 1)))) == []
    assert list(arguments_are_few(Source("cli", WIDE))) == []


def test_most_functions_are_a_glance() -> None:
    lengths = sorted(body_lines(function) for source in SOURCES for function in functions(source))
    assert len(lengths) > 100
    assert lengths[int(0.9 * len(lengths))] <= BODY_LINES_P90


def test_wide_doors_are_there() -> None:
    """An exception that nothing uses any more is taken off the list."""
    there = {(source.name, function.name) for source in SOURCES for function in functions(source)}
    there |= {(name, "*") for name, _ in there}
    assert there >= WIDE_DOORS
