"""The page of a run: made from what the run left, with every string as text and nothing loaded from elsewhere."""

from __future__ import annotations

import html
import html.parser
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import sterna
from sterna import cli, report
from sterna.errors import DataError

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on real digits."""
    place = tmp_path_factory.mktemp("runs") / "digits"
    settings = "shots=4, floors=classical, mitigate=false"
    sterna.fit("sklearn:digits", encoder="builtin:glyphs", tune="probe", settings=settings, out=place)
    return place


class Tags(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def loads(page: str) -> list[str]:
    """Addresses that the page would fetch."""
    named = [value or "" for _, found in Tags(page).found for key, value in found.items() if key in ("src", "href")]
    return [one for one in named if not one.startswith(("data:", "#"))]


def test_the_verdict_stands_on_top_and_nothing_is_loaded(run: Path) -> None:
    page = report.write(run).read_text(encoding="utf-8")
    result = json.loads((run / "result.json").read_text())
    assert page.count("<h1") == 1
    first = page[page.index("<h1") :]
    assert first.index("held-out examples") < first.index("Routes compared")
    assert result["verdict"]["route"] in page
    assert loads(page) == []
    assert len(page) < 3_000_000
    assert "default-src 'none'" in html.unescape(page)
    for heading in ("Routes compared", "What is confused with what", "Where the examples lie", "Can its probabilities"):
        assert heading in page, heading


def renamed(value: Any) -> Any:
    """The same with the digit 3 under an evil name."""
    if isinstance(value, dict):
        return {renamed(key): renamed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [renamed(one) for one in value]
    return EVIL if value == "3" else value


def test_a_class_name_that_is_markup_stays_text(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "evil"
    shutil.copytree(run, place)
    for name in ("result.json", "evidence.json"):
        (place / name).write_text(json.dumps(renamed(json.loads((place / name).read_text()))))
    page = report.render(place)
    assert EVIL not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert not any("onerror" in found for _, found in Tags(page).found)
    assert loads(page) == []


def test_a_run_without_evidence_has_a_page_all_the_same(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "old"
    shutil.copytree(run, place)
    (place / "evidence.json").unlink()
    page = report.render(place)
    assert "Routes compared" in page
    assert len(page) < len(report.render(run))


def test_the_command_writes_it_and_refuses_what_is_no_run(run: Path, tmp_path: Path) -> None:
    (run / report.PAGE).unlink(missing_ok=True)
    done = CliRunner().invoke(cli.app, ["report", str(run)])
    assert done.exit_code == 0
    assert (run / report.PAGE).is_file()
    with pytest.raises(DataError, match="holds no finished run"):
        report.render(tmp_path)
