"""A study: one file, several data sets and routes, ranks that are worked by hand, and a page that stays text."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import friedmanchisquare, wilcoxon
from typer.testing import CliRunner

import sterna
from sterna import agenda, campaign, cli, contest, stats
from sterna.contest import Against, Cell, Entry, Ground
from sterna.errors import SpecError, TrainingError
from sterna.maths import friedman
from sterna.outcomes import Score
from sterna.report import campaign as page
from sterna.watching import Watch

pytestmark = pytest.mark.usefixtures("few_resamples")

EVIL = "<img src=x onerror=alert(1)>"


def rows(*figures: tuple[float, ...], routes: str = "abcd", higher: bool = True) -> tuple[Entry, ...]:
    """One data set for each tuple, one seed, one figure a route."""
    return tuple(
        Entry(
            f"d{number}",
            "accuracy",
            higher,
            100,
            tuple(
                Cell(name, Score(value, value - 0.1, value + 0.1), (value,))
                for name, value in zip(routes, each, strict=False)
            ),
            {f"d{number}": tuple(routes)},
        )
        for number, each in enumerate(figures)
    )


def held(data: tuple[Entry, ...], routes: str = "abc", **more: object) -> contest.Contest:
    ground = Ground("mine", tuple(routes), data, (), "[[route]]", {}, "")
    return contest.concluded(replace(ground, **more))


# Friedman and Wilcoxon


def test_friedman_is_the_textbook_statistic() -> None:
    # By hand: ranks sum to 5, 8, 11 on four data sets; 12 / (4 * 3 * 4) (25 + 64 + 121) - 3 * 4 * 4 = 4.5.
    ranks = np.array([[1.0, 2, 3], [1, 2, 3], [2, 1, 3], [1, 3, 2]])
    assert ranks.sum(axis=0).tolist() == [5, 8, 11]
    assert friedman.statistic(ranks) == pytest.approx(4.5)


def test_friedman_with_ties_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).integers(0, 4, (7, 4)).astype(float)
    table = contest._ranks(rows(*map(tuple, values)), "abcd")
    assert len(np.unique(values)) < values.size
    assert friedman.statistic(table) == pytest.approx(friedmanchisquare(*values.T).statistic)


def test_friedman_of_ties_alone_says_nothing() -> None:
    ranks = np.full((3, 2), 1.5)
    assert friedman.statistic(ranks) == 0
    assert friedman.permuted(ranks, np.random.default_rng(0)) == 1


def test_the_p_value_counts_every_arrangement() -> None:
    ranks = np.array([[1, 2, 3], [1, 3, 2], [1.5, 1.5, 3]])
    every = [friedman.statistic(np.array(one)) for one in product(*(list(permutations(row)) for row in ranks))]
    wanted = np.mean([one >= friedman.statistic(ranks) - 1e-9 for one in every])
    assert friedman.permuted(ranks, np.random.default_rng(0)) == pytest.approx(wanted)
    drawn = friedman.permuted(ranks, np.random.default_rng(0), draws=200)  # fewer than 216: at random
    assert drawn == pytest.approx(wanted, abs=0.08)
    assert drawn != wanted


def test_signed_ranks_make_the_exact_wilcoxon_test() -> None:
    apart = np.random.default_rng(1).normal(0.5, 1, 9)
    found = stats.sign_flips(friedman.signed_ranks(apart), np.random.default_rng(0))
    assert found == pytest.approx(wilcoxon(apart, method="exact").pvalue)
    assert friedman.signed_ranks(np.array([0.0, -2, 2, 5])).tolist() == [-1.5, 1.5, 3]


# Ranks, regrets, sentences


def test_ranks_and_regrets_by_hand() -> None:
    found = held(rows((0.9, 0.8, 0.7), (0.6, 0.6, 0.5), (0.5, 0.9, 0.5)))
    places = {one.route: one for one in found.places}
    assert {name: one.mean_rank for name, one in places.items()} == pytest.approx(
        {"a": (1 + 1.5 + 2.5) / 3, "b": (2 + 1.5 + 1) / 3, "c": (3 + 3 + 2.5) / 3}
    )
    assert [one.route for one in found.places] == ["b", "a", "c"]
    assert {name: one.regret for name, one in places.items()} == pytest.approx(
        {"a": 0.4 / 3, "b": 0.1 / 3, "c": 0.7 / 3}
    )
    assert (places["a"].worst, places["a"].worst_on) == (pytest.approx(0.4), "d2")
    assert [places[name].best_on for name in "abc"] == [2, 2, 0]


def test_lower_is_better_where_the_figure_says_so() -> None:
    found = held(rows((3.0, 1.0, 2.0), (5.0, 4.0, 9.0), higher=False))
    assert (found.places[0].route, found.places[0].mean_rank) == ("b", 1)
    assert {one.route: one.regret for one in found.places} == pytest.approx({"b": 0, "a": 1.5, "c": 3})
    assert "d0, accuracy  100.0" in str(found).splitlines()[1]
    assert "*" in str(found).splitlines()[1][:40]


def test_ranks_are_taken_at_each_seed() -> None:
    cells = (
        Cell("a", Score(0.6, 0.5, 0.7), (0.9, 0.5, 0.4)),
        Cell("b", Score(0.6, 0.5, 0.7), (0.6, 0.6, 0.6)),
    )
    found = held((Entry("d", "accuracy", True, 9, cells, {}),), "ab")
    assert {one.route: one.mean_rank for one in found.places} == pytest.approx({"a": 5 / 3, "b": 4 / 3})


def test_one_data_set_tells_nothing_of_others() -> None:
    found = held(rows((0.9, 0.8, 0.7)))
    assert found.p is None
    assert (found.places[0].low, found.places[0].high) == (1, 3)
    assert "one data set is too few for any claim beyond them" in found.sentences[0]
    assert found.answer == "undecided"


@pytest.mark.parametrize(("routes", "fewest"), [(2, 6), (3, 7), (4, 8)])
def test_the_fewest_data_sets_for_a_claim(routes: int, fewest: int) -> None:
    assert contest.needed(routes) == fewest
    always = tuple(0.9 - 0.1 * place for place in range(routes))
    names = "abcd"[:routes]
    for n in (fewest - 1, fewest):
        moved = [
            tuple(value + 0.001 * number * (place + 1) for place, value in enumerate(always)) for number in range(n)
        ]
        found = held(rows(*moved, routes=names), names)
        assert (found.answer == "best") == (n >= fewest)
        assert ("too few" in found.sentences[0]) == (n < fewest)


def test_a_route_that_wins_everywhere_is_called_best() -> None:
    found = held(rows(*[(0.9 + 0.001 * n, 0.8, 0.7 - 0.002 * n) for n in range(8)]))
    assert found.sentences[0].startswith("a is the best route: mean rank 1.00 of 3, 95 % interval 1.00 to ")
    assert "over n = 8 data sets, 10.3 points ahead of b on average" in found.sentences[0]
    assert found.p is not None
    assert found.p < 0.001
    assert 1.0 < found.places[0].high < 2  # eight that agree are not certainty
    assert [(one.first, one.second) for one in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.p for one in found.pairs] == pytest.approx([2**-7] * 3)
    assert [one.adjusted for one in found.pairs] == pytest.approx([3 * 2**-7] * 3)


def test_routes_that_change_places_are_not_told_apart() -> None:
    found = held(rows(*[(0.9, 0.8 + 0.2 * (n % 2), 0.3 - 0.01 * n) for n in range(10)]))
    assert found.sentences[0].startswith(
        "It cannot be told which route is best: a and b share the best mean rank (1.50"
    )
    assert "it is not told apart from b (Wilcoxon's signed-rank test, p after Holm's correction 1.000)" in str(found)


def test_the_interval_of_ranks_covers() -> None:
    draw = np.random.default_rng(0)
    shares, inside = [0.7, 0.2, 0.1], 0
    for _ in range(60):
        low, high = contest.rank_interval(draw.choice([1.0, 2, 3], size=8, p=shares), 3)
        assert 1 <= low <= high <= 3
        inside += low <= float(np.dot(shares, [1, 2, 3])) <= high
    assert inside >= 55


def test_only_routes_with_a_figure_everywhere_are_ranked() -> None:
    data = rows((0.9, 0.8, 0.7), (0.6, 0.7))
    cells = (*data[1].cells[:1], replace(data[1].cells[1], seeds=(0.7, None)))
    found = held((data[0], replace(data[1], cells=cells)))
    assert [one.route for one in found.places] == ["a"]
    assert dict(found.absent) == {"b": "it has no figure on d1 at seed 1", "c": "it has no figure on d1"}
    assert found.sentences[0] == "Nothing can be ranked: only a has a figure on every data set."
    none = held((replace(data[0], cells=()),))
    assert none.sentences[0] == "Nothing can be ranked: no route has a figure on every data set."
    assert "d0" in str(none)
    assert "Nothing to rank" in page.render(none)


def test_answers_against_the_floors_are_counted() -> None:
    data = rows((0.9, 0.8), (0.9, 0.8), (0.9, 0.8))
    answers = ("helps", "undecided", "helps")
    entries = tuple(
        replace(one, cells=(replace(one.cells[0], against=Against("tfidf", answer, 0.1, 0.0, 0.2)), one.cells[1]))
        for one, answer in zip(data, answers, strict=True)
    )
    found = held(entries, "ab")
    assert found.places[0].answers == {"helps": 2, "equivalent": 0, "undecided": 1, "hurts": 0}
    assert "a: better on 2, cannot be told on 1." in str(found)


# The file


def written(place: Path, text: str) -> Path:
    (place / "pictures").mkdir(exist_ok=True)
    (place / "mine.toml").write_text(text)
    return place / "mine.toml"


DATA = '[[data]]\npath = "pictures"\n'
ROUTE = '[[route]]\ntune = "probe"\n'
MISTAKES = {
    "= 3": "mine.toml is not TOML",
    "": "mine.toml has no [[data]], and at least one is needed",
    DATA: "mine.toml has no [[route]], and at least one is needed",
    "dat = 3": "has 'dat' outside of any part. Did you mean 'data'?",
    "defaults = 3": "[defaults] of",
    "[data]\npath = 'x'": 'tables in double brackets; write [[data]] with path = "flowers"',
    DATA + "[route]\ntune = 'probe'": 'tables in double brackets; write [[route]] with tune = "probe"',
    "[defaults]\nshot = 3": "[defaults] has no option 'shot'. Did you mean 'shots'?",
    "[defaults]\nseeds = 0": "[defaults]: seeds of settings must be in [1, 100]",
    "[defaults]\nseeds = 'two'": "[defaults]: seeds of settings must be",
    "[defaults]\nencoder = 3": '[defaults]: encoder must be text, got 3; write encoder = "..."',
    "[defaults]\nencoder = 'glyphs'": "encoder must be one origin:name, got 'glyphs'",
    "[defaults]\nencoder = 'a:b, c:d'": "write a [[route]] for each",
    "[defaults]\nencoder = 'buildin:glyphs'": "Did you mean 'builtin'?",
    "[defaults]\nloss = 'l2ps'": "[defaults]: unknown losses method 'l2ps'. Did you mean 'l2sp'?",
    "[defaults]\nloss = 'l2, l2sp'": "loss takes one sum and no alternatives here",
    "[defaults]\nschedule = 'epoch=3'": "Did you mean 'epochs'?",
    "[[data]]\nname = 'x'": '[[data]] 1 (x) has no path; write path = "flowers"',
    "[[data]]\npath = 'picture'": "did you mean",
    "[[data]]\npath = 3": "[[data]] 1: path must be text",
    DATA + "tune = 'probe'": "[[data]] 1 (pictures) has no option 'tune'. It belongs into [defaults] or [[route]].",
    DATA + "label = [3]": "label must be text",
    DATA + "source = 'nowhere'": "there is no file or folder",
    DATA + "shots = 1": "[[data]] 1 (pictures): shots of settings must be",
    DATA + DATA + ROUTE: "has two [[data]] called pictures",
    DATA + DATA + "name = 'Pictures'\n" + ROUTE: "has two [[data]] called Pictures",
    DATA + ROUTE + ROUTE: "has two [[route]] called probe",
    DATA + ROUTE + ROUTE + "name = 'again'": "the routes probe and again ask for the same",
    DATA + ROUTE + "seeds = 3": "It belongs into [defaults] or [[data]], because all routes of a data set share",
    DATA + "[[route]]\nname = 'x'": "[[route]] 1 (x) must name either a tune or a method, got neither",
    DATA + ROUTE + "method = 'prototypes'": "got tune and method",
    DATA + "[[route]]\ntune = 'probe, full'": "a [[route]] is one route, got 'probe, full'",
    DATA + "[[route]]\ntune = 'prob'": "[[route]] 1: unknown tune method 'prob'. Did you mean 'probe'?",
    DATA + "[[route]]\ntune = 'partial(stage=1)'": "Did you mean 'stages'?",
    DATA + "[[route]]\ntune = 'scratch'": "scratch uses no pretrained weights, so it is no route but a floor",
}


@pytest.mark.parametrize(("text", "sentence"), MISTAKES.items())
def test_mistakes_are_told_before_anything_runs(text: str, sentence: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SpecError) as error:
        sterna.run_study(file, out=tmp_path / "out")
    assert sentence in str(error.value)
    assert "\n" not in sentence
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    with pytest.raises(SpecError, match=r"a study is a TOML file, and there is no file .* did you mean"):
        sterna.run_study(tmp_path / "mein.toml")
    with pytest.raises(SpecError, match="is a folder"):
        sterna.run_study(tmp_path)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="not written in UTF-8"):
        sterna.run_study(file)


def test_what_a_part_says_wins_over_the_part_above(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    text = """
        [defaults]
        encoder = "builtin:glyphs"
        augment = "light"
        seeds = 3
        tune = "probe"
        [[data]]
        path = "pictures"
        encoder = "local:net"
        seeds = 2
        target_domain = "b"
        text = "a, b"
        [[data]]
        path = "sklearn:digits"
        label = ["x, y"]
        [[route]]
        [[route]]
        tune = "full"
        augment = "none"
        [[route]]
        method = "prototypes"
        encoder = "builtin:glyphs"
        name = "far"
    """
    found = agenda.read(written(tmp_path, text))
    assert [one.name for one in found.routes] == ["probe", "full / none", "far"]
    first, second = found.data
    assert (first.name, second.name) == ("pictures", "digits")
    assert (first.sides.data, second.sides.data) == (str(tmp_path / "pictures"), "sklearn:digits")
    assert (first.settings.seeds, second.settings.seeds) == (2, 3)
    assert first.settings.domain == "b"
    assert not first.settings.mitigate
    assert (first.columns.text, second.columns.label) == (("a", "b"), ("x, y",))
    assert [one.words() for one in found.fits(first)] == [
        {"encoder": f"local:{tmp_path / 'net'}", "augment": "light", "tune": "probe"},
        {"encoder": f"local:{tmp_path / 'net'}", "augment": "none", "tune": "full"},
        {"encoder": "builtin:glyphs", "augment": "light", "method": "prototypes"},
    ]
    # With one encoder, what differs in what moves alone shares a run.
    assert [one.words() for one in found.fits(second)] == [
        {"encoder": "builtin:glyphs", "augment": "light", "tune": "probe", "method": "prototypes"},
        {"encoder": "builtin:glyphs", "augment": "none", "tune": "full"},
    ]
    assert found.fits(second)[0].named() == {"probe": "probe", "prototypes": "far"}


def test_the_file_of_the_manual_is_read_and_every_option_is_there(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[1] / "docs" / "study.md").read_text("utf-8")
    for name in ("dslr", "webcam", "mobilenetv2"):
        (tmp_path / name).mkdir()
    found = agenda.read(written(tmp_path, manual.split("```toml\n")[1].split("```")[0]))
    assert [one.name for one in found.data] == ["dslr", "webcam", "digits"]
    assert [one.name for one in found.routes] == ["probe", "prototypes", "gentle"]
    assert [len(found.fits(one)) for one in found.data] == [2, 2, 2]
    (tmp_path / "heart.csv").write_text("")
    for block, runs in zip(manual.split("```toml\n")[2:], (2, 1), strict=True):
        hospitals = agenda.read(written(tmp_path, block.split("```")[0]))
        assert [len(hospitals.fits(one)) for one in hospitals.data] == [runs] * 4
    for part, options in agenda.ALLOWED.items():
        assert part in manual
        assert all(f"`{option}`" in manual for option in options)


# The run


def pictures(place: Path, count: int, noise: int) -> None:
    """Pictures with a bright bar that lies, stands or is not there, under noise."""
    for kind, name in enumerate(("lies", "stands", "none")):
        (place / name).mkdir(parents=True)
        for number in range(count):
            drawn = np.random.default_rng([kind, number, noise]).integers(0, noise, (20, 20))
            if kind < 2:
                band = (slice(8, 12), slice(2, 18))
                drawn[band if kind == 0 else band[::-1]] += 90
            Image.fromarray(drawn.astype(np.uint8)).save(place / name / f"{number}.png")


FILE = f"""
[defaults]
encoder = "builtin:glyphs"
floors = "classical"
page = false
refit = 0
seeds = 2
test = 0.4
schedule = "epochs=2"

[[data]]
path = "clear"

[[data]]
path = "noisy"
name = "{EVIL}"

[[data]]
path = "single"

[[route]]
tune = "probe"

[[route]]
method = "prototypes"

[[route]]
name = "gentle {EVIL}"
tune = "partial(stages=1)"
loss = "cross_entropy + l2sp(weight=0.01)"
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study")
    pictures(place / "clear", 14, 60)
    pictures(place / "noisy", 14, 200)
    pictures(place / "single", 2, 60)
    for name in ("lies", "stands"):
        for one in (place / "single" / name).iterdir():
            one.unlink()
    (place / "bars.toml").write_text(FILE)
    return place / "bars.toml"


@pytest.fixture(scope="module")
def finished(file: Path) -> contest.Contest:
    return sterna.run_study(file, out=file.parent / "whole")


def test_every_data_set_is_a_run_with_a_page(finished: contest.Contest) -> None:
    place = Path(finished.folder)
    kept = json.loads((place / "study.json").read_text())
    assert kept == json.loads(json.dumps(finished.as_json()))
    assert [one["name"] for one in kept["data"]] == ["clear", EVIL]
    for entry in finished.data:
        assert [list(names) for names in entry.runs.values()] == [["probe", "prototypes"], [f"gentle {EVIL}"]]
        for where, names in entry.runs.items():
            result = json.loads((place / where / "result.json").read_text())
            assert (place / where / "report.html").exists()
            for name in names:
                called = "partial(stages=1)" if name.startswith("gentle") else name
                mine = [one for one in result["routes"] if one["name"] == called]
                values = [one["metrics"]["accuracy"]["value"] for one in mine]
                cell = entry.cell(name)
                assert cell is not None
                assert list(cell.seeds) == values
                assert cell.score.value == pytest.approx(np.mean(values))


def test_the_verdict_of_a_run_is_among_those_of_its_routes(finished: contest.Contest) -> None:
    """The run's own verdict, reached another way, is the oracle."""
    for entry in finished.data:
        for where, names in entry.runs.items():
            said = json.loads((Path(finished.folder) / where / "result.json").read_text())["verdict"]
            cells = [entry.cell(name) for name in names if name == said["route"] or name.startswith("gentle")]
            assert len(cells) == 1
            assert cells[0] is not None
            assert cells[0].against == Against(*(said[key] for key in ("floor", "answer", "gain", "low", "high")))
        assert all(one.against for one in entry.cells)
        assert entry.floor == "hog_colour"


def test_a_data_set_that_fails_is_told_and_the_others_go_on(finished: contest.Contest) -> None:
    ((name, why),) = finished.failed
    assert name == "single"
    assert "two are needed to tell apart" in why
    assert "single failed: " in str(finished)
    assert str(finished).splitlines()[-1] == finished.sentences[0]
    assert "2 data sets are too few" in finished.sentences[0]


def test_a_finished_study_is_read_back(finished: contest.Contest, file: Path) -> None:
    place = Path(finished.folder)
    before = {one: one.stat().st_mtime_ns for one in place.glob("*/*/result.json")}
    said: list[str] = []
    assert sterna.run_study(file, out=place, watch=Watch(say=said.append)) == finished
    assert {one: one.stat().st_mtime_ns for one in before} == before
    assert sum("its result is read back" in one for one in said) == 4
    assert not any("left" in one for one in said)


def test_an_interrupted_study_goes_on_and_ends_with_the_same_bits(finished: contest.Contest, file: Path) -> None:
    told: list[str] = []
    said: list[str] = []

    def interrupting(what: str, done: int, total: int) -> None:
        told.append(what)
        if "clear / gentle" in what and "epoch 2" in what:
            raise KeyboardInterrupt

    place = file.parent / "cut"
    with pytest.raises(KeyboardInterrupt):
        sterna.run_study(file, out=place, watch=Watch(said.append, interrupting))
    assert not (place / "study.json").exists()
    assert any(one.endswith("run 2 of 6; about 1 min left.") for one in said)
    assert all(": " in one for one in told)
    sterna.run_study(file, out=place)
    assert (place / "study.json").read_bytes() == (Path(finished.folder) / "study.json").read_bytes()


class Seen(HTMLParser):
    """The elements of a page, its links and the words outside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_is_text_alone_and_leads_to_the_runs(finished: contest.Contest) -> None:
    place = Path(finished.folder)
    text = (place / "study.html").read_text()
    seen = Seen()
    seen.feed(text)
    assert seen.words.count(EVIL) > 10
    assert not seen.elements & {"img", "iframe", "link", "object", "base"}
    assert not seen.attributes & {"src", "onerror", "style"}
    outward = [one for one in seen.links if not one.startswith("#")]
    assert sorted(outward) == sorted(f"{where}/report.html" for one in finished.data for where in one.runs)
    assert all((place / one).exists() for one in outward)
    anchors = [one for one in seen.links if one.startswith("#")]
    assert all(f'id="{one[1:]}"' in text for one in anchors)
    assert "default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-" in text
    assert finished.sentences[0] in seen.words
    assert FILE.strip() in seen.words
    assert "single failed" in seen.words


def test_the_folder_is_taken_only_for_this_study(finished: contest.Contest, file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SpecError, match="is not empty and holds no study of sterna; choose another --out"):
        sterna.run_study(file, out=tmp_path / "mine")
    other = file.parent / "other.toml"
    other.write_text(FILE.replace("seeds = 2", "seeds = 1"))
    with pytest.raises(SpecError, match="clear holds the same data set with other routes or options"):
        sterna.run_study(other, out=finished.folder)


def test_runs_on_other_splits_are_not_compared(file: Path) -> None:
    head, _, tail = FILE.partition("[[data]]")
    text = head.replace("seeds = 2", "seeds = 1") + DATA.replace("pictures", "clear") + tail[tail.index("[[route]]") :]
    (file.parent / "torn.toml").write_text(text)
    place = file.parent / "torn"
    found = sterna.run_study(file.parent / "torn.toml", out=place)
    where = place / list(found.data[0].runs)[1] / "splits" / "seed0.json"
    split = json.loads(where.read_text())
    split["parts"]["test"] = split["parts"]["test"][1:]
    where.write_text(json.dumps(split))
    with pytest.raises(TrainingError, match="divided the data differently at seed0, so their figures cannot be comp"):
        sterna.run_study(file.parent / "torn.toml", out=place)


def test_one_route_spoils_no_other(file: Path) -> None:
    text = FILE.split("[[data]]")[0].replace("seeds = 2", "seeds = 1") + DATA.replace("pictures", "clear") + ROUTE
    (file.parent / "odd.toml").write_text(text + '[[route]]\nmethod = "zero_shot"\n')
    found = sterna.run_study(file.parent / "odd.toml", out=file.parent / "odd")
    assert [one.route for one in found.places] == ["probe"]
    assert list(found.data[0].runs) == ["clear/probe"]
    assert dict(found.absent) == {"zero_shot": "it has no figure on clear"}
    ((name, why),) = found.failed
    assert name == "clear / zero_shot"
    assert "zero_shot needs an encoder" in why


def test_a_study_of_nothing_but_failures(file: Path) -> None:
    (file.parent / "none.toml").write_text('[[data]]\npath = "single"\nencoder = "builtin:glyphs"\n' + ROUTE)
    with pytest.raises(TrainingError, match=r"no data set could be run: single: .*two are needed"):
        sterna.run_study(file.parent / "none.toml", out=file.parent / "none")


# The command


def test_the_command_prints_the_table_and_one_sentence(finished: contest.Contest, file: Path) -> None:
    done = CliRunner().invoke(cli.app, ["study", str(file), "--out", finished.folder])
    assert done.exit_code == 0
    assert f"page: {finished.folder}/study.html" in done.output
    assert done.output.rstrip().endswith(finished.sentences[0])


def test_an_interrupted_command_says_how_to_go_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(campaign, "run_study", interrupted)
    done = CliRunner().invoke(cli.app, ["study", str(file)])
    assert done.exit_code == 130
    assert "the same command goes on" in done.output


def test_a_mistake_is_one_sentence_and_status_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["sterna", "study", "mine.toml"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.strip().startswith("sterna: mine.toml has no [[route]], and at least one is needed")
    assert not (tmp_path / "runs").exists()
