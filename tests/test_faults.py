"""A full disk, broken photos, another run in the same folder: one sentence, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_study import encoder as encoder  # a fixture
from test_study import write_photos

import sterna
from sterna import files
from sterna.errors import SternaError
from sterna.result import load
from sterna.store import Store
from sterna.watching import Watch

SETTINGS = "page=false, floors=classical, mitigate=false"


def fit(place: Path, encoder: str, watch: Watch | None = None) -> sterna.Result:
    return sterna.fit(
        place / "photos",
        encoder=encoder,
        tune="probe, partial(stages=1)",
        out=place / "run",
        schedule="epochs=2, batch=8",
        store=Store(place / "cache"),
        watch=watch,
        settings=SETTINGS,
    )


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """No file of this process can grow beyond so many bytes."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


def figures(place: Path) -> list[object]:
    result = json.loads((place / "run" / "result.json").read_text())
    return [result["verdict"], *((one["name"], one["metrics"], one["validation"]) for one in result["routes"])]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system has no limit on the size of files")
def test_a_run_that_cannot_write_says_so_and_goes_on_later(tmp_path: Path, encoder: str) -> None:
    """With room for ever larger files each time, up to the end; the same figures as a run left alone."""
    for name in ("alone", "short"):
        write_photos(tmp_path / name / "photos", count=8)
    fit(tmp_path / "alone", encoder)
    told = []
    for limit in (100, 3_000, 100_000):
        with pytest.raises(SternaError) as error, no_file_beyond(limit):
            fit(tmp_path / "short", encoder)
        said = str(error.value)
        assert said.startswith("cannot write")
        assert said.endswith("File too large; free some space or choose another folder.")
        assert "\n" not in said
        told.append(said.partition(":")[0])
        assert not list((tmp_path / "short" / "run").rglob(f"*{files.UNFINISHED}"))
    assert len(set(told)) == 3  # each limit stopped another file
    fit(tmp_path / "short", encoder)
    assert figures(tmp_path / "short") == figures(tmp_path / "alone")


def test_broken_photos_are_left_out_and_said(tmp_path: Path, encoder: str) -> None:
    """One in ten: cut short, emptied, or no photo at all."""
    photos = write_photos(tmp_path / "photos", count=10)
    for number, path in enumerate(sorted(photos.rglob("*.png"))[::10]):
        content = path.read_bytes()
        path.write_bytes((content[: len(content) // 2], b"", b"this is text")[number % 3])
    settings = f"{SETTINGS}, refit=0"
    found = sterna.fit(photos, encoder=encoder, tune="probe", out=tmp_path / "run", settings=settings)
    said = [one["sentence"] for one in found.data["findings"] if one["kind"] == "unreadable"]
    assert found.data["n"] == 27
    assert len(said) == 1
    assert "3 photos" in said[0] or said[0].startswith("3 ")


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, encoder: str) -> None:
    """A second one while the first trains is told, and the first goes on; `test_files` locks across processes."""
    write_photos(tmp_path / "photos", count=8)
    told: list[str] = []

    def beginning(what: str, done: int, total: int) -> None:
        if "epoch" in what and not told:
            with pytest.raises(SternaError) as error:
                fit(tmp_path, encoder)
            told.append(str(error.value))

    found = fit(tmp_path, encoder, Watch(advance=beginning))
    assert told == [
        f"{tmp_path}/run/routes is in use by another process; wait until that one has ended, or choose another folder."
    ]
    assert load(tmp_path / "run") == found
