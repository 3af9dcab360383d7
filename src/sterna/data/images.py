"""Photos: a folder of class folders, or a table of path and label -> a checked table of upright RGB pictures.

A folder may be divided into train, validation and test folders. A table is a .csv, .tsv or .jsonl with a column of
paths and one of labels, perhaps one of parts and one of groups (examples of one patient, one animal, one burst).

All files are opened once: what cannot be read is set aside and listed, copies and near copies are found. When not to
use: several labels for each picture, boxes or masks.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sterna import checks, labelling, peeking
from sterna.data import _listing, _pictures
from sterna.errors import DataError
from sterna.maths import phash
from sterna.records import Columns, Finding, Items, Loaded, Table

GATHERS = "image"  # the modality of the loose files that `gather` takes

_UNSAID = Columns()


class ImageItems:
    """Image files, opened one at a time. Satisfies `records.Items`.

    Args:
        paths: the files.
        names: what a person calls them.
        digests: of the bytes of each file, as `scan` found them.
    """

    def __init__(self, paths: Sequence[str], names: Sequence[str], digests: Sequence[str]) -> None:
        self.modality: str = "image"
        self.in_memory: bool = False
        self.lengths: np.ndarray | None = None
        self._paths, self._names, self._digests = tuple(paths), tuple(names), tuple(digests)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int, hint: int) -> Image.Image:
        """An upright RGB picture, decoded no smaller than `hint` px on its short side; 0 decodes it in full.

        Raises `DataError` when the file has changed for the worse since it was checked.
        """
        try:
            return _pictures.open_upright(self._paths[index], hint)
        # Damaged files raise whatever their decoder stumbles over.
        except Exception as error:
            raise DataError(
                f"{self._names[index]} was readable and no longer is ({error}); put it back, or start again without it."
            ) from error

    def digest(self, index: int) -> str:
        return self._digests[index]

    def name(self, index: int) -> str:
        return self._names[index]


def claims(reference: str, columns: Columns = _UNSAID) -> bool:
    """A folder of pictures, a table of their paths, or what can only be the misspelt name of a folder."""
    return peeking.kind(reference, columns) == "images"


def load(
    reference: str,
    *,
    columns: Columns = _UNSAID,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Read and check a data set of images.

    Args:
        reference: a folder of class folders (or of train, validation and test folders that hold them), or a .csv, .tsv
            or .jsonl of path and label.
        columns: which columns of a table mean what; those it leaves open are found by name and content, and stated.
        workers: None takes every core this process may use.
        progress: called with how many files are checked, of how many.

    Raises `DataError` for a path that does not exist, for no images, for fewer than two classes, and for columns that
    are not there.
    """
    listing = _listed(reference, columns)
    scanned = _pictures.scan([entry.path for entry in listing.entries], workers, progress)
    findings = [*listing.findings, *_unreadable(listing.entries, scanned)]
    kept = [place for place, one in enumerate(scanned) if not one.problem]
    if not kept:
        raise DataError(
            f"none of the {len(scanned)} image files of {reference} can be read; the first, {listing.entries[0].name}, "
            f"is refused because: {scanned[0].problem}."
        )
    examples = _Examples([listing.entries[place] for place in kept], [scanned[place] for place in kept])
    leaked, aside = checks.leaks(examples.alike, examples.parts, examples.names)
    examples = examples.take(np.flatnonzero(~aside)) if leaked else examples
    checks.two_classes(examples.labels, examples.classes, reference)
    findings += [*checks.empty_classes(listing.classes, examples.classes), *leaked, *examples.findings()]
    return Loaded(examples.table(), examples.groups(), examples.parts, tuple(findings), reference, examples.domains())


def gather(given: Sequence[str], modality: str = GATHERS, columns: Columns = _UNSAID) -> tuple[Items, tuple[str, ...]]:
    """Loose files, folders and patterns such as `photos/*.jpg` -> items, and the names of files that cannot be read.

    Raises `DataError` for a path that does not exist or a pattern that fits nothing.
    """
    paths = list(dict.fromkeys(path for one in given for path in _meant(one)))
    scanned = _pictures.scan(paths)
    read = [(path, one.digest) for path, one in zip(paths, scanned, strict=True) if not one.problem]
    names = [path for path, _ in read]
    bad = tuple(path for path, one in zip(paths, scanned, strict=True) if one.problem)
    return ImageItems(names, names, [digest for _, digest in read]), bad


class _Examples:
    """The usable files as arrays."""

    def __init__(self, entries: Sequence[_listing.Entry], scanned: Sequence[_pictures.Scanned]) -> None:
        self.entries, self.scanned = entries, scanned
        self.names = [entry.name for entry in entries]
        self.classes = tuple(sorted({entry.label for entry in entries}))
        number = {name: place for place, name in enumerate(self.classes)}
        self.labels = np.array([number[entry.label] for entry in entries], dtype=np.int64)
        self.parts = np.array([entry.part for entry in entries], dtype="<U10")
        self.given = _given_groups([entry.group for entry in entries])
        self.exact = np.unique([one.digest for one in scanned], return_inverse=True)[1].ravel()
        self.alike = phash.merged(self.exact, _near([one.words for one in scanned]))

    def take(self, places: np.ndarray) -> _Examples:
        return _Examples([self.entries[place] for place in places], [self.scanned[place] for place in places])

    def groups(self) -> np.ndarray:
        return phash.merged(self.alike, self.given)

    def table(self) -> Table:
        digests = [one.digest for one in self.scanned]
        items = ImageItems([entry.path for entry in self.entries], self.names, digests)
        return Table(items, np.arange(len(items)), self.labels, self.classes)

    def domains(self) -> np.ndarray:
        """By name, (0,) without domains."""
        named = [entry.domain for entry in self.entries]
        return np.array([name or "unknown" for name in named]) if any(named) else np.zeros(0, dtype="<U1")

    def findings(self) -> list[Finding]:
        return [
            *self._unplaced(),
            *checks.similar_names(self.classes),
            *checks.singletons(self.labels, self.classes),
            *checks.missing_in_parts(self.labels, self.parts, self.classes),
            *checks.imbalance(self.labels, self.classes),
            *checks.straddling(self.given, self.parts),
            *checks.duplicates(self.exact, self.alike, self.labels, self.names, "picture"),
        ]

    def _unplaced(self) -> list[Finding]:
        names = tuple(entry.name for entry in self.entries if not entry.domain)
        if not names or len(names) == len(self.entries):
            return []
        sentence = (
            f"{checks.counted(len(names), 'row')} without a domain are counted to the domain 'unknown': "
            f"{checks.some(names)}; fill them in if that is wrong."
        )
        return [Finding("no domain", sentence, names)]


def _listed(reference: str, columns: Columns) -> _listing.Listing:
    place = Path(reference).expanduser()
    labelling.only_classes(reference, "pictures", columns)
    if not place.exists():
        raise checks.no_such_path(place)
    if place.is_dir():
        labelling.no_columns(reference, "is a folder, whose class folders are the labels", columns)
        return _listing.folder(place, _pictures.SUFFIXES)
    if place.suffix.lower() in _listing.TABLES:
        return _listing.table(place, columns)
    raise DataError(
        f"{reference} is a single file, not a data set; give a folder of class folders or a .csv, .tsv or .jsonl of "
        "path and label."
    )


def _meant(given: str) -> list[str]:
    place = Path(given).expanduser()
    if place.is_dir():
        return _listing.images_below(place, _pictures.SUFFIXES)
    if place.exists():
        return [str(place)]
    found = sorted(path for path in glob.glob(str(place), recursive=True) if Path(path).is_file())
    if not found and glob.has_magic(given):
        raise DataError(f"no file fits the pattern {given}; in a shell, put quotes around it or none at all.")
    if not found:
        raise checks.no_such_path(place)
    return found


def _unreadable(entries: Sequence[_listing.Entry], scanned: Sequence[_pictures.Scanned]) -> list[Finding]:
    bad = [(entry.name, one.problem) for entry, one in zip(entries, scanned, strict=True) if one.problem]
    if not bad:
        return []
    told = checks.some(f"{name} ({problem})" for name, problem in bad)
    sentence = f"{checks.counted(len(bad), 'file')} cannot be read and set aside: {told}; replace or delete them."
    return [Finding("unreadable", sentence, tuple(name for name, _ in bad))]


def _given_groups(written: Sequence[str]) -> np.ndarray:
    """Numbers of the groups as written; a row without one is a group of its own."""
    own = [("", place) if not name else (name, -1) for place, name in enumerate(written)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(own))}
    return np.array([numbers[key] for key in own], dtype=np.int64)


def _near(words: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Numbers that are equal for pictures that look the same; even surfaces look like nothing but themselves."""
    numbers = np.arange(len(words), dtype=np.int64) + len(words)
    places = [place for place, one in enumerate(words) if one]
    if places:
        numbers[places] = phash.near_groups(np.array([words[place] for place in places], dtype=np.uint64))
    return numbers
