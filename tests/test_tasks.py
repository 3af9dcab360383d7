"""The files of `tasks/`: every figure against scikit-learn, scipy or seqeval, merits against their promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from growing import MOST, growth
from scipy.stats import spearmanr
from seqeval import metrics as conll
from sklearn import metrics as reference

from sterna import folder
from sterna.errors import DataError, TrainingError
from sterna.maths.seeds import derive
from sterna.records import Labels, Sealed
from sterna.score import Scored, held_out_rows, measure

TASKS = {name: folder.load("tasks", name)() for name in ("classify", "multilabel", "regress", "tag")}
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def _generator(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(derive("tasks", *parts))


def _tagged(n: int, classes: tuple[str, ...], seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, Labels]:
    """Random tags, an item without words among them, and probabilities that are right more often than not."""
    generator = _generator("tag", n, len(classes), seed)
    labels = np.empty(n, dtype=object)
    labels[:] = [generator.integers(0, len(classes), size=generator.integers(0, 9)) for _ in range(n)]
    words = np.concatenate(labels)
    logits = 2 * np.eye(len(classes))[words] + noise * generator.normal(0, 1, (len(words), len(classes)))
    return TASKS["tag"].answers(logits), labels


def _given(name: str, n: int = 60, seed: int = 0) -> tuple[np.ndarray, Labels, tuple[str, ...]]:
    """Answers, labels and classes of a task."""
    generator = _generator(name, n, seed)
    if name == "tag":
        return *_tagged(n, TAGS, seed), TAGS
    classes = ("a", "b", "c")
    logits = generator.normal(0, 2, (n, 3))
    if name == "regress":
        return logits + 100, logits + 100 + generator.normal(0, 1, (n, 3)) * [1.0, 2.0, 3.0], classes
    drawn = logits + generator.normal(0, 2, (n, 3))
    labels = drawn.argmax(axis=1) if name == "classify" else (drawn > 0.5).astype(np.uint8)
    return TASKS[name].answers(logits), labels, classes


def _measured(name: str, given: tuple[np.ndarray, Labels, tuple[str, ...]], draws: int = 20) -> Scored:
    answers, labels, classes = given
    return measure(TASKS[name], answers, Sealed(labels), classes, seed=0, draws=draws)


def _values(scored: Scored) -> dict[str, float]:
    return {name: score.value for name, score in scored.metrics.items()}


def _resampled(labels: Labels, chosen: np.ndarray) -> Labels:
    found: Labels = labels[chosen]
    return found


@pytest.mark.parametrize("name", TASKS)
def test_judging_agrees_with_measuring_and_with_merits(name: str) -> None:
    given = _given(name)
    scored, judged = _measured(name, given), TASKS[name].judge(*given)
    primary = TASKS[name].primary(given[2])
    shift = 1.0 if name == "regress" else 0.0
    assert list(judged) == [primary, "loss"]
    assert judged[primary] == pytest.approx(scored.metrics[primary].value, abs=1e-12)
    assert scored.merits.mean() + shift == pytest.approx(judged[primary], abs=1e-12)
    assert scored.losses.mean() == pytest.approx(judged["loss"])
    if "log_loss" in scored.metrics:
        assert judged["loss"] == pytest.approx(scored.metrics["log_loss"].value)


@pytest.mark.parametrize("name", TASKS)
def test_a_resample_is_measured_like_a_data_set_of_its_own(name: str) -> None:
    """Counting examples several times gives what writing them down several times gives."""
    answers, labels, classes = _given(name, 80)
    chosen = _generator("chosen").integers(0, 80, size=80)
    places = chosen
    if name == "tag":
        ends = np.cumsum([len(tags) for tags in labels])
        places = np.concatenate([np.arange(ends[item] - len(labels[item]), ends[item]) for item in chosen])
    sample = TASKS[name].sample(answers, labels, classes)
    own = TASKS[name].sample(answers[places], labels[chosen], classes)
    skip = [metric != "calibration_error" for metric in TASKS[name].metrics]  # its bins are those of the data set
    wanted = own.metrics(np.arange(80))[skip]
    assert sample.metrics(chosen)[skip] == pytest.approx(wanted)
    quick = sample.metrics(chosen, quick=True)[skip]
    assert quick[~np.isnan(quick)] == pytest.approx(wanted[~np.isnan(quick)])


@pytest.mark.parametrize("name", TASKS)
def test_intervals_hold_their_values(name: str) -> None:
    scored = _measured(name, _given(name, 200), draws=200)
    assert tuple(scored.metrics) == TASKS[name].metrics
    for metric, score in scored.metrics.items():
        assert score.low < score.value < score.high, metric


@pytest.mark.parametrize("name", TASKS)
def test_what_a_task_promises(name: str) -> None:
    task = TASKS[name]
    assert task.lower | task.shares | set(task.shown) <= set(task.metrics)
    assert not task.lower & task.shares
    told = task.gain.format(route="x", floor="y", points="3.1", figure="F1", more="more", higher="higher")
    assert told.count("3.1") == told.count("x") - ("explains" in told) == 1
    loss = folder.load("losses", task.loss)
    assert name in loss.tasks


@pytest.mark.parametrize("name", TASKS)
def test_an_empty_part_and_a_diverged_network_are_told(name: str) -> None:
    answers, labels, classes = _given(name)
    with pytest.raises(DataError, match=r"no held-out example to score, .*: give more labelled examples\."):
        TASKS[name].judge(answers[:0], labels[:0], classes)
    answers[3] = np.nan
    with pytest.raises(TrainingError, match=r"must be finite, got 1 examples of .*smaller learning rate\."):
        TASKS[name].judge(answers, labels, classes)


@pytest.mark.parametrize(("n", "k"), [(400, 2), (300, 5), (40, 30)])
def test_classify_orders_like_scikit_learn(n: int, k: int) -> None:
    """With ties, which answers rounded to one decimal have plenty of."""
    generator = _generator("order", n, k)
    logits = generator.normal(0, 2, (n, k)).round(0)
    answers = TASKS["classify"].answers(logits)
    labels = (logits + generator.normal(0, 2, (n, k))).argmax(axis=1)
    got = _values(_measured("classify", (answers, labels, tuple(map(str, range(k))))))
    truth = np.eye(k)[labels]
    there = [1] if k == 2 else np.flatnonzero(truth.any(axis=0))
    assert got["roc_auc"] == pytest.approx(reference.roc_auc_score(truth[:, there], answers[:, there]))
    assert got["average_precision"] == pytest.approx(
        reference.average_precision_score(truth[:, there], answers[:, there])
    )


def test_classify_leaves_out_what_is_not_defined() -> None:
    """One class alone: there is no negative to be ranked above."""
    got = _measured("classify", (np.eye(2)[[0, 0, 1]], np.array([0, 0, 0]), ("a", "b")))
    assert "roc_auc" not in got.metrics
    assert "average_precision" not in got.metrics
    assert got.metrics["accuracy"].value == pytest.approx(2 / 3)


def test_time_to_resample_an_order_grows_with_the_answers_and_not_with_their_square() -> None:
    def prepared(count: int) -> Callable[[], object]:
        given = _given("classify", count)
        return lambda: _measured("classify", (given[0], given[1], given[2]), draws=500)

    assert growth(prepared, 600) < MOST


def test_the_interval_of_an_area_is_that_of_a_formula() -> None:
    given = _given("classify", 5000)
    scored = _measured("classify", (given[0], given[1], given[2]), draws=2000)
    # Hanley and McNeil (1982) give the standard error of an area; here of one class out of three.
    got = scored.metrics["roc_auc"]
    area, positives, negatives = got.value, 5000 / 3, 10000 / 3
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (first - area**2) + (negatives - 1) * (second - area**2)
    error = np.sqrt(variance / (positives * negatives))
    assert 0.8 * error / np.sqrt(3) < (got.high - got.low) / 3.92 < error


def test_average_precision_is_not_pushed_up_by_resampling() -> None:
    """Drawn twice, a positive vouches for itself; without the shift the interval began at its value here."""
    generator = _generator("few positives")
    logits = generator.normal(0, 1, (2000, 40))
    labels = (logits + generator.normal(0, 2, (2000, 40))).argmax(axis=1)
    given = (TASKS["classify"].answers(logits), labels, tuple(map(str, range(40))))
    got = _measured("classify", given, draws=200).metrics["average_precision"]
    assert 0.3 < (got.value - got.low) / (got.high - got.low) < 0.7


def test_multilabel_equals_scikit_learn() -> None:
    answers, labels, classes = _given("multilabel", 150)
    labels[:7] = 0  # items without any label
    answers[:4] = 0.1  # of which four are found to be so
    got = _values(_measured("multilabel", (answers, labels, classes)))
    predicted = (answers > 0.5).astype(int)
    assert got["example_f1"] == pytest.approx(
        reference.f1_score(labels, predicted, average="samples", zero_division=1.0)
    )
    for average in ("micro", "macro"):
        assert got[f"{average}_f1"] == pytest.approx(reference.f1_score(labels, predicted, average=average))
    assert got["average_precision"] == pytest.approx(reference.average_precision_score(labels, answers))
    assert got["exact_match"] == pytest.approx(reference.accuracy_score(labels, predicted))
    each = [reference.log_loss(labels[:, column], answers[:, column]) for column in range(3)]
    assert got["log_loss"] == pytest.approx(np.mean(each))


def test_multilabel_by_hand() -> None:
    answers = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.4], [0.6, 0.1, 0.1]])
    labels = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=np.uint8)
    scored = _measured("multilabel", (answers, labels, ("a", "b", "c")))
    assert scored.merits == pytest.approx([2 / 3, 1.0, 0.0])
    assert scored.losses[0] == pytest.approx(-np.log([0.9, 0.2, 0.9]).mean())
    got = _values(scored)
    assert got["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)  # c has no held-out item and is left out
    assert got["exact_match"] == pytest.approx(1 / 3)


def test_multilabel_strata_are_the_rarest_labels() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]], dtype=np.uint8)
    assert TASKS["multilabel"].counts(labels, 3).tolist() == [3, 2, 1]
    assert TASKS["multilabel"].strata(labels, 3).tolist() == [1, 0, 3, 2, 1]


@pytest.mark.parametrize(
    ("answers", "labels", "told"),
    [
        (np.array([[0.5, 1.2]]), np.array([[1, 0]]), r"must be in \[0, 1\]"),
        (np.array([[0.5, 0.5]]), np.array([[1, 2]]), r"labels must be 0 or 1"),
        (np.array([[0.5, 0.5]]), np.array([1]), r"labels must be 0 or 1 in \(1, 2\), got \(1,\)"),
        (np.array([[0.5]]), np.array([[1, 0]]), r"must be \(1, 2\), got \(1, 1\)"),
    ],
)
def test_multilabel_refuses_what_does_not_fit(answers: np.ndarray, labels: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TASKS["multilabel"].judge(answers, labels, ("a", "b"))


def test_regress_equals_scikit_learn_and_scipy() -> None:
    answers, labels, classes = _given("regress", 150)
    answers, labels = answers.round(1), labels.round(1)  # ties
    got = _values(_measured("regress", (answers, labels, classes)))
    assert got["r2"] == pytest.approx(reference.r2_score(labels, answers))
    assert got["rmse"] == pytest.approx(reference.root_mean_squared_error(labels, answers))
    assert got["mae"] == pytest.approx(reference.mean_absolute_error(labels, answers))
    assert got["spearman"] == pytest.approx(
        np.mean([spearmanr(labels[:, column], answers[:, column]).statistic for column in range(3)])
    )


def test_the_mean_of_the_labels_explains_nothing() -> None:
    labels = np.array([[1.0], [2.0], [6.0]])
    scored = _measured("regress", (np.full((3, 1), 3.0), labels, ("y",)))
    assert _values(scored) == pytest.approx({"r2": 0.0, "rmse": np.sqrt(14 / 3), "mae": 2.0, "spearman": 0.0})
    assert scored.losses == pytest.approx(np.array([4, 1, 9]) / (14 / 3))


def test_labels_that_are_all_alike_are_measured_against_a_variance_of_one() -> None:
    labels = np.column_stack([np.full(4, 0.1), [1.0, 2.0, 3.0, 4.0]])
    answers = labels + np.array([0.5, 0.0])
    scored = _measured("regress", (answers, labels, ("constant", "y")))
    assert scored.metrics["r2"].value == pytest.approx((1 - 0.25 + 1) / 2)
    assert scored.metrics["spearman"].value == pytest.approx(1.0)
    alone = _measured("regress", (answers[:, :1], labels[:, :1], ("constant",)))
    assert "spearman" not in alone.metrics
    assert alone.metrics["r2"].value == pytest.approx(0.75)


def test_regress_strata_are_bins_of_like_size() -> None:
    labels = _generator("strata").normal(size=(200, 2))
    strata = TASKS["regress"].strata(labels, 2)
    assert np.bincount(strata).tolist() == [20] * 10
    assert [labels[strata == part, 0].max() for part in range(9)] < [
        labels[strata > part, 0].min() for part in range(9)
    ]
    assert len(np.unique(TASKS["regress"].strata(labels[:11], 2))) == 2
    assert len(np.unique(TASKS["regress"].strata(labels[:3], 2))) == 1
    assert TASKS["regress"].strata(np.zeros((50, 1)), 1).tolist() == [0] * 50
    assert TASKS["regress"].counts(labels, 2).tolist() == [0, 0]


def test_regress_refuses_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"labels must be finite numbers in \(2, 1\), got \(2,\)"):
        TASKS["regress"].judge(np.zeros((2, 1)), np.zeros(2), ("y",))
    with pytest.raises(ValueError, match=r"values must be \(2, 1\), got \(2, 2\)"):
        TASKS["regress"].judge(np.zeros((2, 2)), np.zeros((2, 1)), ("y",))


SCHEMES = [
    TAGS,
    ("O", "I-PER", "I-LOC"),  # IO
    ("O", "B-A", "I-A", "E-A", "S-A", "B-B-C", "I-B-C", "E-B-C", "S-B-C"),  # BIOES, a type with a hyphen
    ("O", "B", "I", "B-X"),  # a type without a name
]


@pytest.mark.parametrize("classes", SCHEMES, ids=["BIO", "IO", "BIOES", "bare"])
def test_entities_are_those_of_seqeval(classes: tuple[str, ...]) -> None:
    for seed in range(10):
        answers, labels = _tagged(40, classes, seed)
        got = _values(_measured("tag", (answers, labels, classes), draws=1))
        ends = np.cumsum([len(tags) for tags in labels])[:-1]
        predicted = np.split(answers.argmax(axis=1), ends)
        true_names, names = ([[classes[tag] for tag in tags] for tags in part] for part in (labels, predicted))
        assert got["entity_f1"] == pytest.approx(conll.f1_score(true_names, names))
        assert got["entity_precision"] == pytest.approx(conll.precision_score(true_names, names))
        assert got["entity_recall"] == pytest.approx(conll.recall_score(true_names, names))
        assert got["token_accuracy"] == pytest.approx(conll.accuracy_score(true_names, names))
        words = np.concatenate(labels)
        assert got["log_loss"] == pytest.approx(reference.log_loss(words, answers, labels=range(len(classes))))


def _tags(*items: list[int]) -> Labels:
    labels = np.empty(len(items), dtype=object)
    labels[:] = [np.array(item, dtype=np.int64) for item in items]
    return labels


def test_tag_by_hand() -> None:
    """The second item's entity is one word too short; the third has none, and none is found."""
    labels = _tags([1, 2, 0], [1, 2], [0])
    answers = np.eye(5)[[1, 2, 0, 1, 0, 0]]
    scored = _measured("tag", (answers, labels, TAGS))
    got = _values(scored)
    assert (got["entity_f1"], got["entity_precision"], got["entity_recall"]) == (0.5, 0.5, 0.5)
    assert got["token_accuracy"] == pytest.approx(5 / 6)
    # F + (2 hits - F (true + predicted)) / mean: 0.5 + (2 - 0.5 * 2) / (4 / 3), and so on.
    assert scored.merits == pytest.approx([0.5 + 0.75, 0.5 - 0.75, 0.5])
    assert TASKS["tag"].counts(labels, 5).tolist() == [2, 2, 2, 0, 0]
    assert TASKS["tag"].strata(_tags([1, 2, 0], [1, 0], [], [0]), 5).tolist() == [2, 1, 5, 0]


def test_an_entity_never_runs_from_one_item_into_the_next() -> None:
    labels = _tags([0, 1], [2, 0])
    apart = _measured("tag", (np.eye(5)[[0, 1, 2, 0]], labels, TAGS))
    assert apart.metrics["entity_recall"].value == 1.0
    together = TASKS["tag"].sample(np.eye(5)[[0, 1, 2, 0]], _tags([0, 1, 2, 0]), TAGS)
    assert (apart.merits.shape, together.merits.shape) == ((2,), (1,))
    assert TASKS["tag"].sample(np.eye(5)[[0, 1, 2, 0]], labels, TAGS).sums[:, 1].tolist() == [1, 1]
    assert together.sums[:, 1].tolist() == [1]


def test_parts_of_speech_are_judged_by_words() -> None:
    classes = ("NOUN", "VERB")
    assert TASKS["tag"].primary(classes) == "token_accuracy"
    assert TASKS["tag"].primary(TAGS) == "entity_f1"
    scored = _measured("tag", (np.eye(2)[[0, 1, 1]], _tags([0, 0], [1]), classes))
    assert tuple(scored.metrics) == ("token_accuracy", "log_loss")
    assert scored.merits == pytest.approx([2 / 3 + (1 - 4 / 3) / 1.5, 2 / 3 + (1 - 2 / 3) / 1.5])
    assert list(TASKS["tag"].judge(np.eye(2)[[0, 1, 1]], _tags([0, 0], [1]), classes)) == ["token_accuracy", "loss"]


def test_no_entity_anywhere_scores_nothing_as_in_seqeval() -> None:
    scored = _measured("tag", (np.eye(5)[[0, 0]], _tags([0], [0]), TAGS))
    assert scored.metrics["entity_f1"].value == 0.0
    assert scored.merits.tolist() == [0.0, 0.0]


def test_the_variance_of_merits_is_that_of_the_f1() -> None:
    """The influence function does what it is for: it foretells the spread of the F1 over data sets."""
    answers, labels = _tagged(400, TAGS, noise=2.0)
    sample = TASKS["tag"].sample(answers, labels, TAGS)
    generator = _generator("spread")
    drawn = [sample.metrics(generator.integers(0, 400, size=400))[0] for _ in range(1000)]
    assert np.std(drawn) == pytest.approx(sample.merits.std() / 20, rel=0.08)


def test_lines_of_classify() -> None:
    lines = TASKS["classify"].rows(["x"], ("a", "b"), np.array([[0.25, 0.75]]), np.array([0]))
    assert lines == [
        ["item", "truth", "prediction", "probability", "a", "b"],
        ["x", "a", "b", "0.750000", "0.250000", "0.750000"],
    ]
    assert TASKS["classify"].rows(["x"], ("a", "b"), np.array([[0.25, 0.75]]), np.zeros(0, dtype=np.int64)) == [
        ["item", "prediction", "probability", "a", "b"],
        ["x", "b", "0.750000", "0.250000", "0.750000"],
    ]


def test_lines_of_multilabel() -> None:
    answers, labels = np.array([[0.9, 0.6], [0.1, 0.2]]), np.array([[1, 0], [0, 0]], dtype=np.uint8)
    assert TASKS["multilabel"].rows(["x", "y"], ("a", "b"), answers, labels) == [
        ["item", "truth", "prediction", "a", "b"],
        ["x", "a", "a | b", "0.900000", "0.600000"],
        ["y", "", "", "0.100000", "0.200000"],
    ]
    assert TASKS["multilabel"].rows(["x", "y"], ("a", "b"), answers, np.zeros(0))[1] == [
        *("x", "a | b", "0.900000", "0.600000")
    ]


def test_lines_of_regress() -> None:
    answers, labels = np.array([[1.5, -2.0]]), np.array([[1.25, 1e9]])
    assert TASKS["regress"].rows(["x"], ("age", "pay"), answers, labels) == [
        ["item", "truth age", "prediction age", "truth pay", "prediction pay"],
        ["x", "1.25", "1.5", "1e+09", "-2"],
    ]
    assert TASKS["regress"].rows(["x"], ("age", "pay"), answers, np.zeros(0)) == [
        ["item", "prediction age", "prediction pay"],
        ["x", "1.5", "-2"],
    ]


def test_lines_of_tag() -> None:
    sealed = Sealed(_tags([0, 1], [2]))
    head = ["item", "place", "word", "truth", "prediction", "probability"]
    assert held_out_rows(TASKS["tag"], ["x", "y"], TAGS, np.eye(5)[[0, 1, 1]], sealed, ["met", "Ann", "Lee"]) == [
        head,
        ["x", "0", "met", "O", "O", "1.000000"],
        ["x", "1", "Ann", "B-PER", "B-PER", "1.000000"],
        ["y", "0", "Lee", "I-PER", "B-PER", "1.000000"],
    ]
    assert TASKS["tag"].rows(["x", "x", "y"], TAGS, np.eye(5)[[0, 1, 1]], np.zeros(0)) == [
        [cell for cell in head if cell not in ("truth", "word")],
        ["x", "0", "O", "1.000000"],
        ["x", "1", "B-PER", "1.000000"],
        ["y", "0", "B-PER", "1.000000"],
    ]


@pytest.mark.parametrize("name", ["classify", "tag"])
def test_probabilities_of_large_logits_are_finite(name: str) -> None:
    got = TASKS[name].answers(np.array([[1000.0, 0.0], [0.0, 0.0]], dtype=np.float32))
    assert got.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_each_label_has_a_probability_of_its_own() -> None:
    got = TASKS["multilabel"].answers(np.array([[1000.0, -1000.0, np.log(3), -np.log(3)]]))
    assert got[0] == pytest.approx([1, 0, 0.75, 0.25])


def test_values_are_answers() -> None:
    got: Any = TASKS["regress"].answers(np.array([[1.5]], dtype=np.float32))
    assert (got.dtype, got.tolist()) == (np.float64, [[1.5]])


def test_classify_is_divided_by_class() -> None:
    labels = np.array([2, 0, 2])
    assert TASKS["classify"].strata(labels, 3).tolist() == [2, 0, 2]
    assert TASKS["classify"].counts(labels, 4).tolist() == [1, 0, 2, 0]
