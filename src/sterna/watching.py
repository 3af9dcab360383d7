"""How long work tells where it is. The library calls, the command line shows; the default is silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _silent(*_: object) -> None:
    return None


@dataclass(frozen=True)
class Watch:
    """Two ways to be told."""

    say: Callable[[str], None] = _silent  # a sentence for the person: what was found, inferred, done
    advance: Callable[[str, int, int], None] = _silent  # what is under way, how much of it is done, of how much
