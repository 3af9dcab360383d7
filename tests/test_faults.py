"""A full disk, broken photos, another run in the same folder: one sentence, and nothing lost."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_study import encoder as encoder  # a fixture
from test_study import write_photos

import sterna
from sterna import files, keeping

CHILD = """
import resource, sys, sterna
from sterna.store import Store
place, encoder, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    sterna.fit(
        place + "/photos", encoder=encoder, tune="probe, partial(stages=1)", out=place + "/run",
        schedule="epochs=2, batch=8", store=Store(place + "/cache"),
        settings="page=false, floors=classical, mitigate=false",
    )
except sterna.errors.SternaError as error:
    print(error)
    sys.exit(2)
"""


def child(place: Path, encoder: str, limit: int = 0) -> tuple[int, str]:
    """The exit status of a run and what it printed; no file of it can grow beyond the limit, in bytes."""
    command = [sys.executable, "-c", CHILD, str(place), encoder, str(limit)]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.returncode, (found.stdout + found.stderr).strip()


def figures(place: Path) -> list[object]:
    result = json.loads((place / "run" / "result.json").read_text())
    return [result["verdict"], *((one["name"], one["metrics"], one["validation"]) for one in result["routes"])]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system has no limit on the size of files")
def test_a_run_that_cannot_write_says_so_and_goes_on_later(tmp_path: Path, encoder: str) -> None:
    """With room for ever larger files each time, up to the end; the same figures as a run left alone."""
    for name in ("alone", "short"):
        write_photos(tmp_path / name / "photos", count=8)
    assert child(tmp_path / "alone", encoder) == (0, "")
    told = []
    for limit in (100, 3_000, 100_000):
        status, said = child(tmp_path / "short", encoder, limit)
        assert status == 2, said
        assert said.startswith("cannot write")
        assert said.endswith("File too large; free some space or choose another folder.")
        assert "\n" not in said
        told.append(said.partition(":")[0])
        assert not list((tmp_path / "short" / "run").rglob(f"*{files.UNFINISHED}"))
    assert len(set(told)) == 3  # each limit stopped another file
    assert child(tmp_path / "short", encoder) == (0, "")
    assert figures(tmp_path / "short") == figures(tmp_path / "alone")


def test_broken_photos_are_left_out_and_said(tmp_path: Path, encoder: str) -> None:
    """One in ten: cut short, emptied, or no photo at all."""
    photos = write_photos(tmp_path / "photos", count=20)
    for number, path in enumerate(sorted(photos.rglob("*.png"))[::10]):
        content = path.read_bytes()
        path.write_bytes((content[: len(content) // 2], b"", b"this is text")[number % 3])
    found = sterna.fit(
        photos, encoder=encoder, tune="probe", out=tmp_path / "run", settings="page=false, mitigate=false, refit=0"
    )
    said = [one["sentence"] for one in found.data["findings"] if one["kind"] == "unreadable"]
    assert found.data["n"] == 54
    assert len(said) == 1
    assert "6 photos" in said[0] or said[0].startswith("6 ")


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, encoder: str) -> None:
    write_photos(tmp_path / "photos", count=8)
    place = tmp_path / "run"
    command = [sys.executable, "-c", CHILD.replace("epochs=2", "epochs=2000, patience=2000"), str(tmp_path), encoder]
    with subprocess.Popen([*command, "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        try:
            while not list((place / keeping.ROUTES).glob("partial*")) and first.poll() is None:
                time.sleep(0.1)
            second = subprocess.run([*command, "0"], capture_output=True, text=True)
        finally:
            first.kill()
    assert second.returncode == 2
    assert second.stdout.strip() == (
        f"{place}/routes is in use by another process; wait until that one has ended, or choose another folder."
    )
