"""`sterna.conclusion`: what is chosen on validation and measured on the held-out part, for tasks other than classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from sterna import folder
from sterna.conclusion import Conclusion, Trial, conclude
from sterna.maths.seeds import derive
from sterna.plan import Route
from sterna.records import Sealed
from sterna.schedule import Schedule
from sterna.settings import Settings


def _route(name: str, floor: bool) -> Route:
    (tune,) = folder.resolve("tune", "scratch" if floor else "probe")
    (optimizer,) = folder.resolve("optimizers", "adamw")
    return Route(name, "local:x", tune, folder.resolve("losses", "squared_error"), (), optimizer, Schedule(), floor)


def _trials(noise: dict[str, float]) -> list[Trial]:
    """Routes whose answers are the labels with noise, at two seeds that hold out the same rows."""
    found = []
    for seed in range(2):
        generator = np.random.default_rng(derive("conclusion", seed))
        labels, validation = generator.normal(size=(300, 2)), generator.normal(size=(50, 2))
        for name, amount in noise.items():
            test, judged = (part + amount * generator.normal(size=part.shape) for part in (labels, validation))
            route = _route(name, floor=name.startswith("floor"))
            found.append(Trial(route, seed, test, judged, 1.5, validation, np.arange(300), Sealed(labels)))
    return found


def _conclude(noise: dict[str, float]) -> Conclusion:
    return conclude(_trials(noise), Settings(), folder.load("tasks", "regress")(), ("height", "weight"))


def test_values_are_chosen_and_compared_by_the_variance_they_explain() -> None:
    got = _conclude({"probe": 0.6, "full": 0.5, "floor": 0.8, "floor of noise": 1.5})
    assert (got.shipped, got.verdict.route, got.verdict.floor, got.verdict.figure) == ("full", "full", "floor", "r2")
    assert got.verdict.answer == "helps"
    assert got.verdict.gain == pytest.approx(0.8**2 - 0.5**2, abs=0.05)
    assert got.verdict.sentence.startswith("Transfer helps: full explains ")
    assert [one.floor for one in got.others] == ["floor of noise"]
    trials = _trials({"probe": 0.6, "full": 0.5, "floor": 0.8, "floor of noise": 1.5})
    for outcome, trial in zip(got.outcomes, trials, strict=True):
        labels = trial.sealed.open_for_scoring()
        assert outcome.metrics["r2"].value == pytest.approx(reference.r2_score(labels, trial.test))
        assert set(outcome.validation) == {"r2", "loss"}
        assert outcome.n == 300


def test_the_gain_is_the_difference_of_the_figures() -> None:
    got = _conclude({"probe": 0.5, "floor": 0.7})
    means = {
        name: np.mean([one.metrics["r2"].value for one in got.outcomes if one.name == name])
        for name in ("probe", "floor")
    }
    assert got.verdict.gain == pytest.approx(means["probe"] - means["floor"])


def test_a_better_floor_ships() -> None:
    got = _conclude({"probe": 0.9, "floor": 0.3})
    assert (got.verdict.answer, got.shipped) == ("hurts", "floor")
    assert got.verdict.sentence.startswith("Transfer hurts: probe explains ")
    assert "points less of the variance than floor" in got.verdict.sentence


def test_helps_is_said_only_against_every_floor() -> None:
    """Validation prefers one floor by luck; the other is as good as the route on the held-out part."""
    trials = _trials({"probe": 0.5, "floor": 0.9, "floor as good": 0.5})
    unlucky = [
        replace(one, validation=one.validation + 3) if one.route.name == "floor as good" else one for one in trials
    ]
    got = conclude(unlucky, Settings(), folder.load("tasks", "regress")(), ("height", "weight"))
    assert got.verdict.floor == "floor as good"
    assert got.verdict.answer in ("undecided", "equivalent")
    assert [(one.floor, one.answer) for one in got.others] == [("floor", "helps")]
    assert got.shipped == "probe"
