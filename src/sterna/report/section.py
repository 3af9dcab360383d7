"""What every section of the page is, and what it says when something it needs was never made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HOW = "run the same sterna fit again with another --out to have it"


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; `name` is its anchor and its template."""

    name: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""  # instead of the contents: what is not there and how to get it

    @property
    def template(self) -> str:
        """The file that lays it out."""
        return f"{self.name}.html"


def without_evidence(name: str, title: str, what: str) -> Section:
    """A section that needs evidence.json, in a run that has none."""
    return Section(name, title, missing=f"{what} not shown, because this run has no evidence.json: {HOW}.")
