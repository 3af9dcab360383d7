"""`report.html`: a finished run as one page that needs no network and, for the essentials, no script.

A section is a file here with a template beside it: the file turns the run into plain values and geometry, the template
lays them out. Every string passes through autoescape; the style and the script are the only ones the page may use,
which its content security policy states by their digests, so a class name that is markup stays text twice over.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sterna import files
from sterna.report import (
    answer,
    confusion,
    curves,
    data,
    domains,
    doubts,
    extras,
    floors,
    labels,
    looking,
    material,
    numbers,
    places,
    reliability,
    repeat,
    routes,
    section,
    several,
    sharing,
    stages,
    students,
    tagged,
    values,
    wrong,
)

PAGE = "report.html"
SECTIONS = (
    answer.section,
    routes.section,
    students.section,
    sharing.section,
    floors.section,
    domains.section,
    labels.section,
    curves.section,
    confusion.section,
    values.section,
    several.section,
    tagged.section,
    wrong.section,
    reliability.section,
    places.section,
    doubts.section,
    looking.section,
    stages.section,
    extras.section,
    data.section,
    repeat.section,
)
# The order in which sections may take pictures into the page: a map, which could use them all, comes last.
LAST = (places.section, domains.section)
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(place: Path, beside: Sequence[Path] = ()) -> str:
    """The page of a finished run, as HTML.

    Args:
        place: the folder of the run, with its result.json.
        beside: folders with a rank.json or a distance.json that the page shows too; those in the folder of the run are
            shown without being named.

    Raises:
        DataError: the folder holds no finished run, or one beside it nothing to show.
        StoreError: a file of the run is damaged or of an unknown version.
    """
    run = material.read(place, beside)
    made = {make: make(run) for make in sorted(SECTIONS, key=lambda make: make in LAST)}
    shown = [one for one in map(made.__getitem__, SECTIONS) if one is not None]
    inline = {name: TEMPLATES.get_template(name).render() for name in ("page.css", "page.js")}
    return TEMPLATES.get_template("page.html").render(
        run=run.name,
        task=run.result.task,
        adapting=run.adapting,
        held=run.held,
        first=shown[0],
        sections=shown[1:],
        pictures=run.shelf.pictures,
        version=run.result.environment.get("sterna", ""),
        policy=policy(inline["page.css"], inline["page.js"]),
        numbers=numbers,
        how=section.HOW,
    )


def write(place: Path, beside: Sequence[Path] = ()) -> Path:
    """Write `report.html` into the folder of a finished run and return where it lies; see `render`."""
    page = place / PAGE
    files.write_text(page, render(place, beside))
    return page


def policy(style: str, script: str) -> str:
    """What the page may load: its own style and script by their digests, pictures that it holds, and nothing else."""
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
