"""Criteria against hand values, naive loops and limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sterna import folder
from sterna.contracts import Adapted
from sterna.errors import DataError
from sterna.maths import criteria
from sterna.records import Labels


def never(source: np.ndarray, labels: Labels, target: np.ndarray) -> np.ndarray:
    raise AssertionError("only a criterion that goes back may refit")


def given(
    source_answers: list[list[float]],
    labels: list[int],
    answers: list[list[float]],
    refit: Callable[[np.ndarray, Labels, np.ndarray], np.ndarray] = never,
) -> Adapted:
    source, target = np.arange(len(labels), dtype=float)[:, None], np.arange(len(answers), dtype=float)[:, None]
    return Adapted(
        source, np.array(labels), np.array(source_answers), target, np.array(answers), (source, target), refit, 0
    )


def judge(written: str, adapted: Adapted) -> float:
    (made,) = folder.resolve("criteria", written)
    return float(made.judge(adapted))


HELD = given([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]], [0, 1, 1, 0], [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
SHARP = given([[1.0, 0.0]], [0], [[1.0, 0.0], [0.0, 1.0]])
ONE = given([[1.0, 0.0]], [0], [[1.0, 0.0], [1.0, 0.0]])
FLAT = given([[1.0, 0.0]], [0], [[0.5, 0.5], [0.5, 0.5]])


def two_samples(shift: float, n: int = 4000) -> Adapted:
    """A line: the source is N(0, 1), the target N(shift, 1), the head is wrong above 1 and below -1."""
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(n, 1)), draw.normal(size=(n, 1)) + shift
    labels = (np.abs(source[:, 0]) > 1).astype(np.int64)
    answers = np.tile([1.0, 0.0], (n, 1))
    return Adapted(source, labels, answers, target, answers, (source, target), never, 0)


def normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def test_source_risk_by_hand() -> None:
    assert judge("source_risk", HELD) == pytest.approx(-1 / 4)  # the third is wrong; of a tie the first class is said
    logs = [math.log(0.9), math.log(0.8), math.log(0.4), math.log(0.5)]
    assert judge("source_risk(loss=log)", HELD) == pytest.approx(sum(logs) / 4)


def test_source_risk_of_values_is_in_variances() -> None:
    adapted = replace(HELD, labels=np.array([0.0, 2.0, 4.0, 6.0]), source_answers=np.array([0.0, 2.0, 4.0, 8.0]))
    assert judge("source_risk", adapted) == pytest.approx(-(4 / 4) / 5)  # variance 5


def test_entropy_by_hand() -> None:
    wanted = 2 * (0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / 3 - math.log(2) / 3
    assert judge("entropy", HELD) == pytest.approx(wanted)
    assert judge("entropy", FLAT) == pytest.approx(-math.log(2))
    assert judge("entropy", ONE) == judge("entropy", SHARP) == 0  # it does not see that all became one class


def test_mutual_information_by_hand() -> None:
    inner = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert judge("mutual_information", HELD) == pytest.approx(math.log(2) - (2 * inner + math.log(2)) / 3)
    assert judge("mutual_information", SHARP) == pytest.approx(math.log(2))
    assert judge("mutual_information", ONE) == 0
    assert judge("mutual_information", FLAT) == pytest.approx(0)


def test_density_of_neighbourhoods_is_the_loop() -> None:
    draw = np.random.default_rng(1)
    answers = draw.dirichlet(np.ones(3), size=30)
    total = 0.0
    for i in range(30):
        near = []
        for j in range(30):
            if j != i:
                cosine = answers[i] @ answers[j] / np.linalg.norm(answers[i]) / np.linalg.norm(answers[j])
                near.append(math.exp(cosine / 0.05))
        total -= sum(one / sum(near) * math.log(one / sum(near)) for one in near)
    adapted = replace(HELD, answers=answers)
    assert judge("snd", adapted) == pytest.approx(total / 30)


def test_density_of_neighbourhoods_in_its_limits() -> None:
    assert judge("snd", replace(FLAT, answers=np.full((50, 4), 0.25))) == pytest.approx(math.log(49))
    # Two classes that share nothing: an example's neighbours are the 4 others of its class.
    halves = np.repeat(np.eye(2), 5, axis=0)
    assert judge("snd(temperature=0.01)", replace(FLAT, answers=halves)) == pytest.approx(math.log(4))
    # Rows drawn from many alike: the value depends on how many are looked at, and on nothing else.
    assert judge("snd(limit=10)", replace(FLAT, answers=np.full((50, 4), 0.25))) == pytest.approx(math.log(9))


def test_density_needs_neighbours() -> None:
    with pytest.raises(DataError, match=r"^snd needs at least 2 target examples, got 1; add examples\.$"):
        judge("snd", replace(FLAT, answers=np.array([[0.5, 0.5]])))


@pytest.mark.parametrize("written", ["importance_weighted", "importance_weighted(normalised=false)", "dev"])
def test_weighted_risks_know_the_target(written: str) -> None:
    """The risk of always saying 0 under N(0.5, 1) is P(|x| > 1) there; on the source it is 0.317."""
    wanted = normal(-1.5) + 1 - normal(0.5)
    found = -judge(written, two_samples(0.5))
    assert found == pytest.approx(wanted, abs=0.03)
    assert abs(found - wanted) < abs(-judge("source_risk", two_samples(0.5)) - wanted) / 2


@pytest.mark.parametrize("written", ["importance_weighted", "importance_weighted(normalised=false)", "dev"])
def test_weighted_risks_of_one_distribution_are_the_risk(written: str) -> None:
    adapted = two_samples(0.0)
    assert judge(written, adapted) == pytest.approx(judge("source_risk", adapted), abs=0.02)


def test_ratios_are_those_of_the_densities() -> None:
    """N(1/2, 1) over N(0, 1) is exp(x / 2 - 1 / 8)."""
    adapted = two_samples(0.5)
    found = criteria.ratios("test", adapted.source, adapted.target, 20, 0)
    wanted = np.exp(adapted.source[:, 0] / 2 - 1 / 8)
    assert np.corrcoef(np.log(found), np.log(wanted))[0, 1] > 0.99
    assert found.mean() == pytest.approx(1, abs=0.05)


def test_weighted_risks_are_their_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    weights, wrong = draw.exponential(size=40), draw.random(40) < 0.3
    answers = np.tile([1.0, 0.0], (40, 1))
    labels = wrong.astype(np.int64)
    adapted = replace(HELD, source=np.zeros((40, 1)), labels=labels, source_answers=answers)
    for name in ("importance_weighted", "dev"):
        monkeypatch.setattr(f"sterna.criteria.{name}.ratios", lambda *_: weights)
    total = sum(weight for weight, bad in zip(weights, wrong, strict=True) if bad)
    assert judge("importance_weighted", adapted) == pytest.approx(-total / sum(weights))
    assert judge("importance_weighted(normalised=false)", adapted) == pytest.approx(-total / 40)
    products = weights * wrong
    covariance = np.cov(products, weights, ddof=1)
    eta = -covariance[0, 1] / covariance[1, 1]
    assert judge("dev", adapted) == pytest.approx(-(products.mean() + eta * weights.mean() - eta))
    # A risk that is the same everywhere is known exactly, however the weights came out.
    always = replace(adapted, labels=np.ones(40, dtype=np.int64))
    assert judge("dev", always) == pytest.approx(-1)
    assert judge("importance_weighted(normalised=false)", always) != pytest.approx(-1, abs=0.01)
    monkeypatch.setattr("sterna.criteria.dev.ratios", lambda *_: np.ones(40))
    assert judge("dev", adapted) == pytest.approx(-wrong.mean())


@pytest.mark.parametrize("name", ["importance_weighted", "dev"])
def test_weighted_risks_need_rows(name: str) -> None:
    with pytest.raises(DataError, match=rf"^{name} needs at least 5 examples on each side, got 4 and 3; add examples"):
        judge(name, HELD)


def test_circular_goes_back_from_the_pseudo_labels() -> None:
    asked = []

    def refit(source: np.ndarray, labels: Labels, target: np.ndarray) -> np.ndarray:
        asked.append((source, labels, target))
        return np.array([[0.8, 0.2], [0.3, 0.7], [0.3, 0.7], [0.3, 0.7]])

    adapted = replace(HELD, refit=refit)
    assert judge("circular", adapted) == pytest.approx(-1 / 4)
    assert judge("circular(loss=log)", adapted) == pytest.approx(
        (math.log(0.8) + 2 * math.log(0.7) + math.log(0.3)) / 4
    )
    source, labels, target = asked[0]
    assert source is adapted.raw[1]
    assert target is adapted.raw[0]
    assert labels.tolist() == [0, 1, 0]


def test_circular_goes_back_with_values() -> None:
    values = np.array([1.0, 2.0, 3.0])

    def refit(source: np.ndarray, labels: Labels, target: np.ndarray) -> np.ndarray:
        assert labels is values
        return np.array([0.0, 2.0, 4.0, 6.0])

    adapted = replace(HELD, labels=np.array([0.0, 2.0, 4.0, 6.0]), answers=values, refit=refit)
    assert judge("circular", adapted) == 0


@pytest.mark.parametrize("name", ["entropy", "mutual_information", "snd"])
def test_values_have_no_entropy(name: str) -> None:
    with pytest.raises(DataError, match=rf"^{name} reads shares of classes, got values; type source_risk, .*\.$"):
        judge(name, replace(HELD, answers=np.array([1.0, 2.0, 3.0])))


@pytest.mark.parametrize("name", folder.names("criteria"))
def test_the_order_of_rows_does_not_count(name: str) -> None:
    """Same seed, same bits; and another order of the rows changes nothing but folds."""
    draw = np.random.default_rng(4)
    n = 300
    source, target = draw.normal(size=(n, 3)), draw.normal(size=(n, 3)) + 0.3
    answers, labels = draw.dirichlet(np.ones(3), size=(2, n)), draw.integers(3, size=n)

    def refit(source: np.ndarray, labels: Labels, target: np.ndarray) -> np.ndarray:
        turned: np.ndarray = np.eye(3)[(target[:, 0] > 0).astype(int)]
        return turned

    adapted = Adapted(source, labels, answers[0], target, answers[1], (source, target), refit, 5)
    before = [one.copy() for one in (source, labels, answers, target)]
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    first = judge(name, adapted)
    assert judge(name, adapted) == first
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]
    assert all((one == two).all() for one, two in zip(before, (source, labels, answers, target), strict=True))
    turn, other = draw.permutation(n), draw.permutation(n)
    moved = Adapted(
        source[turn],
        labels[turn],
        answers[0][turn],
        target[other],
        answers[1][other],
        (source[turn], target[other]),
        refit,
        5,
    )
    assert judge(name, moved) == pytest.approx(first, abs=0.02)


def test_directions_are_those_of_the_decomposition() -> None:
    draw = np.random.default_rng(6)
    points = draw.normal(size=(400, 350)) * (1 + np.arange(350)) ** -0.7
    found = criteria.directions(points, 5)
    left, values, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    assert found.shape == (400, 5)
    for column in range(5):
        wanted = left[:, column] * values[column]
        assert max(abs(wanted @ one) for one in found.T) == pytest.approx(values[column] ** 2, rel=1e-6)
    assert (criteria.directions(points, 5) == found).all()
    assert criteria.directions(points[:, :3], 5).shape == (400, 3)
    assert not criteria.directions(np.ones((10, 4)), 5).any()
