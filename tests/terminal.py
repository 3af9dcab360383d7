"""Commands and scripts without a process of their own, whose imports would take seconds each time."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from sterna import cli


def sterna(*words: str, cwd: Path | None = None) -> CompletedProcess[str]:
    """What `sterna WORDS` prints and its exit status, from `cli.main`, which is all that the command runs."""
    return _held(cli.main, ["sterna", *words], cwd)


def script(path: Path, *words: str, cwd: Path | None = None) -> CompletedProcess[str]:
    """What `python PATH WORDS` prints and its exit status."""
    return _held(lambda: runpy.run_path(str(path), run_name="__main__"), [str(path), *words], cwd)


def _held(call: Callable[[], object], argv: Sequence[str], cwd: Path | None) -> CompletedProcess[str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", list(argv))
        try:
            call()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return CompletedProcess(list(argv), status, stdout.getvalue(), stderr.getvalue())
