"""What exists: every method by folder, and the page of one method, as data for whoever shows it.

Listing reads files without importing them, so it works where a heavy package is missing; a page with options imports
the one file it is about. The options of a whole run, which are no methods, have pages too, under "run".
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from types import ModuleType

from sterna import folder, schedule, settings, spec
from sterna.errors import SpecError

RUN = {"schedule": schedule, "settings": settings}


@dataclass(frozen=True)
class Entry:
    """One line of the listing."""

    folder: str
    name: str
    summary: str


@dataclass(frozen=True)
class Row:
    """One option of a method, in words."""

    name: str
    type: str
    default: str
    allowed: str  # "" where the type says it all
    help: str


@dataclass(frozen=True)
class Page:
    """All there is to know about one method. Parts that its file does not give are ""."""

    folder: str
    name: str
    summary: str
    paper: str
    equation: str
    when_not: str
    notes: tuple[str, ...]  # the other paragraphs of the file's docstring
    options: tuple[Row, ...]


def listing() -> tuple[Entry, ...]:
    """Every method, in the order of `folder.FOLDERS` and then by name; no method is imported."""
    return tuple(Entry(place, name, _docstring(place, name).split("\n", 1)[0]) for place, name in _every())


def page(name: str) -> Page:
    """The page of one method, named `l2sp` or, where two folders share a name, `losses/l2sp`.

    Raises `SpecError` for a name that is nowhere or in several folders, and `MissingPackageError` when a package that
    the method wraps is not installed.
    """
    place, short = _found(name)
    parts = paragraphs(_docstring(place, short))
    return Page(
        folder=place,
        name=short,
        summary=parts.pop("", [""])[0],
        paper=" ".join(parts.pop("Paper", []) + parts.pop("Papers", [])),
        equation=" ".join(parts.pop("Equation", [])),
        when_not=" ".join(parts.pop("When not to use", [])),
        notes=tuple(parts.pop("notes", [])),
        options=_rows(place, short),
    )


def paragraphs(docstring: str) -> dict[str, list[str]]:
    """The paragraphs of a method's docstring by their label; the first has the label "", unlabelled ones "notes".

    Line breaks inside a paragraph become spaces, so that whoever shows it can wrap it anew; a paragraph with indented
    lines, such as an equation set apart, keeps them.
    """
    found: dict[str, list[str]] = {}
    for number, block in enumerate(re.split(r"\n\s*\n", docstring.strip())):
        text = block if re.search(r"\n\s", block) else " ".join(block.split())
        label = _LABEL.match(text)
        if number == 0:
            found[""] = [text]
        elif label:
            found.setdefault(label[1], []).append(text[label.end() :])
        else:
            found.setdefault("notes", []).append(text)
    return found


_LABEL = re.compile(r"(Papers?|Equation|When not to use):\s+")


def _every() -> list[tuple[str, str]]:
    """The folder and the name of everything that has a page."""
    return [(place, name) for place in folder.FOLDERS for name in folder.names(place)] + [("run", name) for name in RUN]


def _docstring(place: str, name: str) -> str:
    return inspect.getdoc(RUN[name]) or "" if place == "run" else folder.docstring(place, name)


def _found(name: str) -> tuple[str, str]:
    """The folder and the short name that `name` means."""
    wanted = name.strip().replace("-", "_")
    fits = [(place, short) for place, short in _every() if wanted in (short, f"{place}/{short}")]
    if len(fits) > 1:
        choices = " or ".join(f"'{place}/{short}'" for place, short in fits)
        raise SpecError(f"'{name}' is the name of {len(fits)} methods; write {choices}.")
    if not fits:
        raise SpecError(folder.unknown("method", name, sorted({short for _, short in _every()})))
    return fits[0]


def _rows(place: str, name: str) -> tuple[Row, ...]:
    """The options of a method; none for folders whose files hold functions instead of an option class."""
    file: ModuleType = RUN[name] if place == "run" else folder.module(place, name)
    classes = [value for value in vars(file).values() if spec.is_method(value) and value.__module__ == file.__name__]
    return tuple(
        Row(
            option.name,
            spec.type_name(option.type),
            spec.written(option.default),
            str(option.allowed) if option.allowed is not None else "",
            option.help,
        )
        for one in classes
        for option in spec.options(one)
    )
