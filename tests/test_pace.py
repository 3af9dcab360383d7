"""What a route is thought to take, by hand: seconds of reading, of a pass forward and of a step, times what is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_study import encoder as encoder  # a fixture
from test_study import write_photos

from sterna import folder, footing, opening, pace
from sterna.desk import Desk, ones
from sterna.pace import Cost
from sterna.plan import Route
from sterna.records import Training
from sterna.schedule import Schedule
from sterna.store import Store

SECONDS = 0.8  # of whatever is timed, so 0.1 an example


@pytest.fixture
def at(tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Twelve training, six validation and six held-out photos, where everything takes the same time."""
    monkeypatch.setattr(pace, "_timed", lambda work: (work(), SECONDS))
    loaded = opening.open_data(str(write_photos(tmp_path / "photos", count=8)))
    parts = [loaded.table.take(np.arange(start, stop)) for start, stop in ((0, 12), (12, 18), (18, 24))]
    task = folder.load("tasks", "classify")()
    opened = footing.opened(opening.open_encoder(encoder), loaded.table)
    store = Store(tmp_path / "cache")
    return Desk(opened, Training(*parts[:2]), parts[2], ones(parts[0]), 0, task, store)


def route(tune: str) -> Route:
    (policy,) = folder.resolve("tune", tune)
    (optimizer,) = folder.resolve("optimizers", "adamw")
    return Route(tune, "local:x", policy, folder.resolve("losses", "cross_entropy"), (), optimizer, Schedule())


def test_a_cost_grows_with_the_epochs() -> None:
    assert Cost(10, 2).of(5) == 20


def test_a_head_costs_a_pass_over_all_items(at: Desk) -> None:
    # 24 items are read and run, 0.1 s each; then the head.
    assert pace.measured(route("probe"), at) == Cost(pytest.approx(24 * 0.2 + pace.HEAD), 0.0)


def test_a_moving_network_reads_its_items_in_every_epoch(at: Desk) -> None:
    found = pace.measured(route("full"), at)
    assert found.epoch == pytest.approx(12 * (0.1 + 0.1) + 6 * 0.1 / pace.FORWARD)


def test_measuring_gradients_costs_steps_of_its_own(at: Desk) -> None:
    found = pace.measured(route("surgical"), at)
    assert found.epoch == pytest.approx((12 + 12) * (0.1 + 0.1) + 6 * 0.1 / pace.FORWARD)


def test_moving_stages_on_stored_activations_cost_their_steps_alone(at: Desk) -> None:
    found = pace.measured(route("partial(stages=1)"), at)
    assert found.epoch == pytest.approx(12 * 0.1 + 6 * 0.1 / pace.FORWARD)
    assert found.fixed == pytest.approx(24 * 0.2 + pace.HEAD)


def test_a_last_fit_costs_as_much_again_and_a_cross_validation_more(at: Desk) -> None:
    once = pace.measured(route("partial(stages=1)"), at)
    whole = at.training.target, at.weights
    assert pace.measured(route("partial(stages=1)"), replace(at, whole=whole)).epoch == pytest.approx(2 * once.epoch)
    folds: Any = ((at, np.arange(6)),) * 3
    folded = replace(at, whole=whole, folds=folds)
    assert pace.measured(route("partial(stages=1)"), folded).epoch == pytest.approx((1 + 3 * 2 / 3) * once.epoch)


def test_a_method_on_features_costs_next_to_nothing_more(at: Desk) -> None:
    (method,) = folder.resolve("shallow", "prototypes")
    assert pace.measured(replace(route("probe"), tune=method), at) == Cost(pace.HEAD, 0.0)
