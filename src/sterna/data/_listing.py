"""Which image files a reference means, and what it says of each: label, part, group. No file is opened here."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sterna import checks, labelling, spec
from sterna.errors import DataError
from sterna.records import Columns, Finding

TABLES = (".csv", ".tsv", ".jsonl")

_HIDDEN = frozenset(("thumbs.db", "desktop.ini", "__macosx", "__pycache__"))

_COLUMNS = {
    "path": "path file filename file_name filepath file_path image_path image image_file image_name img picture photo",
    "label": "label class target species category class_name label_name classname breed variety",
    "split": "split part subset partition set",
    "group": "group group_id groups patient patient_id subject subject_id individual",
}


@dataclass(frozen=True)
class Entry:
    """One image file as listed."""

    path: str  # to open it
    name: str  # what a person calls it
    label: str
    part: str = ""  # "", "train", "validation", "test"
    group: str = ""  # "" for none
    domain: str = ""


@dataclass
class Listing:
    """What a reference lists, and what was seen on the way."""

    entries: list[Entry] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)  # named, with or without examples
    findings: list[Finding] = field(default_factory=list)


@dataclass
class _Seen:
    """Names of what is not an example."""

    hidden: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in self.foreign)
        each = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common())
        told = (
            ("hidden files", self.hidden, "left out: {names}; nothing needs doing."),
            ("foreign files", self.foreign, f"left out ({each}): {{names}}; convert what is a picture to JPEG or PNG."),
            ("loose images", self.loose, "outside the class folders left out: {names}; move each into its class."),
        )
        return [
            Finding(
                kind,
                f"{checks.counted(len(names), kind[:-1], kind)} {rest.format(names=checks.some(names))}",
                tuple(names),
            )
            for kind, names, rest in told
            if names
        ]


def folder(root: Path, suffixes: frozenset[str]) -> Listing:
    """A folder of class folders, or of train, validation and test folders that hold them.

    Args:
        root: an existing folder.
        suffixes: lower-case suffixes of image files.
    """
    seen, listing = _Seen(), Listing()
    parts = _parts(root, suffixes)
    for path, name in _children(root, root, seen):
        if not path.is_dir():
            _note_file(path, name, suffixes, seen)
        elif not parts:
            _class_folder(path, root, "", suffixes, seen, listing)
        elif path.name in parts:
            for inner, inner_name in _children(path, root, seen):
                if inner.is_dir():
                    _class_folder(inner, root, parts[path.name], suffixes, seen, listing)
                else:
                    _note_file(inner, inner_name, suffixes, seen)
        else:
            seen.loose.extend(found for _, found in _images(path, root, suffixes, seen))
    without, unlabelled = labelling.unlabelled_folders(
        ((entry.part, entry.label) for entry in listing.entries), "picture"
    )
    listing.entries = [entry for entry in listing.entries if entry.label not in without]
    listing.classes -= without
    if parts:
        listing.findings.extend((_told(parts), *unlabelled))
    listing.findings.extend(seen.findings())
    if not listing.entries:
        raise _nothing(root, seen)
    if not parts and len(listing.classes) == 1:
        _refuse_wrapping(root, next(iter(listing.classes)), suffixes)
    return listing


def images_below(root: Path, suffixes: frozenset[str]) -> list[str]:
    """The paths of all image files in a folder and below it, sorted; hidden ones left out."""
    return [str(path) for path, _ in _images(root, root, suffixes, _Seen())]


def table(file: Path, said: Columns) -> Listing:
    """A .csv, .tsv or .jsonl of path and label, and perhaps split, group and domain; paths are relative to the file.

    Raises `DataError` for a column that is not there, and where the column of paths or of labels cannot be told.
    """
    rows = list(_json_rows(file) if file.suffix.lower() == ".jsonl" else _csv_rows(file))
    if not rows:
        raise DataError(f"{file} has no rows; give it a line of column names such as path,label and a line an image.")
    columns = _columns(rows, file, _named(rows, file, said))
    listing, unlabelled = Listing(), []
    for number, row in enumerate(rows, start=1):
        name, label = row.get(columns["path"], ""), row.get(columns["label"], "")
        if not name or not label:
            unlabelled.append(name or f"row {number}")
            continue
        part = _part(row.get(columns.get("split", ""), ""), file)
        group = row.get(columns.get("group", ""), "")
        domain = row.get(columns.get("domain", ""), "")
        listing.entries.append(Entry(str(file.parent / Path(name).expanduser()), name, label, part, group, domain))
        listing.classes.add(label)
    if not listing.entries:
        raise DataError(
            f"{file} has no row with both a path and a label; fill in column '{columns['path']}' and column "
            f"'{columns['label']}'."
        )
    named = ", ".join(f"{role} from column '{column}'" for role, column in columns.items())
    listing.findings.append(
        Finding(
            "inferred",
            f"{file.name} is read as {named}; type --label NAME or --group NAME, or rename its columns to path and "
            "label, if that is wrong.",
        )
    )
    if unlabelled:
        sentence = (
            f"{checks.counted(len(unlabelled), 'row')} without a path or a label set aside: {checks.some(unlabelled)};"
            " fill them in to use them."
        )
        listing.findings.append(Finding("unlabelled", sentence, tuple(unlabelled)))
    return listing


def _children(place: Path, root: Path, seen: _Seen) -> list[tuple[Path, str]]:
    """What lies in a folder, sorted, with its name below `root`; hidden things are noted and left out."""
    visible = []
    for name in sorted(os.listdir(place)):
        path = place / name
        below = path.relative_to(root).as_posix()
        if name.startswith(".") or name.lower() in _HIDDEN:
            seen.hidden.append(below)
        else:
            visible.append((path, below))
    return visible


def _images(place: Path, root: Path, suffixes: frozenset[str], seen: _Seen) -> Iterator[tuple[Path, str]]:
    """The image files below a folder, linked folders included; each real folder is entered once on the way down."""
    waiting = [(place, frozenset[str]())]
    while waiting:
        current, above = waiting.pop()
        real = os.path.realpath(current)
        if real in above:
            continue
        inner = []
        for path, name in _children(current, root, seen):
            if path.is_dir():
                inner.append((path, above | {real}))
            elif path.suffix.lower() in suffixes:
                yield path, name
            else:
                seen.foreign.append(name)
        waiting.extend(reversed(inner))


def _class_folder(place: Path, root: Path, part: str, suffixes: frozenset[str], seen: _Seen, listing: Listing) -> None:
    listing.classes.add(place.name)
    for path, name in _images(place, root, suffixes, seen):
        listing.entries.append(Entry(str(path), name, place.name, part))


def _note_file(path: Path, name: str, suffixes: frozenset[str], seen: _Seen) -> None:
    (seen.loose if path.suffix.lower() in suffixes else seen.foreign).append(name)


def _parts(root: Path, suffixes: frozenset[str]) -> dict[str, str]:
    """Folder name -> part, where the folders of `root` are parts; empty where they are classes.

    `train` is also a kind of vehicle: folders are parts when the one for training holds folders of images itself and
    either another part lies beside it or nothing else does.
    """
    inner = [path for path, _ in _children(root, root, _Seen()) if path.is_dir() and _holds_images(path, suffixes)]
    named = [path for path in inner if path.name.casefold() in checks.PART_NAMES]
    parts = {path.name: checks.PART_NAMES[path.name.casefold()] for path in named}
    deep = any(_holds_class_folders(path, suffixes) for path in named if parts[path.name] == "train")
    if len(named) > 1 and len(named) == len(inner) and not deep:
        raise DataError(
            f"{root} is divided into {' and '.join(parts)}, which hold no class folders; put the images of each class "
            "into a folder named after it inside them, or give a .csv of path,label,split."
        )
    return parts if deep and (len(named) > 1 or len(inner) == 1) else {}


def _holds_class_folders(place: Path, suffixes: frozenset[str]) -> bool:
    return any(path.is_dir() and _holds_images(path, suffixes) for path, _ in _children(place, place, _Seen()))


def _holds_images(place: Path, suffixes: frozenset[str]) -> bool:
    return next(_images(place, place, suffixes, _Seen()), None) is not None


def _refuse_wrapping(root: Path, only: str, suffixes: frozenset[str]) -> None:
    """An archive often unpacks to one folder around the one that is meant."""
    if _holds_class_folders(root / only, suffixes):
        raise DataError(
            f"{root} holds one folder, {only}, whose own folders look like the classes; type {root / only}."
        )


def _told(parts: Mapping[str, str]) -> Finding:
    named = ", ".join(f"{name} as {part}" for name, part in parts.items())
    return Finding(
        "inferred",
        f"the folders are read as given parts ({named}), which are kept; put the class folders side by side to have "
        "them divided anew.",
    )


def _nothing(root: Path, seen: _Seen) -> DataError:
    if seen.loose:
        return DataError(
            f"{root} has no class folders, only {checks.counted(len(seen.loose), 'loose image')} "
            f"({checks.some(seen.loose, 2)}); put the images of each class into a folder named after it, or give a "
            ".csv of path,label."
        )
    return DataError(
        f"{root} holds no images; give a folder with one folder of images for each class, or a .csv of path,label."
    )


def _csv_rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    separator = max("\t,;|", key=text.partition("\n")[0].count)
    try:
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval=""):
            yield {key.strip(): value.strip() for key, value in row.items() if key}
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table ({error}); look for a quote that is not closed.") from error


def _json_rows(file: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"line {number} of {file} is not JSON; write one object a line.") from error
        if not isinstance(row, dict):
            raise DataError(f"line {number} of {file} is not a JSON object; write {{'path': ..., 'label': ...}}.")
        yield {key: "" if value is None else str(value).strip() for key, value in row.items()}


def _named(rows: Sequence[Mapping[str, str]], file: Path, said: Columns) -> dict[str, str]:
    """Role -> column, of the columns that a person named."""
    if said.text:
        raise DataError(
            f"{file} is a table of pictures, got --text {','.join(said.text)}; leave it out, or give a table of texts."
        )
    if len(said.label) > 1:
        raise DataError(f"pictures take one label column, got --label {','.join(said.label)}; name one.")
    named = {"label": said.label[0] if said.label else "", "group": said.group, "domain": said.domain}
    names = _names(rows)
    for name in named.values():
        if name and name not in names:
            raise DataError(
                f"{file.name} has no column '{name}'.{spec.did_you_mean(name, names)} It has {', '.join(names)}; type "
                "one of these."
            )
    return {role: name for role, name in named.items() if name}


def _names(rows: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _columns(rows: Sequence[Mapping[str, str]], file: Path, said: Mapping[str, str]) -> dict[str, str]:
    """Role -> column: by usual names, then the path by its content and the label by being the only one left.

    `said`: the roles that a person gave; they are followed.
    """
    names = _names(rows)
    columns = dict(said)
    plain = {name.casefold().replace(" ", "_"): name for name in names if name not in said.values()}
    for role, usual in _COLUMNS.items():
        if role in said:
            continue
        found = next((plain[word] for word in usual.split() if word in plain), None)
        if found is not None:
            columns[role] = found
    if "path" not in columns:
        columns.update(_path_by_content(rows, [name for name in names if name not in columns.values()], file))
    left = [name for name in names if name not in columns.values()]
    if "label" not in columns and len(left) == 1:
        columns["label"] = left[0]
    for role in ("path", "label"):
        if role not in columns:
            usual = checks.some(_COLUMNS[role].split())
            typed = " or type --label NAME" if role == "label" else ""
            raise DataError(
                f"{file} has no column that is plainly the {role}; it has {', '.join(names)}; rename the right one to "
                f"'{role}' (known: {usual}){typed}."
            )
    if (file.parent / columns["path"]).is_file():
        raise DataError(f"{file} has no line of column names; put path,label in front as its first line.")
    return {role: columns[role] for role in (*_COLUMNS, "domain") if role in columns}


def _path_by_content(rows: Iterable[Mapping[str, str]], names: Sequence[str], file: Path) -> dict[str, str]:
    first = next(iter(rows))
    found = [name for name in names if first.get(name) and (file.parent / first[name]).is_file()]
    return {"path": found[0]} if found else {}


def _part(written: str, file: Path) -> str:
    if not written:
        return ""
    part = checks.PART_NAMES.get(written.casefold())
    if part is None:
        raise DataError(f"the split column of {file} says '{written}'; it may say train, validation or test.")
    return part
