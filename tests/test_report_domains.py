"""The page of an adaptation: source and target, with labels of the target and without, in words that fit."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import PROGRAM, Browser
from huggingface_hub import ModelCard
from scipy.stats import spearmanr
from test_adaptation import encoder, photos, rows
from test_report import EVIL, Tags, loads, words

import sterna
from sterna import keeping, opening, report, stagewise, targeting
from sterna.errors import DataError
from sterna.records import Columns, Loaded
from sterna.report import domains, material

__all__ = ["encoder", "photos"]  # fixtures

pytestmark = pytest.mark.usefixtures("few_resamples")

MEASURED = ("routes", "floors", "confusion", "wrong", "reliability", "places")  # sections


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run on a target with labels, and one on the same target without."""
    place = tmp_path_factory.mktemp("runs")
    rows(place / "source.csv", 160, 0, turned=False)
    target = rows(place / "target.csv", 120, 1, turned=True)
    lines = target.read_text().splitlines()
    (place / "plain.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    methods = "coral, subspace_alignment, jda"
    for name in ("target", "plain"):
        sterna.fit(place / "source.csv", target=place / f"{name}.csv", method=methods, out=place / name)
    return {name: place / name for name in ("target", "plain")}


@pytest.fixture(scope="module")
def trained(photos: Path, encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with statistics of its own for each domain, on a target without labels."""
    place = tmp_path_factory.mktemp("trained")
    flat = place / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted((photos / "target").rglob("*.*"))):
        shutil.copy(file, flat / f"{number}{file.suffix}")
    loss, schedule = "cross_entropy + dan + adabn", "epochs=2, batch=8"
    sterna.fit(
        photos / "source",
        target=flat,
        encoder=encoder,
        out=place / "run",
        settings="validation=0.4, refit=0",
        loss=loss,
        schedule=schedule,
    )
    return place / "run"


def evidence(place: Path) -> Any:
    return json.loads((place / "evidence.json").read_text())


def _opened(place: str) -> Loaded:
    """A data set, with labels or without."""
    try:
        return opening.open_data(place)
    except DataError:
        return targeting.plain(opening.gather([place], "image")[0], place)


def test_both_domains_are_drawn_before_and_after(runs: dict[str, Path]) -> None:
    found = evidence(runs["target"])["domains"]
    drawn = found["map"]
    assert found["route"] == "coral"
    assert drawn["parts"].count("source") == 32  # the validation part
    assert drawn["parts"].count("test") == 120
    assert len(drawn["before"]) == len(drawn["after"]) == len(drawn["items"]) == 152
    lines = list(csv.DictReader((runs["target"].parent / "target.csv").open()))
    items = evidence(runs["target"])["items"]
    for number, part, label in zip(drawn["items"], drawn["parts"], drawn["labels"], strict=True):
        if part == "test":
            assert f"k{label}" == lines[int(items[number]["name"].split()[-1]) - 1]["label"]
    page = report.render(runs["target"])
    charts = re.findall(r'<svg class="chart map".*?</svg>', page, re.S)
    assert len(charts) == 2
    for one in charts:
        assert one.count(" star") == 120
        assert one.count(" plain") == 32
    assert "before adaptation" in page
    assert "after coral" in page
    assert page.count('id="shown"') == 1


def test_features_of_the_map_are_those_that_the_head_reads(runs: dict[str, Path]) -> None:
    """Before, columns in their order; after, CORAL has given the source the target's covariance, up to its ridge."""
    kept = keeping.sight(runs["target"] / "routes" / "coral-0")
    assert kept is not None
    assert kept.before is not None
    sides = [opening.open_data(str(runs["target"].parent / f"{name}.csv")) for name in ("source", "target")]
    items = targeting.joined(*sides).table.items
    for side, places in zip(kept.before, kept.rows, strict=True):
        plain = np.array([items.read(int(row), 0) for row in places], dtype=float)
        for one, other in zip(side.T, plain.T, strict=True):
            assert spearmanr(one, other).statistic > 0.99  # columns are cut off far from their middle
    apart = [
        np.linalg.norm(np.cov(one.T) - np.cov(other.T)) for one, other in (kept.before, (kept.source, kept.target))
    ]
    assert apart[1] < 0.6 * apart[0]  # of 32 examples
    apart = [
        np.linalg.norm(one.mean(axis=0) - other.mean(axis=0))
        for one, other in (kept.before, (kept.source, kept.target))
    ]
    assert apart[1] < 0.4 * apart[0]


def test_distances_are_measured_before_and_after(runs: dict[str, Path]) -> None:
    found = {one["name"]: one for one in evidence(runs["target"])["domains"]["distances"]}
    assert set(found) == {"mmd", "energy", "a_distance"}
    assert all(one["after"][1] < one["before"][1] for one in found.values())
    kept = keeping.sight(runs["target"] / "routes" / "coral-0")
    assert kept is not None
    assert kept.before is not None
    assert found["energy"]["before"][0] != found["energy"]["after"][0]
    assert "By every distance coral brought the domains closer together." in words(report.render(runs["target"]))


def test_routes_stand_beside_what_the_criteria_said(runs: dict[str, Path]) -> None:
    found = material.read(runs["target"])
    ranks = [one.validation["rank"] for one in found.result.routes]
    accuracy = [one.metrics["accuracy"].value for one in found.result.routes]
    rho = spearmanr([-rank for rank in ranks], accuracy).statistic
    assert f"is {rho:+.2f} over 4 routes" in domains.agreement(found)
    values = domains.section(found).values  # type: ignore[union-attr]
    assert values["heads"] == ["route", "mean rank", "circular", "source risk", "accuracy on the target"]
    assert [row[1][1] for row in values["rows"]] == sorted(ranks)
    assert values["rows"][0][0][0] == "coral (ships)"


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_is_spearmans(ties: bool) -> None:
    draw = np.random.default_rng(0)
    one, other = (draw.integers(0, 4, 12) if ties else draw.normal(size=12) for _ in range(2))
    found = domains.rank_correlation(one.tolist(), other.tolist())
    assert found == pytest.approx(spearmanr(one, other).statistic)
    assert domains.rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_words_are_those_of_an_adaptation(runs: dict[str, Path]) -> None:
    page = words(report.render(runs["target"]))
    for said in (
        "Adaptation helps",
        "With n = 120 target examples",
        "right of 0: adaptation is better",
        "they learn from one domain alone",
        "A floor learns from the labelled examples of one domain alone and adapts nothing.",
        "of 120 target examples at the first seed were taken for another class",
        "(120 target examples of the first seed)",
        "labels of the target are not judged",
        "128 training; 32 validation (source); 120 target",
    ):
        assert said in page, said
    for wrong in (
        "pretrained weights",
        "transfer is better",
        "before tuning",
        "Where the examples lie",
        "validation part and",
    ):
        assert wrong not in page, wrong
    assert page.count("held-out examples") == page.count("n = 120 held-out examples")  # the verdict's own sentence


def test_without_labels_the_page_shows_what_it_can_and_says_why_not_more(runs: dict[str, Path]) -> None:
    found = evidence(runs["plain"])
    assert not {"wrong", "confusion", "confused", "reliability"} & set(found)
    assert set(found["domains"]["map"]["labels"][32:]) == {-1}
    assert all(one["label"] is None for one in found["items"] if one["part"] == "test")
    page = words(report.render(runs["plain"]))
    ids = {found.get("id") for tag, found in Tags(report.render(runs["plain"])).found if tag == "section"}
    assert not ids & set(MEASURED)
    assert ids == {"domains", "curves", "doubts", "data", "repeat"}
    assert "Cannot tell: no label of the target is known" in page
    assert "What needs labels of plain.csv is not on this page: figures of the routes" in page
    assert "A labelled part of the target, given as --target, would measure all of it." in page
    assert "grey where its class is not known" in page
    assert "whether they are right cannot be told" in page
    assert "answered on the target" in page
    assert "n = 0" not in page
    assert "accuracy" not in page
    # The same features as where labels lay beside them.
    one, other = (evidence(place)["domains"]["map"] for place in runs.values())
    assert one["before"] == other["before"]
    assert one["after"] == other["after"]


def test_a_network_is_drawn_through_the_statistics_of_each_domain(trained: Path, encoder: str) -> None:
    kept = keeping.sight(next((trained / "routes").glob("dan-adabn*")))
    assert kept is not None
    assert kept.before is None
    # What ships is the twin with the target's statistics, and there was no second fit.
    shipped = opening.open_encoder(f"local:{trained / 'model'}")
    plan = json.loads((trained / "plan.json").read_text())["command"].split()
    items = targeting.joined(*(_opened(plan[at]) for at in (2, plan.index("--target") + 1))).table.items
    given = stagewise.Input(items, shipped, 0, None)
    source, target = (stagewise.features(shipped.network, given, places) for places in kept.rows)
    np.testing.assert_allclose(kept.target, target, atol=5e-3)  # stored activations have half precision
    assert np.abs(kept.source - source).max() > 0.05
    found = evidence(trained)
    assert found["domains"]["route"] == "dan + adabn"
    assert len(found["domains"]["map"]["before"]) == len(kept.source) + len(kept.target)
    assert found["domains"]["distances"]
    assert any("BatchNorm statistics of the target" in one["sentence"] for one in found["notes"])
    assert all(one["label"] is None for one in found["items"] if one["part"] == "test")
    page = words(report.render(trained))
    assert "after dan + adabn" in page
    assert "No validation loss is drawn" in page
    assert "overfitting" not in page
    assert "more epochs might help" not in page
    assert loads(report.render(trained)) == []


def test_what_ships_without_a_look_at_the_target_is_drawn_beside_the_best_adaptation(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    for name, share, count in (("source", 0.5, 200), ("target", 0.95, 300)):
        kinds = (np.arange(count) < share * count).astype(int)
        x = draw.normal(0, 1, (count, 4)) + 1.2 * (2 * kinds - 1)[:, None] * [1, 1, 0, 0]
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            lines = ([*row, f"k{kind}"] for row, kind in zip(x, kinds, strict=True))
            csv.writer(stream).writerows([["a", "b", "c", "d", "label"], *lines])
    found = sterna.fit(tmp_path / "source.csv", target=tmp_path / "target.csv", method="coral", out=tmp_path / "run")
    assert found.shipped == "source only / head"
    page = words(report.render(tmp_path / "run"))
    assert "source only / head ships, which adapts nothing; drawn is coral." in page
    assert "cannot be told from 2 routes" in page
    assert "and adapts nothing to the target" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_numbers_are_coloured_by_fifths_and_weights_move_no_features(tmp_path: Path) -> None:
    for name, seed in (("source", 0), ("target", 1)):
        rows(tmp_path / f"{name}.csv", 120, seed, turned=False)
        lines = list(csv.reader((tmp_path / f"{name}.csv").open()))
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            values = [[*line[:4], 2 * float(line[2]) + 1] for line in lines[1:]]
            csv.writer(stream).writerows([["a", "b", "c", "d", "y"], *values])
    sides = (tmp_path / "source.csv", tmp_path / "target.csv")
    sterna.fit(
        sides[0], target=sides[1], method="kmm", columns=Columns(label=("y",), task="regress"), out=tmp_path / "run"
    )
    page = words(report.render(tmp_path / "run"))
    assert "Colours are fifths of y." in page
    assert "is a target example of the first seed" in page
    kept = evidence(tmp_path / "run")["domains"]["map"]
    truth = {line["a"]: float(line["y"]) for line in csv.DictReader(sides[1].open())}
    assert sorted(kept["values"][-len(truth) :]) == pytest.approx(sorted(truth.values()), abs=1e-4)


def test_names_that_are_markup_stay_text(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["target"], tmp_path / "evil")
    for name in ("result.json", "evidence.json"):
        text = (tmp_path / "evil" / name).read_text()
        for plain in ("k1", "source.csv", "target.csv", "coral"):
            text = re.sub(rf'(?<=["/ ]){re.escape(plain)}(?=[" ])', EVIL.replace('"', ""), text)
        (tmp_path / "evil" / name).write_text(text)
    page = report.render(tmp_path / "evil")
    assert EVIL not in page
    assert html.escape(EVIL) in page
    assert not any("onerror" in found for _, found in Tags(page).found)
    assert loads(page) == []


def test_without_evidence_the_criteria_are_there_all_the_same(runs: dict[str, Path], tmp_path: Path) -> None:
    for name, place in runs.items():
        shutil.copytree(place, tmp_path / name)
        (tmp_path / name / "evidence.json").unlink()
        page = words(report.render(tmp_path / name))
        assert "What the criteria said" in page
        assert "There is no map and no distance without evidence" in page


def test_the_card_tells_source_from_target(runs: dict[str, Path]) -> None:
    known, blind = (ModelCard.load(runs[name] / "model" / "README.md") for name in ("target", "plain"))
    assert known.data.eval_results[0].dataset_name == "target.csv"
    assert "domain-adaptation" in known.data.tags
    assert "On 120 target examples" in known.text
    assert "160 labelled examples of the source (source.csv), and from 120 of the target without labels." in known.text
    assert not blind.data.eval_results
    assert "| figure |" not in blind.text
    assert "nothing of how well" in blind.text


@pytest.mark.skipif(not PROGRAM, reason="no browser is installed")
@pytest.mark.parametrize("name", ["target", "plain"])
def test_a_browser_shows_it_on_a_phone_and_points_at_both_maps(
    runs: dict[str, Path], tmp_path: Path, name: str
) -> None:
    page = report.write(runs[name])
    browser = Browser(tmp_path / "profile")
    try:
        browser.size(390, 800)
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert browser.complaints == []
        assert browser.run("document.querySelectorAll('svg.map path.star').length") == 240
        shown = "getComputedStyle(document.querySelector('svg.map path.star')).stroke"
        assert browser.run(shown) not in ("none", "")
    finally:
        browser.close()


def test_labelled_examples_of_the_target_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    place = runs["target"].parent
    lines = (place / "target.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:13]) + "\n")
    found = sterna.fit(
        place / "source.csv",
        target=place / "target.csv",
        labels=tmp_path / "few.csv",
        method="coral",
        out=tmp_path / "run",
    )
    assert found.data["known"] == 12
    page = words(report.render(tmp_path / "run"))
    assert (
        "Learnt from 160 labelled examples of source.csv and 12 of target.csv, and from 108 of target.csv without"
        in page
    )
    kept = evidence(tmp_path / "run")["domains"]["map"]
    assert kept["parts"].count("test") == 120
    assert -1 not in kept["labels"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "labelled examples of the " in card
