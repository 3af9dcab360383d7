"""Files that are written whole or not at all: under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sterna.errors import StoreError


def write_bytes(place: Path, content: bytes) -> None:
    """Write `content` to `place`, whole or not at all; folders on the way are made.

    Raises `StoreError` when the folder cannot be written or the disk is full; what was there before stays.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{place.name}-", suffix=".tmp", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"cannot write {place}: {error.strerror}; free some space or choose another folder."
        ) from error


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
