"""The listing and the pages of methods, as data."""

from __future__ import annotations

import pytest

from sterna import catalogue, folder
from sterna.errors import MissingPackageError, SpecError


def test_the_listing_holds_every_method() -> None:
    listed = catalogue.listing()
    assert [(entry.folder, entry.name) for entry in listed] == [
        *((place, name) for place in folder.FOLDERS for name in folder.names(place)),
        ("run", "schedule"),
        ("run", "settings"),
    ]
    assert all(entry.summary for entry in listed)


def test_a_page_holds_paper_equation_options_and_limits() -> None:
    page = catalogue.page("l2sp")
    assert (page.folder, page.name) == ("losses", "l2sp")
    assert page.summary.startswith("L2-SP: ")
    assert "1802.01483" in page.paper
    assert "|w - w0|^2" in page.equation
    assert "far from the source" in page.when_not
    weight = page.options[0]
    assert (weight.name, weight.type, weight.default, weight.allowed) == ("weight", "a number", "0.01", "in [0, inf)")
    assert weight.help


@pytest.mark.parametrize("name", ["schedule", "run/schedule", "settings"])
def test_options_of_a_run_have_a_page(name: str) -> None:
    page = catalogue.page(name)
    assert page.folder == "run"
    assert page.when_not
    assert {row.name for row in page.options} & {"epochs", "seeds"}


@pytest.mark.parametrize("name", ["losses/l2sp", " l2sp ", "losses/cross-entropy", "cross_entropy"])
def test_names_may_be_written_in_several_ways(name: str) -> None:
    assert catalogue.page(name).folder == "losses"


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"unknown method 'l2ps'\. Did you mean 'l2sp'\? Known: .*probe"):
        catalogue.page("l2ps")
    with pytest.raises(SpecError, match="unknown method ''"):
        catalogue.page("")


def test_a_shared_name_needs_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "names", lambda place: ("l2sp",) if place in ("losses", "tune") else ())
    with pytest.raises(SpecError, match="'l2sp' is the name of 2 methods; write 'tune/l2sp' or 'losses/l2sp'"):
        catalogue.page("l2sp")
    assert catalogue.page("losses/l2sp").folder == "losses"


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(place: str, name: str) -> None:
        raise MissingPackageError(folder.missing(name, "torch"))

    monkeypatch.setattr(folder, "module", absent)
    with pytest.raises(MissingPackageError, match="needs the package 'torch'"):
        catalogue.page("l2sp")


def test_paragraphs_are_told_apart() -> None:
    text = """Summary line.

    Paper: One 2020,
    "Title".

    Equation:
        a = b
          + c

    A remark
    on two lines.

    When not to use: never
    on Sundays.
    """
    import_free = "\n".join(line.removeprefix("    ") for line in text.splitlines())
    found = catalogue.paragraphs(import_free)
    assert found == {
        "": ["Summary line."],
        "Paper": ['One 2020, "Title".'],
        "Equation": ["a = b\n      + c"],
        "notes": ["A remark on two lines."],
        "When not to use": ["never on Sundays."],
    }
