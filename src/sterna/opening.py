"""From what a person types to a data set or an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sterna import folder
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


def gather(given: Sequence[str], modality: str) -> tuple[Items, tuple[str, ...]]:
    """Loose items without labels, and the names of those that cannot be read.

    The first kind of data that can gather items of this modality does. Raises `DataError` where there are none.
    """
    for name in folder.names("data"):
        reader = folder.module("data", name)
        if modality in getattr(reader, "GATHERS", "").split():
            several = (modality,) if " " in reader.GATHERS else ()
            found: tuple[Items, tuple[str, ...]] = reader.gather(given, *several)
            if not len(found[0]):
                raise DataError(f"nothing to predict in {', '.join(given)}; give files, folders or patterns.")
            return found
    raise DataError(f"models of {modality} data cannot predict loose files; give a table that sterna fit reads.")


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
    return encoder
