"""`sterna.verdict`: the answer, its sentence, what ships, and how often it is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from growing import MOST, growth
from scipy.stats import ttest_1samp

from sterna import folder
from sterna.errors import SpecError
from sterna.maths.seeds import derive
from sterna.outcomes import Verdict
from sterna.verdict import Claim, Evidence, decide, decide_shipping, in_words, shipped


def _evidence(name: str, correct: list[np.ndarray], losses: list[np.ndarray] | None = None) -> Evidence:
    losses = losses or [np.where(part, 0.2, 1.5) for part in correct]
    merits = [part.astype(float) for part in correct]
    return Evidence(name, [np.arange(len(part)) for part in correct], merits, losses)


def _pair(n: int, first_only: int, second_only: int) -> tuple[np.ndarray, np.ndarray]:
    """Correctness of two routes that both get half of the rest right."""
    place = np.arange(n)
    both = (place % 2 == 0) & (place >= first_only + second_only)
    return both | (place < first_only), both | ((place >= first_only) & (place < first_only + second_only))


def _decide(n: int, first_only: int, second_only: int, seeds: int = 1) -> Verdict:
    route, floor = _pair(n, first_only, second_only)
    return decide(_evidence("probe", [route] * seeds), _evidence("scratch", [floor] * seeds), chosen="probe", seed=0)


def test_helps() -> None:
    got = _decide(500, 40, 19)
    assert (got.answer, got.route, got.floor, got.n, got.needed) == ("helps", "probe", "scratch", 500, None)
    assert got.gain == pytest.approx(21 / 500)
    # Agresti and Min (2005): Wald on the table with half an example in each cell.
    centre, variance = 21 / 502, (60 / 502 - (21 / 502) ** 2) / 502
    assert got.low == pytest.approx(centre - 1.96 * variance**0.5, abs=0.002)
    assert got.high == pytest.approx(centre + 1.96 * variance**0.5, abs=0.002)
    assert got.p_value == pytest.approx(0.0085, abs=0.0005)
    assert got.sentence == (
        f"Transfer helps: probe is 4.2 points more accurate than scratch (95 % interval {100 * got.low:.1f} to "
        f"{100 * got.high:.1f}, n = 500 held-out examples); probe ships."
    )


def test_hurts_and_the_floor_ships() -> None:
    got = _decide(500, 19, 40, seeds=3)
    assert got.answer == "hurts"
    assert got.gain == pytest.approx(-21 / 500)
    assert got.high < 0
    assert got.sentence == (
        f"Transfer hurts: probe is 4.2 points less accurate than scratch (95 % interval {-100 * got.high:.1f} to "
        f"{-100 * got.low:.1f}, n = 500 held-out examples, 3 seeds); the floor scratch ships."
    )


def test_equivalent() -> None:
    got = _decide(20_000, 30, 30)
    assert got.answer == "equivalent"
    assert got.needed is None
    assert got.sentence.startswith("Transfer makes no difference beyond 0.5 points: probe is 0.0 points more accurate ")


def test_undecided_says_how_many_examples_would_decide() -> None:
    """One point of gain at eight per cent discordance: 6,300."""
    got = _decide(1000, 45, 35)
    assert (got.answer, got.needed) == ("undecided", 6300)
    assert got.low < 0 < got.high
    assert "; about 6,300 held-out examples would decide; probe ships." in got.sentence
    assert got.sentence.startswith("Cannot tell: probe is 1.0 points more accurate than scratch (95 % interval -")


def test_an_undecided_loss_is_told_in_its_own_direction() -> None:
    got = _decide(1000, 35, 45)
    words = (
        f"probe is 1.0 points less accurate than scratch (95 % interval {-100 * got.high:.1f} to {-100 * got.low:.1f},"
    )
    assert words in got.sentence


def test_a_sign_that_is_known_is_told_even_inside_the_margin() -> None:
    got = _decide(100_000, 400, 200)
    assert 0 < got.low < got.high < 0.005
    assert got.answer == "helps"


def test_no_disagreement_in_a_small_sample_decides_nothing() -> None:
    few = _decide(20, 0, 0)
    assert (few.answer, few.p_value) == ("undecided", 1.0)
    assert few.needed is not None
    assert few.needed > 500
    assert _decide(2000, 0, 0).answer == "equivalent"


def test_needed_is_never_fewer_than_twice_the_present() -> None:
    """Seeds that contradict each other leave the sign open although the formula would be content."""
    good, bad = _pair(2000, 400, 100), _pair(2000, 100, 160)
    route, floor = (_evidence(name, [good[i], bad[i]]) for i, name in enumerate(("probe", "scratch")))
    got = decide(route, floor, chosen="probe", seed=0)
    assert got.answer == "undecided"
    assert got.needed == 4000


def test_a_margin_of_nothing_leaves_no_number_to_give() -> None:
    route, floor = _pair(100, 5, 5)
    got = decide(_evidence("probe", [route]), _evidence("scratch", [floor]), chosen="probe", seed=0, margin=0.0)
    assert (got.answer, got.needed) == ("undecided", None)
    assert got.sentence.endswith("held-out examples); probe ships.")


def test_log_loss_is_told_only_when_it_contradicts() -> None:
    route, floor = _pair(500, 60, 10)
    worse = [np.full(500, 2.0) + 0.01 * np.arange(500) / 500]
    better = [np.full(500, 1.0)]
    told = decide(_evidence("full", [route], worse), _evidence("scratch", [floor], better), chosen="full", seed=0)
    assert ", yet the log loss of full is worse by 1; full ships." in told.sentence
    silent = decide(_evidence("full", [route], better), _evidence("scratch", [floor], worse), chosen="full", seed=0)
    assert "log loss" not in silent.sentence
    turned = decide(_evidence("full", [floor], better), _evidence("scratch", [route], worse), chosen="full", seed=0)
    assert ", yet the log loss of full is better by 1; the floor scratch ships." in turned.sentence


def test_seeds_may_hold_out_other_examples() -> None:
    route, floor = _pair(300, 40, 10)
    rows = [np.arange(300), np.arange(200, 500)]
    route, floor = route.astype(float), floor.astype(float)
    first = Evidence("probe", rows, [route, route], [np.zeros(300)] * 2)
    second = Evidence("scratch", rows, [floor, floor], [np.zeros(300)] * 2)
    assert decide(first, second, chosen="probe", seed=0).n == 500


def test_routes_tested_on_different_examples_are_refused() -> None:
    route, floor = _pair(50, 5, 5)
    moved = Evidence("scratch", [np.arange(50)[::-1]], [floor], [np.zeros(50)])
    with pytest.raises(ValueError, match="probe and scratch were not tested on the same examples"):
        decide(_evidence("probe", [route]), moved, chosen="probe", seed=0)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Two routes of equal true accuracy: «helps» and «hurts» together in about 5 % of studies."""
    generator = np.random.default_rng(derive("alarms"))
    wrong = 0
    for place in range(400):
        draw = generator.random(300)
        route, floor = draw < 0.75, (draw > 0.05) & (draw < 0.8)
        got = decide(_evidence("a", [route]), _evidence("b", [floor]), chosen="a", seed=place, draws=500)
        wrong += got.answer in ("helps", "hurts")
    assert wrong / 400 <= 0.08


def test_the_same_seed_gives_the_same_verdict() -> None:
    assert _decide(500, 40, 19) == _decide(500, 40, 19)


def test_the_gate_moves_towards_the_floor_only() -> None:
    assert shipped("hurts", "probe", "scratch") == "scratch"
    for answer in ("helps", "equivalent", "undecided"):
        assert shipped(answer, "probe", "scratch") == "probe"
        assert shipped(answer, "scratch", "scratch") == "scratch"


def test_routes_are_chosen_by_accuracy_then_log_loss_then_order() -> None:
    validation = {
        "scratch": {"accuracy": 0.6, "loss": 1.0},
        "probe": {"accuracy": 0.8, "loss": 0.9},
        "full": {"accuracy": 0.8, "loss": 0.7},
        "lp_ft": {"accuracy": 0.8, "loss": 0.7},
        "hog_colour": {"accuracy": 0.7, "loss": 0.1},
    }
    assert decide_shipping(validation, {"scratch", "hog_colour"}) == ("full", "full", "hog_colour")
    validation["scratch"]["accuracy"] = 0.9
    assert decide_shipping(validation, {"scratch", "hog_colour"}) == ("scratch", "full", "scratch")


def test_a_comparison_needs_both_kinds() -> None:
    figures = {"accuracy": 0.5, "loss": 1.0}
    with pytest.raises(
        SpecError, match=r"at least one floor without pretrained weights, got only probe: add scratch to"
    ):
        decide_shipping({"probe": figures}, {"scratch"})
    with pytest.raises(SpecError, match=r"at least one route with pretrained weights, got only scratch: add probe to"):
        decide_shipping({"scratch": figures}, {"scratch"})


def test_time_grows_with_the_examples_and_not_with_their_square() -> None:
    def prepared(count: int) -> Callable[[], object]:
        generator = np.random.default_rng(derive("large"))
        pairs = [(generator.random(count) < 0.8, generator.random(count) < 0.7) for _ in range(3)]
        losses = [[generator.random(count) for _ in range(3)] for _ in range(2)]
        route = _evidence("probe", [pair[0] for pair in pairs], losses[0])
        floor = _evidence("scratch", [pair[1] for pair in pairs], losses[1])
        return lambda: decide(route, floor, chosen="probe", seed=0)

    assert growth(prepared, 1_000) < MOST


MULTILABEL = Claim("example_f1", "the {figure} of {route} is {points} points {higher} than that of {floor}")


def _real(n: int, gain: float, spread: float, seed: int = 0) -> tuple[Evidence, Evidence]:
    """Two routes whose merits differ by `gain` on average; the floor's are plain numbers."""
    generator = np.random.default_rng(derive("real", n, seed))
    floor = generator.random(n)
    route = floor + generator.normal(gain, spread, n)
    losses = [np.zeros(n)]
    rows = [np.arange(n)]
    return Evidence("probe", rows, [route], losses), Evidence("scratch", rows, [floor], losses)


def test_real_merits_have_the_interval_of_their_mean() -> None:
    route, floor = _real(400, 0.05, 0.2)
    got = decide(route, floor, chosen="probe", seed=0, claim=MULTILABEL)
    differences = route.merits[0] - floor.merits[0]
    error = differences.std() / 20
    assert got.answer == "helps"
    assert got.figure == "example_f1"
    assert got.gain == pytest.approx(differences.mean())
    assert (got.low, got.high) == pytest.approx((got.gain - 1.96 * error, got.gain + 1.96 * error), abs=0.002)
    assert got.p_value == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.002)
    assert got.sentence == (
        f"Transfer helps: the example F1 of probe is {100 * got.gain:.1f} points higher than that of scratch (95 % "
        f"interval {100 * got.low:.1f} to {100 * got.high:.1f}, n = 400 held-out examples); probe ships."
    )


def test_real_merits_say_how_many_examples_would_decide() -> None:
    """From the second moment of the differences, 7.84 times their variance over the squared gain."""
    route, floor = _real(200, 0.02, 0.4, seed=3)
    got = decide(route, floor, chosen="probe", seed=0)
    differences = route.merits[0] - floor.merits[0]
    assert got.answer == "undecided"
    wanted = max(400, 7.84 * differences.var() / max(abs(got.gain), 0.005 - abs(got.gain)) ** 2)
    assert got.needed == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize(
    ("name", "classes", "up", "down"),
    [
        ("classify", ("a",), "x is 50.0 points more accurate than y", "y is 50.0 points less accurate than x"),
        (
            "multilabel",
            ("a",),
            "the example F1 of x is 50.0 points higher than that of y",
            "the example F1 of y is 50.0 points lower than that of x",
        ),
        (
            "regress",
            ("a",),
            "x explains 50.0 points more of the variance than y",
            "y explains 50.0 points less of the variance than x",
        ),
        (
            "tag",
            ("O", "B-A"),
            "the entity F1 of x is 50.0 points higher than that of y",
            "the entity F1 of y is 50.0 points lower than that of x",
        ),
        (
            "tag",
            ("NOUN",),
            "the token accuracy of x is 50.0 points higher than that of y",
            "the token accuracy of y is 50.0 points lower than that of x",
        ),
    ],
)
def test_every_task_claims_in_its_own_words(name: str, classes: tuple[str, ...], up: str, down: str) -> None:
    task = folder.load("tasks", name)()
    claim = Claim(task.primary(classes), task.gain)
    rows = [np.arange(40)]
    better, worse = (
        Evidence(route, rows, [np.full(40, merit)], [np.zeros(40)]) for route, merit in (("x", 0.75), ("y", 0.25))
    )
    assert up in decide(better, worse, chosen="x", seed=0, claim=claim).sentence
    assert down in decide(worse, better, chosen="x", seed=0, claim=claim).sentence


def test_false_alarms_of_real_merits_are_as_rare_as_promised() -> None:
    """Sentences or label sets: most differ in nothing, the rest by skewed amounts."""
    wrong = 0
    for place in range(400):
        generator = np.random.default_rng(derive("real alarms", place))
        moved = generator.random(200) < 0.3
        difference = np.where(moved, generator.exponential(size=200) - 1, 0.0)
        rows, losses = [np.arange(200)], [np.zeros(200)]
        route, floor = Evidence("a", rows, [difference], losses), Evidence("b", rows, [np.zeros(200)], losses)
        wrong += decide(route, floor, chosen="a", seed=place, draws=500).answer in ("helps", "hurts")
    assert wrong / 400 <= 0.09


def test_routes_of_other_tasks_are_chosen_by_their_own_figure() -> None:
    validation = {
        "scratch": {"r2": -0.2, "loss": 1.2},
        "probe": {"r2": 0.5, "loss": 0.5},
        "full": {"r2": 0.6, "loss": 0.4},
    }
    assert decide_shipping(validation, {"scratch"}, "r2") == ("full", "full", "scratch")


def test_figures_are_called_what_people_call_them() -> None:
    names = ("accuracy", "macro_f1", "r2", "rmse", "mae", "roc_auc", "average_precision", "spearman", "log_loss")
    assert [in_words(name) for name in names] == [
        *("accuracy", "macro F1", "R2", "RMSE", "MAE", "ROC AUC", "average precision", "Spearman", "log loss")
    ]
