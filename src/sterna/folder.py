"""A folder is a registry: the methods of sterna are the files of its method folders.

There is no list, enum or decorator to keep in step. `names` reads the folder, `load` imports one file, `resolve` turns
a written specification into checked option objects.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sterna import spec
from sterna.errors import MissingPackageError, SpecError

FOLDERS = (
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


def names(folder: str) -> tuple[str, ...]:
    """The methods in `sterna/<folder>`, sorted; nothing is imported."""
    return tuple(sorted(path.stem for path in _place(folder).glob("*.py") if not path.stem.startswith("_")))


def module(folder: str, name: str) -> ModuleType:
    """The file of one method, imported now.

    Raises `SpecError` for a name that is not there (with the nearest one) and `MissingPackageError` when the package
    it wraps is not installed.
    """
    known = names(folder)
    if name not in known:
        raise SpecError(unknown(f"{folder} method", name, known))
    try:
        return importlib.import_module(f"sterna.{folder}.{name}")
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "sterna") or importlib.util.find_spec(package):
            raise  # a mistake in sterna, or a package that is there and lacks a part
        raise MissingPackageError(missing(f"{name} (in {folder})", package)) from error


def lacking(folder: str, name: str) -> str:
    """The sentence of a method whose package is not installed, "" for one that can be used."""
    try:
        module(folder, name)
    except MissingPackageError as error:
        return str(error)
    return ""


def load(folder: str, name: str) -> type:
    """The option class of one method: the only class of its file that `spec.method` made."""
    found = [value for value in vars(module(folder, name)).values() if spec.is_method(value)]
    here = [value for value in found if value.__module__ == f"sterna.{folder}.{name}"]
    if len(here) != 1:
        raise TypeError(f"sterna/{folder}/{name}.py must define exactly one method class, found {len(here)}")
    return here[0]


def task(name: str, classes: Sequence[str]) -> Any:
    """What a label is: the file of `tasks/`, told the classes of the data where it must know them beforehand."""
    made = load("tasks", name)
    return made(tuple(classes)) if spec.options(made) else made()


def resolve(folder: str, written: Any) -> tuple[Any, ...]:
    """The checked option objects of a sum such as `"cross_entropy + l2sp(weight=0.01)"`.

    Takes a string, an option object, or a sequence of either; objects pass through as they are.
    """
    if isinstance(written, str):
        return tuple(build(folder, call) for call in spec.parse_sum(written))
    if spec.is_method(type(written)):
        home = type(written).__module__
        if home.startswith("sterna.") and home.split(".")[1] != folder:
            raise SpecError(f"{folder} got {written!r}, which belongs to {home.split('.')[1]}.")
        return (written,)
    if isinstance(written, Sequence):
        return tuple(item for part in written for item in resolve(folder, part))
    raise SpecError(f"{folder} must be text such as '{names(folder)[0]}' or an option object, got {written!r}.")


def build(folder: str, call: spec.Call) -> Any:
    """One option object from one parsed call."""
    return spec.make(load(folder, call.name), call)


def docstring(folder: str, name: str) -> str:
    """A method's page, read without importing it, so that listing needs no heavy package."""
    return ast.get_docstring(ast.parse((_place(folder) / f"{name}.py").read_text(encoding="utf-8"))) or ""


def summary(folder: str, name: str) -> str:
    """The first line of a method's page."""
    return docstring(folder, name).split("\n", 1)[0]


def unknown(kind: str, got: str, known: Sequence[str]) -> str:
    """The sentence for a name that does not exist: what, the nearest name, what is allowed."""
    return f"unknown {kind} '{got}'.{spec.did_you_mean(got, known)} Known: {', '.join(known) or 'none'}."


def missing(what: str, package: str) -> str:
    """The sentence for a package that is not installed, naming the extra of sterna that brings it."""
    project = _PROJECTS.get(package, package)
    wanted = project
    for requirement in _requirements():
        extra = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", requirement)
        if extra and re.match(rf"{re.escape(project)}(?![\w.-])", requirement, re.IGNORECASE):
            wanted = f"'sterna[{extra[1]}]'"
            break
    return f"{what} needs the package '{project}', which is not installed: type pip install {wanted}."


# Packages whose name on the index is not the one they are imported by.
_PROJECTS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "PIL": "pillow"}


def _requirements() -> Sequence[str]:
    try:
        return importlib.metadata.requires("sterna") or ()
    except importlib.metadata.PackageNotFoundError:  # run from a source folder
        return ()


def _place(folder: str) -> Path:
    if folder not in FOLDERS:
        raise SpecError(unknown("folder of methods", folder, FOLDERS))
    return Path(__file__).parent / folder
