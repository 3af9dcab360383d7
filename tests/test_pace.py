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


def test_a_last_fit_learns_from_validation_examples_too(at: Desk) -> None:
    both = at.training.target.take(np.arange(12)), at.weights
    found = pace.measured(route("partial(stages=1)"), replace(at, whole=both))
    assert found.epoch == pytest.approx((12 + 12) * 0.1 + 6 * 0.1 / pace.FORWARD)
    assert found.fixed == pytest.approx(24 * 0.2 + 2 * pace.HEAD)


def test_a_cross_validation_costs_its_fits_and_judges_once(at: Desk) -> None:
    part = replace(at.training, target=at.training.target.take(np.arange(8)))
    folds: Any = ((replace(at, training=part), np.arange(4)),) * 3
    folded = replace(at, whole=(at.training.target, at.weights), folds=folds)
    found = pace.measured(route("partial(stages=1)"), folded)
    assert found.epoch == pytest.approx((3 * 8 + 12) * 0.1)


def test_a_length_of_its_own_is_shared_out_over_the_epochs(at: Desk) -> None:
    """Steps on 32 examples each, or as many passes as there are examples for, whichever is less; in each fit."""
    short = pace.measured(route("contrastive(steps=2, passes=40)"), at)
    assert short.epoch == pytest.approx(2 * 32 * SECONDS / 12 / 20)  # all twelve are timed in one step
    folds: Any = (
        (replace(at, training=replace(at.training, target=at.training.target.take(np.arange(4)))), np.arange(4)),
    )
    folded = replace(at, whole=(at.training.target, at.weights), folds=folds * 3)
    many = pace.measured(route("contrastive(steps=100, passes=4)"), folded)
    assert many.epoch == pytest.approx((3 * 4 + 12) * 4 * SECONDS / 12 / 20)


def test_a_method_on_features_costs_next_to_nothing_more(at: Desk) -> None:
    (method,) = folder.resolve("shallow", "prototypes")
    assert pace.measured(replace(route("probe"), tune=method), at) == Cost(pace.HEAD, 0.0)
