"""Data that are arrays already: `sklearn:NAME` and .npz files -> a checked table, held in memory.

Names: `sklearn:digits` (8 x 8 pictures of handwritten digits), `sklearn:iris`, `sklearn:wine`, `sklearn:breast_cancer`.
A .npz holds examples (`X`, `x`, `images` or `data`) and labels (`y`, `labels` or `target`), and may hold `split`
("train", "validation" or "test" for each), `groups` and `classes` (names of labels 0, 1, ...). Two axes are vectors;
three (n, h, w) or four (n, h, w, c) are pictures, of uint8 or of numbers in [0, 1] or [0, 255].
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn import datasets

from sterna import checks, folder, labelling
from sterna.errors import DataError
from sterna.maths import phash
from sterna.records import Column, Columns, Finding, Items, Loaded, Table

_BUILT_IN = {
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}
_NAMES = {  # role -> usual names of the array, in order of preference
    "examples": ("X", "x", "images", "data"),
    "labels": ("y", "labels", "label", "target"),
    "split": ("split", "part"),
    "groups": ("groups", "group"),
    "classes": ("classes", "class_names", "target_names"),
}
_CHANNELS = (1, 3, 4)
GATHERS = "image vector"  # the modalities of the loose items that `gather` takes
_ORIGIN = "sklearn:"
_UNSAID = Columns()


class ArrayItems:
    """The rows of an array: RGB pictures when it has four axes, float32 vectors when it has two."""

    def __init__(self, values: np.ndarray) -> None:
        self.modality: str = "image" if values.ndim == 4 else "vector"
        self.in_memory: bool = True
        self.lengths: np.ndarray | None = None
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of vectors, a column of numbers for each axis; () for pictures."""
        many = self._values.shape[1] if self.modality == "vector" else 0
        return tuple(Column(f"x{place}", "numeric") for place in range(many))

    def read(self, index: int, hint: int) -> Any:
        """A picture of its own size whatever `hint`, or a vector (d,) float32."""
        value = self._values[index]
        if self.modality == "vector":
            return value
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[value.shape[-1]]
        picture = Image.fromarray(value[..., 0] if mode == "L" else value)
        if mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB")

    def digest(self, index: int) -> str:
        value = np.ascontiguousarray(self._values[index])
        kind = f"{value.shape} {value.dtype.str} ".encode()
        return hashlib.blake2b(kind + value.tobytes(), digest_size=16).hexdigest()

    def name(self, index: int) -> str:
        return f"row {index}"


def claims(reference: str, columns: Columns = _UNSAID) -> bool:
    """`sklearn:` and .npz files, there or not."""
    return reference.startswith(_ORIGIN) or reference.lower().endswith(".npz")


def load(
    reference: str,
    *,
    columns: Columns = _UNSAID,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Read and check a data set of arrays.

    Args:
        reference: `sklearn:NAME` or the path of a .npz file.
        columns: names of columns are refused: arrays have names of their own.
        workers: not used: there is nothing to decode.
        progress: called once, when all is done.

    Raises `DataError` for columns that are named, another task than classify, unknown names, arrays that do not fit
    together, and values that are no finite numbers.
    """
    labelling.no_columns(reference, "holds arrays, which say themselves what they are", columns)
    labelling.only_classes(reference, "arrays", columns)
    findings: list[Finding] = []
    if reference.startswith(_ORIGIN):
        arrays = _built_in(reference.removeprefix(_ORIGIN))
    else:
        arrays, findings = _opened(Path(reference).expanduser())
    items = ArrayItems(_values(arrays["examples"], reference))
    for role in ("labels", "split", "groups"):
        if role in arrays and arrays[role].shape[:1] != (len(items),):
            shape = arrays[role].shape
            raise DataError(f"{reference} has {len(items)} examples and {role} of shape {shape}; give one for each.")
    labels, classes = _labels(arrays["labels"], arrays.get("classes"), reference)
    parts = _parts(arrays["split"], reference) if "split" in arrays else np.full(len(items), "", dtype="<U10")
    given = arrays["groups"] if "groups" in arrays else np.arange(len(items))
    loaded = _checked(Table(items, np.arange(len(items)), labels, classes), given, parts, findings, reference)
    if progress is not None:
        progress(len(items), len(items))
    return loaded


def gather(given: Sequence[str], modality: str = "vector", columns: Columns = _UNSAID) -> tuple[Items, tuple[str, ...]]:
    """The examples of `sklearn:NAME` or of .npz files, without their labels, where there are any.

    Raises `DataError` for several that are not of one shape, and for pictures where vectors are wanted, or the reverse.
    """
    found = []
    for one in given:
        place = one.removeprefix(_ORIGIN)
        arrays = _built_in(place) if place != one else _opened(Path(one).expanduser(), ("examples",))[0]
        found.append(_values(arrays["examples"], one))
    shapes = {values.shape[1:] for values in found}
    kinds = {"image" if values.ndim == 4 else "vector" for values in found}
    if len(shapes) > 1 or kinds != {modality}:
        raise DataError(
            f"{', '.join(given)} hold examples of shape {' and '.join(map(str, sorted(shapes)))}, and {modality} data "
            "of one shape are wanted; give others."
        )
    return ArrayItems(np.concatenate(found)), ()


def _checked(table: Table, given: np.ndarray, parts: np.ndarray, findings: list[Finding], origin: str) -> Loaded:
    given = np.unique(given, return_inverse=True)[1].ravel()
    digests = [table.items.digest(row) for row in range(len(table))]
    same = np.unique(digests, return_inverse=True)[1].ravel()
    leaked, aside = checks.leaks(same, parts, _names(table))
    kept = np.flatnonzero(~aside)
    table, given, parts, same = table.take(kept), given[kept], parts[kept], same[kept]
    used, labels = np.unique(table.labels, return_inverse=True)
    classes = tuple(table.classes[number] for number in used.tolist())
    findings = [*findings, *checks.empty_classes(table.classes, classes), *leaked]
    table = Table(table.items, table.rows, labels.ravel().astype(np.int64), classes)
    checks.two_classes(table.labels, classes, origin)
    findings += [
        *checks.similar_names(classes),
        *checks.singletons(table.labels, classes),
        *checks.missing_in_parts(table.labels, parts, classes),
        *checks.imbalance(table.labels, classes),
        *checks.straddling(given, parts),
        *checks.duplicates(same, same, table.labels, _names(table), "row"),
    ]
    return Loaded(table, phash.merged(same, given), parts, tuple(findings), origin)


def _names(table: Table) -> list[str]:
    return [table.items.name(row) for row in table.rows.tolist()]


def _built_in(name: str) -> dict[str, np.ndarray]:
    if name not in _BUILT_IN:
        raise DataError(folder.unknown("data set of sklearn", name, tuple(_BUILT_IN)))
    found = _BUILT_IN[name]()
    # Sixteen grey levels, as counted strokes, onto the range of pictures.
    examples = np.rint(found.images * (255 / 16)).astype(np.uint8) if name == "digits" else found.data
    return {"examples": examples, "labels": found.target, "classes": found.target_names.astype(str)}


def _opened(file: Path, needed: Sequence[str] = ("examples", "labels")) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """The arrays of a file by role, and how they were told apart."""
    if not file.exists():
        raise checks.no_such_path(file)
    broken = DataError(f"{file} is no readable .npz file; write it again with numpy.savez.")
    if not zipfile.is_zipfile(file):
        raise broken
    try:
        with np.load(file, allow_pickle=False) as arrays:
            roles = _roles(arrays.files, file, needed)
            found = {role: arrays[name] for role, name in roles.items() if role in needed or "labels" in needed}
    except ValueError as error:
        raise DataError(
            f"{file} holds Python objects, which are not opened because they can run code; save plain numbers or text."
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise broken from error
    named = ", ".join(f"{role} from '{name}'" for role, name in roles.items())
    kind = "vectors" if found["examples"].ndim == 2 else "pictures"
    return found, [
        Finding("inferred", f"{file.name} is read as {kind}, with {named}; rename its arrays if that is wrong.")
    ]


def _roles(names: Sequence[str], file: Path, needed: Sequence[str]) -> dict[str, str]:
    roles = {role: next((name for name in usual if name in names), "") for role, usual in _NAMES.items()}
    for role in needed:
        if not roles[role]:
            raise DataError(
                f"{file} has no array of {role}; name it {' or '.join(_NAMES[role])}; it holds {', '.join(names)}."
            )
    return {role: name for role, name in roles.items() if name}


def _values(array: np.ndarray, origin: str) -> np.ndarray:
    """Vectors (n, d) float32, or pictures (n, h, w, c) uint8."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"the examples of {origin} are of type {array.dtype}; give numbers.")
    if array.ndim not in (2, 3, 4) or not array.size:
        raise DataError(
            f"the examples of {origin} have shape {array.shape}; give (n, d) for vectors, (n, h, w) or (n, h, w, c) "
            "for pictures, and at least one."
        )
    # Huge numbers become infinite here and are refused below.
    with np.errstate(over="ignore"):
        values = array if array.dtype == np.uint8 else array.astype(np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"there is NaN or infinity in {checks.counted(int((~finite).sum()), 'example')} of {origin}, row "
            f"{int(np.flatnonzero(~finite)[0])} first; fill them in or leave those rows out."
        )
    return values.astype(np.float32) if values.ndim == 2 else _pictures(values, array.dtype.kind, origin)


def _pictures(values: np.ndarray, kind: str, origin: str) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise DataError(
            f"the pictures of {origin} have values from {low:g} to {high:g}; scale them to [0, 1] or [0, 255]."
        )
    values = values[..., None] if values.ndim == 3 else values
    if values.shape[3] not in _CHANNELS and values.shape[1] in _CHANNELS:
        values = np.moveaxis(values, 1, 3)
    if values.shape[3] not in _CHANNELS:
        raise DataError(
            f"the pictures of {origin} have shape {values.shape}; give (n, h, w, c) or (n, c, h, w) with 1, 3 or 4 "
            "channels."
        )
    scale = 255.0 if kind in "bf" and high <= 1 else 1.0
    return values if values.dtype == np.uint8 else np.rint(values * scale).astype(np.uint8)


def _labels(array: np.ndarray, names: np.ndarray | None, origin: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and class names; numbers are sorted as numbers, text as text."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    whole = array.dtype.kind == "f" and bool((array == np.floor(array)).all())
    if array.ndim != 1 or not (array.dtype.kind in "biuUS" or whole):
        raise DataError(
            f"the labels of {origin} have shape {array.shape} and type {array.dtype}; give one whole number or one "
            "word for each example."
        )
    array = array.astype(np.int64) if array.dtype.kind in "biuf" else array.astype(str)
    found, labels = np.unique(array, return_inverse=True)
    labels = labels.ravel().astype(np.int64)
    if names is None:
        return labels, tuple(str(value) for value in found.tolist())
    written = tuple(str(name) for name in names.ravel().tolist())
    if array.dtype.kind != "i" or found[0] < 0 or found[-1] >= len(written) or len(set(written)) < len(written):
        raise DataError(
            f"the {len(written)} class names of {origin} do not fit its labels "
            f"({checks.some(map(str, found.tolist()))}); give a different name for each of the labels 0, 1, 2, and on."
        )
    return array, written


def _parts(array: np.ndarray, origin: str) -> np.ndarray:
    written = [str(value).strip().casefold() for value in array.astype(str).ravel().tolist()]
    wrong = next((value for value in written if value and value not in checks.PART_NAMES), None)
    if wrong is not None:
        raise DataError(f"the split of {origin} says '{wrong}'; it may say train, validation or test.")
    return np.array([checks.PART_NAMES.get(value, "") for value in written], dtype="<U10")
