"""Boosting and balanced weights with a few labels of the target: by hand, and where a source contradicts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sterna import adapting, folder
from sterna.adapt import tradaboost, tradaboost_r2
from sterna.contracts import Aligned, Answering, Pair
from sterna.errors import DataError
from sterna.maths import transfer_boosting as boosting

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

CLASSIFYING = ("tradaboost", "tradaboost(learner=tree)", "balanced_weights(gamma=0.7)")
VALUING = (
    "tradaboost_r2",
    "tradaboost_r2(two_stage=true)",
    "balanced_weights(gamma=0.8)",
)


def built(name: str) -> Any:
    (made,) = folder.resolve("adapt", name)
    return made


def contrary(n: int = 300, known: int = 40, classes: int = 2, seed: int = 0) -> tuple[Pair, np.ndarray]:
    """A source a third of which is labelled as the target is, and the rest the other way round."""
    draw = np.random.default_rng(seed)
    source, target = draw.normal(size=(n, 3)), draw.normal(size=(400, 3))

    def cut(rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.linspace(-1, 1, classes - 1) if classes > 2 else [0.0], rows[:, 0])

    labels, truth = cut(source), cut(target)
    wrong = source[:, 1] > -0.4
    labels = np.where(wrong, classes - 1 - labels, labels)
    rows = np.arange(known)
    return Pair(source, labels, target, classes, 4, rows, truth[rows]), truth


def sloped(n: int = 400, known: int = 30, seed: int = 0) -> tuple[Pair, np.ndarray]:
    """Values of slopes (1, 1) in the target; of a fifth of the source too, the rest has slopes (-1, 1)."""
    draw = np.random.default_rng(seed)
    source, target = draw.normal(size=(n, 2)), draw.normal(size=(400, 2))
    signs = np.where(np.arange(n) < n // 5, 1.0, -1.0)
    values = source[:, 0] * signs + source[:, 1] + draw.normal(size=n) * 0.05
    truth = target.sum(axis=1) + draw.normal(size=400) * 0.05
    return Pair(source, values, target, 0, 4, np.arange(known), truth[:known]), truth


def right(name: str, pair: Pair, truth: np.ndarray) -> float:
    """The share of rightly answered target rows whose labels are not known; for values, of explained variance."""
    unseen = np.setdiff1d(np.arange(len(truth)), pair.known)
    found = adapting.fit(name, pair, "logistic" if pair.classes else "ridge").answer(pair.target[unseen])
    if pair.classes:
        return float((found.argmax(axis=1) == truth[unseen]).mean())
    return 1 - float(((found - truth[unseen]) ** 2).mean() / truth[unseen].var())


def given(weights: list[float], count: int) -> boosting.Joined:
    size = len(weights)
    return boosting.Joined(np.zeros((size, 1)), np.zeros(size), np.array(weights), count)


def test_weights_of_a_round_by_hand() -> None:
    """Two source rows, of which the second is wrong, and two target rows, of which the first is wrong."""
    beta = boosting.factor(2, 8)
    assert beta == pytest.approx(1 / (1 + np.sqrt(2 * np.log(2) / 8)))
    start, wrong = given([1.0, 1.0, 1.0, 3.0], 2), np.array([0.0, 1.0, 1.0, 0.0])
    error = boosting.target_error(wrong, start)
    assert error == pytest.approx(1 / 4)
    raw = np.array([1.0, beta, 3.0, 3.0])  # beta_t = 1/3, so a wrong target row counts three times
    assert boosting.turned(start, wrong, beta, error / (1 - error)) == pytest.approx(4 * raw / raw.sum())


def test_two_rounds_of_boosting_by_hand() -> None:
    """Three rows and learners that say what the test wants: two source rows and one target row, two classes."""
    start = boosting.Joined(np.zeros((3, 1)), np.array([0, 1, 1]), np.ones(3), 2)
    said = [np.array([0, 0, 1]), np.array([1, 1, 0])]
    seen = []

    def learn(now: boosting.Joined) -> boosting.Answer:
        seen.append(now.weights.copy())
        answer = said[len(seen) - 1]
        return lambda rows: answer

    fits, strengths, left = tradaboost._boosted(start, learn, 2, 2)
    beta = 1 / (1 + np.sqrt(2 * np.log(2) / 2))
    raw = np.array([1.0, beta, 1.0])  # only the second source row was wrong
    assert seen[1] == pytest.approx(3 * raw / raw.sum())
    assert left == pytest.approx((1 + beta) / (2 + beta))
    # One target row: half of it is 1/2, which is chance; so neither being right nor being wrong gives a vote.
    assert strengths.tolist() == [0, 0]
    assert boosting.votes(fits, strengths, np.zeros((3, 1)), 2)[:, 0].tolist() == [0.5, 0.5, 0.5]


def test_votes_of_rounds_by_hand() -> None:
    """Four target rows: an error of a quarter votes with ln 3, one of 0 counts as half a row and votes with ln 7."""
    start = boosting.Joined(np.zeros((5, 1)), np.array([0, 1, 1, 0, 0]), np.ones(5), 1)
    said = [np.array([0, 0, 1, 0, 0]), np.array([0, 1, 1, 0, 0])]
    calls = iter(said)

    def learn(now: boosting.Joined) -> boosting.Answer:
        answer = next(calls)
        return lambda rows: answer

    fits, strengths, _ = tradaboost._boosted(start, learn, 2, 2)
    assert strengths == pytest.approx([np.log(3), np.log(7)])
    found = boosting.votes(fits, strengths, np.zeros((5, 1)), 2)
    assert found[1] == pytest.approx([np.log(3) / np.log(21), np.log(7) / np.log(21)])
    calls = iter([said[0]])
    _, three, _ = tradaboost._boosted(start, learn, 1, 3)
    assert three == pytest.approx([np.log(3) + np.log(2)]), "more classes: ln K - 1 more (Zhu et al. 2009)"


def test_the_second_half_votes() -> None:
    pair, _ = contrary()
    answers = built("tradaboost(learner=tree, rounds=10)").adapt(pair).answer
    learn = built("tradaboost")._tree(pair.seed)
    whole, notes = boosting.joined(
        "x", (pair.source, pair.target[:40]), (pair.labels, pair.known_labels), 10**6, 0.5, 4
    )
    assert notes == ()
    fits, strengths, _ = tradaboost._boosted(whole, learn, 10, 2)
    wanted = sum(
        weight * np.eye(2)[fit(pair.target)] for fit, weight in zip(fits[4:], strengths[4:], strict=True)
    )  # rounds 5 to 10
    assert answers(pair.target) == pytest.approx(wanted / strengths[4:].sum())


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("name", CLASSIFYING)
def test_a_source_that_contradicts_is_overruled(name: str, classes: int) -> None:
    pair, truth = contrary(classes=classes, known=60)
    plain = right("none", replace(pair, known=np.zeros(0, int), known_labels=np.zeros(0, int)), truth)
    assert plain < 0.7
    assert right(name, pair, truth) > plain + 0.05


@pytest.mark.parametrize("name", VALUING)
def test_values_that_contradict_are_overruled(name: str) -> None:
    pair, truth = sloped()
    plain = right("none", replace(pair, known=np.zeros(0, int), known_labels=np.zeros(0)), truth)
    assert plain < 0.5
    assert right(name, pair, truth) > plain + 0.2
    if "two_stage" in name:
        assert right(name, pair, truth) > 0.97


def test_a_sound_source_helps() -> None:
    """Two stages keep what is right: with the same law on both sides, the source lowers the error of 4 labels."""
    pair, truth = sloped(known=12)
    pair = replace(pair, labels=pair.source.sum(axis=1))
    assert right("tradaboost_r2(two_stage=true)", pair, truth) > 0.99
    assert right("tradaboost_r2", pair, truth) > 0.98


def test_errors_are_adjusted() -> None:
    assert boosting.adjusted(np.array([1.0, 4.0, 2.0]), np.array([1.0, 0.0, 1.0])).tolist() == [0, 1, 0.25]
    assert boosting.adjusted(np.ones(2), np.ones(2)).tolist() == [0, 0]


def test_the_median_has_half_of_the_weight() -> None:
    values = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]])
    assert boosting.weighted_median(values, np.array([1.0, 1.0, 1.0])).tolist() == [2, 4]
    assert boosting.weighted_median(values, np.array([5.0, 1.0, 1.0])).tolist() == [1, 5]
    assert boosting.weighted_median(values, np.array([1.0, 1.0, 2.0])).tolist() == [2, 3]  # half is reached exactly
    draw = np.random.default_rng(0)
    many, weights = draw.normal(size=(9, 50)), draw.exponential(size=9)
    found = boosting.weighted_median(many, weights)
    for column, one in zip(many.T, found, strict=True):
        assert one == min(y for y in column if weights[column <= y].sum() >= weights.sum() / 2)


def test_first_weights() -> None:
    sides, labels = (np.zeros((6, 1)), np.ones((2, 1))), (np.zeros(6), np.ones(2))
    even, _ = boosting.joined("x", sides, labels, 100, None, 0)
    assert even.weights.tolist() == [1] * 8
    assert even.count == 6
    half, _ = boosting.joined("x", sides, labels, 100, 0.5, 0)
    assert half.weights == pytest.approx([8 / 12] * 6 + [2] * 2)
    few, _ = boosting.joined("x", sides, labels, 4, 0.2, 0)
    assert few.weights == pytest.approx([1.2] * 4 + [0.6] * 2)
    assert few.features[:, 0].tolist() == [0, 0, 0, 0, 1, 1]
    kept = few.kept(np.array([1, 2, 5]))
    assert (kept.count, kept.weights.tolist()) == (2, pytest.approx([1.2, 1.2, 0.6]))


def test_the_source_shrinks_to_its_share() -> None:
    start, losses = given([2.0, 2.0, 1.0, 1.0], 2), np.array([0.5, 1.0, 0.3, 0.0])
    found = boosting.shrunken(start, losses, 0.5)
    assert found.mean() == pytest.approx(1)
    assert found[2:].sum() == pytest.approx(2)
    raw = found[:2] / found[2]  # 2 beta^(1/2) + 2 beta = 2, so that beta^(1/2) is the golden section
    assert raw == pytest.approx([2 * 0.6180340, 2 * 0.6180340**2])
    assert boosting.shrunken(start, losses, 1.0) == pytest.approx([0, 0, 2, 2])
    assert boosting.shrunken(start, np.zeros(4), 0.5) == pytest.approx([1, 1, 1, 1]), "no beta can do it"
    assert boosting.shrunken(start, losses, 0.2) == pytest.approx([1.6, 1.6, 0.4, 0.4])


def test_boosting_ends_before_it_is_half_wrong() -> None:
    """Two target rows and answers 1 off for one, then for both: the second round is not used."""
    start = boosting.Joined(np.zeros((4, 1)), np.zeros(4), np.ones(4), 2)
    said = iter([np.array([0.0, 2.0, 0.5, 0.0]), np.ones(4)])

    def learn(now: boosting.Joined) -> boosting.Answer:
        answer = next(said)
        return lambda rows: answer

    fits, strengths = tradaboost_r2._boosted(start, learn, 10, 0.5)
    assert len(fits) == 1
    error = 0.25 / 2
    assert strengths == pytest.approx([np.log((1 - error) / error)])
    hopeless = iter([np.ones(4)])
    fits, strengths = tradaboost_r2._boosted(start, lambda now: lambda rows: next(hopeless), 10, 0.5)
    assert len(fits) == 1
    assert strengths.tolist() == [1], "something has to answer"


def test_held_weights_by_hand() -> None:
    """The source keeps its weights; target rows rise with their losses, and keep their sum."""
    found = tradaboost_r2._held(given([1.0, 2.0, 1.0, 1.0], 2), np.array([0.9, 0.1, 1.0, 0.5]), 0.25)
    raw = np.array([1.0, 0.5])
    assert found == pytest.approx([1, 2, *(2 * raw / raw.sum())])


def test_the_chosen_step_is_told() -> None:
    pair, _ = sloped()
    made = built("tradaboost_r2(two_stage=true, steps=5)").adapt(pair)
    assert isinstance(made, Answering)
    assert made.notes[-1].startswith("Step ")
    assert " of 5 answers, in which source rows have " in made.notes[-1]


@pytest.mark.parametrize("name", ["tradaboost", "tradaboost_r2"])
def test_a_source_beyond_the_limit_is_thinned(name: str) -> None:
    pair, _ = contrary() if name == "tradaboost" else sloped()
    found = built(f"{name}(limit=50)").adapt(pair)
    assert found.notes[0] == f"It learns from 50 of {len(pair.source)} source rows, drawn at random."
    assert not any("drawn" in note for note in built(name).adapt(pair).notes)
    if name == "tradaboost_r2":
        staged = built("tradaboost_r2(two_stage=true, limit=500, rounds=2, steps=2)").adapt(pair)
        assert staged.notes[0].startswith("It learns from 50 of 400")


def test_stumps_have_two_leaves() -> None:
    pair, _ = contrary(classes=3, known=60)
    answers = built("tradaboost(learner=tree, depth=1, rounds=1)").adapt(pair).answer(pair.target)
    assert len(np.unique(answers.argmax(axis=1))) == 2


@pytest.mark.parametrize("name", ["tradaboost", "balanced_weights", "tradaboost_r2"])
def test_known_labels_are_needed(name: str) -> None:
    pair, _ = sloped() if name.endswith("r2") else contrary()
    with pytest.raises(DataError, match=f"{name} needs some known labels of the target, got none; give rows"):
        built(name).adapt(replace(pair, known=np.zeros(0, int), known_labels=pair.known_labels[:0]))


def test_two_stages_need_two_labels() -> None:
    pair, truth = sloped()
    with pytest.raises(DataError, match="needs 2 known labels, got 1; leave two_stage out"):
        built("tradaboost_r2(two_stage=true)").adapt(replace(pair, known=np.array([3]), known_labels=truth[3:4]))


def test_boosting_beyond_memory_is_refused() -> None:
    wide = np.broadcast_to(np.zeros((1, 1)), (10_000, 20_000))
    with pytest.raises(DataError, match=r"tradaboost needs 10,001 x 20,000 features twice"):
        boosting.joined("tradaboost", (wide, wide[:1]), (np.zeros(10_000), np.zeros(1)), 10**6, None, 0)


# Balanced weights


def test_balanced_weights_by_hand() -> None:
    pair, _ = contrary(n=90, known=10)
    made = built("balanced_weights(gamma=0.3)").adapt(pair)
    assert isinstance(made, Aligned)
    assert made.weights[:90] == pytest.approx(np.full(90, 0.7 * 100 / 90))
    assert made.weights[90:] == pytest.approx(np.full(10, 0.3 * 100 / 10))
    assert made.weights.mean() == pytest.approx(1)
    assert made.notes == (f"A known target row weighs as much as {0.3 * 90 / (0.7 * 10):.1f} source rows.",)
    assert (made.features[90:] == pair.target[pair.known]).all()
    assert (made.labels[90:] == pair.known_labels).all()


@pytest.mark.parametrize(("gamma", "task"), [(0, "source"), (1, "target")])
def test_the_ends_are_one_domain_alone(gamma: float, task: str) -> None:
    pair, _ = contrary()
    found = adapting.fit(f"balanced_weights(gamma={gamma})", pair).answer(pair.target[50:])
    rows = pair.target[pair.known]
    one = pair if task == "source" else replace(pair, source=rows, labels=pair.known_labels)
    wanted = adapting.plain(replace(one, known=np.zeros(0, int), known_labels=np.zeros(0, int))).answer(
        pair.target[50:]
    )
    # Folds differ, and with them perhaps the penalty; classes hardly do.
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) > 0.93
