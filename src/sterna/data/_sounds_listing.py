"""Which sound files a reference means, and what it says of each. No sound file is opened here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from sterna import checks, delimited, dialects, labelling, peeking, spec
from sterna.errors import DataError
from sterna.records import Columns, Finding

_SAMPLE = 500  # rows looked at
# Usual names of columns, in order of preference; compared in `dialects.plain` form.
_PATHS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path"),
    *("audio", "audio_path", "audio_file", "recording", "sound", "wav", "clip"),
)
_LABELS = (*dialects.USUAL["label"], "command", "digit", "word", "event", "genre", "instrument", "speaker")
_GROUPS = ("speaker", "speaker_id", "client_id", "singer", "src_file", "recording_id", *dialects.USUAL["group"])


@dataclass(frozen=True)
class Entry:
    """One sound file as listed."""

    path: str  # to open it
    name: str  # what a person calls it
    labels: tuple[str | None, ...]  # one for each column of labels
    part: str = ""  # "", "train", "validation", "test"
    group: str = ""  # "" for none
    domain: str = ""


@dataclass
class Listing:
    """What a reference lists, and what was seen on the way."""

    called: tuple[str, ...]  # the columns of labels
    entries: list[Entry] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)  # named by folders, with or without recordings
    findings: list[Finding] = field(default_factory=list)
    task: str = ""  # what a folder says of it


def folder(root: Path) -> Listing:
    """A folder of class folders, or of train, validation and test folders that hold them.

    Raises `DataError` where there are no class folders, and where a single folder lies around the one that is meant.
    """
    listing = Listing(("folder",), task="classify")
    parts = _parts(root)
    foreign, loose = [], []
    for path in _below(root):
        names = path.relative_to(root).parts
        within = names[1:] if parts else names
        if path.suffix.lower() not in peeking.SOUNDS:
            foreign.append("/".join(names))
        elif len(within) < 2 or (parts and names[0] not in parts):
            loose.append("/".join(names))
        else:
            listing.entries.append(Entry(str(path), "/".join(names), (within[0],), parts.get(names[0], "")))
    without, unlabelled = labelling.unlabelled_folders(
        ((entry.part, str(entry.labels[0])) for entry in listing.entries), "recording"
    )
    listing.entries = [entry for entry in listing.entries if entry.labels[0] not in without]
    holders = [root / name for name in parts] or [root]
    listing.classes = {one.name for place in holders for one in _visible(place) if one.is_dir()} - without
    if not listing.entries:
        raise _nothing(root, loose)
    classes = {entry.labels[0] for entry in listing.entries}
    if not parts and len(classes) == 1:
        _refuse_wrapping(root / str(classes.pop()))
    listing.findings = [*_parts_told(parts), *unlabelled, *_left_out(foreign, loose)]
    return listing


def sounds_below(root: Path) -> list[str]:
    """The paths of all sound files in a folder and below it, sorted; hidden ones left out."""
    return [str(path) for path in _below(root) if path.suffix.lower() in peeking.SOUNDS]


def table(file: Path, said: Columns) -> Listing:
    """A table with a column of paths, one or several of labels, and perhaps part, group and domain.

    Raises `DataError` for a column that is not there, and where the column of paths or of labels cannot be told.
    """
    raw = delimited.read(file)
    roles, told = _roles(file, raw, said)
    place, moved = _place(file, raw.columns[roles.path])
    cells = {name: raw.columns[name] for name in (roles.part, roles.group, roles.domain) if name}
    listing, pathless = Listing(roles.label), []
    for row, path in enumerate(raw.columns[roles.path]):
        if not path:
            pathless.append(f"row {raw.rows[row]}")
            continue
        here = {name: column[row] or "" for name, column in cells.items()}
        listing.entries.append(
            Entry(
                str(place / Path(path).expanduser()),
                path,
                tuple(raw.columns[name][row] for name in roles.label),
                _part(here.get(roles.part, ""), file),
                here.get(roles.group, ""),
                here.get(roles.domain, ""),
            )
        )
    if not listing.entries:
        raise DataError(f"{file} names no recording; fill in column '{roles.path}'.")
    listing.findings = [*raw.findings, *told, *moved, *_without_path(pathless, roles.path)]
    return listing


@dataclass(frozen=True)
class _Roles:
    """Names of columns; "" where there is none."""

    path: str
    label: tuple[str, ...]
    part: str
    group: str
    domain: str


def _roles(file: Path, raw: delimited.Raw, said: Columns) -> tuple[_Roles, list[Finding]]:
    for name in (*said.label, said.group, said.domain):
        if name and name not in raw.names:
            raise DataError(
                f"{file.name} has no column '{name}'.{spec.did_you_mean(name, raw.names)} It has "
                f"{', '.join(raw.names)}; type one of these."
            )
    path = _path_column(file, raw)
    free = [name for name in raw.names if name not in (path, *said.label, said.group, said.domain)]
    part = next((name for name in _usual(free, dialects.USUAL["part"]) if _names_parts(raw.columns[name])), "")
    label = said.label or _label_column(file, raw, [name for name in free if name != part])
    free = [name for name in free if name not in (part, *label)]
    group = said.group or next((name for name in _usual(free, _GROUPS) if _repeats(raw.columns[name])), "")
    guessed = {
        "path": (path,),
        "label": () if said.label else label,
        "part": (part,),
        "group": () if said.group else (group,),
    }
    written = ", ".join(f"{role} from '{names[0]}'" for role, names in guessed.items() if names and names[0])
    told = Finding(
        "inferred",
        f"the columns of {file.name} are read as {written}; type --label NAME or --group NAME, or rename the column, "
        "if that is wrong.",
    )
    return _Roles(path, tuple(label), part, group, said.domain), [told]


def _path_column(file: Path, raw: delimited.Raw) -> str:
    def share(name: str) -> float:
        cells = [cell for cell in raw.columns[name][:_SAMPLE] if cell]
        return sum(Path(cell).suffix.lower() in peeking.SOUNDS for cell in cells) / max(len(cells), 1)

    ordered = list(dict.fromkeys([*_usual(raw.names, _PATHS), *raw.names]))
    found = [name for name in ordered if share(name) >= 0.5]
    if not found:
        raise DataError(
            f"{file.name} has no column of paths of sound files; it has {', '.join(raw.names)}; add one whose cells "
            "end in .wav, .flac, .ogg or .mp3."
        )
    return found[0]


def _label_column(file: Path, raw: delimited.Raw, free: Sequence[str]) -> tuple[str, ...]:
    usual = _usual(free, _LABELS)
    left = [name for name in free if _repeats(raw.columns[name]) or _amounts(raw.columns[name])]
    found = usual[:1] or (left if len(left) == 1 else [])
    if not found:
        what = f"several that may be ({', '.join(left)})" if left else "none that can be"
        raise DataError(
            f"{file.name} has no column that is plainly the label, and {what}; it has {', '.join(raw.names)}; type "
            "--label NAME."
        )
    return (_named(raw, found[0], usual[1:]),)


def _named(raw: delimited.Raw, label: str, others: Sequence[str]) -> str:
    """Of columns that say the same as a column of numbers, the one that says it in names."""
    cells = raw.columns[label]
    if any(labelling.number(cell) is None for cell in cells if cell):
        return label
    for name in others:
        pairs = len(set(zip(cells, raw.columns[name], strict=True)))
        names = {cell for cell in raw.columns[name] if cell and labelling.number(cell) is None}
        if pairs == len(set(cells)) == len(names):
            return name
    return label


def _usual(names: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The names that are usual, in order of preference."""
    plain = {dialects.plain(name): name for name in reversed(names)}
    return [plain[name] for name in usual if name in plain]


def _names_parts(column: Sequence[str | None]) -> bool:
    return any((cell or "").casefold() in checks.PART_NAMES for cell in column[:_SAMPLE])


def _repeats(column: Sequence[str | None]) -> bool:
    """Whether a column may name groups: some examples share a value, and not all do."""
    cells = [cell for cell in column if cell]
    return 1 < len(set(cells)) < len(cells)


def _amounts(column: Sequence[str | None]) -> bool:
    values = [labelling.number(cell) for cell in column[:_SAMPLE] if cell]
    return bool(values) and any(value is not None and not value.is_integer() for value in values)


def _place(file: Path, paths: Sequence[str | None]) -> tuple[Path, list[Finding]]:
    """The folder that the paths start from: the table's own, else one in it, above it, or in the one above it."""
    first = next((path for path in paths if path), "")
    above = file.absolute().parent.parent
    near = chain((file.parent,), _folders(file.parent), (above,), _folders(above))
    found = next((place for place in near if os.path.isfile(place / Path(first).expanduser())), file.parent)
    if found == file.parent:
        return found, []
    sentence = f"the paths of {file.name} are read as starting from {found}; move the table there if that is wrong."
    return found, [Finding("inferred", sentence)]


def _folders(place: Path) -> Iterator[Path]:
    return (path for path in _visible(place) if path.is_dir())


def _part(written: str, file: Path) -> str:
    part = checks.PART_NAMES.get(written.casefold()) if written else ""
    if part is None:
        raise DataError(f"the split column of {file} says '{written}'; it may say train, validation or test.")
    return part


def _without_path(rows: Sequence[str], column: str) -> Iterator[Finding]:
    if rows:
        sentence = (
            f"{checks.counted(len(rows), 'row')} without a path in column '{column}' set aside: {checks.some(rows)}; "
            "fill them in to use them."
        )
        yield Finding("no path", sentence, tuple(rows))


def _visible(place: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(place))
    except PermissionError:
        return []
    return [place / name for name in names if not name.startswith((".", "__MACOSX"))]


def _below(place: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All files below a folder, sorted, linked folders included; each real folder is entered once on the way down."""
    real = os.path.realpath(place)
    if real in above:
        return
    for path in _visible(place):
        if path.is_dir():
            yield from _below(path, above | {real})
        else:
            yield path


def _holds_sounds(place: Path) -> bool:
    return any(path.suffix.lower() in peeking.SOUNDS for path in _below(place))


def _holds_class_folders(place: Path) -> bool:
    return any(map(_holds_sounds, _folders(place)))


def _parts(root: Path) -> Mapping[str, str]:
    """Folder name -> part, where the folders of `root` are parts; empty where they are classes.

    They are parts when the one for training holds class folders and another part lies beside it or nothing else does.
    """
    inner = [path for path in _folders(root) if _holds_sounds(path)]
    known = checks.PART_NAMES
    parts = {one.name: known[one.name.casefold()] for one in inner if one.name.casefold() in known}
    deep = any(_holds_class_folders(root / name) for name, part in parts.items() if part == "train")
    return parts if deep and (len(parts) > 1 or len(inner) == 1) else {}


def _parts_told(parts: Mapping[str, str]) -> Iterator[Finding]:
    if parts:
        named = ", ".join(f"{name} as {part}" for name, part in parts.items())
        yield Finding(
            "inferred",
            f"the folders are read as given parts ({named}), which are kept; put the class folders side by side to "
            "have them divided anew.",
        )


def _left_out(foreign: Sequence[str], loose: Sequence[str]) -> Iterator[Finding]:
    if foreign:
        kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in foreign)
        each = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common())
        yield Finding(
            "foreign files",
            f"{checks.counted(len(foreign), 'file')} left out ({each}): {checks.some(foreign)}; convert what is a "
            "recording to WAV or FLAC.",
            tuple(foreign),
        )
    if loose:
        yield Finding(
            "loose recordings",
            f"{checks.counted(len(loose), 'recording')} outside the class folders left out: {checks.some(loose)}; move "
            "each into its class.",
            tuple(loose),
        )


def _refuse_wrapping(only: Path) -> None:
    """An archive often unpacks to one folder around the one that is meant."""
    if _holds_class_folders(only):
        raise DataError(
            f"{only.parent} holds one folder, {only.name}, whose own folders look like the classes; type {only}."
        )


def _nothing(root: Path, loose: Sequence[str]) -> DataError:
    tables = [path for path in _below(root) if delimited.suffix(path) in delimited.TABLES]
    hint = f"type {tables[0]} if that lists them" if tables else "give a .csv of path,label"
    if loose:
        return DataError(
            f"{root} has no class folders, only {checks.counted(len(loose), 'loose recording')} "
            f"({checks.some(loose, 2)}); put the recordings of each class into a folder named after it, or {hint}."
        )
    return DataError(
        f"{root} holds no recordings; give a folder with one folder of recordings for each class, or a .csv of "
        "path,label."
    )
