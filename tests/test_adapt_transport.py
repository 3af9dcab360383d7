"""Transport between domains against other solvers, closed forms, limits, and what known labels and many rows change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sterna import folder
from sterna.adapt import optimal_transport
from sterna.contracts import Pair
from sterna.errors import DataError
from sterna.maths import plans


def adapted(written: str, pair: Pair) -> Any:
    return folder.resolve("adapt", written)[0].adapt(pair)


def pair_of(n: int = 24, m: int = 24, d: int = 3, seed: int = 0) -> Pair:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    source = draw.normal(size=(n, d)) + 3 * labels[:, None]
    target = draw.normal(size=(m, d)) + 3 * (np.arange(m) % 2)[:, None] + 1
    return Pair(source, labels, target, 2, 0)


def costs(pair: Pair) -> np.ndarray:
    squares = cdist(pair.source, pair.target, "sqeuclidean")
    return np.asarray(squares / np.median(squares))


def test_the_exact_plan_of_as_many_rows_is_the_best_assignment() -> None:
    pair = pair_of()
    rows, columns = linear_sum_assignment(costs(pair))
    found = adapted("optimal_transport(form=exact)", pair)
    assert found.features[rows] == pytest.approx(pair.target[columns], abs=1e-9)
    assert found.notes == ()
    assert (found.weights == 1).all()


@pytest.mark.parametrize("smoothing", [0.05, 1.0])
def test_the_entropic_plan_is_that_of_plain_scaling(smoothing: float) -> None:
    pair = pair_of(20, 31)
    kernel = np.exp(-costs(pair) / smoothing)
    rows = np.ones(20)
    for _ in range(20_000):
        columns = (1 / 31) / (kernel.T @ rows)
        rows = (1 / 20) / (kernel @ columns)
    plan = rows[:, None] * kernel * columns
    wanted = plan @ pair.target / plan.sum(axis=1, keepdims=True)
    found = adapted(f"optimal_transport(regularisation={smoothing})", pair)
    assert found.features == pytest.approx(wanted, abs=1e-5)


def test_much_smoothing_sends_every_row_to_the_middle() -> None:
    pair = pair_of()
    found = adapted("optimal_transport(regularisation=1e5)", pair)
    assert found.features == pytest.approx(np.tile(pair.target.mean(axis=0), (24, 1)), abs=1e-3)


def test_groups_are_those_of_the_published_algorithm() -> None:
    pair = pair_of(20, 31)
    uniform = np.full(20, 1 / 20), np.full(31, 1 / 31)
    plan = ot.da.sinkhorn_lpl1_mm(uniform[0], pair.labels, uniform[1], costs(pair), 1.0, 1.0, numInnerItermax=2000)
    wanted = plan @ pair.target / plan.sum(axis=1, keepdims=True)
    found = adapted("optimal_transport(form=group, regularisation=1, group=1)", pair)
    assert found.features == pytest.approx(wanted, abs=1e-3)


def test_without_a_group_weight_there_are_no_groups() -> None:
    pair = pair_of()
    found = adapted("optimal_transport(form=group, group=0, regularisation=0.5)", pair)
    assert found.features == pytest.approx(adapted("optimal_transport(regularisation=0.5)", pair).features, abs=1e-5)


def test_relaxed_margins_leave_a_far_row_out() -> None:
    pair = pair_of()
    pair.source[0] += 30
    found = adapted("optimal_transport(form=unbalanced, relaxation=0.1)", pair)
    assert found.weights[0] < 1e-3 < 0.1 < found.weights[1:].min()
    assert found.weights.mean() == pytest.approx(1)


def test_a_known_target_row_is_served_by_its_class_and_learnt_from() -> None:
    pair = pair_of()
    known = replace(pair, known=np.array([0]), known_labels=np.array([1]))  # it lies among rows of class 0
    found = adapted("optimal_transport(form=exact)", known)
    here = [row for row, place in enumerate(found.features[:24]) if np.allclose(place, pair.target[0])]
    assert pair.labels[here].tolist() == [1]
    assert found.features[24:] == pytest.approx(pair.target[:1])
    assert found.labels[24:].tolist() == [1]


@pytest.mark.parametrize("form", ["exact", "entropic"])
def test_more_rows_than_are_coupled_at_once_are_said(form: str) -> None:
    pair = pair_of(120, 140)
    found = adapted(f"optimal_transport(form={form}, rows=60)", pair)
    assert len(found.notes) == 1
    nearest = cdist(found.features, adapted(f"optimal_transport(form={form})", pair).features).diagonal()
    assert np.median(nearest) < 1.5  # of rows whose classes are 5 apart
    assert found.features.shape == (120, 3)


def test_groups_of_values_are_refused() -> None:
    pair = replace(pair_of(), labels=np.linspace(0, 1, 24), classes=0)
    with pytest.raises(DataError, match="form=group is for labels that are classes"):
        adapted("optimal_transport(form=group)", pair)


def test_too_large_a_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterna.maths.memory.BOUND", 20_000)
    with pytest.raises(DataError, match="optimal_transport needs"):
        adapted("optimal_transport(form=exact)", pair_of(40, 40))


def test_no_mass_at_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimal_transport.plans, "carried", lambda made, *_: (made.source, np.zeros(len(made.source))))
    with pytest.raises(DataError, match="sends no mass"):
        adapted("optimal_transport(form=unbalanced)", pair_of())


def test_linear_transport_gives_both_moments_and_a_symmetric_map() -> None:
    pair = pair_of(200, 300)
    found = adapted("linear_transport(regularization=0)", pair)
    assert found.features.mean(axis=0) == pytest.approx(pair.target.mean(axis=0))
    assert np.cov(found.features.T) == pytest.approx(np.cov(pair.target.T))
    turn = np.linalg.lstsq(pair.source - pair.source.mean(axis=0), found.features - found.features.mean(axis=0))[0]
    assert turn == pytest.approx(turn.T)
    assert np.linalg.eigvalsh(turn).min() > 0


def test_linear_transport_of_one_feature_is_a_stretch() -> None:
    pair = pair_of(50, 60, d=1)
    stretch = pair.target.std(ddof=1) / pair.source.std(ddof=1)
    wanted = (pair.source - pair.source.mean()) * stretch + pair.target.mean()
    assert adapted("linear_transport(regularization=0)", pair).features == pytest.approx(wanted)


@pytest.mark.parametrize("classes", [2, 0])
def test_joint_transport_follows_a_target_that_moved(classes: int) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(2, size=80)
    source, target = draw.normal(size=(2, 80, 2))
    source[:, 0] += 6 * labels
    truth = draw.permutation(labels)
    target[:, 0] += 6 * truth + 4  # the source's boundary, at 3, now lies left of both classes
    given = labels if classes else labels.astype(float)
    found = adapted("joint_transport", Pair(source, given, target, classes, 0)).answer(target)
    guessed = found.argmax(axis=1) if classes else (found > 0.5).astype(int)
    assert (guessed == truth).mean() > 0.95
    assert (((target[:, 0] > 3).astype(int)) == truth).mean() < 0.7


def test_squares_that_were_made_for_the_unit_are_the_cost() -> None:
    pair = pair_of(20, 31)
    made = plans.cost("m", pair.source, pair.target, "median", 0)
    assert made.squares is not None
    again = replace(made, squares=None)
    assert made.block(slice(None)) == pytest.approx(again.block(slice(None)))
    assert made.block(slice(None)) == pytest.approx(costs(pair))
    rows, columns = np.array([3, 1]), np.array([0, 7, 30])
    assert made.part(rows, columns).block(slice(None)) == pytest.approx(costs(pair)[np.ix_(rows, columns)])


def test_a_block_is_the_callers_own() -> None:
    pair = pair_of()
    made = plans.cost("m", pair.source, pair.target, "median", 0)
    made.block(slice(None))[:] = 0
    assert made.block(slice(None)) == pytest.approx(costs(pair))
