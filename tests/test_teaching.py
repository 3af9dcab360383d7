"""From `--teacher` to what losses are given, and what a run says of teacher and students."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import sterna
from sterna import artifact, footing, opening, plan, report, result, students, teaching
from sterna.errors import EncoderError, SpecError
from sterna.network import Network
from sterna.outcomes import Distilled, Learner, Score
from sterna.records import Encoder, Table, Teacher
from sterna.result import Result, load
from sterna.settings import Settings
from sterna.store import Store

pytestmark = pytest.mark.usefixtures("few_resamples")

CHEAP: dict[str, Any] = {"floors": "scratch", "mitigate": False, "page": False, "refit": 0}


class Vectors:
    """Items that are vectors in memory."""

    modality, in_memory, lengths = "image", True, None

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


def table(classes: tuple[str, ...] = ("a", "b"), task: str = "classify", modality: str = "image") -> Table:
    items: Any = Vectors(4)
    items.modality = modality
    return Table(items, np.arange(4), np.arange(4) % 2, classes, task)


def teacher_of(given: str, wanted: Table) -> Teacher:
    return teaching.opened(given, wanted)


def numbered(*digits: int) -> tuple[str, ...]:
    return tuple(map(str, digits))


# who may teach


def test_the_head_of_a_teacher_is_put_into_the_order_of_the_data() -> None:
    encoder = opening.open_encoder("builtin:glyphs")
    named = [name.split(",")[0] for name in encoder.source_classes]
    rows = [named.index(name) for name in ("7", "0", "3")]
    teacher = teacher_of("builtin:glyphs", table(numbered(7, 0, 3)))
    assert teacher.head is not None
    assert teacher.bias is not None
    assert torch.equal(teacher.head, encoder.network.head.weight[rows])  # type: ignore[union-attr,index]
    assert torch.equal(teacher.bias, encoder.network.head.bias[rows])  # type: ignore[union-attr,index]
    assert teacher.data == ""


def test_a_teacher_without_every_class_has_features_alone() -> None:
    teacher = teacher_of("builtin:glyphs", table(("7", "a plum")))
    assert teacher.head is None
    losses = SimpleNamespace(needs="teacher", answers=True), SimpleNamespace(needs="teacher", answers=False)
    with pytest.raises(EncoderError, match="has none for each class of these data"):
        teaching.check(losses[:1], teacher.encoder, teacher)
    teaching.check(losses[1:], teacher.encoder, teacher)


def test_answers_to_another_question_are_not_learnt() -> None:
    assert teacher_of("builtin:glyphs", table(numbered(7, 0), "multilabel")).head is None


@pytest.mark.parametrize(
    ("given", "modality", "sentence"),
    [
        ("builtin:glyphs", "text", "takes image data, but these data are text"),
        ("classical:hog_colour", "image", "made by hand, without weights to teach"),
        ("no/such/folder", "image", "model folder of a run, or an encoder as origin:name, got no/such/folder"),
        ("tim:resnet", "image", "got tim:resnet, which is neither"),
        ("local:no/such", "image", "which is neither"),
    ],
)
def test_who_cannot_teach(given: str, modality: str, sentence: str) -> None:
    with pytest.raises(EncoderError, match=sentence):
        teacher_of(given, table(modality=modality))


def test_the_folder_of_a_run_is_told_from_its_model(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"the model of that run is .*model; name one with --teacher"):
        teacher_of(str(tmp_path), table())


def test_values_are_taught_in_units_of_the_training_part() -> None:
    head, bias = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1.0, -1.0])
    teacher = Teacher(None, head, bias)  # type: ignore[arg-type]
    mean, spread, features = np.array([5.0, -2.0]), np.array([2.0, 10.0]), torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    found = teaching.scaled(teacher, mean, spread)
    assert found is not None
    assert found.head is not None
    assert found.bias is not None
    wanted = (features @ head.T + bias - torch.from_numpy(mean).float()) / torch.from_numpy(spread).float()
    assert torch.allclose(features @ found.head.T + found.bias, wanted)


def test_teachers_are_known_by_what_they_say() -> None:
    one = teacher_of("builtin:glyphs", table(numbered(7, 0)))
    assert teaching.digest(None) == ""
    assert teaching.digest(one) == teaching.digest(teacher_of("builtin:glyphs", table(numbered(7, 0))))
    assert teaching.digest(one) != teaching.digest(teacher_of("builtin:glyphs", table(numbered(0, 7))))
    assert one.bias is not None
    assert teaching.digest(one) != teaching.digest(replace(one, bias=one.bias + 1))


# which routes there are


def routes(settings: Settings | None = None, task: str = "classify", **words: Any) -> tuple[plan.Route, ...]:
    given = {"encoder": "builtin:glyphs", "tune": "", "loss": "", "augment": "none", "optimizer": "adamw", **words}
    return plan.routes(plan.Words(**given, schedule=""), settings or Settings(), plan.Subject("image", task))


def test_a_student_runs_alone_and_with_its_teacher() -> None:
    names = [one.name for one in routes(teacher="x", tune="probe, partial") if not one.floor]
    assert names == ["probe / cross_entropy", "partial / cross_entropy", "partial / cross_entropy + distill"]


def test_floors_have_no_teacher() -> None:
    floors = [one for one in routes(teacher="x", loss="cross_entropy + distill", tune="partial") if one.floor]
    assert floors
    assert not any(plan.learns(one.losses) for one in floors)


def test_random_weights_with_a_teacher_are_a_route_beside_the_floor() -> None:
    found = routes(teacher="x", tune="scratch")
    taught = [one for one in found if not one.floor]
    assert [plan.learns(one.losses) for one in taught] == [True]
    assert not taught[0].pretrained
    assert students._alone(found, taught[0]) == next(one for one in found if one.name == "scratch")


@pytest.mark.parametrize(
    ("words", "task", "sentence"),
    [
        ({"tune": "probe", "teacher": "x"}, "classify", "no route learns from the teacher x"),
        ({"method": "prototypes", "teacher": "x"}, "classify", "no route learns from the teacher x"),
        ({"loss": "cross_entropy", "teacher": "x"}, "classify", "no objective learns from the teacher x"),
        ({"loss": "cross_entropy + dist"}, "classify", "learns from a teacher, got none"),
        ({"teacher": "x"}, "tag", "a teacher answers for whole items"),
        ({"loss": "binary_cross_entropy + dist", "teacher": "x"}, "multilabel", "dist.* serves the task classify"),
    ],
)
def test_words_that_no_teacher_can_follow(words: dict[str, str], task: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        routes(task=task, **words)


def test_nobody_has_asked_the_teacher_about_mixtures() -> None:
    encoder = opening.open_encoder("builtin:glyphs")
    taught = next(one for one in routes(teacher="x", tune="partial", augment="mixup") if plan.learns(one.losses))
    wanted = table(numbered(7, 0))
    with pytest.raises(SpecError, match=r"distill.* looks up what was said of each example, and mixup.* mixes them"):
        footing.check(taught, encoder, wanted, False, teacher_of("builtin:glyphs", wanted))
    footing.check(replace(taught, augment=()), encoder, wanted, False, teacher_of("builtin:glyphs", wanted))


# the whole way


def digits(place: Path) -> Path:
    """The first 600 real digits, as arrays."""
    found = load_digits()
    if not (place / "digits.npz").exists():
        np.savez(place / "digits.npz", images=found.images[:600], labels=found.target[:600])
    return place / "digits.npz"


def fitted(out: Path, settings: Settings | None = None, **words: Any) -> Result:
    settings = settings or Settings(shots=8, **CHEAP)
    given = {"tune": "partial(stages=1)", "schedule": "epochs=2", **words}
    return sterna.fit(digits(out.parent), encoder="builtin:glyphs", out=out, settings=settings, **given)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A teacher, and a student of the same shape (born again) at two seeds, of which the teacher knows the first."""
    place = tmp_path_factory.mktemp("runs")
    fitted(place / "big")
    settings = Settings(shots=8, seeds=2, **CHEAP)
    return place, fitted(place / "small", settings, teacher=place / "big" / "model")


def test_teacher_and_students_stand_side_by_side(runs: tuple[Path, Result]) -> None:
    place, found = runs
    assert found.students is not None
    teacher, student, alone = found.students.learners
    assert [one.role for one in (teacher, student, alone)] == ["teacher", "student", "alone"]
    big = load(place / "big")
    kept = next(one for one in big.routes if one.name == big.shipped).metrics["accuracy"]
    # On the part that both runs hold out the teacher is what its own run said, but for the rounding of kept features.
    assert teacher.figure is not None
    assert teacher.figure.value == pytest.approx(kept.value, abs=0.002)
    assert teacher.weights == student.weights == alone.weights > 400_000
    written = (place / "big" / "model" / "model.safetensors").stat().st_size
    assert abs(teacher.bytes - written) < 100
    assert all(one.single > 0 and one.batched > 0 for one in (teacher, student, alone))
    for name, learner in (("distill", student), ("cross_entropy", alone)):
        mine = [one.metrics["accuracy"].value for one in found.routes if one.name == learner.name]
        assert name in learner.name
        assert learner.figure is not None
        assert learner.figure.value == pytest.approx(np.mean(mine))
    compared = found.students.verdict
    assert compared is not None
    assert student.figure is not None
    assert alone.figure is not None
    assert compared.gain == pytest.approx(student.figure.value - alone.figure.value)
    assert "istillation" in compared.sentence
    assert "ships" not in compared.sentence


def test_a_teacher_that_has_learnt_from_what_is_held_out_is_said(runs: tuple[Path, Result]) -> None:
    _, found = runs
    told = [one for one in found.warnings if "held-out part" in one and "teacher" in one]
    assert len(told) == 1
    assert "at seed 1:" in told[0], "at seed 0 both hold out the same examples"


def test_the_teachers_answers_have_been_learnt(runs: tuple[Path, Result]) -> None:
    """The student's answers lie nearer to the teacher's than those of the same student alone.

    At seed 1: at seed 0 the student alone is the teacher, bit for bit.
    """
    place, _ = runs
    folders = {name: sorted((place / "small" / "routes").glob(f"partial*{name}*-1")) for name in ("distill", "entropy")}
    student = folders["distill"][0]
    alone = next(one for one in folders["entropy"] if one != student)
    big = next((place / "big" / "routes").glob("partial*-0"))
    kinds = {"big": big, "student": student, "alone": alone}
    answers = [np.load(one / "predictions.npz")["test"] for one in kinds.values()]
    assert np.abs(answers[1] - answers[0]).mean() < np.abs(answers[2] - answers[0]).mean()


def test_what_is_printed_and_kept(runs: tuple[Path, Result]) -> None:
    place, found = runs
    assert load(place / "small").students == found.students
    kept = json.loads((place / "small" / "result.json").read_text())
    assert [one["role"] for one in kept["students"]["learners"]] == ["teacher", "student", "alone"]
    assert json.loads((place / "big" / "result.json").read_text())["students"] is None
    lines = str(found).splitlines()
    head = next(place for place, line in enumerate(lines) if "in batches of 32" in line)
    assert [line.split("  ")[0] for line in lines[head + 1 : head + 4]] == [
        "teacher",
        "student",
        "student without teacher",
    ]
    assert found.students is not None
    assert found.students.verdict is not None
    assert found.students.verdict.sentence in lines


def test_the_page_has_a_section(runs: tuple[Path, Result]) -> None:
    place, _ = runs
    assert "Teacher and students" in report.render(place / "small")
    assert "Teacher and students" not in report.render(place / "big")


def test_another_teacher_is_another_run(runs: tuple[Path, Result]) -> None:
    place, found = runs
    settings = Settings(shots=8, seeds=2, **CHEAP)
    again = fitted(place / "small", settings, teacher=place / "big" / "model")
    assert again.routes == found.routes, "a finished run is read back"
    with pytest.raises(SpecError, match="other options or data"):
        fitted(place / "small", settings, teacher="builtin:glyphs")


def test_names_on_the_page_are_text(runs: tuple[Path, Result], tmp_path: Path) -> None:
    place, _ = runs
    kept = json.loads((place / "small" / "result.json").read_text())
    kept["students"]["learners"][0]["name"] = "<script>alert(1)</script>"
    kept["students"]["notes"] = ["<b>bold</b>"]
    (tmp_path / "result.json").write_text(json.dumps(kept))
    page = report.render(tmp_path)
    assert "<script>alert" not in page
    assert "<b>bold" not in page


# its parts


def at(teacher: Teacher, digest_of_data: str = "same") -> Any:
    loaded = SimpleNamespace(table=None, blind=False, digest=digest_of_data)
    return SimpleNamespace(teacher=teacher, loaded=loaded, settings=SimpleNamespace(seeds=1))


@pytest.mark.parametrize(
    ("data", "head", "told"),
    [("", True, "does not say what it was fitted to"), ("other", True, "was fitted to other data"),
     ("same", True, ""), ("", False, "no answer for these classes")],
)  # fmt: skip
def test_what_is_not_known_of_a_teacher(monkeypatch: pytest.MonkeyPatch, data: str, head: bool, told: str) -> None:
    monkeypatch.setattr(students.intake, "digest", lambda loaded: loaded.digest)
    teacher = Teacher(None, torch.zeros(2, 3) if head else None, None, data)  # type: ignore[arg-type]
    notes = students._notes(at(teacher), teacher)
    assert bool(notes) == bool(told)
    assert all(told in one for one in notes)


def test_the_median_of_passes_in_one_thread() -> None:
    """Passes of 3, 1, 1, 1, 50 ms: one that was disturbed does not count."""
    times = iter(np.cumsum(np.array([[0, took] for took in (0.003, 0.001, 0.001, 0.001, 0.05, 2.0)])).tolist())
    threads: list[int] = []

    def network(inputs: Tensor) -> Tensor:
        threads.append(torch.get_num_threads())
        return inputs

    before = torch.get_num_threads()
    found = students._milliseconds(network, torch.zeros(1), clock=lambda: next(times))
    assert found == pytest.approx(1.0 if len(threads) == students.WARM + 5 else 2.0, rel=0.01)
    assert set(threads) == {1}
    assert torch.get_num_threads() == before


def test_size_is_that_of_the_saved_file(tmp_path: Path) -> None:
    network = Network({"one": nn.Linear(4, 3)}, nn.Linear(3, 2))
    encoder = SimpleNamespace(write=None, config={"library": "x"})
    fitted_one: Any = SimpleNamespace(network=network, encoder=encoder, classes=("a", "b"), task="classify")
    size = artifact.size(fitted_one)
    assert 4 * (15 + 8) < size < 4 * (15 + 8) + 600


def test_a_result_without_a_measured_teacher_prints_a_dash() -> None:
    learner = Learner("t", "teacher", None, 5, 100, 1.0, 0.5)
    lines = result._learners(Distilled((learner,), None), "accuracy")
    assert lines[1][:3] == ("teacher", "-", "-")
    assert result._learner(replace(learner, figure=Score(0.5, 0.4, 0.6)))[1:3] == ("50.0 %", "40.0 to 60.0")


def test_features_of_the_teacher_are_computed_once_for_all_seeds(tmp_path: Path) -> None:
    """Parts of two seeds of one data set ask for the same rows, so the second finds them."""
    loaded = opening.open_data("sklearn:digits")
    encoder: Encoder = opening.open_encoder("builtin:glyphs")
    store = Store(tmp_path)
    rows = np.random.default_rng(0).permutation(120)
    computed: list[int] = []
    for part in (rows[:80], rows[20:100]):
        taken = loaded.table.take(part)
        found = teaching.said(encoder, taken, rows, store, lambda done, total: computed.append(done))
        assert found.shape == (80, encoder.network.width)
    assert max(computed) == 120
    assert len(list((tmp_path / "shards").glob("*.act"))) == 1
    direct = teaching.said(encoder, loaded.table.take(rows[5:6]), rows[5:6], store)
    again = teaching.said(encoder, loaded.table.take(rows[:80]), rows, store)
    assert torch.allclose(direct[0], again[5], atol=1e-2)
