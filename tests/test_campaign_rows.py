"""A study over tables of rows: with a source and without it, adapted to a target, and what cannot be served."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sterna
from sterna import agenda, contest
from sterna.contest import Against
from sterna.errors import SpecError
from sterna.records import Columns
from sterna.settings import Settings
from sterna.watching import Watch

pytestmark = pytest.mark.usefixtures("few_resamples")

PLACES = ("north", "south", "west")
HOSPITALS = {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}


def patients(names: Sequence[str] = PLACES, count: int = 50, labelled: bool = True) -> list[list[object]]:
    """Rows of a few numbers and a category whose meaning all places share, each place a little shifted."""
    found: list[list[object]] = []
    for name in names:
        draw = np.random.default_rng([*name.encode()])
        for _ in range(count):
            ill = int(draw.random() < 0.5)
            one, two = draw.normal((2.0 * ill + PLACES.index(name), -ill), 1.0)
            kind = ("old", "young")[int(draw.random() < 0.3 + 0.4 * ill)]
            found.append([name, round(one, 3), round(two, 3), kind, *(["yes" if ill else "no"] if labelled else [])])
    return found


def table(place: Path, rows: Sequence[Sequence[object]], labelled: bool = True) -> Path:
    with place.open("w", newline="", encoding="utf-8") as file:
        head = ["place", "one", "two", "kind", *(["ill"] if labelled else [])]
        csv.writer(file).writerows([head, *rows])
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rows")
    table(place / "all.csv", patients())
    for name in PLACES:
        table(place / f"{name}.csv", [[".", *row[1:]] for row in patients([name])])
    table(place / "blind.csv", [[".", *row[1:]] for row in patients(["west"], labelled=False)], labelled=False)
    return place


def written(place: Path, text: str, name: str = "mine") -> Path:
    (place / f"{name}.toml").write_text(text)
    return place / f"{name}.toml"


def run_of(found: contest.Contest, where: str) -> dict:
    return dict(json.loads((Path(found.folder) / where / "result.json").read_text()))


# With a source and without it

SOURCES = """
[defaults]
label = "ill"
test = 0.8
page = false
refit = 0
source_weight = 1

[[data]]
name = "north"
path = "all.csv"
domain = "place"
target_domain = "north"
seeds = 2

[[data]]
path = "south.csv"
source = "west.csv"

[[route]]
name = "helped"
method = "linear"

[[route]]
method = "boosting"

[[route]]
name = "alone"
method = "linear"
source_weight = 0
"""


@pytest.fixture(scope="module")
def helped(folder: Path) -> contest.Contest:
    return sterna.run_study(written(folder, SOURCES, "sources"), out=folder / "sources")


def test_rows_with_a_source_are_what_fit_makes_of_them(helped: contest.Contest, folder: Path) -> None:
    """`sterna.fit`, asked for nothing but the source, is the oracle."""
    settings = {"test": 0.8, "page": False, "mitigate": False, "refit": 0, "source_weight": 1}
    made = {
        "north": sterna.fit(
            folder / "all.csv",
            columns=Columns(label=("ill",), domain="place"),
            settings=Settings(**{**settings, "domain": "north", "seeds": 2}),
            out=folder / "north-alone",
        ),
        "south": sterna.fit(
            folder / "south.csv",
            source=folder / "west.csv",
            columns=Columns(label=("ill",)),
            settings=Settings(**settings),
            out=folder / "south-alone",
        ),
    }
    assert [one.name for one in helped.data] == ["north", "south"]
    assert not helped.failed
    names = {"helped": "linear with the source", "boosting": "boosting with the source", "alone": "linear"}
    for entry in helped.data:
        assert {one.route for one in entry.cells} == set(names)
        assert len({one.seeds for one in entry.cells if one.route != "boosting"}) == 2
        for cell in entry.cells:
            mine = [one for one in made[entry.name].routes if one.name == names[cell.route]]
            assert list(cell.seeds) == [one.metrics["accuracy"].value for one in sorted(mine, key=lambda one: one.seed)]


def test_each_route_of_rows_stands_against_the_best_floor(helped: contest.Contest) -> None:
    """The verdict of a run, reached another way, is the oracle."""
    assert all(one.against for entry in helped.data for one in entry.cells)
    names = {"linear with the source": "helped", "boosting with the source": "boosting"}
    for entry in helped.data:
        shared, alone = entry.runs
        said = run_of(helped, shared)["verdict"]
        cell = entry.cell(names[said["route"]])
        assert cell is not None
        assert cell.against == Against(*(said[key] for key in ("floor", "answer", "gain", "low", "high")))
        assert entry.runs[alone] == ("alone",)
        assert entry.floor in ("linear", "boosting")
    assert [len(one.cells) for one in helped.data] == [3, 3]
    assert {one.route for one in helped.places} == {"helped", "boosting", "alone"}
    assert "Against the best floor of each data set" in str(helped)
    assert "2 data sets are too few" in helped.sentences[0]


def test_the_study_of_rows_is_read_back(helped: contest.Contest, folder: Path) -> None:
    before = {one: one.stat().st_mtime_ns for one in Path(helped.folder).glob("*/*/result.json")}
    assert len(before) == 4
    assert sterna.run_study(folder / "sources.toml", out=helped.folder) == helped
    assert {one: one.stat().st_mtime_ns for one in before} == before


def test_a_weight_of_the_source_is_one_of_its_route(folder: Path) -> None:
    text = SOURCES.replace("source_weight = 0", "source_weight = 0.3").replace('name = "alone"\n', "")
    found = agenda.read(written(folder, text, "weights"))
    assert [one.name for one in found.routes] == ["helped", "boosting", "linear / source_weight=0.3"]
    for data in found.data:
        assert [one.settings.source_weight for one in found.fits(data)] == [1, 0.3]
        assert [one.words() for one in found.fits(data)] == [{"method": "linear, boosting"}, {"method": "linear"}]
        assert all(one.settings.test == 0.8 for one in found.fits(data))


# Adapted to a target

TARGETS = """
[defaults]
label = "ill"
seeds = 2
page = false
refit = 0

[[data]]
name = "west"
path = "all.csv"
domain = "place"
target = "west"

[[data]]
name = "files"
path = "north.csv, south.csv"
target = "west.csv"
labels = "few.csv"

[[route]]
method = "coral"

[[route]]
method = "subspace_alignment"
"""


@pytest.fixture(scope="module")
def adapted(folder: Path) -> contest.Contest:
    table(folder / "few.csv", [[".", *row[1:]] for row in patients(["west"])[:8]])
    return sterna.run_study(written(folder, TARGETS, "targets"), out=folder / "targets")


def test_rows_are_adapted_to_their_target(adapted: contest.Contest) -> None:
    assert not adapted.failed
    assert {one.name: one.n for one in adapted.data} == {"west": 50, "files": 42}
    assert {one.route for one in adapted.places} == {"coral", "subspace_alignment"}
    for entry in adapted.data:
        (where,) = entry.runs
        result = run_of(adapted, where)
        for cell in entry.cells:
            mine = [one["metrics"]["accuracy"]["value"] for one in result["routes"] if one["name"] == cell.route]
            assert list(cell.seeds) == mine
        said = result["verdict"]
        against = entry.cell(said["route"])
        assert against is not None
        assert against.against == Against(*(said[key] for key in ("floor", "answer", "gain", "low", "high")))
        assert all(one.against and one.against.floor.endswith("only / head") for one in entry.cells)
    assert (Path(adapted.folder) / "study.html").exists()


def test_a_network_adapts_beside_methods_on_features(tmp_path: Path) -> None:
    for domain, noise in (("clear", 60), ("noisy", 90)):
        for kind, name in enumerate(("lies", "stands")):
            (tmp_path / domain / name).mkdir(parents=True)
            for number in range(12):
                drawn = np.random.default_rng([kind, number, noise]).integers(0, noise, (20, 20))
                band = (slice(8, 12), slice(2, 18))
                drawn[band if kind == 0 else band[::-1]] += 90
                Image.fromarray(drawn.astype(np.uint8)).save(tmp_path / domain / name / f"{number}.png")
    text = """
        [defaults]
        encoder = "builtin:glyphs"
        loss = "cross_entropy + mcc"
        schedule = "epochs=1"
        page = false
        refit = 0
        [[data]]
        path = "clear"
        target = "noisy"
        [[route]]
        method = "coral"
        [[route]]
        tune = "partial(stages=1)"
        [[route]]
        tune = "full"
    """
    found = sterna.run_study(written(tmp_path, text), out=tmp_path / "out")
    assert not found.failed
    (entry,) = found.data
    assert list(entry.runs.values()) == [("coral",), ("partial(stages=1)", "full")]
    assert [one.name for one in agenda.read(tmp_path / "mine.toml").routes] == ["coral", "partial(stages=1)", "full"]
    floors = {one.route: one.against.floor for one in entry.cells if one.against}
    assert floors.pop("coral") == "source only / head"
    assert set(floors) == {"partial(stages=1)", "full"}
    assert set(floors.values()) <= {"source only / partial(stages=1)", "source only / full"}


def test_where_a_target_lies(folder: Path) -> None:
    found = agenda.read(written(folder, TARGETS, "targets"))
    west, files = (one.sides for one in found.data)
    assert (west.data, west.target, west.labels) == (str(folder / "all.csv"), "west", "")
    assert files.data == f"{folder / 'north.csv'}, {folder / 'south.csv'}"
    assert (files.target, files.labels) == (str(folder / "west.csv"), str(folder / "few.csv"))
    domain = TARGETS.replace('label = "ill"', 'label = "ill"\ndomain = "place"')
    assert agenda.read(written(folder, domain, "domains")).data[1].sides.target == str(folder / "west.csv")


# What cannot be served

ROWS = '[[data]]\npath = "south.csv"\nlabel = "ill"\npage = false\n'
SOURCE, TARGET = 'source = "west.csv"\n', 'target = "west.csv"\n'
LINEAR, CORAL, PROBE = '[[route]]\nmethod = "linear"\n', '[[route]]\nmethod = "coral"\n', '[[route]]\ntune = "probe"\n'
CANNOT = {
    # as the file tells
    ROWS + LINEAR: "the route linear cannot serve the data set south: without a source it is a floor, which every run",
    ROWS + CORAL: "the route coral cannot serve the data set south: it adapts to a target, and none is named there;",
    ROWS + SOURCE + CORAL: "the route coral cannot serve the data set south: it adapts to a target",
    ROWS + TARGET + LINEAR: "the route linear cannot serve the data set south: that has a target, to which methods of",
    ROWS + TARGET + PROBE: "the route probe cannot serve the data set south: that has a target, and a network adapts b",
    ROWS + PROBE + "source_weight = 0": "cannot serve the data set south: source_weight is for a source; write source",
    ROWS + TARGET + CORAL + "source_weight = 0": "coral / source_weight=0 cannot serve the data set south",
    ROWS + SOURCE + LINEAR + "source_weight = -1": "[[route]] 1: source_weight of settings must be",
    ROWS + SOURCE + LINEAR + "shots = 3": "It belongs into [defaults] or [[data]], because all routes of a data set sh",
    ROWS + TARGET + '[[route]]\nmethod = "none"': "none looks at no target, so it is no route but a floor",
    ROWS + TARGET + '[[route]]\nmethod = "corall"': "[[route]] 1: unknown method 'corall'. Did you mean 'coral'?",
    ROWS + 'target = "wets.csv"\n' + CORAL: "did you mean",
    ROWS + TARGET + CORAL + CORAL + 'name = "again"': "coral and again ask for the same",
    # as the data tell
    ROWS + SOURCE + PROBE: "south / probe: probe is no route for row data there, which has boosting, linear; leave",
    ROWS
    + SOURCE
    + '[[route]]\nmethod = "tfidf"': "south / tfidf: tfidf takes text data, and these are row; leave it out",
    ROWS
    + TARGET
    + PROBE
    + 'loss = "cross_entropy + mcc"': "south / probe / cross_entropy + mcc: row data are adapted by",
    ROWS
    + TARGET
    + '[[route]]\nmethod = "easyadapt"': "south / easyadapt: easyadapt needs some labelled examples of the",
    ROWS + SOURCE + TARGET + CORAL: "south: --target names what to adapt to and DATA is its source",
    ROWS + 'target = "blind.csv"\n' + CORAL: "south: no label of its target is known, so routes cannot be compared",
    ROWS.replace('"ill"', '"one"') + 'task = "regress"\n' + SOURCE + '[[route]]\nmethod = "prototypes"': (
        "south / prototypes: prototypes serves the task classify, and these labels are for regress"
    ),
}


@pytest.mark.parametrize(("text", "sentence"), CANNOT.items())
def test_what_cannot_be_served_is_told_before_anything_runs(text: str, sentence: str, folder: Path) -> None:
    file = written(folder, text, "cannot")
    with pytest.raises(SpecError) as error:
        sterna.run_study(file, out=folder / "out")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not (folder / "out").exists()


def test_data_that_cannot_be_used_are_told_first_and_the_others_go_on(folder: Path) -> None:
    """A place that is not there, as second data set, is heard of before the first one runs."""
    south = ROWS + SOURCE
    east = '[[data]]\nname = "east"\npath = "all.csv"\nlabel = "ill"\ndomain = "place"\ntarget_domain = "east"\n'
    said: list[str] = []
    file = written(folder, south + east + LINEAR, "east")
    found = sterna.run_study(file, out=folder / "east", watch=Watch(say=said.append))
    assert said[0].startswith("east cannot be used: ")
    assert "has no domain 'east'." in said[0]
    assert said[0].endswith("Its domains are north, south, west.")
    assert said[1].startswith("south: run 1 of 2")
    assert [one.name for one in found.data] == ["south"]
    assert [name for name, _ in found.failed] == ["east"]


# Four hospitals


def test_four_hospitals(data_folder: Path, tmp_path: Path) -> None:
    """Each in turn the target; where 93 % are ill, shares of classes are what has to be adapted."""
    rows = []
    for name in HOSPITALS:
        for line in (data_folder / "heart" / f"processed.{name}.data").read_text().split():
            *cells, degree = line.split(",")
            rows.append([name, *cells, "yes" if float(degree) > 0 else "no"])
    with (tmp_path / "heart.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["hospital", *(f"c{place}" for place in range(13)), "ill"], *rows])
    data = [f'[[data]]\nname = "{name}"\npath = "heart.csv"\ntarget = "{name}"\n' for name in HOSPITALS]
    head = '[defaults]\nlabel = "ill"\ndomain = "hospital"\npage = false\n'
    routes = '[[route]]\nmethod = "coral"\n[[route]]\nmethod = "em_shift"\n'
    found = sterna.run_study(written(tmp_path, head + "".join(data) + routes), out=tmp_path / "out")
    assert {one.name: one.n for one in found.data} == HOSPITALS
    answers = {one.name: {cell.route: cell.against.answer for cell in one.cells if cell.against} for one in found.data}
    assert answers["switzerland"] == {"coral": "hurts", "em_shift": "helps"}
    assert found.places[0].route == "em_shift"
