"""Files that are written whole or not at all: under a temporary name in the same folder, then renamed.

A reader, or the same command after a power cut, sees the old file or the new one and never a part of either.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sterna.errors import StoreError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

UNFINISHED = ".tmp"  # ends the name of a file that is being written, or that a killed process left behind


def write_bytes(place: Path, content: bytes) -> None:
    """Write `content` to `place`, whole or not at all; folders on the way are made.

    Raises `StoreError` when the folder cannot be written or the disk is full; what was there before stays.
    """
    with replacing(place) as file:
        file.write(content)


@contextmanager
def replacing(place: Path) -> Iterator[BinaryIO]:
    """A new file, open for writing and reading, that takes the place of `place` when the block ends without an error.

    However the block fails, Ctrl-C included, the new file goes and what was there before stays. An `OSError`, from the
    block as well, becomes a `StoreError`.
    """
    beside = place.parent / f".{place.name}-{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, place)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _settle(place.parent)
    except OSError as error:
        raise unwritten(place, error) from error


def unwritten(place: Path, error: Exception) -> StoreError:
    """What to say of a place that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return StoreError(f"cannot write {place}: {reason}; free some space or choose another folder.")


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process alone; it is made if absent. The lock falls with the process, however it ends.

    Args:
        folder: what to hold; a file `.lock` stays in it.
        wait: True waits for whoever holds it. False raises `StoreError` at once.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+b")  # noqa: SIM115 - closed below; closing it releases the lock
    except OSError as error:
        raise unwritten(folder, error) from error
    with file:
        try:
            _lock(file, wait)
        except OSError as error:
            raise StoreError(
                f"{folder} is in use by another process; wait until that one has ended, or choose another folder."
            ) from error
        yield


if sys.platform == "win32":

    def _lock(file: BinaryIO, wait: bool) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

    def _settle(folder: Path) -> None:
        """A folder cannot be flushed on Windows, which records a rename with the file."""

else:

    def _lock(file: BinaryIO, wait: bool) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _settle(folder: Path) -> None:
        """Make a rename in `folder` survive a power cut."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(place: Path, content: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(place, content.encode("utf-8"))


def write_json(place: Path, content: Any) -> None:
    """Write a JSON document, whole or not at all; NumPy numbers become plain ones."""
    write_text(place, json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n")


def write_arrays(place: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as one compressed .npz, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(place, buffer.getvalue())


def read_json(place: Path) -> Any:
    """A JSON document. Raises `StoreError` when it is damaged."""
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{place} is damaged and cannot be read; remove its folder to start again.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
