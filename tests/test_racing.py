"""Giving a route up among its folds: when it is done, and what becomes of such a route."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_conclusion import _trials
from test_study import encoder as encoder  # a fixture
from test_study import write_photos

import sterna
from sterna import files, folder, keeping, opening, racing, route, splitting, study
from sterna.conclusion import conclude, losing
from sterna.settings import Settings

CLASSES = ("a", "b")
ANSWERS = np.array([[0.9, 0.1], [0.2, 0.8]])


def hits(pattern: str) -> np.ndarray:
    """(n, 2) answers to examples of the first class, right where the pattern says x."""
    return np.stack([ANSWERS[0 if one == "x" else 1] for one in pattern])


@pytest.mark.parametrize(
    ("ours", "theirs", "lost"),
    [
        ("-----xxxxx", "xxxxxxxxxx", True),  # 5 to 0: 1 in 32 by chance
        ("----xxxxxx", "xxxxxxxxxx", False),  # 4 to 0: 1 in 16
        ("------xxxx", "xxxxxxxxx-", False),  # 6 to 1: 1 + 7 of 128 patterns
        ("--------xxxx", "xxxxxxxxxxx-", True),  # 8 to 1: 1 + 9 of 512
        ("xxxxxxxxxx", "-----xxxxx", False),  # better, not worse
        ("xx--", "xx--", False),
    ],
)
def test_classes_are_raced_by_exact_odds(ours: str, theirs: str, lost: bool) -> None:
    task, labels = folder.load("tasks", "classify")(), np.zeros(len(ours), dtype=np.int64)
    assert racing.behind(task, hits(ours), hits(theirs), labels, CLASSES, seed=0) is lost


def test_alike_routes_are_seldom_given_up_and_worse_ones_often() -> None:
    """One in twenty at most of routes that are alike: the share over 400 draws of 40 examples."""
    task, generator = folder.load("tasks", "regress")(), np.random.default_rng(0)
    shares = []
    for noise in (0.5, 0.8):
        lost = 0
        for _ in range(400):
            labels = generator.normal(size=(40, 1))
            ours, theirs = (labels + amount * generator.normal(size=(40, 1)) for amount in (noise, 0.5))
            lost += racing.behind(task, ours, theirs, labels, ("height",), seed=0)
        shares.append(lost / 400)
    assert 0.02 < shares[0] < 0.08
    assert shares[1] > 0.5


def test_what_was_given_up_is_never_chosen() -> None:
    """Its validation figure is of other examples, which may be easier."""
    trials = _trials({"probe": 0.6, "full": 0.1, "floor": 0.8})
    lost = [replace(one, given_up=one.route.name == "full" and one.seed == 1) for one in trials]
    task, names = folder.load("tasks", "regress")(), ("height", "weight")
    assert conclude(trials, Settings(), task, names).shipped == "full"
    got = conclude(lost, Settings(), task, names)
    assert (got.shipped, got.verdict.route) == ("probe", "probe")
    assert [one.name for one in got.outcomes if one.name == "full"] == ["full", "full"]
    worse = _trials({"probe": 0.9, "full": 0.1, "floor": 0.3})
    assert losing(worse, task, names) is None
    found = losing([replace(one, given_up=one.route.name == "full") for one in worse], task, names)
    assert found is not None
    assert found.name == "probe"


def climbed(photos: Path, encoder: str, place: Path) -> Any:
    settings = Settings(budget="10m", page=False, test=0.4, floors="classical", mitigate=False)
    return sterna.fit(photos, encoder=encoder, out=place, schedule="epochs=2, batch=8", settings=settings)


def test_a_route_that_is_given_up_stays_in_the_comparison(
    tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, asked = write_photos(tmp_path / "photos", count=10), []
    monkeypatch.setattr(route.racing, "behind", lambda *given: asked.append(given) or True)
    monkeypatch.setattr(study.Study, "_ship", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        climbed(photos, encoder, tmp_path / "run")
    assert len(asked) == 1  # neither floors nor what takes no descent, and nothing above
    monkeypatch.undo()
    monkeypatch.setattr(route, "run", lambda *given: pytest.fail("what was given up is asked again"))
    found = climbed(photos, encoder, tmp_path / "run")
    names = [one.name for one in found.routes]
    assert "partial" in names
    assert "lp_ft" not in names
    assert found.shipped != "partial"
    assert (
        "partial: given up after 1 of 3 folds, clearly behind the best route before it; its figures are those of a fit "
        "to the labels of the other folds." in found.warnings
    )
    assert any(one.startswith("lp_ft was not tried: on the validation part partial") for one in found.warnings)
    loaded = opening.open_data(str(photos))
    split = splitting.from_json(files.read_json(tmp_path / "run" / "splits" / "seed0.json"), loaded)
    both = np.sort([*split.train, *split.validation])
    kept = keeping.found(keeping.folder(tmp_path / "run", "partial", 0))
    assert kept is not None
    assert kept.reached is not None
    assert len(kept.reached) == len(kept.validation) == 6  # of 18
    right = (kept.validation.argmax(axis=1) == loaded.table.labels[both[kept.reached]]).mean()
    outcome = next(one for one in found.routes if one.name == "partial")
    assert outcome.validation["accuracy"] == pytest.approx(right)
    assert [one.name for one in found.routes if one.given_up] == ["partial"]
    assert re.search(r"^partial .* given up$", str(found), re.MULTILINE)
    assert outcome.n == len(split.test) == len(kept.test)


def test_no_fit_is_shown_what_judges_it(tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a penalty, a share or a place that it chooses there would flatter it."""
    made, shown = route._made, []

    def noted(chosen: Any, desk: Any, settled: Any) -> Any:
        shown.append((chosen.name, len(desk.training.target), len(desk.training.validation)))
        return made(chosen, desk, settled)

    monkeypatch.setattr(route, "_made", noted)
    monkeypatch.setattr(route.racing, "behind", lambda *given: False)
    climbed(write_photos(tmp_path / "photos", count=10), encoder, tmp_path / "run")
    assert {name for name, _, _ in shown} >= {"hog_colour", "prototypes", "head2toe", "probe", "partial"}
    assert {held for _, _, held in shown} == {0}
    assert {learnt for _, learnt, _ in shown} == {12, 18}  # two thirds, and all
