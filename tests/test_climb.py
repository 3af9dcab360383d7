"""The ladder: what is tried, in which order, with how many epochs, and what is noted of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_study import encoder as encoder  # a fixture
from test_study import write_photos

import sterna
from sterna import climb, files, opening, pace, plan, rungs, splitting, study
from sterna.climb import Climb
from sterna.conclusion import Trial
from sterna.errors import SpecError
from sterna.pace import Cost
from sterna.plan import Route, Subject, Words
from sterna.records import Sealed
from sterna.settings import Settings

NOTHING = np.zeros(0, dtype=np.int64)
PARTIAL = "partial(stages=3, warm_head=false, layer_decay=0.6, rate=3.0)"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Fake:
    """Attempts whose routes take so many seconds at a time and never compute anything."""

    def __init__(self, place: Path, clock: Clock, seconds: dict[str, float], failing: tuple[str, ...] = ()) -> None:
        self.place, self.clock, self.seconds, self.failing = place, clock, seconds, failing
        self.settings = Settings()
        self.loaded = SimpleNamespace(crossed=True, table=None)
        self.ran: list[tuple[str, int]] = []
        self.said: list[str] = []

    def desk(self, chosen: Route, seed: int) -> str:
        return chosen.name

    def warn(self, sentence: str) -> None:
        self.said.append(sentence)

    def trials(self, routes: list[Route], rivals: dict[int, np.ndarray] | None = None) -> list[Trial]:
        (chosen,) = routes
        self.ran.append((chosen.name, chosen.schedule.epochs))
        self.clock.now += self.seconds.get(chosen.name, 0.0) * (chosen.schedule.epochs if _moves(chosen) else 1)
        if chosen.name in self.failing:
            return []
        return [Trial(chosen, 0, np.zeros((0, 2)), np.zeros((0, 2)), 0.0, NOTHING, NOTHING, Sealed(NOTHING))]


def _moves(route: Route) -> bool:
    return pace.footing.moves(route)


def routes(tune: str = "auto", **more: Any) -> tuple[Route, ...]:
    words = Words("builtin:glyphs", tune, "", "none", "adamw", "epochs=20", **more)
    return plan.routes(words, Settings(), Subject("image", "classify", few=True))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(climb, "time", made)
    return made


def climbing(
    place: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    costs: dict[str, Cost],
    budget: float = 1000.0,
    **more: Any,
) -> tuple[Climb, Fake]:
    """A ladder whose estimates are given; what takes how long in truth is given by `seconds`."""
    fake = Fake(place, clock, more.pop("seconds", {}), more.pop("failing", ()))
    monkeypatch.setattr(pace, "measured", lambda route, at: costs[route.name])
    return Climb(fake, budget, begun=0.0), fake  # type: ignore[arg-type]


COSTS = {"partial": Cost(10, 5), "lp_ft": Cost(10, 20), "scratch": Cost(0, 20)}


@pytest.mark.parametrize(("written", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120)])
def test_a_budget_is_read(written: str, seconds: float) -> None:
    assert climb.seconds(written) == seconds


@pytest.mark.parametrize("written", ["10", "ten minutes", "0s", "-5m", "5d", ""])
def test_a_budget_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(SpecError, match="a budget is a number above 0 with s, m or h, such as 90s, 10m or 2h, got"):
        climb.seconds(written)


def test_without_a_policy_or_a_method_the_ladder_is_climbed() -> None:
    names = [one.name for one in routes("")]
    moving = ["probe", "partial", "lp_ft"]
    assert names == [*moving, "prototypes", "zero_shot", "head2toe", "scratch", "hog_colour"]
    assert names == [one.name for one in routes("auto")]
    assert [one.name for one in routes("", method="prototypes") if not one.floor] == ["prototypes"]
    assert [one.name for one in routes("full") if not one.floor] == ["full"]


def test_classes_of_texts_are_compared_with_one_another() -> None:
    """An objective of its own: not for other tasks, and not beside one that was written."""

    def moving(task: str, **more: str) -> list[str]:
        words = Words("sentence:x", "auto", more.get("loss", ""), "none", "adamw", "epochs=20", teacher="")
        found = plan.routes(words, Settings(), Subject("text", task))
        return [one.name for one in found if not one.floor and not one.shallow]

    assert moving("classify") == ["probe", PARTIAL, "contrastive", "lora(warm_head=false)", "full", "lp_ft"]
    assert "contrastive" not in moving("regress")
    assert "contrastive" not in moving("classify", loss="cross_entropy + l2sp")


def test_neither_other_objectives_nor_other_starts_have_paid_or_not(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where moving stages under a fitted head did not pay, comparing texts may, or a head that learns along.

    86 and 81 against 62 % on 60 questions.
    """
    words = Words("sentence:x", "auto", "", "none", "adamw", "epochs=20", teacher="")
    moving = (PARTIAL, "contrastive", "lora(warm_head=false)", "full", "lp_ft", "scratch")
    costs = {name: Cost(0, 0) for name in moving}
    ladder, fake = climbing(tmp_path, clock, monkeypatch, costs)
    ladder.stops = True
    monkeypatch.setattr(ladder, "_told", lambda chosen, tried, took: ladder._learn(chosen, (0.5, -1.0)))
    ladder.trials(plan.routes(words, Settings(), Subject("text", "classify")))
    assert [name for name, _ in fake.ran][-5:] == ["probe", PARTIAL, "contrastive", "lp_ft", "scratch"]
    assert [one.partition(" was not tried: on the validation part ")[0] for one in fake.said] == [
        "lora(warm_head=false)",
        "full",
    ]
    assert PARTIAL in fake.said[0]


def test_one_start_says_nothing_of_another(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves under a fitted head has not paid; what moves under one that learns along is tried all the same."""
    tunes = "probe, partial, lora(warm_head=false), full, lp_ft"
    words = Words("sentence:x", tunes, "", "none", "adamw", "epochs=20", teacher="")
    costs = {name: Cost(0, 0) for name in ("partial", "lora(warm_head=false)", "full", "lp_ft", "scratch")}
    ladder, fake = climbing(tmp_path, clock, monkeypatch, costs)
    ladder.stops = True
    monkeypatch.setattr(ladder, "_told", lambda chosen, tried, took: ladder._learn(chosen, (0.5, -1.0)))
    ladder.trials(plan.routes(words, Settings(), Subject("text", "classify")))
    assert [name for name, _ in fake.ran][-4:] == ["probe", "partial", "lora(warm_head=false)", "scratch"]
    assert [one.partition(" was")[0] for one in fake.said] == ["full", "lp_ft"]


def test_a_head_that_learns_along_needs_half_of_the_epochs(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Words("sentence:x", "probe, partial, full", "", "none", "adamw", "epochs=20", teacher="")
    costs = {"partial": Cost(0, 0.1), "full": Cost(0, 20), "scratch": Cost(0, 10)}
    for budget, epochs in ((220.0, None), (300.0, 12), (600.0, 20)):  # 187, 255 and 510 but for what is kept back
        ladder, fake = climbing(tmp_path / str(budget), clock, monkeypatch, costs, budget)
        (tmp_path / str(budget)).mkdir()
        ladder.trials(plan.routes(words, Settings(), Subject("text", "classify")))
        assert dict(fake.ran).get("full") == epochs


def test_a_rung_whose_package_is_absent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "lora (in tune) needs the package 'peft', which is not installed: type pip install 'sterna[peft]'."
    assert "lora(warm_head=false)" in rungs.serving("text", "classify", objective=False)
    assert rungs.absent("text") == []
    monkeypatch.setattr(rungs.folder, "lacking", lambda home, name: sentence if name == "lora" else "")
    left = ["probe", PARTIAL.replace("3.0", "3"), "contrastive", "full", "lp_ft"]
    assert rungs.serving("text", "classify", objective=False) == left
    assert (rungs.absent("text"), rungs.absent("image")) == ([sentence], [])


def test_the_cheapest_come_first_and_scratch_last(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS)
    ladder.trials(routes())
    assert [name for name, _ in fake.ran] == [
        *("hog_colour", "prototypes", "zero_shot", "head2toe", "probe", "partial", "lp_ft", "scratch")
    ]
    assert all(epochs == 20 for _, epochs in fake.ran)
    assert fake.said == []


def test_epochs_are_as_many_as_fit(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS, 200.0)
    ladder.trials(routes())
    # 170 seconds but for what is kept back; half of them for a rung that is not the last: (85 - 10) / 5 and / 20.
    assert dict(fake.ran)["partial"] == 15
    assert dict(fake.ran)["lp_ft"] == 3
    assert dict(fake.ran)["scratch"] == 8


def test_a_policy_with_a_length_of_its_own_is_shortened(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Words("sentence:x", "contrastive, lp_ft", "", "none", "adamw", "epochs=20", teacher="")
    costs = {"contrastive": Cost(10, 5), "lp_ft": Cost(0, 0.1), "scratch": Cost(0, 0.1)}
    ladder, _ = climbing(tmp_path, clock, monkeypatch, costs, 100.0)  # 85 but for what is kept back, and half of them
    found = {
        one.route.name: one.route for one in ladder.trials(plan.routes(words, Settings(), Subject("text", "classify")))
    }
    assert repr(found["contrastive"].tune) == "contrastive(passes=12, steps=30)"  # (42.5 - 10) / 5 of 20 epochs
    assert repr(found["lp_ft"].tune) == "lp_ft"


@pytest.mark.parametrize(("tune", "count"), [("full", 20), ("contrastive", 20), ("lp_ft", 7)])
def test_what_haste_spoils_is_whole_where_that_fits(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, tune: str, count: int
) -> None:
    """80 seconds of 85 that are left: under a fitted head (42.5 - 14) / 4 epochs, else all of them."""
    words = Words("sentence:x", f"{tune}, surgical", "", "none", "adamw", "epochs=20", teacher="")
    costs = {tune: Cost(14, 4) if tune == "lp_ft" else Cost(0, 4), "surgical": Cost(0, 9), "scratch": Cost(0, 9)}
    ladder, fake = climbing(tmp_path, clock, monkeypatch, costs, 100.0)
    ladder.trials(plan.routes(words, Settings(), Subject("text", "classify")))
    assert dict(fake.ran)[tune] == count


def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS, 80.0)
    found = ladder.trials(routes())
    tried = {one.route.name for one in found}
    assert "partial" in tried
    assert not {"lp_ft"} & tried
    assert fake.said == [
        "lp_ft was not tried: it would take about 70 s and 68 s of the budget were left; give more time."
    ]


def test_where_half_is_too_little_a_rung_has_all_that_is_left(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS, 120.0, seconds={"lp_ft": 23.0})
    ladder.trials(routes())
    # 102 seconds but for what is kept back: in half of them 2 epochs of `lp_ft`, in all (102 - 10) / 20.
    assert dict(fake.ran)["lp_ft"] == 4
    assert "scratch" not in dict(fake.ran)


def test_a_head_that_learns_along_moves_all_of_many_pictures_and_not_of_few() -> None:
    assert rungs.serving("image", "classify", objective=False, few=True) == ["probe", "partial", "lp_ft"]
    many = ["probe", "partial(stages=4, warm_head=false)", "full", "lp_ft"]
    assert rungs.serving("image", "classify", objective=False) == many
    texts = rungs.serving("text", "classify", objective=False)
    assert rungs.serving("text", "classify", objective=False, few=True) == texts


def test_a_floor_is_tried_whatever_it_takes(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS | {"scratch": Cost(500, 500)}, 100.0)
    ladder.trials([one for one in routes() if one.name in ("probe", "scratch")])
    assert fake.ran == [("probe", 20), ("scratch", 1)]


def test_it_learns_how_far_off_its_estimates_are(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS, 400.0, seconds={"partial": 11.0})
    ladder.trials(routes())
    assert dict(fake.ran)["partial"] == 20  # 110 seconds were thought, 220 it took
    assert ladder.factor == pytest.approx(2.0)
    assert "lp_ft" not in dict(fake.ran)  # 60 seconds are allowed, and three epochs take twice 70


def test_an_interrupted_ladder_goes_on_as_noted(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS, 200.0)
    ladder.trials(routes())
    clock.now = 5000.0
    again, later = climbing(tmp_path, clock, monkeypatch, {}, 200.0)  # nothing is estimated a second time
    again.trials(routes())
    assert later.ran == fake.ran


def test_more_stages_move_only_where_some_have_paid(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS)
    ladder.stops = True
    keys = {"prototypes": (0.7, -0.9), "zero_shot": (0.5, -1.0), "probe": (0.8, -0.5), "partial": (0.8, -0.6)}
    keys["head2toe"] = (0.9, -0.3)  # what lower stages say is no reason to keep them still
    monkeypatch.setattr(
        ladder, "_told", lambda chosen, tried, took: ladder._learn(chosen, keys.get(chosen.name, (0, 0)))
    )
    ladder.trials(routes())
    still = ["hog_colour", "prototypes", "zero_shot", "head2toe", "probe"]
    assert [name for name, _ in fake.ran] == [*still, "partial", "scratch"]
    assert fake.said == [
        "lp_ft was not tried: on the validation part partial, which moves less, was no better than the best before "
        "it; name it with --tune to try it."
    ]
    keys["partial"] = (0.8, -0.4)
    better, fake = climbing(tmp_path / "other", clock, monkeypatch, COSTS)
    better.stops = True
    monkeypatch.setattr(
        better, "_told", lambda chosen, tried, took: better._learn(chosen, keys.get(chosen.name, (0, 0)))
    )
    better.trials(routes())
    assert "lp_ft" in dict(fake.ran)


def test_what_diverges_is_tried_more_gently(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder, fake = climbing(tmp_path, clock, monkeypatch, COSTS, failing=("lp_ft",))
    found = {one.route.name: one.route for one in ladder.trials(routes())}
    assert "lp_ft" not in found
    assert found["lp_ft at a tenth of the rate"].optimizer.rate == pytest.approx(routes()[0].optimizer.rate / 10)
    assert fake.said == ["lp_ft could not be trained, so it is tried again at a tenth of the rate."]


def test_a_real_ladder(tmp_path: Path, encoder: str) -> None:
    """On photos: cheapest rungs first, cross-validated because they are few; every rung in the comparison."""
    photos = write_photos(tmp_path / "photos", count=10)
    settings = Settings(budget="9m", page=False, test=0.4)
    found = sterna.fit(photos, encoder=encoder, out=tmp_path / "run", schedule="epochs=2, batch=8", settings=settings)
    names = {one.name for one in found.routes}
    assert {"hog_colour", "prototypes", "probe", "partial", "scratch"} <= names
    assert ("lp_ft" in names) != any(one.startswith("lp_ft was not tried") for one in found.warnings)
    noted = files.read_json(tmp_path / "run" / climb.DECIDED)
    assert [one["route"] for one in noted][:4] == ["hog_colour", "prototypes", "head2toe", "probe"]
    with np.load(next((tmp_path / "run" / "routes").glob("probe-*")) / "predictions.npz") as kept:
        assert len(kept["validation"]) == 18  # all but the held-out
    assert "--budget 9m" in files.read_json(tmp_path / "run" / "plan.json")["command"]


@pytest.mark.parametrize("counts", [{"": 10}, {"train": 6, "test": 4}, {"train": 4, "validation": 2, "test": 4}])
@pytest.mark.parametrize(("limit", "few"), [(17, False), (18, True)])
def test_the_rungs_follow_how_many_are_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], limit: int, few: bool
) -> None:
    """Three classes in different parts, 18 not held out, whether or not a cross-validation chooses."""
    for part, count in counts.items():
        write_photos(tmp_path / "photos" / part, count=count, seed=len(part))
    asked: list[bool] = []

    def planned(words: Words, subject: Subject, *rest: Any) -> None:
        asked.append(subject.few)
        raise SpecError("that is all.")

    monkeypatch.setattr(study.across, "planned", planned)
    monkeypatch.setattr(study, "FEW", limit)
    with pytest.raises(SpecError, match="that is all"):
        sterna.fit(tmp_path / "photos", encoder="builtin:glyphs", settings=Settings(test=0.4))
    assert asked == [few]


def test_folds_judge_each_example_by_a_fit_that_has_not_seen_it(tmp_path: Path, encoder: str) -> None:
    photos = write_photos(tmp_path / "photos", count=10)
    common: dict[str, Any] = {"encoder": encoder, "tune": "probe", "schedule": "epochs=2, batch=8"}
    settings = Settings(folds=3, page=False, test=0.4, mitigate=False)
    found = sterna.fit(photos, out=tmp_path / "run", settings=settings, **common)
    with np.load(tmp_path / "run" / "routes" / "probe-0" / "predictions.npz") as kept:
        answers = kept["validation"]
    loaded = opening.open_data(str(photos))
    split = splitting.from_json(files.read_json(tmp_path / "run" / "splits" / "seed0.json"), loaded)
    both = np.sort([*split.train, *split.validation])
    assert len(answers) == len(both) == 18
    right = (answers.argmax(axis=1) == loaded.table.labels[both]).mean()
    assert found.routes[0].validation["accuracy"] == pytest.approx(right)


def test_no_fold_says_when_to_stop(tmp_path: Path, encoder: str) -> None:
    """A fold is what is judged: were the best epoch chosen on it too, training long would be flattered."""
    photos = write_photos(tmp_path / "photos", count=10)
    common: dict[str, Any] = {"encoder": encoder, "tune": "lp_ft", "schedule": "epochs=4, batch=8, patience=1"}
    moved = {}
    for folds in (1, 3):
        settings = Settings(folds=folds, page=False, test=0.4, mitigate=False, floors="classical")
        sterna.fit(photos, out=tmp_path / str(folds), settings=settings, **common)
        entries = files.read_json(tmp_path / str(folds) / "routes" / "lp_ft-0" / "history.json")
        moved[folds] = [one for one in entries if one["phase"] == "all"]
    assert all("accuracy" in str(one) for one in moved[1] if not one.get("last"))
    assert not any("accuracy" in str(one) for one in moved[3])
    assert [one["epoch"] for one in moved[3]] == [1, 2, 3, 4] * 2  # the first fold, and the last fit
