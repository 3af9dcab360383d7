"""Checks on names, labels and groups that any kind of data shares: what is odd, in a sentence a person can act on.

Each check returns the findings it makes, none when all is well. What is wrong beyond use is a `DataError`.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sterna.errors import DataError
from sterna.maths import phash
from sterna.records import Finding

PARTS = ("train", "validation", "test")
PART_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval"), "test"),
}

IMBALANCE = 10  # largest class / smallest class from which a finding is made

_STRENGTH = {"": 0, "train": 0, "validation": 1, "test": 2}  # which copy stays when a picture is in several parts


def some(names: Iterable[str], limit: int = 4) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    rest = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {rest} more" if rest > 0 else "")


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def no_such_path(place: Path) -> DataError:
    """The error for a path that does not exist, with the nearest name beside it."""
    folder = place.parent
    while not folder.is_dir():
        place, folder = folder, folder.parent
    beside = {one.name.casefold(): one.name for one in folder.iterdir()}
    near = difflib.get_close_matches(place.name.casefold(), sorted(beside), n=1, cutoff=0.6)
    here = "this folder" if folder == Path() else folder
    hint = f"did you mean {folder / beside[near[0]]}?" if near else f"{here} holds {some(sorted(beside.values()))}."
    return DataError(f"there is no file or folder {place}; {hint}")


def two_classes(labels: np.ndarray, classes: Sequence[str], origin: str) -> None:
    """Raises `DataError` unless at least two classes have examples."""
    seen = [classes[number] for number in np.unique(labels).tolist()]
    if len(seen) < 2:
        raise DataError(
            f"{origin} has usable examples of {counted(len(seen), 'class', 'classes')}"
            f"{f' ({seen[0]})' if seen else ''}, and two are needed to tell apart; add examples of another class."
        )


def similar_names(classes: Sequence[str]) -> list[Finding]:
    """Classes whose names differ only in case, spaces, hyphens or underscores. They are not merged."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        plain = unicodedata.normalize("NFKC", name).casefold()
        alike.setdefault("".join(plain.split()).replace("_", "").replace("-", ""), []).append(name)
    return [
        Finding(
            "similar names",
            f"the class names {' and '.join(repr(name) for name in names)} differ only in case, spaces or underscores "
            "and are kept apart; give them one name if they mean the same.",
            tuple(names),
        )
        for names in alike.values()
        if len(names) > 1
    ]


def empty_classes(named: Iterable[str], classes: Sequence[str]) -> list[Finding]:
    """Classes that are named but have no usable example."""
    empty = sorted(set(named) - set(classes))
    if not empty:
        return []
    return [
        Finding(
            "empty class",
            f"{counted(len(empty), 'class has', 'classes have')} no usable example and cannot be learnt: {some(empty)};"
            " add examples, or remove the name.",
            tuple(empty),
        )
    ]


def singletons(labels: np.ndarray, classes: Sequence[str]) -> list[Finding]:
    """Classes with one example: it cannot be both learnt from and tested on."""
    counts = np.bincount(labels, minlength=len(classes))
    single = [classes[number] for number in np.flatnonzero(counts == 1).tolist()]
    if not single:
        return []
    return [
        Finding(
            "single example",
            f"{counted(len(single), 'class has', 'classes have')} one example, which cannot be both learnt from and "
            f"tested on: {some(single)}; add examples, or remove the class.",
            tuple(single),
        )
    ]


def imbalance(labels: np.ndarray, classes: Sequence[str], ratio: float = IMBALANCE) -> list[Finding]:
    """A largest class at least `ratio` times the smallest."""
    counts = np.bincount(labels, minlength=len(classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if not counts[least] or counts[most] < ratio * counts[least]:
        return []
    return [
        Finding(
            "imbalance",
            f"the classes are uneven: {classes[most]} has {counts[most]} examples, {classes[least]} has "
            f"{counts[least]}; read balanced accuracy rather than accuracy, and consider "
            "cross_entropy(balanced=true).",
            (classes[most], classes[least]),
        )
    ]


def missing_in_parts(labels: np.ndarray, parts: np.ndarray, classes: Sequence[str]) -> list[Finding]:
    """Classes without an example in one of the parts that the data bring along."""
    found = []
    for part in PARTS:
        here = parts == part
        if not here.any():
            continue
        counts = np.bincount(labels[here], minlength=len(classes))
        absent = [classes[number] for number in np.flatnonzero(counts == 0).tolist()]
        # Examples without a part may yet go to train.
        if not absent or (part == "train" and (parts == "").any()):
            continue
        effect = {"train": "cannot be learnt", "validation": "is not watched", "test": "is not measured"}[part]
        found.append(
            Finding(
                "missing in part",
                f"the given {part} part has no example of {some(absent)}, so what it lacks {effect}; add examples "
                "there, or leave the division to sterna.",
                tuple(absent),
            )
        )
    return found


def duplicates(
    exact: np.ndarray, alike: np.ndarray, labels: np.ndarray, names: Sequence[str], noun: str
) -> list[Finding]:
    """Copies, near copies, and copies that carry different labels. They stay, in one part of a split.

    Args:
        exact: (n,) numbers, equal for items of the same bytes.
        alike: (n,) numbers, equal for items that are or look the same; coarser than `exact`.
        labels: (n,) class numbers.
        names: what a person calls the items.
        noun: what the items are: "picture", "row".
    """
    return [
        *_copies("duplicate", f"{noun}s are exact copies of one another", sets_of(exact), names),
        *_copies("near duplicate", f"{noun}s look the same", _several(sets_of(alike), exact), names),
        *_conflicts(_several(sets_of(alike), labels), names, noun),
    ]


def sets_of(numbers: np.ndarray) -> list[np.ndarray]:
    """The positions that share a number, for numbers that occur more than once, by first appearance."""
    _, codes, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    codes = codes.ravel()
    shared = np.flatnonzero(counts[codes] > 1)
    if not len(shared):
        return []
    order = shared[np.argsort(codes[shared], kind="stable")]
    sets = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return sorted(sets, key=lambda part: int(part[0]))


def leaks(alike: np.ndarray, parts: np.ndarray, names: Sequence[str]) -> tuple[list[Finding], np.ndarray]:
    """Copies of one item in several given parts: the copy in test stays, then the one in validation.

    Args:
        alike: (n,) numbers, equal for items that are or look the same.
        parts: (n,) of "", "train", "validation", "test".
        names: what a person calls the items.

    Returns:
        the findings, and (n,) bool: the items to set aside so that each part stays untouched by weaker ones.
    """
    strength = np.array([_STRENGTH[part] for part in parts.tolist()], dtype=np.int64)
    alike = phash.by_appearance(alike)
    strongest = np.zeros(len(alike), dtype=np.int64)
    np.maximum.at(strongest, alike, strength)
    # An item without a part follows its copies instead of leaving.
    aside = (strength < strongest[alike]) & (parts != "")
    if not aside.any():
        return [], aside
    left = [names[place] for place in np.flatnonzero(aside).tolist()]
    example = int(np.flatnonzero(aside)[0])
    stays = int(np.flatnonzero((alike == alike[example]) & (strength == strongest[alike[example]]))[0])
    sentence = (
        f"{counted(len(left), 'example was', 'examples were')} set aside, being in one given part and, the same or "
        f"nearly so, in another: {names[example]} ({parts[example]}) = {names[stays]} ({parts[stays]}); the test part "
        "stays as given; remove the copies to silence this."
    )
    return [Finding("leak", sentence, tuple(left))], aside


def straddling(groups: np.ndarray, parts: np.ndarray) -> list[Finding]:
    """Given groups that lie in several given parts: the parts are followed, the groups cannot be."""
    codes = phash.by_appearance(groups)
    given = parts != ""
    pairs = np.unique(np.stack([codes[given], np.unique(parts[given], return_inverse=True)[1].ravel()]), axis=1)
    torn = int((np.bincount(pairs[0].astype(np.int64)) > 1).sum()) if pairs.size else 0
    if not torn:
        return []
    return [
        Finding(
            "group in several parts",
            f"{counted(torn, 'given group lies', 'given groups lie')} in more than one given part, so the test may "
            "flatter the model; correct the parts, or drop them and let sterna divide by group.",
        )
    ]


def _several(sets: Sequence[np.ndarray], values: np.ndarray) -> list[np.ndarray]:
    """The sets whose members do not all have one value."""
    return [members for members in sets if (values[members] != values[members[0]]).any()]


def _written(sets: Sequence[np.ndarray], names: Sequence[str]) -> str:
    return some((" = ".join(names[place] for place in members[:3]) for members in sets), 3)


def _copies(kind: str, what: str, sets: Sequence[np.ndarray], names: Sequence[str]) -> list[Finding]:
    if not sets:
        return []
    members = [names[place] for part in sets for place in part]
    sentence = (
        f"{len(members)} {what} ({counted(len(sets), 'set')}): {_written(sets, names)}; each set is kept within one "
        "part of the split; delete the copies if they are not meant."
    )
    return [Finding(kind, sentence, tuple(members))]


def _conflicts(sets: Sequence[np.ndarray], names: Sequence[str], noun: str) -> list[Finding]:
    if not sets:
        return []
    members = [names[place] for part in sets for place in part]
    sentence = (
        f"{counted(len(sets), noun + ' is', noun + 's are')} there under two labels: {_written(sets, names)}; keep the "
        "right one and delete the other."
    )
    return [Finding("conflict", sentence, tuple(members))]
