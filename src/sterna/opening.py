"""From what a person types to a data set or an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sterna import addition, folder
from sterna.errors import DataError, EncoderError, MissingPackageError
from sterna.records import Columns, Encoder, Items, Loaded


def open_data(
    reference: str, columns: Columns | None = None, progress: Callable[[int, int], None] | None = None
) -> Loaded:
    """The checked data set behind `reference`: the first kind of data that claims it reads it.

    Raises `DataError` when none does.
    """
    columns = columns or Columns()
    absent: MissingPackageError | None = None
    for name in folder.names("data"):
        try:
            reader = folder.module("data", name)
        except MissingPackageError as error:  # of a kind of data that this may not be
            absent = error
            continue
        if reader.claims(reference, columns):
            loaded: Loaded = reader.load(reference, columns=columns, progress=progress)
            return loaded
    if absent is not None:
        raise absent
    raise DataError(
        f"cannot tell what '{reference}' is: data are a folder of class folders (pictures, texts or sounds), a .csv, "
        ".tsv, .jsonl or .parquet with a column of labels, a CoNLL file, an .npz file, or a built-in set such as "
        "sklearn:digits."
    )


def gather(given: Sequence[str], modality: str, columns: Columns | None = None) -> tuple[Items, tuple[str, ...]]:
    """Loose items without labels, and the names of those that cannot be read.

    Of the kinds of data that can gather items of this modality, the one that claims the first of them does, or the
    last. `columns`: which of a table hold the items, where a person has said so.

    Raises `DataError` where there are none.
    """
    columns = columns or Columns()
    readers, absent = [], None
    for name in folder.names("data"):
        try:
            reader = folder.module("data", name)
        except MissingPackageError as error:  # of a kind of data that this may not be
            absent = error
            continue
        if modality in getattr(reader, "GATHERS", "").split():
            readers.append(reader)
    if not readers and absent is not None:
        raise absent
    if not readers:
        raise DataError(f"models of {modality} data cannot predict loose files; give a table that sterna fit reads.")
    reader = next((one for one in readers[:-1] if one.claims(given[0], columns)), readers[-1])
    found: tuple[Items, tuple[str, ...]] = reader.gather(given, modality, columns)
    if not len(found[0]):
        raise DataError(f"nothing to read in {', '.join(given)} as {modality} data; give files, folders or patterns.")
    return found


def open_encoder(reference: str) -> Encoder:
    """The encoder behind `origin:name`. Raises `EncoderError` for a reference without a known origin."""
    origin, colon, name = reference.partition(":")
    origins = folder.names("encoders")
    if not colon or not name:
        raise EncoderError(
            f"an encoder is written origin:name, got '{reference}'; type one of "
            f"{', '.join(f'{known}:NAME' for known in origins)}."
        )
    if origin not in origins:
        raise EncoderError(folder.unknown("origin of encoders", origin, origins))
    encoder: Encoder = folder.module("encoders", origin).load(name)
    return addition.equipped(encoder, Path(name).expanduser() / addition.FOLDER)
