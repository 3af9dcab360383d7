"""The ensemble of rungs: who joins it, when it ships, and that it is saved and asked as one model."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_conclusion import _trials
from test_study import encoder as encoder  # a fixture
from test_study import write_photos

import sterna
from sterna import artifact, ensemble, files, folder, keeping, opening, racing, study
from sterna.conclusion import Trial, conclude
from sterna.errors import EncoderError
from sterna.maths import luck
from sterna.result import Result
from sterna.settings import Settings

NAMES = ("height", "weight")
TUNES = {"probe": "probe", "partial": "partial", "full": "full", "lp_ft": "lp_ft", "floor": "scratch"}


class Fake:
    """Attempts that read back what `trials` answered."""

    def __init__(self, trials: list[Trial], **settings: Any) -> None:
        self.kept, self.settings, self.said = trials, Settings(**settings), []
        table = SimpleNamespace(task="regress", classes=NAMES)
        self.loaded = SimpleNamespace(table=table, unlabelled=None)
        self.teacher = self.related = None
        self.task = folder.load("tasks", "regress")()

    def trials(self, routes: list[Any]) -> list[Trial]:
        found = []
        for seed in range(2):
            each = [one for one in self.kept if one.seed == seed and one.route in routes[0].members]
            mean = {part: np.mean([getattr(one, part) for one in each], axis=0) for part in ("test", "validation")}
            found.append(replace(each[0], route=routes[0], **mean))
        return found

    def warn(self, sentence: str) -> None:
        self.said.append(sentence)


def tried(noise: dict[str, float]) -> list[Trial]:
    """Trials whose routes move what their name says."""
    return [
        replace(one, route=replace(one.route, tune=folder.resolve("tune", TUNES[one.route.name])[0]))
        for one in _trials(noise)
    ]


def joined(trials: list[Trial], **settings: Any) -> tuple[tuple[str, ...], list[Trial], Fake]:
    at = Fake(trials, **settings)
    found = ensemble.joined(at, trials)  # type: ignore[arg-type]
    return tuple(one.name for one in found[0].route.members) if found else (), found, at


def test_what_moved_and_is_not_clearly_worse_joins_the_best() -> None:
    alike = {"probe": 0.52, "partial": 0.5, "full": 0.49, "lp_ft": 1.2, "floor": 0.5}
    names, found, at = joined(tried(alike))
    assert names == ("full", "partial")  # the best first; a probe moves nothing, lp_ft is clearly worse
    assert [(one.route.name, one.seed) for one in found] == [("ensemble", 0), ("ensemble", 1)]
    assert found[0].route.written()["tune"] == "full, partial"
    assert at.said == ["ensemble is the mean of what full, partial answer: the validation part cannot tell them apart."]
    assert joined(tried(alike | {"probe": 0.4}))[0] == ()  # which is better than all that moved
    still = joined(tried(alike | {"probe": 0.48}))[0]
    assert still == ("probe", "full")  # the best takes part, whatever it moves


def test_what_was_given_up_does_not_join() -> None:
    trials = tried({"partial": 0.5, "full": 0.49, "lp_ft": 0.5, "floor": 0.6})
    lost = [replace(one, given_up=one.route.name == "partial" and one.seed == 1) for one in trials]
    assert set(joined(lost)[0]) == {"full", "lp_ft"}


def test_there_is_none_where_it_is_not_wanted_or_is_clearly_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = tried({"partial": 0.5, "full": 0.49, "floor": 0.6})
    assert joined(alike)[0]
    assert not joined(alike, ensemble=False)[0]
    for part in ("teacher", "related"):
        at = Fake(alike)
        setattr(at, part, object())
        assert not ensemble.joined(at, alike)  # type: ignore[arg-type]
    monkeypatch.setattr(ensemble.luck, "of_the_best", lambda *given: 1e9)
    assert not joined(alike)[0]


def test_the_best_of_alike_candidates_is_worth_what_each_is() -> None:
    """Nine coins: the best of them on 20 tosses seems to have 0.7, and choosing it is worth 0.5."""
    generator = np.random.default_rng(0)
    seeming, freed = [], []
    for _ in range(60):
        hits = generator.integers(0, 2, (9, 20)).astype(float)
        seeming.append(hits.mean(axis=1).max())
        freed.append(luck.of_the_best(hits, generator.random((9, 20)), generator))
    assert np.mean(seeming) > 0.65
    assert abs(np.mean(freed) - 0.5) < 0.03  # less than three standard errors


def test_a_candidate_that_is_always_the_best_keeps_its_mean() -> None:
    generator = np.random.default_rng(0)
    losses = generator.random((2, 50))
    one = generator.normal(size=50)
    assert luck.of_the_best(np.stack([one, one - 9]), losses, generator) == pytest.approx(one.mean(), abs=0.02)
    ties = np.stack([one, one])
    better = luck.of_the_best(ties, np.stack([losses[0] + 9, losses[1]]), np.random.default_rng(1))
    assert better == pytest.approx(luck.of_the_best(ties[:1], losses[:1], np.random.default_rng(1)))
    assert luck.of_the_best(np.array([[0.2], [0.7]]), np.zeros((2, 1)), generator) == 0.7


def test_it_stands_for_all_transfer_and_a_better_floor_still_ships() -> None:
    task = folder.load("tasks", "regress")()
    for floor, ships in ((0.8, "ensemble"), (0.1, "floor")):
        trials = tried({"partial": 0.5, "full": 0.49, "floor": floor})
        _, found, _ = joined(trials)
        worse = [replace(one, validation=one.validation + 0.05) for one in found]  # than the best of its members
        got = conclude([*trials, *worse], Settings(), task, NAMES)
        assert (got.shipped, got.verdict.route) == (ships, "ensemble")
        assert {one.name for one in got.outcomes} == {"partial", "full", "floor", "ensemble"}


def climbed(photos: Path, encoder: str, place: Path, **more: Any) -> Result:
    words = {"budget": "10m", "test": 0.4, "floors": "scratch", "mitigate": False}
    settings = Settings(**{"page": False, **words, **more})
    return sterna.fit(photos, encoder=encoder, out=place, schedule="epochs=2, batch=8", settings=settings)


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be told apart, so whatever moved is a member and the mean ships, and every rung is climbed."""
    monkeypatch.setattr(racing, "behind", lambda *given, **more: False)
    monkeypatch.setattr(ensemble.luck, "of_the_best", lambda *given: -1e9)
    monkeypatch.setattr(study.Climb, "_learn", lambda *given: None)


def test_it_ships_as_one_model_that_answers_with_the_mean(alike: None, tmp_path: Path, encoder: str) -> None:
    photos, place = write_photos(tmp_path / "photos", count=10), tmp_path / "run"
    found = climbed(photos, encoder, place, page=True, curve=(0.5,))
    assert found.shipped == "ensemble"
    names = next(one.tune for one in found.routes if one.name == "ensemble").split(", ")
    assert set(names) >= {"partial", "lp_ft"}
    answers = [sterna.predict(place / "model" / str(number), photos) for number in range(1, len(names) + 1)]
    seen: list[tuple[int, int]] = []
    together = sterna.predict(place / "model", photos, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(together.answers, np.mean([one.answers for one in answers], axis=0))
    assert seen == sorted(seen)
    assert seen[-1] == (30 * len(names), 30 * len(names))
    by_item = {
        "/".join(Path(name).parts[-2:]): label for name, label in zip(together.names, together.labels, strict=True)
    }
    held = np.loadtxt(place / "predictions.csv", delimiter=",", skiprows=1, dtype=str)
    assert [one[2] for one in held] == [by_item["/".join(Path(one[0]).parts[-2:])] for one in held]
    assert {one.share for one in found.curve} == {0.5, 1.0}
    assert files.read_json(place / "evidence.json")["stages"]  # of one member
    card = (place / "model" / "README.md").read_text(encoding="utf-8")
    assert all(f"# {number}: {name}" in card for number, name in enumerate(names, start=1))
    assert not list(place.glob("routes/*/weights.safetensors"))


def test_a_folder_of_several_models_is_no_encoder(tmp_path: Path) -> None:
    files.write_json(tmp_path / "config.json", {"library": artifact.ENSEMBLE, "members": ["1", "2"]})
    wanted = re.escape(f"{tmp_path} is the mean of 2 models, and one is wanted here; give the folder of one, such as ")
    for use in (lambda: artifact.load(tmp_path), lambda: opening.open_encoder(f"local:{tmp_path}")):
        with pytest.raises(EncoderError, match=f"{wanted}{re.escape(str(tmp_path / '1'))}"):
            use()


def test_an_interrupted_run_ends_with_the_same_ensemble(
    alike: None, tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path / "photos", count=10)
    whole = climbed(photos, encoder, tmp_path / "whole")
    with monkeypatch.context() as broken:
        broken.setattr(study.shipping, "ship_ensemble", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            climbed(photos, encoder, tmp_path / "run")
    again = climbed(photos, encoder, tmp_path / "run")
    assert again.shipped == "ensemble"
    for name in [one.name for one in whole.routes if one.name != "ensemble"]:
        kept = [keeping.found(keeping.folder(tmp_path / run, name, 0)) for run in ("whole", "run")]
        np.testing.assert_array_equal(*(one.test for one in kept if one is not None))
    ours = [sterna.predict(tmp_path / run / "model", photos).answers for run in ("whole", "run")]
    np.testing.assert_array_equal(*ours)
