"""The house rules that can be read off the source: who imports whom, who prints, who seeds, who opens sealed labels.

Each rule is a function from one file to the sentences that say what is wrong with it. Every rule is held against the
whole package and against small bad samples, so that a rule that no longer sees anything fails here.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from sterna import folder

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "sterna"

# A row may import only rows below it, never itself. `sterna` is `__init__.py`; a folder stands for all its files.
ROWS = (
    ("__main__",),
    ("cli",),
    ("sterna",),
    ("shortlist", "comparison", "campaign", "detour", "sklearn"),
    ("study", "prediction", "catalogue", "sources", "report", "vantage"),
    ("portrait", "students", "sharing", "appraisal", "agenda", "climb", "ensemble"),
    ("attempts", "curve"),
    ("keeping",),
    ("route", "conclusion", "shipping", "weighing", "pace"),
    ("estimating",),
    ("footing", "standardising"),
    ("teaching",),
    ("desk", "card", "across", "overlap"),
    (
        "feeds",
        "plan",
        "result",
        "ranked",
        "contest",
        "compared",
        "breakdown",
        "intake",
        "evidence",
        "stagewise",
        "stepping",
        "gathering",
    ),
    ("train", "score", "store", "verdict", "artifact", "opening", "racing", "rungs"),
    ("solvers", "adaptive", "ranging"),
    ("passes",),
    ("underway",),
    (
        "checkpoint",
        "descent",
        "relative",
        "heads",
        "extraction",
        "crossing",
        "domainwise",
        "sourcewise",
        "recipe",
        "addition",
    ),
    (
        "data",
        "encoders",
        "tasks",
        "tune",
        "losses",
        "shallow",
        "augment",
        "optimizers",
        "ranking",
        "distances",
        "adapt",
        "criteria",
    ),
    (
        "estimators",
        "explained",
        "command",
        "adapting",
        "targeting",
        "wording",
        "semi_supervised",
        "columnwise",
        "together",
        "prompts",
        "prefixes",
    ),
    (
        *(
            "adapters",
            "bottlenecks",
            "chains",
            "shells",
            "hub",
            "tokens",
            "sounds",
            "rows",
            "peeking",
            "labelling",
            "folder",
            "files",
        ),
        *("preparation", "reading", "checks", "splitting", "mixing", "stats", "augmenting", "transforms", "fastest"),
        *("shards", "schedule", "settings", "sizes", "watching", "environment", "gallery", "attribution", "planar"),
        *("gate", "valuing", "prior", "measuring", "holding", "multitask"),
    ),
    ("adaptable",),
    ("network", "pieces", "delimited", "injection", "thumbnails", "lessons", "adversary", "discrepancy", "consistency"),
    ("maths", "spec", "contracts", "sequences", "cells", "parquet", "dialects", "charsets", "heap"),
    ("errors", "records", "outcomes"),
)
METHOD_FOLDERS = (
    "data",
    "encoders",
    "tasks",
    "tune",
    "losses",
    "shallow",
    "augment",
    "optimizers",
    "ranking",
    "distances",
    "adapt",
    "criteria",
)

# The only upward look: records names the network for type checkers, and never at run time.
UPWARD_TYPES = {("records", "network")}

# Where each package outside the standard library may be imported; `None` means anywhere.
PACKAGES: dict[str, tuple[str, ...] | None] = {
    "numpy": None,
    "torch": None,
    "PIL": ("data", "preparation", "thumbnails"),
    "matplotlib": (),
    "jinja2": ("report",),
    "charset_normalizer": ("charsets",),
    "rich": ("cli",),
    "huggingface_hub": ("hub",),
    "pyarrow": ("parquet",),
    "safetensors": ("addition", "artifact", "attempts", "keeping", "hub", "encoders.local"),
    "scipy": ("maths", "stats", "sounds", "estimators", "shallow", "ranking.parc", "adapt"),
    "skimage": ("encoders.classical",),
    "sklearn": (
        "data.arrays",
        "shallow",
        "estimators",
        "rows",
        "heads",
        "ranking.nleep",
        "adapt",
        "adapting",
        "crossing",
        "sklearn",
    ),
    "skops": ("estimators",),
    "soundfile": ("data._sounds",),
    "timm": ("encoders.timm", "encoders.local"),
    "tokenizers": ("tokens",),
    "torchvision": ("augment", "transforms", "encoders.torchvision", "encoders.local"),
    "transformers": ("encoders.hf", "encoders.sentence", "hub", "augment.back_translation"),
    "typer": ("cli",),
    "peft": ("adapters",),
    "ot": ("distances.wasserstein", "distances.otdd", "adapt"),
}
PROJECTS = {
    "PIL": "pillow",
    "charset_normalizer": "charset-normalizer",
    "huggingface_hub": "huggingface-hub",
    "ot": "pot",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}  # import name -> project name

TORCH_FREE = ("errors", "records", "spec", "folder", "catalogue", "settings", "plan", "cli")
LOADERS = ("folder", "sterna", "cli")  # may import by a name made at run time
SEED_SETTERS: set[tuple[str, str]] = set()  # (module, function) that may seed a process of its own, such as a worker


@dataclass(frozen=True)
class Source:
    """One file of the package; `name` is its module below `sterna`, and `sterna` for the front door."""

    name: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.split(".")[0]


@dataclass(frozen=True)
class Import:
    """One imported module, absolute."""

    target: str
    line: int
    typing_only: bool

    @property
    def inside(self) -> str:
        """The module below `sterna`, or "" for another package."""
        if self.target == "sterna":
            return "sterna"
        return self.target.removeprefix("sterna.") if self.target.startswith("sterna.") else ""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "sterna"


SOURCES = [Source(module_name(p), ast.parse(p.read_text("utf-8"))) for p in sorted(PACKAGE.rglob("*.py"))]
KNOWN = {source.name for source in SOURCES}


@cache
def imports(source: Source) -> tuple[Import, ...]:
    """Every import of a file, wherever it stands; most rules ask for them."""
    return tuple(_imports(source))


def _imports(source: Source) -> Iterator[Import]:
    guarded = [
        node for node in ast.walk(source.tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    typing_only = {id(inner) for node in guarded for inner in ast.walk(node)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in typing_only)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                base = "." * node.level + (node.module or "")
                deeper = f"{base}.{alias.name}"
                is_module = deeper.removeprefix("sterna.") in KNOWN
                yield Import(deeper if is_module else base, node.lineno, id(node) in typing_only)


def dotted_names(source: Source) -> Callable[[ast.AST], str]:
    """A function from a name or attribute to its full dotted name, import aliases resolved: `np.load` -> numpy.load."""
    full: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            heads = [(alias.name.split(".")[0], alias) for alias in node.names]
            full.update({alias.asname or head: alias.name if alias.asname else head for head, alias in heads})
        elif isinstance(node, ast.ImportFrom):
            full.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        if not isinstance(node, ast.Name):
            return "?"
        return full.get(node.id, node.id if hasattr(builtins, node.id) else f"?{node.id}")

    return dotted


def row_of(room: str) -> int:
    return next((number for number, row in enumerate(ROWS) if room in row), -1)


def own_part(source: Source, found: Import) -> bool:
    """Whether a method reads a private file beside it, such as `data._pictures`; a test gives each one owner."""
    return found.inside.startswith(f"{source.room}._") and source.room in METHOD_FOLDERS


def every_room_has_a_row(source: Source) -> Iterator[str]:
    if row_of(source.room) < 0:
        yield f"{source.name}: in no row; add '{source.room}' to ROWS in tests/test_layers.py and docs/architecture.md"


def imports_point_down(source: Source) -> Iterator[str]:
    for found in imports(source):
        room = found.inside.split(".")[0]
        if (
            not room
            or row_of(source.room) < 0
            or (source.room == room and room in ("maths", "report"))
            or own_part(source, found)
        ):
            continue
        if found.typing_only and (source.room, room) in UPWARD_TYPES:
            continue
        if row_of(room) <= row_of(source.room):
            yield f"{source.name}:{found.line} imports {found.target}, which is not in a row below it"


def methods_stand_alone(source: Source) -> Iterator[str]:
    """No file names a method's file: methods are found through `folder`. The front door may, to export a class."""
    for found in imports(source):
        room, _, leaf = found.inside.partition(".")
        if room in METHOD_FOLDERS and leaf and source.name != "sterna" and not own_part(source, found):
            yield f"{source.name}:{found.line} imports the method {found.inside}; use folder.load, or move it to maths"


def imports_are_absolute_and_on_top(source: Source) -> Iterator[str]:
    dotted = dotted_names(source)
    for found in imports(source):
        if found.target.startswith("."):
            yield f"{source.name}:{found.line} has a relative import"
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for inner in ast.walk(node):
                if isinstance(inner, (ast.Import, ast.ImportFrom)):
                    yield f"{source.name}:{inner.lineno} imports inside a function"
        by_name = isinstance(node, ast.Call) and dotted(node.func) in ("importlib.import_module", "__import__")
        if by_name and source.name not in LOADERS:
            yield f"{source.name}:{node.lineno} imports by name; only {', '.join(LOADERS)} may"


def packages_stay_in_their_file(source: Source) -> Iterator[str]:
    for found in imports(source):
        package = found.target.split(".")[0]
        if found.inside or package in STANDARD or package == "":
            continue
        if package not in PACKAGES:
            yield f"{source.name}:{found.line} imports {package}: add it to PACKAGES, pyproject.toml, dependencies.md"
            continue
        homes = PACKAGES[package]
        if homes is not None and source.name not in homes and source.room not in homes:
            yield f"{source.name}:{found.line} imports {package}, which only {homes} may"


def listing_needs_no_torch(source: Source) -> Iterator[str]:
    for found in imports(source):
        if source.name in TORCH_FREE and found.target.split(".")[0] == "torch" and not found.typing_only:
            yield f"{source.name}:{found.line} imports torch"


def only_the_command_line_speaks(source: Source) -> Iterator[str]:
    spoken = {"print", "input", "exit", "quit", "breakpoint", "SystemExit"}
    spoken |= {"sys.exit", "os._exit", "sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
    dotted = dotted_names(source)
    for node in ast.walk(source.tree):
        if source.name != "cli" and isinstance(node, (ast.Name, ast.Attribute)) and dotted(node) in spoken:
            yield f"{source.name}:{node.lineno} uses {dotted(node)}; only cli prints or exits"


def labels_stay_sealed(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in ("open_for_scoring", "_labels"):
            own = source.name == "records" and node.attr == "_labels"
            if source.name != "score" and not own:
                yield f"{source.name}:{node.lineno} opens sealed labels; only score may"


def randomness_is_fenced(source: Source) -> Iterator[str]:
    """Global generators are seeded only inside `with torch.random.fork_rng()`; numpy's and Python's never."""
    dotted = dotted_names(source)
    setters = re.compile(
        r"torch(\.random|\.cuda|\.mps)?(\.default_generator)?\.(manual_seed(_all)?|seed(_all)?|set_rng_state(_all)?)"
    )
    made = ("default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "Philox")

    def walk(node: ast.AST, fenced: bool, function: str) -> Iterator[str]:
        if isinstance(node, ast.With):
            fenced = fenced or any("fork_rng" in ast.dump(item.context_expr) for item in node.items)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = node.name
            fenced = False  # a function defined under a fence may run outside it
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            loose = setters.fullmatch(name) and not fenced and (source.name, function) not in SEED_SETTERS
            if loose or _global_draw(name, made):
                yield f"{source.name}:{node.lineno} calls {name} outside a fence"
        for child in ast.iter_child_nodes(node):
            yield from walk(child, fenced, function)

    yield from walk(source.tree, False, "")


def _global_draw(name: str, made: tuple[str, ...]) -> bool:
    """Whether a call uses the global generator of numpy or of Python."""
    if name.startswith("numpy.random."):
        return name.split(".")[2] not in made
    return name.startswith("random.") and name != "random.Random"


def files_are_opened_safely(source: Source) -> Iterator[str]:
    """Nothing that is read may run code: no pickles, no eval."""
    dotted = dotted_names(source)
    wanted = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
    for found in imports(source):
        if found.target.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"):
            yield f"{source.name}:{found.line} imports {found.target}, which can run code from a file"
    for node in ast.walk(source.tree):
        name = dotted(node.func) if isinstance(node, ast.Call) else ""
        if name in ("eval", "exec", "numpy.loads"):
            yield f"{source.name}:{node.lineno} calls {name}"
        if isinstance(node, ast.Call) and name in wanted:
            key, value = wanted[name]
            given = [k.value.value for k in node.keywords if k.arg == key and isinstance(k.value, ast.Constant)]
            if given != [value]:
                yield f"{source.name}:{node.lineno} calls {name} without {key}={value}"


STANDARD = sys.stdlib_module_names
RULES: dict[Callable[[Source], Iterator[str]], list[tuple[str, str]]] = {
    # rule -> samples (module, code) that it must refuse
    every_room_has_a_row: [("attic", ""), ("attic.box", "")],
    imports_point_down: [
        ("errors", "from sterna import spec"),
        ("errors", "from sterna.records import Table"),
        ("spec", "import sterna.network"),
        ("maths.kernels", "from sterna import spec"),
        ("maths.kernels", "from sterna.network import Network"),
        ("network", "from sterna.train import run"),
        ("losses.l2", "from sterna import store"),
        ("losses.l2", "from sterna.tune.probe import Probe"),
        ("train", "from sterna.score import accuracy"),
        ("study", "from sterna import L2SP"),
        ("study", "from sterna import cli"),
        ("spec", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sterna.network import Network"),
        ("records", "from sterna.network import Network"),
    ],
    methods_stand_alone: [
        ("losses.dann", "from sterna.losses.l2 import L2"),
        ("losses.dann", "from sterna.losses import l2"),
        ("losses.dann", "import sterna.losses.l2 as pull"),
        ("losses.dann", "import sterna.tune._parts"),
        ("train", "import sterna.losses._parts"),
        ("train", "from sterna.losses.l2sp import L2SP"),
    ],
    imports_are_absolute_and_on_top: [
        ("losses.l2", "from . import l2sp"),
        ("losses.l2", "from ..maths import seeds"),
        ("train", "def run():\n    import torch"),
        ("train", "class A:\n    def run(self):\n        if 1:\n            from torch import nn"),
        ("train", "import importlib\nimportlib.import_module('torch')"),
        ("train", "from importlib import import_module as get\nget('torch')"),
        ("train", "x = __import__('torch')"),
    ],
    packages_stay_in_their_file: [
        ("train", "import timm"),
        ("encoders.torchvision", "from timm.layers import x"),
        ("train", "try:\n    import skimage.feature\nexcept ImportError:\n    pass"),
        ("study", "from rich.progress import track"),
        ("study", "import matplotlib.pyplot"),
        ("study", "import pandas"),
    ],
    listing_needs_no_torch: [("spec", "import torch"), ("folder", "from torch import nn")],
    only_the_command_line_speaks: [
        ("study", "print('x')"),
        ("study", "import sys\nsys.exit(2)"),
        ("study", "from sys import exit as leave\nleave(2)"),
        ("study", "raise SystemExit(2)"),
        ("study", "import sys\nsys.stderr.write('x')"),
        ("study", "show = print"),
    ],
    labels_stay_sealed: [
        ("study", "sealed.open_for_scoring()"),
        ("train", "get = sealed.open_for_scoring"),
        ("train", "sealed._labels"),
    ],
    randomness_is_fenced: [
        ("train", "import torch\ntorch.manual_seed(1)"),
        ("train", "from torch import manual_seed\ndef f():\n    manual_seed(1)"),
        ("train", "import torch\nwith torch.random.fork_rng():\n    pass\ntorch.random.manual_seed(1)"),
        ("train", "import torch\nwith torch.random.fork_rng():\n    def f():\n        torch.manual_seed(1)"),
        ("train", "import torch\ntorch.cuda.manual_seed_all(1)"),
        ("train", "from torch import random\nrandom.default_generator.manual_seed(1)"),
        ("train", "import numpy as np\nnp.random.seed(1)"),
        ("train", "import numpy as np\nnp.random.permutation(5)"),
        ("train", "from numpy.random import rand\nrand(5)"),
        ("train", "import random\nrandom.shuffle(x)"),
        ("train", "from random import choice\nchoice(x)"),
    ],
    files_are_opened_safely: [
        ("store", "import torch\ntorch.load(p)"),
        ("store", "import torch\ntorch.load(p, weights_only=False)"),
        ("store", "import numpy as np\nnp.load(p)"),
        ("store", "from numpy import load\nload(p, allow_pickle=True)"),
        ("store", "import pickle"),
        ("store", "from joblib import load"),
        ("store", "eval('1')"),
    ],
}

GOOD = """
    from __future__ import annotations
    import random
    from typing import TYPE_CHECKING
    import numpy as np
    import torch
    from sterna.maths.seeds import derive
    from sterna.records import Table
    if TYPE_CHECKING:
        from sterna.network import Network

    def draw(seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed))
        torch.Generator().manual_seed(seed)
        np.random.default_rng(seed).random(3)
        random.Random(seed).random()
        torch.load("x", weights_only=True)
        np.load("x", allow_pickle=False, mmap_mode="r")
        record.printed = "print"
        random_state = random.Random(seed)
        random_state.shuffle([])
"""


def sample(name: str, code: str) -> Source:
    return Source(name, ast.parse(textwrap.dedent(code)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Callable[[Source], Iterator[str]]) -> None:
    wrong = [sentence for source in SOURCES for sentence in rule(source)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("rule", "name", "code"), [(rule, *bad) for rule, samples in RULES.items() for bad in samples])
def test_the_rule_refuses(rule: Callable[[Source], Iterator[str]], name: str, code: str) -> None:
    assert list(rule(sample(name, code)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_accepts(rule: Callable[[Source], Iterator[str]]) -> None:
    assert list(rule(sample("losses.good", GOOD))) == []
    assert list(rule(sample("train", GOOD))) == []


def owners(sources: list[Source]) -> dict[str, set[str]]:
    """Which files read each private file of a method folder."""
    found: dict[str, set[str]] = {}
    for source in sources:
        for one in imports(source):
            if own_part(source, one):
                found.setdefault(one.inside, set()).add(source.name)
    return found


def test_a_private_file_has_one_owner() -> None:
    """What two methods need goes down to a row below."""
    private = {name for name in KNOWN if "._" in name}
    assert {name: used for name, used in owners(SOURCES).items() if len(used) > 1} == {}
    assert private - set(owners(SOURCES)) == set(), "private files that no method reads"
    shared = [sample(name, "import sterna.data._parts") for name in ("data.images", "data.arrays")]
    assert owners(shared) == {"data._parts": {"data.images", "data.arrays"}}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Some modules that import one another in a ring, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        rings = (visit(one, [*path, name]) for one in sorted(graph.get(name, ())))
        found = next((ring for ring in rings if ring), [])
        done.add(name)
        return found

    return next((ring for ring in (visit(name, []) for name in sorted(graph)) if ring), [])


def test_no_import_cycles() -> None:
    graph = {s.name: {found.inside for found in imports(s) if found.inside and not found.typing_only} for s in SOURCES}
    assert len(graph) > 20
    assert cycle(graph) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert cycle({"a": {"a"}}) == ["a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_every_row_is_there() -> None:
    rooms = [room for row in ROWS for room in row]
    assert len(rooms) == len(set(rooms))
    assert [room for room in rooms if room not in KNOWN] == [], "rows name modules that do not exist"


def test_the_page_shows_the_same_rows() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    block = re.search(r"```rows\n(.*?)```", text, re.DOTALL)
    assert block, "docs/architecture.md has a block that starts with ```rows"
    assert tuple(tuple(line.split()) for line in block[1].splitlines()) == ROWS
    described = set(re.findall(r"^\| `(\w+)/?` \|", text, re.MULTILINE))
    assert described == {room for row in ROWS for room in row}


def test_every_dependency_is_declared_and_explained() -> None:
    declared = (ROOT / "pyproject.toml").read_text("utf-8")
    wanted = set(re.findall(r'"([A-Za-z][\w-]*)>=', declared))
    explained = set(re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs" / "dependencies.md").read_text("utf-8"), re.M))
    assert explained == wanted
    assert {PROJECTS.get(package, package) for package in PACKAGES} <= wanted


def test_methods_have_their_folders() -> None:
    assert folder.FOLDERS == METHOD_FOLDERS


def test_permissions_are_used() -> None:
    """A file that no longer imports a package loses the right to."""
    used = {(s.name, found.target.split(".")[0]) for s in SOURCES for found in imports(s)}
    used |= {(name.split(".")[0], package) for name, package in used}
    granted = {(home, package) for package, homes in PACKAGES.items() for home in homes or ()}
    assert granted - used == set()
