"""Files are whole or absent, whatever happens while they are written; a lock falls with its process."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sterna import files
from sterna.errors import StoreError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writing_makes_folders_and_replaces(tmp_path):
    place = tmp_path / "a" / "b" / "note.txt"
    files.write_text(place, "grün\n")
    files.write_text(place, "blå\n")
    assert place.read_bytes() == "blå\n".encode()
    assert names(place.parent) == ["note.txt"]


def test_json_takes_numpy_numbers_and_comes_back(tmp_path):
    files.write_json(tmp_path / "x.json", {"a": np.float32(0.5), "b": np.arange(2), "ü": [True, None]})
    assert files.read_json(tmp_path / "x.json") == {"a": 0.5, "b": [0, 1], "ü": [True, None]}


def test_arrays_come_back(tmp_path):
    files.write_arrays(tmp_path / "x.npz", {"a": np.arange(3)})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found["a"].tolist() == [0, 1, 2]


def test_damaged_json_is_one_sentence(tmp_path):
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(StoreError, match=r"x\.json is damaged and cannot be read; remove its folder"):
        files.read_json(tmp_path / "x.json")


def test_new_files_have_the_usual_permissions(tmp_path):
    files.write_text(tmp_path / "a", "")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_block_leaves_what_was_there(tmp_path, error):
    place = tmp_path / "x"
    place.write_text("old")

    def fail():
        with files.replacing(place) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert place.read_text() == "old"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match=r"cannot write .*: No space left on device; free some space or choose"):
        files.write_text(tmp_path / "x", "new")
    assert names(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_one_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*taken"):
        files.write_text(tmp_path / "taken" / "x", "new")
    with pytest.raises(StoreError, match=r"cannot write .*taken"), files.locked(tmp_path / "taken"):
        pass


def begin(code, *arguments):
    """A Python process that has said «ready»."""
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "ready"
    return process


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_killed_process_leaves_the_old_file(tmp_path):
    place = tmp_path / "x"
    place.write_text("old")
    code = """
import sys, time, pathlib
from sterna import files
with files.replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half"); file.flush()
    print("ready", flush=True)
    time.sleep(60)
"""
    end(begin(code, place))
    assert place.read_text() == "old"
    files.write_text(place, "new")
    assert place.read_text() == "new"
    assert [name for name in names(tmp_path) if not name.endswith(files.UNFINISHED)] == ["x"]


HOLD = """
import sys, time, pathlib
from sterna import files
with files.locked(pathlib.Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_lock_keeps_others_out_and_falls_with_its_process(tmp_path):
    holder = begin(HOLD, tmp_path, 60)
    try:
        with pytest.raises(StoreError, match="is in use by another process; wait until that one has ended"):
            files.locked(tmp_path).__enter__()
    finally:
        end(holder)
    with files.locked(tmp_path), pytest.raises(StoreError, match="in use"), files.locked(tmp_path):
        pass


def test_a_lock_can_be_waited_for(tmp_path):
    holder = begin(HOLD, tmp_path, 0.5)
    start = time.monotonic()
    with files.locked(tmp_path, wait=True):
        assert time.monotonic() - start > 0.1
    end(holder)
