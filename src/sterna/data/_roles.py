"""Which columns of a table are the text, the label, the part, the group and the domain of an example."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sterna import checks, dialects, labelling, peeking, spec
from sterna.errors import DataError
from sterna.records import Columns, Finding

_SAMPLE = 500  # rows looked at
_PAIRS = (("premise", "hypothesis"), ("question", "sentence"), ("question", "answer"), ("query", "document"))
_NAMELESS = re.compile(r"column\d+")
_TWINS = (("1", "2"), ("a", "b"), ("left", "right"), ("first", "second"))


@dataclass(frozen=True)
class Roles:
    """Names of columns; "" and () where there is none."""

    text: tuple[str, ...]
    label: tuple[str, ...] = ()
    part: str = ""
    group: str = ""
    domain: str = ""


class Seen:
    """The names and first cells of a table.

    Args:
        origin: what a person calls the table.
        columns: its cells by name.
    """

    def __init__(self, origin: str, columns: Mapping[str, Sequence[str | None]]) -> None:
        self.origin = origin
        self.names = tuple(columns)
        self.cells = {name: [cell for cell in column[:_SAMPLE] if cell] for name, column in columns.items()}
        places = peeking.texts(self.names, [self.cells[name] for name in self.names])
        self.running = [self.names[place] for place in places]

    def usual(self, role: str, without: Sequence[str]) -> list[str]:
        """The columns with a usual name for this role, in order of preference."""
        plain = {dialects.plain(name): name for name in reversed(self.names) if name not in without}
        return [plain[name] for name in dialects.USUAL[role] if name in plain]


def find(seen: Seen, said: Columns, labelled: bool = True) -> tuple[Roles, list[Finding]]:
    """The columns by their roles, and what was guessed, said with how to have it otherwise.

    Args:
        seen: the table.
        said: what a person said of its columns; it is followed.
        labelled: False looks for no label.

    Raises `DataError` for a column that is not there, and where the text or the label cannot be told.
    """
    for name in (*said.text, *said.label, said.group, said.domain):
        if name and name not in seen.names:
            raise DataError(
                f"{seen.origin} has no column '{name}'.{spec.did_you_mean(name, seen.names)} It has "
                f"{', '.join(seen.names)}; type one of these."
            )
    if len(said.text) > 2:
        raise DataError(f"--text takes one column, or two for pairs, got {', '.join(said.text)}; leave some out.")
    taken = [*said.label, said.group, said.domain]
    text = said.text or _text(seen, taken)
    part = _part(seen, [*taken, *text])
    group = said.group or _group(seen, [*taken, *text, part])
    label = said.label or (_label(seen, [*taken, *text, part, group]) if labelled else ())
    roles = Roles(tuple(text), tuple(label), part, group, said.domain)
    return roles, list(_told(seen.origin, roles, said))


def _told(origin: str, roles: Roles, said: Columns) -> Iterator[Finding]:
    guessed = [
        ("text", roles.text if not said.text else ()),
        ("label", roles.label if not said.label else ()),
        ("part", (roles.part,)),
        ("group", (roles.group,) if not said.group else ()),
    ]
    told = [(role, f"{role} from {' and '.join(map(repr, names))}") for role, names in guessed if any(names)]
    if told:
        options = " or ".join(f"--{role} NAME" for role, _ in told if role != "part")
        yield Finding(
            "inferred",
            f"the columns of {origin} are read as {', '.join(what for _, what in told)}; "
            f"{f'type {options}' if options else 'rename the column'} if that is wrong.",
        )


def _text(seen: Seen, taken: Sequence[str]) -> tuple[str, ...]:
    running = [name for name in seen.running if name not in taken]
    for place, first in enumerate(running):
        for second in running[place + 1 :]:
            if _twins(first, second) or (len(running) == 2 and _NAMELESS.fullmatch(first) and _NAMELESS.match(second)):
                return (first, second)
    usual = seen.usual("text", taken)
    among = [name for name in usual if name in running] or running or usual
    if not among and len(seen.names) == 1:
        among = list(seen.names)
    if not among:
        raise DataError(
            f"{seen.origin} has no column that is plainly the text; it has {', '.join(seen.names)}; type --text NAME."
        )
    if among[0] in usual:
        return (among[0],)
    return (max(among, key=lambda name: sum(map(len, seen.cells[name])) / len(seen.cells[name])),)


def _twins(first: str, second: str) -> bool:
    """Whether two names are those of a pair: `sentence1` and `sentence2`, `#1 String` and `#2 String`."""
    left, right = dialects.plain(first), dialects.plain(second)
    if (left, right) in _PAIRS:
        return True
    tokens = [re.findall(r"\d+|[a-z]+", one) for one in (left, right)]
    if len(tokens[0]) != len(tokens[1]):
        return False
    other = [pair for pair in zip(*tokens, strict=True) if pair[0] != pair[1]]
    return len(other) == 1 and other[0] in _TWINS


def _part(seen: Seen, taken: Sequence[str]) -> str:
    for name in seen.usual("part", taken):
        values = {cell.casefold() for cell in seen.cells[name]}
        if values & checks.PART_NAMES.keys():
            return name
    return ""


def _group(seen: Seen, taken: Sequence[str]) -> str:
    usual = (name for name in seen.usual("group", taken) if len(set(seen.cells[name])) < len(seen.cells[name]))
    return next(usual, "")


def _label(seen: Seen, taken: Sequence[str]) -> tuple[str, ...]:
    usual = seen.usual("label", taken)
    if usual:
        return (usual[0],)
    left = [name for name in seen.names if name not in (*taken, *seen.running) and not _identifies(seen, name)]
    if len(left) == 1 or (left and all(set(seen.cells[name]) == {"0", "1"} for name in left)):
        return tuple(left)
    what = (
        f"several columns that may be the label ({', '.join(left)})" if left else "no column that is plainly the label"
    )
    raise DataError(f"{seen.origin} has {what}; it has {', '.join(seen.names)}; type --label NAME.")


def _identifies(seen: Seen, name: str) -> bool:
    """Whether a column names rows: by its name, or because its cells all differ and are no amounts."""
    words = dialects.plain(name).split("_")
    if words[-1] in dialects.USUAL["id"] or words[0] in dialects.USUAL["id"]:
        return True
    cells = seen.cells[name]
    values = [labelling.number(cell) for cell in cells]
    amounts = any(value is not None and not value.is_integer() for value in values)
    return not cells or (len(cells) > 2 and len(set(cells)) == len(cells) and not amounts)
