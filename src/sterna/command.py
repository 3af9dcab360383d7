"""What was asked for, as the line that asks for it again: `sterna fit DATA --encoder ... --seeds 3`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sterna import spec
from sterna.records import Columns
from sterna.settings import Settings

FLAGS = {"domain": "target_domain"}  # settings whose flag has another name than the option
ALREADY = {"augment": "none", "optimizer": "adamw"}  # what is meant where nothing is said


def written(data: str, words: Mapping[str, Any], columns: Columns | None, settings: Settings) -> str:
    """The command line of a run; options that have their default are left out.

    Args:
        data: what was typed.
        words: what was said of other data and of the methods, by the names of the options; objects are written in the
            grammar.
        columns: which columns mean what.
        settings: of the run.

    The folder of the run and where activations lie are not part of it: they change no number. Encoders and methods
    that were handed over as objects of one's own cannot be typed; they stand there by their `repr`.
    """
    said = {name: _word(value) for name, value in words.items()}
    options = {name: value for name, value in said.items() if value not in ("", ALREADY.get(name, ""))}
    options |= {name: _word(value) for name, value in asdict(columns or Columns()).items() if value}
    line = ["sterna", "fit", data, *_flags(options.items())]
    for item in spec.options(Settings):
        value = getattr(settings, item.name)
        if value == item.default:
            continue
        name = FLAGS.get(item.name, item.name)
        if isinstance(value, bool):
            line.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        else:
            line += _flags([(name, _word(value))])
    return shlex.join(line)


def _flags(options: Iterable[tuple[str, str]]) -> list[str]:
    return [part for name, value in options for part in (f"--{name.replace('_', '-')}", value)]


def _word(value: Any) -> str:
    """One option as it is typed; sequences with commas."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_word, value))
    return str(value)
