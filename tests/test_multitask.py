"""Several tasks in one run: from label columns or data sets to a verdict for each task, and back from the model."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standins_text
import torch
from sklearn.metrics import f1_score, r2_score

import sterna
from sterna import artifact, columnwise, folder, footing, heads, intake, report, sharing, splitting, together
from sterna.conclusion import Trial
from sterna.errors import DataError, SpecError, SternaError
from sterna.maths import blocks
from sterna.outcomes import SharedTask, Verdict
from sterna.records import Columns, Sealed
from sterna.result import Result, load
from sterna.score import measure
from sterna.settings import Settings
from sterna.watching import Watch

NAN = float("nan")
ROWS = ("mood: bad", "mood: good", "stars")
GOOD, BAD = ("delight", "actors", "scene", "theatre"), ("dull", "asleep", "nobody", "end")


def test_the_names_of_rows_say_whose_they_are() -> None:
    rows = (*blocks.named("topic", ("a", "b: c", "d")), *blocks.named("stars", ()), *blocks.named("mood", ("x", "y")))
    topic, stars, mood = blocks.blocks(rows)
    assert rows[1] == "topic: b: c"
    assert (topic.name, topic.classes, topic.rows, topic.task) == ("topic", ("a", "b: c", "d"), slice(0, 3), "classify")
    assert (stars.name, stars.classes, stars.rows, stars.task) == ("stars", (), slice(3, 4), "regress")
    assert (mood.start, mood.stop, mood.names, stars.names) == (4, 6, ("x", "y"), ("stars",))
    assert blocks.told(rows) == "3 tasks: topic (3 classes), stars (a number), mood (2 classes)"
    assert blocks.by_row(np.array([1.0, 2.0, 3.0]), rows).tolist() == [1, 1, 1, 2, 3, 3]


def test_labels_of_each_task() -> None:
    labels = np.array([[1, 10.0], [0, NAN], [NAN, 20.0]])
    mood, stars = blocks.blocks(ROWS)
    rows, own = blocks.own(labels, mood)
    assert (rows.tolist(), own.tolist(), own.dtype) == ([0, 1], [1, 0], np.int64)
    rows, own = blocks.own(labels, stars)
    assert (rows.tolist(), own.tolist()) == ([0, 2], [[10.0], [20.0]])
    assert blocks.counts(labels, ROWS).tolist() == [1, 1, 2]
    mean, spread = blocks.scale(labels, ROWS)
    assert (mean.tolist(), spread.tolist()) == ([0, 15], [1, 5])


def test_strata_keep_like_labels_and_like_gaps_together() -> None:
    labels = np.array([[0.0, 1.0]] * 6 + [[1.0, 1.0]] * 6 + [[NAN, 1.0]] * 6 + [[1.0, NAN]] * 2 + [[NAN, 7.0]] * 2)
    numbers = blocks.strata(labels)
    assert [len(set(numbers[at : at + 6].tolist())) for at in (0, 6, 12)] == [1, 1, 1]
    assert len({int(numbers[at]) for at in (0, 6, 12, 18, 20)}) == 5
    assert len(blocks.strata(np.zeros((0, 2)))) == 0
    many = np.column_stack([np.arange(100.0), np.full(100, NAN)])
    assert len(set(blocks.strata(many).tolist())) == 4  # quarters


def given(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers (n, 3) and labels (n, 2), a quarter of each missing."""
    made = np.random.default_rng(seed)
    labels = np.column_stack([made.integers(0, 2, n), made.normal(3, 1, n)]).astype(float)
    first = made.normal(0, 1, (n, 2)) + np.eye(2)[labels[:, 0].astype(int)]
    answers = folder.task("several", ROWS).answers(np.column_stack([first, labels[:, 1] + made.normal(0, 0.5, n)]))
    labels[made.random(n) < 0.25, 0] = NAN
    labels[made.random(n) < 0.25, 1] = NAN
    return answers, labels


def test_figures_are_the_means_of_those_of_the_tasks() -> None:
    answers, labels = given()
    found = measure(folder.task("several", ROWS), answers, Sealed(labels), ROWS, seed=0, draws=50)
    mood, stars = ~np.isnan(labels[:, 0]), ~np.isnan(labels[:, 1])
    accuracy = (answers[mood, :2].argmax(axis=1) == labels[mood, 0]).mean()
    r2 = r2_score(labels[stars, 1], answers[stars, 2])
    f1 = f1_score(labels[mood, 0], answers[mood, :2].argmax(axis=1), average="macro")
    wanted = {"joint_score": (accuracy + r2) / 2, "mean_accuracy": accuracy, "mean_macro_f1": f1, "mean_r2": r2}
    assert {name: one.value for name, one in found.metrics.items()} == pytest.approx(wanted)
    assert found.merits.mean() == pytest.approx(wanted["joint_score"])
    judged = folder.task("several", ROWS).judge(answers, labels, ROWS)
    assert judged["joint_score"] == pytest.approx(wanted["joint_score"])
    assert judged["loss"] == pytest.approx(found.losses.mean())


def test_merits_move_as_the_figure_does() -> None:
    """The linearised merit against the figure of resampled items: their difference is of second order."""
    rows = ("a: 0", "a: 1", "b: 0", "b: 1")
    (first, labels), (other, more) = given(2000), given(2000, seed=1)
    labels[:, 1], answers = more[:, 0], np.concatenate([first[:, :2], other[:, :2]], axis=1)
    labels[400:, 0] = NAN  # a few of the items carry half of the figure
    sample = folder.task("several", rows).sample(answers, labels, rows)
    made, slack, moved = np.random.default_rng(1), [], []
    for _ in range(40):
        chosen = made.integers(0, 2000, 2000)
        moved.append(sample.metrics(chosen)[0])
        slack.append(moved[-1] - sample.merits[chosen].mean())
    assert np.std(slack) < 0.15 * np.std(moved)


def test_a_hopeless_number_counts_nothing_and_not_less() -> None:
    answers, labels = given()
    answers[:, 2] += 100
    found = measure(folder.task("several", ROWS), answers, Sealed(labels), ROWS, seed=0, draws=20)
    assert found.metrics["joint_score"].value == pytest.approx(found.metrics["mean_accuracy"].value / 2)
    assert found.metrics["mean_r2"].value < 0
    assert found.merits.mean() == pytest.approx(found.metrics["joint_score"].value)


def test_no_mistake_seen_is_no_certainty() -> None:
    labels = np.array([[0.0], [1.0]] * 10)
    found = measure(
        folder.task("several", ROWS[:2]), np.eye(2)[labels[:, 0].astype(int)], Sealed(labels), ROWS[:2], seed=0
    )
    assert found.metrics["joint_score"].low == found.metrics["mean_accuracy"].low == pytest.approx(0.025 ** (1 / 20))


def test_a_task_without_a_held_out_label_is_left_out() -> None:
    answers, labels = given()
    labels[:, 1] = NAN
    found = measure(folder.task("several", ROWS), answers, Sealed(labels), ROWS, seed=0, draws=20)
    assert found.metrics["joint_score"].value == found.metrics["mean_accuracy"].value
    assert "mean_r2" not in found.metrics
    with pytest.raises(ValueError, match="a column for each of 2 tasks"):
        folder.task("several", ROWS).judge(answers, labels[:, :1], ROWS)


def test_rows_of_predictions_have_a_group_of_columns_for_each_task() -> None:
    answers, labels = np.array([[0.25, 0.75, 3.5]]), np.array([[NAN, 4.0]])
    lines = folder.task("several", ROWS).rows(["a.txt"], ROWS, answers, labels)
    assert dict(zip(*lines, strict=True)) == {
        "item": "a.txt", "truth mood": "", "prediction mood": "good", "probability mood": "0.750000",
        "mood: bad": "0.250000", "mood: good": "0.750000", "truth stars": "4", "prediction stars": "3.5",
    }  # fmt: skip
    assert "truth mood" not in folder.task("several", ROWS).rows(["a.txt"], ROWS, answers, labels[:0])[0]


CELLS = (["good", "bad", "", "good", "bad", None], ["1.5", "", "2.5", "3.5", "4", None])


def test_columns_become_a_task_each() -> None:
    found = columnwise.encode(CELLS, ("mood", "stars"), "several")
    assert (found.task, found.classes, found.rows.tolist()) == ("several", ROWS, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(found.labels[:, 0], [1, 0, NAN, 1, 0])
    np.testing.assert_array_equal(found.labels[:, 1], [1.5, NAN, 2.5, 3.5, 4])
    said, gaps = (one.sentence for one in found.findings)
    assert said == (
        "a task for each label column: mood classify (2 classes), stars regress (a number); type --task 'mood=regress' "
        "to change one."
    )
    assert gaps.startswith("of 6 rows some lack a label: mood 4, stars 4 have one; 1 without any are set aside;")


def test_a_person_says_what_a_column_is() -> None:
    cells = (["1", "2", "1", "2"], ["5", "4", "5", "4"])
    assert columnwise.encode(cells, ("a", "b"), "several").classes == ("a: 1", "a: 2", "b: 4", "b: 5")
    found = columnwise.encode(cells, ("a", "b"), "b=regress")
    assert found.classes == ("a: 1", "a: 2", "b")
    assert len(columnwise.encode(cells, ("a", "b"), "b=regress, a=classify").findings) == 0
    assert columnwise.encode(cells, ("a", "b")).task == "regress"  # as ever, where nobody asks for several
    assert columnwise.of_tasks(Columns(task="b=regress, a=classify")).label == ("b", "a")
    assert columnwise.of_tasks(Columns(label=("b",), task="b=regress")).label == ("b",)


@pytest.mark.parametrize(
    ("cells", "names", "wanted", "told"),
    [
        (CELLS, ("mood", "stars"), "stars=tag", "column 'stars' holds no tag for each word, got 'stars=tag'; a task"),
        (
            CELLS,
            ("mood", "stars"),
            "stars=several",
            "a task of several is classify, .*, and tag of words, got 'stars=s",
        ),
        (CELLS, ("mood", "stars"), "star=regress", "speaks of 'star', which is none of the label columns mood, stars"),
        (CELLS[:1], ("mood",), "several", "several tasks need two label columns at least, got mood; name more"),
        (CELLS, ("mood: a", "stars"), "several", "may not hold ': ' in its name, got 'mood: a'; rename it"),
        (CELLS, ("mood", "stars"), "mood=regress", "column 'mood' says 'good' in row 1, which is no number"),
        ((["a", "x"], ["1", "2"]), ("x", "y"), "", "or type --task several to have a task for each"),
    ],
)
def test_columns_that_cannot_be_learnt(cells: Any, names: Sequence[str], wanted: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        columnwise.encode(cells, names, wanted)


def texts(place: Path, n: int = 60, gaps: float = 0.3, name: str = "t.csv") -> Path:
    """Texts of good or bad words, and about as long as a second label says."""
    made = np.random.default_rng(n)
    with (place / name).open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("text", "mood", "length", "split"))
        for number in range(n):
            good, many = number % 2, int(made.integers(2, 9))
            words = made.choice(GOOD if good else BAD, many).tolist()
            cells = ["good" if good else "bad", f"{many + 0.1 * made.normal():.2f}"]
            if made.random() < gaps:
                cells[int(made.integers(2))] = ""
            part = ("train", "train", "train", "validation", "test")[number // 2 % 5]
            lines.writerow((" ".join(["The", *words, f"{number}."]), *cells, part))
    return place / name


def one_label(table: Path, column: str, place: Path, split: bool = True) -> Path:
    """The rows that carry one label, and that alone."""
    names = ("text", column, *(["split"] if split else []))
    with table.open(newline="", encoding="utf-8") as file:
        rows = [[row[name] for name in names] for row in csv.DictReader(file) if row[column]]
    made = place / f"{column}.csv"
    with made.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return made


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of one layer with random weights, the same every time."""
    return standins_text.small_bert(tmp_path_factory.mktemp("bert"), layers=1, width=32)


BOTH = Columns(text=("text",), label=("mood", "length"), task="several")
PLAIN = Settings(floors="scratch", mitigate=False, page=False)  # type: ignore[call-arg]


def fit(data: Path, bert: str, out: Path, columns: Columns = BOTH, **more: Any) -> Result:
    return sterna.fit(
        data,
        encoder=bert,
        out=out,
        columns=columns,
        **{"tune": "probe, partial(stages=1)", "schedule": "epochs=1", "settings": PLAIN, **more},
    )


@pytest.fixture(scope="module")
def finished(bert: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    place = tmp_path_factory.mktemp("several")
    return fit(texts(place), bert, place / "run"), place / "run"


def test_a_run_says_of_each_task_what_sharing_does(finished: tuple[Result, Path]) -> None:
    result, out = finished
    assert result.task == "several"
    assert result.verdict.figure == "joint_score"
    assert result.sharing is not None
    assert [(one.route, one.task, one.kind) for one in result.sharing.tasks] == [
        (route, *task)
        for route in ("probe", "partial(stages=1)")
        for task in (("mood", "classify"), ("length", "regress"))
    ]
    assert "rmse" in result.sharing.tasks[1].shared
    assert "macro_f1" in result.sharing.tasks[0].alone
    assert result.sharing.sentence in str(result)
    assert load(out).sharing == result.sharing
    kept = json.loads((out / "result.json").read_text())
    assert kept["sharing"]["tasks"][0]["verdict"]["answer"] == result.sharing.tasks[0].verdict.answer
    assert kept["data"]["counts"]["train"].keys() == {"mood: bad", "mood: good", "length"}
    assert not list(out.glob("alone/*/routes/*/weights.safetensors"))


def test_heads_on_frozen_features_share_nothing(finished: tuple[Result, Path]) -> None:
    """A probe fits each task's rows to that task's examples: together and alone are one and the same."""
    assert finished[0].sharing is not None
    for one in finished[0].sharing.tasks[:2]:
        assert one.verdict.gain == pytest.approx(0, abs=1e-5)
        assert one.shared[one.verdict.figure].value == pytest.approx(one.alone[one.verdict.figure].value, abs=1e-5)


def test_alone_is_a_run_of_that_task(finished: tuple[Result, Path], bert: str, tmp_path: Path) -> None:
    """A run on a table of the one label, divided in the same way, gives the same answers."""
    _, out = finished
    single = one_label(out.parent / "t.csv", "length", tmp_path)
    fit(single, bert, tmp_path / "run", Columns(text=("text",), label=("length",)), tune="partial(stages=1)")
    places = [next(place.glob("routes/partial*/predictions.npz")) for place in (tmp_path / "run", out / "alone/length")]
    alone, own = (np.load(place) for place in places)
    np.testing.assert_allclose(alone["validation"], own["validation"], rtol=1e-5)
    np.testing.assert_allclose(alone["test"], own["test"], rtol=1e-5)


def test_an_interrupted_run_goes_on(finished: tuple[Result, Path], bert: str, tmp_path: Path) -> None:
    result, out = finished

    def stop(sentence: str) -> None:
        if sentence.startswith("length alone"):
            raise KeyboardInterrupt

    quick: dict[str, Any] = {"tune": "probe", "settings": replace(PLAIN, floors="classical")}
    with pytest.raises(KeyboardInterrupt):
        fit(out.parent / "t.csv", bert, tmp_path / "run", watch=Watch(say=stop), **quick)
    assert not (tmp_path / "run" / "result.json").exists()
    assert list((tmp_path / "run").glob("alone/mood/routes/*/done.json"))
    resumed = fit(out.parent / "t.csv", bert, tmp_path / "run", **quick).sharing
    assert resumed is not None
    assert result.sharing is not None
    assert resumed.tasks == result.sharing.tasks[:2]


def test_the_model_answers_for_all_tasks(finished: tuple[Result, Path], tmp_path: Path) -> None:
    result, out = finished
    assert result.shipped != "scratch", "a floor ships, so the test would look at something else"
    fitted = artifact.load(out / "model")
    assert (fitted.task, fitted.classes) == ("several", ("mood: bad", "mood: good", "length"))
    with (out.parent / "t.csv").open(newline="", encoding="utf-8") as file:
        found = sterna.predict(out / "model", [row["text"] for row in csv.DictReader(file)])
    np.testing.assert_allclose(found.answers[:, :2].sum(axis=1), 1)
    assert 3 < found.answers[:, 2].mean() < 7  # in the units of the labels, 2 to 8
    apart = sterna.predict(out / "model", ["The scene delight actors.", "The dull end."])
    np.testing.assert_allclose(apart.answers[:, :2].sum(axis=1), 1)
    assert 0 < apart.answers[:, 2].min() < apart.answers[:, 2].max() < 12
    found.save(tmp_path / "p.csv")
    head = (tmp_path / "p.csv").read_text().splitlines()[0]
    assert head == "item,prediction mood,probability mood,mood: bad,mood: good,prediction length"
    card = (out / "model" / "README.md").read_text()
    assert "Answers several tasks by 3 outputs, in this order: mood: bad, mood: good, length." in card
    assert result.sharing is not None
    assert result.sharing.sentence in card


def test_the_page_shows_each_task_together_and_alone(finished: tuple[Result, Path]) -> None:
    result, out = finished
    page = report.render(out)
    assert "Together or alone" in page
    assert result.sharing is not None
    assert result.sharing.sentence in page
    assert "RMSE" in page


def test_two_data_sets_are_learnt_together(bert: str, tmp_path: Path) -> None:
    table = texts(tmp_path, gaps=0.0)
    moods = one_label(table, "mood", tmp_path, split=False)
    lengths = one_label(texts(tmp_path, 61, 0.0, "u.csv"), "length", tmp_path, split=False)
    columns = Columns(label=("mood",))
    result = fit(
        moods, bert, tmp_path / "run", columns, beside=f"{lengths}:length", tune="probe", loss="pcgrad",
        settings=replace(PLAIN, floors="classical"),
    )  # fmt: skip
    assert result.data["classes"] == ["mood: bad", "mood: good", "length"]
    assert result.data["n"] == 121
    assert result.sharing is not None
    assert [one.task for one in result.sharing.tasks] == ["mood", "length"]
    command = json.loads((tmp_path / "run" / "plan.json").read_text())["command"]
    assert f"--beside {lengths}:length" in command
    assert {one.name for one in result.routes} == {"probe", "tfidf"}
    found = {one.name: one for one in result.routes}["tfidf"]
    assert found.metrics["mean_accuracy"].value == 1.0  # a floor of several tasks answers for each


def opened(place: Path, label: str = "") -> Any:
    return intake.opened(intake.Sides(str(place)), Columns(label=(label,) if label else ()), PLAIN, Watch())[0]


def test_data_sets_that_cannot_be_learnt_together(tmp_path: Path) -> None:
    table = texts(tmp_path, gaps=0.0)
    moods, lengths = (opened(one_label(table, name, tmp_path, split=False)) for name in ("mood", "length"))
    joined = together.joined((moods, lengths), ("mood", "length"))
    copies = splitting.split(joined, seed=0, strata=splitting.Strata(np.zeros(120, dtype=np.int64), ("one",), False))
    held = {joined.table.items.digest(int(row)) for row in joined.table.rows[copies.test]}
    assert not held & {joined.table.items.digest(int(row)) for row in joined.table.rows[copies.train]}
    assert joined.findings[-1].sentence.startswith("60 examples lie in more than one")
    for other, names, told in (
        (moods, ("mood", "mood"), "two tasks are called 'mood'; rename"),
        (replace(moods, parts=np.full(60, "test")), ("a", "b"), "brings its own test part and .* does not"),
        (opened(table_of_rows(tmp_path)), ("a", "b"), "one kind of items, got text data .* and row data"),
        (
            replace(lengths, table=replace(lengths.table, labels=np.zeros((60, 2)), classes=("p", "q"))),
            ("a", "b"),
            "has one value, or a task for each, got 2 values",
        ),
    ):
        with pytest.raises(DataError, match=told):
            together.joined((lengths, other), names)
    assert together.called("/data/reviews.train.csv") == "reviews"


def table_of_rows(place: Path) -> Path:
    made = place / "rows.csv"
    made.write_text("\n".join(["a,b,label", *(f"{one},{one % 3},{'xy'[one % 2]}" for one in range(40))]))
    return made


@pytest.mark.parametrize(
    ("more", "kind", "told"),
    [
        ({"loss": "cross_entropy"}, SpecError, "serves the task classify or tag, and these labels are for several"),
        ({"source": "t.csv"}, DataError, "a source is mixed in class by class, and these data have several tasks"),
        ({"beside": "t.csv", "source": "t.csv"}, SpecError, "--beside names data to be learnt together with DATA"),
    ],
)
def test_what_does_not_go_with_several_tasks(
    more: dict[str, str], kind: type[SternaError], told: str, bert: str, tmp_path: Path
) -> None:
    table = texts(tmp_path)
    named = {key: str(table) if value == "t.csv" else value for key, value in more.items()}
    with pytest.raises(kind, match=told):
        fit(table, bert, tmp_path / "run", **named)


def test_augmentations_that_mix_are_refused() -> None:
    table: Any = SimpleNamespace(task="several", items=SimpleNamespace(modality="image"))
    preparation = SimpleNamespace(modality="image", ragged=False)
    encoder: Any = SimpleNamespace(preparation=preparation, pretrained=True, words=None, reference="a:b")
    route: Any = SimpleNamespace(floor=False, augment=folder.resolve("augment", "mixup"), losses=())
    with pytest.raises(SpecError, match="mixes the labels of two examples, and with several tasks one may lack"):
        footing.check(route, encoder, table, False)


def trials(better: bool, seeds: int = 1) -> tuple[list[Trial], list[Trial], np.ndarray]:
    """A shared model that is much better or worse at stars than one alone; every third example has no stars."""
    shared, alone = [], []
    rows = np.flatnonzero(np.arange(300) % 3 > 0)
    for seed in range(seeds):
        made = np.random.default_rng(seed)
        stars = made.normal(3, 1, 300)
        near, far = (stars + made.normal(0, noise, 300) for noise in (0.3, 0.9))
        held = np.sort(made.permutation(300)[:150])
        mine = np.flatnonzero(np.isin(rows, held))
        answers = np.column_stack([np.full((150, 2), 0.5), (near if better else far)[held]])
        route: Any = SimpleNamespace(name="partial", written=dict)
        none = np.zeros((0, 2))
        shared.append(Trial(route, seed, answers, none, 0.0, none, held, Sealed(none)))
        own = (far if better else near)[rows[mine], None]
        alone.append(Trial(route, seed, own, none, 0.0, none, mine, Sealed(stars[rows[mine], None])))
    return shared, alone, rows


@pytest.mark.parametrize(("better", "answer", "way"), [(True, "helps", "higher"), (False, "hurts", "lower")])
def test_the_verdict_in_both_directions(better: bool, answer: str, way: str) -> None:
    shared, alone, rows = trials(better)
    at: Any = SimpleNamespace(settings=PLAIN)
    found = sharing._compared(at, shared, alone, rows, blocks.blocks(ROWS)[1])
    assert found is not None
    assert (found.task, found.verdict.answer, found.verdict.floor) == ("stars", answer, "stars alone")
    assert found.verdict.sentence.startswith(f"Sharing {answer}: partial explains")
    assert found.verdict.gain == pytest.approx(found.shared["r2"].value - found.alone["r2"].value, abs=1e-6)
    told = sharing.sentence([found])
    advice = "" if better else " Fit stars alone: --label stars."
    points = f"{100 * abs(found.verdict.gain):.1f} points {way}"
    assert told == f"Sharing {answer} stars (R2 {points}) (partial, each task against itself alone).{advice}"


def test_one_sentence_for_all_tasks() -> None:
    def one(task: str, answer: Any, gain: float) -> SharedTask:
        said = Verdict(answer, "full", f"{task} alone", gain, 0, 0, 9, None, 1.0, "", "accuracy")
        return SharedTask("full", task, "classify", {}, {}, said)

    several = [one("a", "helps", 0.02), one("b", "hurts", -0.031), one("c", "undecided", 0), one("d", "hurts", -0.01)]
    assert sharing.sentence([*several, one("e", "equivalent", 0)]) == (
        "Sharing hurts b (accuracy 3.1 points lower) and d (accuracy 1.0 points lower), helps a (accuracy 2.0 points "
        "higher), makes no difference to e and cannot be told to help or hurt c (full, each task against itself "
        "alone). Fit b and d alone: --label b."
    )
    assert sharing.sentence([]) == ""


class Features:
    """A feed at the last cut."""

    views, lengths, words = 0, None, None

    def __init__(self, inputs: np.ndarray, labels: np.ndarray) -> None:
        self.all, self.labels, self.weights = inputs, labels, np.ones(len(inputs), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.all)

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Any:
        for start in range(0, len(order), size):
            yield SimpleNamespace(inputs=torch.from_numpy(self.all[order[start : start + size]]), mask=None)


@pytest.mark.parametrize("memory", [2**29, 0])
def test_a_fitted_head_is_that_of_each_task(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MEMORY", memory)
    made = np.random.default_rng(0)
    inputs = made.normal(0, 1, (160, 4)).astype(np.float32)
    classes, values = inputs[:, 0] + made.normal(0, 1, 160) > 0, inputs[:, 1] + made.normal(0, 0.3, 160)
    labels = np.column_stack([classes, values]).astype(float)
    labels[made.random(160) < 0.3, 0] = NAN
    labels[made.random(160) < 0.3, 1] = NAN
    parts: Any = [Features(inputs[rows], labels[rows]) for rows in (slice(0, 110), slice(110, 160))]
    found = heads.solve("several", *parts, 3, rows=ROWS)
    for place, block in enumerate(blocks.blocks(ROWS)):
        single: Any = []
        for part in parts:
            rows, own = blocks.own(part.labels, block)
            single.append(Features(part.all[rows], own))
        alone = heads.solve(block.task, *single, len(block.names))
        np.testing.assert_allclose(found.head.weight[block.rows], alone.head.weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.head.bias[block.rows], alone.head.bias, rtol=1e-4, atol=1e-6)
        assert found.penalties[place] == alone.penalties[0]
    settled = heads.solve("several", *parts, 3, settled=found.penalties, rows=ROWS)
    np.testing.assert_allclose(settled.head.weight, found.head.weight, rtol=1e-4, atol=1e-6)
    labels[:, 1] = NAN
    empty: Any = [Features(inputs[rows], labels[rows]) for rows in (slice(0, 110), slice(110, 160))]
    assert not heads.solve("several", *empty, 3, rows=ROWS).head.weight[2].any()
