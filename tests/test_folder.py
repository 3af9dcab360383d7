"""A folder is a registry: what is there is known, what is not there is refused with the nearest name."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sterna.losses
from sterna import folder, spec
from sterna.errors import MissingPackageError, SpecError
from sterna.losses.l2sp import L2SP
from sterna.optimizers.sgd import SGD

METHOD = '''"""A pull.

Paper: none.
"""
{imports}
from sterna.spec import method, option

@method
class Pull:
    """How strong."""
    weight: float = option(1.0, "strength")
'''


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `losses` folder of our own; returns the place where its files go."""
    monkeypatch.setattr(folder, "_place", lambda name: tmp_path)
    monkeypatch.setattr(sterna.losses, "__path__", [str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("sterna.losses."):
            del sys.modules[name]


def add(place: Path, name: str, text: str) -> None:
    (place / f"{name}.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def test_names_are_the_files() -> None:
    here = Path(folder.__file__).parent
    for place in folder.FOLDERS:
        wanted = sorted(path.stem for path in (here / place).glob("*.py") if path.stem[0] != "_")
        assert list(folder.names(place)) == wanted


def test_a_new_file_is_a_new_method(registry: Path) -> None:
    assert folder.names("losses") == ()
    add(registry, "pull", METHOD.format(imports=""))
    add(registry, "_hidden", "not Python")
    assert folder.names("losses") == ("pull",)
    assert folder.summary("losses", "pull") == "A pull."
    (made,) = folder.resolve("losses", "pull(weight=2)")
    assert repr(made) == "pull(weight=2.0)"


def test_listing_imports_nothing_heavy() -> None:
    """Every name and summary can be had where no optional package is installed."""
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'skimage', 'matplotlib'): sys.modules[name] = None\n"
        "from sterna import catalogue, folder\n"
        "listed = [entry for entry in catalogue.listing() if entry.folder != 'run']\n"
        "print(len(listed), sum(len(folder.names(place)) for place in folder.FOLDERS))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed, there = done.stdout.split()
    assert listed == there != "0"


def test_load_finds_the_option_class() -> None:
    assert folder.load("losses", "l2sp") is L2SP


@pytest.mark.parametrize("classes", [0, 2])
def test_a_file_with_another_number_of_methods_is_a_bug(registry: Path, classes: int) -> None:
    twice = METHOD.format(imports="") + METHOD.split("option\n", 1)[1].replace("Pull", "Push")
    add(registry, f"wrong{classes}", twice if classes else '"""Nothing here."""\n')
    with pytest.raises(TypeError, match=f"exactly one method class, found {classes}"):
        folder.load("losses", f"wrong{classes}")


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"unknown losses method 'l2ps'\. Did you mean 'l2sp'\? Known: .*cross_entropy"):
        folder.resolve("losses", "l2ps(weight=1)")
    with pytest.raises(SpecError, match=r"unknown losses method 'zzzz'\. Known: "):
        folder.load("losses", "zzzz")
    with pytest.raises(SpecError, match=r"unknown folder of methods 'loses'\. Did you mean 'losses'\?"):
        folder.names("loses")
    assert folder.unknown("thing", "x", ()) == "unknown thing 'x'. Known: none."


def test_names_do_not_reach_other_places() -> None:
    for name in ("..l2sp", "__init__", "../spec", "losses.l2sp", ""):
        with pytest.raises(SpecError, match="unknown losses method"):
            folder.load("losses", name)


def test_resolve_takes_text_objects_and_lists() -> None:
    pull = L2SP(weight=0.5)
    written = "cross_entropy + l2sp(weight=0.5)"
    resolved = folder.resolve("losses", written)
    assert spec.write(resolved) == written
    assert resolved[1] == pull
    assert folder.resolve("losses", pull) == (pull,)
    assert folder.resolve("losses", ["cross_entropy", pull]) == resolved
    assert folder.resolve("losses", (written, [pull])) == (*resolved, pull)
    assert folder.resolve("losses", []) == ()


@pytest.mark.parametrize("wrong", [5, None, L2SP, {"l2sp"}, b"l2sp", [0.5]])
def test_resolve_refuses_anything_else(wrong: object) -> None:
    with pytest.raises(SpecError, match="losses must be text such as 'adabn' or an option object, got"):
        folder.resolve("losses", wrong)


def test_resolve_refuses_objects_of_another_folder() -> None:
    with pytest.raises(SpecError, match=r"losses got sgd\(.*\), which belongs to optimizers\."):
        folder.resolve("losses", [L2SP(), SGD(rate=0.5)])


def test_objects_made_elsewhere_pass() -> None:
    """A method that a user keeps in a file of their own needs no place in the package."""

    @spec.method
    class Mine:
        pass

    assert folder.resolve("losses", Mine()) == (Mine(),)


def test_a_missing_package_names_what_to_install(registry: Path) -> None:
    add(registry, "heavy", METHOD.format(imports="import no_such_package.inside"))
    sentence = "heavy .in losses. needs the package 'no_such_package', .* type pip install no_such_package."
    with pytest.raises(MissingPackageError, match=sentence):
        folder.load("losses", "heavy")


@pytest.mark.parametrize("broken", ["import sterna.no_such_part", "import json.no_such_part", "import json; json.x"])
def test_a_broken_file_is_not_a_missing_package(registry: Path, broken: str) -> None:
    add(registry, "broken", METHOD.format(imports=broken))
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        folder.load("losses", "broken")


def test_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=1.26", 'torchvision>=0.19; extra == "images"', 'scikit-image>=0.22; extra == "images"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    assert folder.missing("x", "skimage") == (
        "x needs the package 'scikit-image', which is not installed: type pip install 'sterna[images]'."
    )
    assert folder.missing("x", "torch").endswith("type pip install torch.")  # not torchvision's extra
    assert folder.missing("x", "numpy").endswith("type pip install numpy.")  # in no extra


def test_missing_works_from_a_source_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert folder.missing("x", "timm").endswith("type pip install timm.")


def test_every_wrapped_package_is_in_an_extra() -> None:
    for package in ("torch", "torchvision", "timm", "skimage"):
        assert "sterna[images]" in folder.missing("x", package)
    assert "sterna[recipes]" in folder.missing("x", "matplotlib")


def test_the_manual_shows_real_answers() -> None:
    page = (Path(folder.__file__).parents[2] / "docs" / "specification.md").read_text("utf-8")
    shown = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", page, re.MULTILINE)
    assert len(shown) == 6
    for typed, answer in shown:
        with pytest.raises(SpecError, match=re.escape(answer.partition("Known:")[0])):
            folder.resolve("tune" if typed.startswith("partial") else "losses", typed)
