"""From what a person wrote to objects of methods, schedules and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sterna import folder, spec
from sterna.errors import SpecError
from sterna.schedule import Schedule
from sterna.settings import Settings


def schedule(written: Any) -> Schedule:
    """A `Schedule` from an object, `"epochs=30"` or `"schedule(epochs=30)"`."""
    made: Schedule = _named(Schedule, written)
    return made


def settings(written: Any) -> Settings:
    """`Settings` from an object, `"seeds=3, shots=10"` or `"settings(seeds=3)"`. Raises `SpecError` before any work."""
    made: Settings = _named(Settings, written)
    folder.resolve("criteria", made.criterion or ())
    return made


def _named(cls: type, written: Any) -> Any:
    """An option object of a class that needs no name."""
    if isinstance(written, cls):
        return written
    text, name = str(written or "").strip(), spec.name_of(cls)
    calls = spec.parse_sum(text if text.startswith(name) else f"{name}({text})")
    if len(calls) != 1 or calls[0].name != name:
        raise SpecError(f"{name} is written as its options alone, such as {name}({_example(cls)}), got '{text}'.")
    return spec.make(cls, calls[0])


def _example(cls: type) -> str:
    first = spec.options(cls)[0]
    return f"{first.name}={spec.written(first.default)}"


def references(written: Any) -> tuple[str, ...]:
    """The encoders that commas separate. Raises `SpecError` for none."""
    given = written.split(",") if isinstance(written, str) else list(written or ())
    found = tuple(dict.fromkeys(one.strip() for one in given if one.strip()))
    if not found:
        raise SpecError(
            "an encoder is needed; type --encoder and an origin:name, such as timm:resnet50.a1_in1k for pictures, "
            "sentence:all-MiniLM-L6-v2 for texts or hf:facebook/wav2vec2-base for sounds."
        )
    return found


def alternatives(what: str, written: Any, single: bool = False) -> list[tuple[Any, ...]]:
    """The alternatives that commas separate, or the items of a list that holds them."""
    if written in ("", ()):
        return []
    if isinstance(written, str):
        found = [tuple(folder.build(what, call) for call in calls) for calls in spec.parse_alternatives(written)]
    elif isinstance(written, Sequence) and single:
        found = [one for item in written for one in alternatives(what, item, single=True)]
    else:
        found = [folder.resolve(what, written)]
    for one in found:
        if single and len(one) != 1:
            raise SpecError(f"{what} takes one method at a time, got '{spec.write(one)}'; separate routes by commas.")
    return list(dict.fromkeys(found))


def single(what: str, written: Any) -> Any:
    """The one method of a sum. Raises `SpecError` for several."""
    found = folder.resolve("optimizers" if what == "optimizer" else what, written)
    if len(found) != 1:
        raise SpecError(f"{what} must be one method, got '{spec.write(found)}'; choose one of them.")
    return found[0]
