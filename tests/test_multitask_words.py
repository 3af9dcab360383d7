"""Several tasks with tags of words and cells of several labels among them: from what is written to what is answered."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standins_text
import torch
from torch.nn import functional

import sterna
from sterna import artifact, descent, estimators, feeds, folder, heads, multitask, opening, report, splitting, together
from sterna.errors import DataError
from sterna.maths import blocks
from sterna.records import Batch, Columns, Output, Sealed, Seen, Setting, Step, Table
from sterna.result import Result, load
from sterna.score import measure
from sterna.settings import Settings

NAN = float("nan")
TAGS, LISTS = ("ner [word] : O", "ner [word] : B-place"), ("kinds [any] : a", "kinds [any] : b")
ROWS = (*TAGS, "mood: bad", "mood: good", "stars", *LISTS)
GOOD, BAD, PLACES = ("delight", "actors", "scene", "theatre"), ("dull", "asleep", "nobody", "end"), ("Rome", "Paris")


def items(*each: list[list[float]]) -> np.ndarray:
    """Labels of items of words."""
    found = np.empty(len(each), dtype=object)
    found[:] = [np.array(one, dtype=float) for one in each]
    return found


# Tags, mood, stars and two labels: a tagged sentence, one with all else, one with a tag and both labels.
LABELS = items(
    [[0, NAN, NAN, NAN, NAN], [1, NAN, NAN, NAN, NAN], [1, NAN, NAN, NAN, NAN]],
    [[NAN, 1, 4.0, 0, 0], [NAN] * 5],
    [[0, NAN, 2.0, 1, 1]],
)


def test_the_names_of_rows_tell_the_kind_of_a_task() -> None:
    ner, mood, stars, kinds = blocks.blocks(ROWS)
    assert [one.task for one in (ner, mood, stars, kinds)] == ["tag", "classify", "regress", "multilabel"]
    assert [one.name for one in (ner, mood, stars, kinds)] == ["ner", "mood", "stars", "kinds"]
    assert (ner.classes, kinds.classes) == (("O", "B-place"), ("a", "b"))
    assert [one.columns for one in (ner, mood, stars, kinds)] == [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 5)]
    written = (
        *blocks.named("ner", ("O", "B-place"), "tag"), *blocks.named("mood", ("bad", "good")),
        *blocks.named("stars", (), "regress"), *blocks.named("kinds", ("a", "b"), "multilabel"),
    )  # fmt: skip
    assert written == ROWS
    assert blocks.told(ROWS) == "4 tasks: ner (2 tags), mood (2 classes), stars (a number), kinds (2 labels)"
    odd = blocks.named("pos", (":", ": x", "O"), "tag")
    assert blocks.blocks(odd)[0].classes == (":", ": x", "O")


@pytest.mark.parametrize("name", ["ner [word]", "kinds [any]", "a [word] b"])
def test_what_was_saved_before_opens_as_it_did(name: str) -> None:
    """Columns of classes whose own names look like a mark: the mark ends in a space, which no name does."""
    (one,) = blocks.blocks(blocks.named(name, ("x", "y")))
    assert (one.name, one.task, one.classes) == (name, "classify", ("x", "y"))
    (number,) = blocks.blocks((name,))
    assert (number.name, number.task) == (name, "regress")


def test_labels_of_each_task_among_words() -> None:
    ner, mood, stars, kinds = blocks.blocks(ROWS)
    rows, tags = blocks.own(LABELS, ner)
    assert (rows.tolist(), [one.tolist() for one in tags], tags[0].dtype) == ([0, 2], [[0, 1, 1], [0]], np.int64)
    for block, where, wanted in ((mood, [1], [1]), (stars, [1, 2], [[4.0], [2.0]]), (kinds, [1, 2], [[0, 0], [1, 1]])):
        rows, own = blocks.own(LABELS, block)
        assert (rows.tolist(), own.tolist()) == (where, wanted)
    assert blocks.counts(LABELS, ROWS).tolist() == [2, 2, 0, 1, 2, 1, 1]
    mean, spread = blocks.scale(LABELS, ROWS)
    assert (mean.tolist(), spread.tolist()) == ([0, 0, 3, 0, 0], [1, 1, 1, 1, 1])
    assert blocks.by_row(np.arange(5.0), ROWS).tolist() == [0, 0, 1, 1, 2, 3, 3]
    moved = blocks.scaled(LABELS, np.array([0, 0, 3.0, 0, 0]), np.array([1, 1, 2.0, 1, 1]))
    assert (moved[1][0, 2], moved[2][0, 2], moved[0][1, 0]) == (0.5, -0.5, 1)
    # The rarest tag: two items hold O, one of them the other; the class, and the value.
    np.testing.assert_array_equal(blocks.kinds(LABELS, ROWS)[:, :3], [[1, NAN, NAN], [NAN, 1, 4], [0, NAN, 2]])
    assert blocks.kinds(LABELS, ROWS)[1:, 3].tolist() == [2, 0]  # none of the labels; the rarest of both
    assert len(blocks.own(LABELS[:0], ner)[0]) == len(blocks.own(np.zeros(0), mood)[0]) == 0


def test_a_split_divides_tagged_and_labelled_items_alike() -> None:
    labels = items(*[[[number % 2, NAN]] for number in range(20)], *[[[NAN, number % 2]] for number in range(20)])
    numbers = folder.task("several", ("t [word] : O", "t [word] : B", "m: x", "m: y")).strata(labels, 4)
    assert len({tuple(numbers[part].tolist()) for part in (slice(0, 20, 2), slice(1, 20, 2))}) == 2
    assert [len(set(numbers[at::2][:10].tolist())) for at in (0, 1, 20, 21)] == [1, 1, 1, 1]
    assert len(set(numbers.tolist())) == 4


def logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (6, len(ROWS)))


def test_an_item_is_answered_by_the_mean_of_its_words() -> None:
    """What the linear head makes of the mean of the words' features, which a person would have asked for."""
    made = np.random.default_rng(0)
    features, weight, bias = made.normal(size=(5, 4)), made.normal(size=(7, 4)), made.normal(size=7)
    task = folder.task("several", ROWS)
    found = descent.of_words(task, features @ weight.T + bias)
    item = task.answers((features.mean(axis=0) @ weight.T + bias)[None])[0]
    for block in blocks.blocks(ROWS)[1:]:
        np.testing.assert_allclose(found[:, block.rows], np.tile(item[block.rows], (5, 1)))
    words = folder.task("tag", ("O", "B-place")).answers((features @ weight.T + bias)[:, :2])
    np.testing.assert_array_equal(found[:, :2], words)
    plain, tags = logits(), folder.task("tag", ())
    np.testing.assert_array_equal(descent.of_words(tags, plain), tags.answers(plain))


def test_words_that_were_never_looked_at() -> None:
    outside = blocks.outside(ROWS)
    np.testing.assert_allclose(outside[:2], [2 / 3, 1 / 3])
    assert np.isnan(outside[2:]).all()
    filled = descent._filled(np.arange(14.0).reshape(2, 7), 4, outside)
    np.testing.assert_allclose(filled[3], [2 / 3, 1 / 3, 2, 3, 4, 5, 6])


def test_the_joint_score_by_hand() -> None:
    """Entity F1 2/3, accuracy 1, R2 1/2, example F1 5/6: each by counting on the fingers."""
    answers = np.array([
        # O,  B-place, bad, good, stars, a, b
        [0.9, 0.1, 0.5, 0.5, 0, 0, 0],  # the first item: O, B (right), O for B: of two entities one is found
        [0.2, 0.8, 0.5, 0.5, 0, 0, 0],
        [0.7, 0.3, 0.5, 0.5, 0, 0, 0],
        [0.5, 0.5, 0.1, 0.9, 4, 0.2, 0.1],  # good is right, 4 stars are, no label is
        [0.5, 0.5, 0.0, 1.0, 9, 0.9, 0.9],  # of a second word nothing is read for the item
        [0.6, 0.4, 0.5, 0.5, 3, 0.9, 0.3],  # 3 stars for 2; of both labels one
    ])  # fmt: skip
    task = folder.task("several", ROWS)
    found = measure(task, answers, Sealed(LABELS), ROWS, seed=0, draws=20)
    wanted = {
        "mean_entity_f1": 2 * 1 / (1 + 2), "mean_token_accuracy": 3 / 4, "mean_accuracy": 1.0, "mean_r2": 1 - 1 / 2,
        "mean_example_f1": (1 + 2 / 3) / 2,
"mean_macro_f1": (1 + (1 + 0) / 2) / 2,  # of good, and of the two labels; no item is bad
    }  # fmt: skip
    joint = (2 / 3 + 1 + 0.5 + 5 / 6) / 4
    values = {name: one.value for name, one in found.metrics.items()}
    assert values.pop("joint_score") == pytest.approx(joint)
    assert values == pytest.approx(wanted)
    assert found.merits.mean() == pytest.approx(joint)
    judged = task.judge(answers, LABELS, ROWS)
    assert (judged["joint_score"], judged["loss"]) == pytest.approx((joint, found.losses.mean()))


def test_each_task_is_measured_as_it_is_alone() -> None:
    made = np.random.default_rng(1)
    labels = items(*[[[made.integers(2), made.integers(2), made.normal(), 1, made.integers(2)],
                      *[[made.integers(2), NAN, NAN, NAN, NAN]] * 2] for _ in range(40)])  # fmt: skip
    task = folder.task("several", ROWS)
    answers = np.concatenate([descent.of_words(task, made.normal(0, 1, (3, 7))) for _ in range(40)])
    parts = task.sample(answers, labels, ROWS).parts
    for part, block in zip(parts, blocks.blocks(ROWS), strict=True):
        own = answers[:, block.rows] if block.task == "tag" else answers[::3, block.rows]
        alone = folder.task(block.task, block.names).sample(own, blocks.own(labels, block)[1], block.names)
        chosen = made.integers(0, 40, 40)
        np.testing.assert_array_equal(part.sample.metrics(chosen, True), alone.metrics(chosen, True))
        np.testing.assert_array_equal(part.sample.merits, alone.merits)
    assert [part.names[part.primary] for part in parts] == ["entity_f1", "accuracy", "r2", "example_f1"]


def test_lines_of_predictions_are_words() -> None:
    task = folder.task("several", ROWS)
    answers = np.tile([0.25, 0.75, 0.5, 0.5, 3.0, 0.9, 0.1], (6, 1))
    lines = task.rows(["s 1", "s 2", "s 3"], ROWS, answers, LABELS, list("abcdef"))
    read = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert [(one["item"], one["place"], one["word"]) for one in read[2:5]] == [
        ("s 1", "2", "c"), ("s 2", "0", "d"), ("s 2", "1", "e"),
    ]  # fmt: skip
    assert [one["truth ner"] for one in read] == ["O", "B-place", "B-place", "", "", "O"]
    assert [one["truth mood"] for one in read] == ["", "", "", "good", "good", ""]
    assert [one["truth kinds"] for one in read] == ["", "", "", "[]", "[]", "a | b"]
    assert {one["prediction kinds"] for one in read} == {"a"}
    assert read[0]["prediction ner"] == "B-place"
    assert [name for name in lines[0] if name.startswith("ner [word]")] == []
    bare = task.rows(["s 1", "s 1", "s 2"], ROWS, answers[:3], np.zeros(0), list("abc"))
    assert [line[:3] for line in bare[1:]] == [["s 1", "0", "a"], ["s 1", "1", "b"], ["s 2", "0", "c"]]


def words_step() -> tuple[Step, torch.Tensor]:
    """The three items as a batch of words, by a head of the identity; weights 1, 3 and 2."""
    padded = torch.full((3, 3, 5), NAN)
    for row, one in enumerate(LABELS):
        padded[row, : len(one)] = torch.from_numpy(one).float()
    there = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    torch.manual_seed(0)
    found = torch.randn(3, 3, 7, requires_grad=True)
    batch = Batch(torch.zeros(3, 3, 8), padded, torch.tensor([1.0, 3.0, 2.0]), there)
    seen = descent.seen(batch, Output(found, found, mask=there))
    network: Any = SimpleNamespace(stages={}, head=torch.nn.Identity())
    return Step(seen, network, 0.0), found


def test_losses_by_hand() -> None:
    step, found = words_step()
    got = multitask.losses(step.labelled.output.logits, step.labelled.batch, blocks.blocks(ROWS))
    tags = functional.cross_entropy(
        torch.stack([*found[0], found[2, 0]])[:, :2], torch.tensor([0, 1, 1, 0]), reduction="none"
    )
    second, third = found[1, :2].mean(dim=0), found[2, 0]
    assert got[0].item() == pytest.approx(((tags * torch.tensor([1.0, 1, 1, 2])).sum() / 5).item())
    assert got[1].item() == pytest.approx(functional.cross_entropy(second[None, 2:4], torch.tensor([1])).item())
    assert got[2].item() == pytest.approx(((3 * (second[4] - 4) ** 2 + 2 * (third[4] - 2) ** 2) / 5).item())
    each = [-functional.logsigmoid(-second[5:]).mean(), -functional.logsigmoid(third[5:]).mean()]
    assert got[3].item() == pytest.approx(((3 * each[0] + 2 * each[1]) / 5).item())
    for name in ("fixed", "uncertainty", "gradnorm", "pcgrad"):
        (loss,) = folder.resolve("losses", name)
        network = torch.nn.Module()
        network.head = torch.nn.Linear(1, 1)
        term = loss.build(Setting(network, np.zeros(7, dtype=np.int64), ROWS, task="several"))  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(term(step), found, retain_graph=True)
        assert slope.isfinite().all(), name
        assert slope[0].any(), name
        assert not slope[1, 2].any(), name  # padding


def test_tags_beside_a_task_that_nobody_is_labelled_for_are_tags_alone() -> None:
    step, found = words_step()
    flat = step.labelled
    rows = (*ROWS[:2], "mood: bad", "mood: good")
    batch = replace(flat.batch, labels=torch.stack([flat.batch.labels[:, 0], torch.full((6,), NAN)], dim=1))
    (both,) = multitask.losses(flat.output.logits[:, :4], batch, blocks.blocks(rows)).values()
    (loss,) = folder.resolve("losses", "cross_entropy")
    tagged = ~flat.batch.labels[:, 0].isnan()
    own = Batch(flat.batch.inputs, flat.batch.labels[tagged, 0].long(), flat.batch.weights[tagged])
    alone = loss.build(Setting(torch.nn.Linear(1, 2), np.ones(2, dtype=np.int64), ("O", "B-place")))  # type: ignore[arg-type]
    single = alone(replace(step, labelled=Seen(own, Output(found, flat.output.logits[tagged, :2]))))
    assert both.item() == pytest.approx(single.item(), rel=1e-6)


class Sentences:
    """A feed of sentences at the last cut, with features for each word."""

    views, lengths = 0, None

    def __init__(self, features: list[np.ndarray], labels: np.ndarray) -> None:
        self.features, self.labels, self.weights = features, labels, np.ones(len(labels), dtype=np.float32)
        self.words = np.array([len(one) for one in labels])
        self.table = SimpleNamespace(task="several", items=SimpleNamespace(modality="words"))

    def __len__(self) -> int:
        return len(self.features)

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Any:
        for start in range(0, len(order), size):
            places = order[start : start + size]
            packed = [np.hstack([self.features[one], np.full((len(self.features[one]), 1), 2.0)]) for one in places]
            longest = max(map(len, packed))
            inputs = np.stack([np.pad(one, ((0, longest - len(one)), (0, 0))) for one in packed])
            labels, there = feeds._labels(self, places)  # type: ignore[arg-type]
            weights = torch.from_numpy(self.weights[places])
            yield Batch(torch.from_numpy(inputs).float(), labels, weights, there)


def sentences(n: int = 150, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Features of words, and labels: tags for two thirds of the items, a class and a number for others."""
    made = np.random.default_rng(seed)
    features = [made.normal(size=(made.integers(1, 6), 4)) for _ in range(n)]
    labels = items(*[np.full((len(one), 4), NAN).tolist() for one in features])
    for number, (one, label) in enumerate(zip(features, labels, strict=True)):
        if number % 3:
            label[:, 0] = one[:, 0] + made.normal(0, 0.7, len(one)) > 0
        if number % 3 < 2:
            mean = one.mean(axis=0)
            label[0, 1:] = mean[1] + made.normal(0, 0.3) > 0, mean[2], mean[3] > 0
            label[0, 2] += made.normal(0, 0.2)
    return features, labels


HEAD = ("t [word] : O", "t [word] : X", "c: x", "c: y", "v", "m [any] : l")


@pytest.mark.parametrize("memory", [2**29, 0])
def test_a_fitted_head_is_that_of_each_task(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags: the head of the words. Whole items: the head of the means of their words, as any items."""
    monkeypatch.setattr(heads, "MEMORY", memory)
    features, labels = sentences()
    halves = [slice(0, 100), slice(100, 150)]
    parts: Any = [Sentences(features[half], labels[half]) for half in halves]
    found = heads.solve("several", *parts, 6, rows=HEAD)
    for block in blocks.blocks(HEAD):
        single: Any = []
        for half in halves:
            rows, own = blocks.own(labels[half], block)
            mine = [features[half][row] for row in rows.tolist()]
            if block.task == "tag":
                single.append(Sentences(mine, own))
            else:
                single.append(Items(np.stack([one.astype(np.float32).mean(axis=0) for one in mine]), own))
        alone = heads.solve(block.task, *single, len(block.names))
        np.testing.assert_allclose(found.head.weight[block.rows], alone.head.weight, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.head.bias[block.rows], alone.head.bias, rtol=1e-3, atol=1e-4)
        assert found.penalties[block.columns] == alone.penalties
    settled = heads.solve("several", *parts, 6, settled=found.penalties, rows=HEAD)
    np.testing.assert_allclose(settled.head.weight, found.head.weight, rtol=1e-4, atol=1e-6)


class Items:
    """A feed of items at the last cut."""

    views, lengths, words = 0, None, None

    def __init__(self, inputs: np.ndarray, labels: np.ndarray) -> None:
        self.all, self.labels, self.weights = inputs, labels, np.ones(len(inputs), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.all)

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Any:
        for start in range(0, len(order), size):
            yield SimpleNamespace(inputs=torch.from_numpy(self.all[order[start : start + size]]), mask=None)


def conll(place: Path, n: int = 60, columns: int = 1, name: str = "ner.conll", parts: bool = False) -> Path:
    """Sentences whose places are tagged, perhaps behind a part of speech."""
    made = np.random.default_rng(n)
    lines = []
    for _ in range(n):
        for word in [*made.choice(GOOD + BAD + PLACES, made.integers(2, 8)).tolist(), "."]:
            speech = "PROPN" if word in PLACES else "PUNCT" if word == "." else "NOUN"
            lines.append("\t".join([word, *([speech] if columns > 1 else []), "B-place" if word in PLACES else "O"]))
        lines.append("")
    (place / name).write_text("\n".join(lines))
    return place / name


def reviews(place: Path, n: int = 60) -> Path:
    """Texts of good or bad words, about as long as a second label says, with the words themselves as a third."""
    made = np.random.default_rng(n)
    with (place / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("text", "mood", "length", "kinds"))
        for number in range(n):
            words = made.choice(GOOD if number % 2 else BAD, made.integers(2, 9)).tolist()
            more = f"{len(words) + 0.1 * made.normal():.2f}", "|".join(sorted({one for one in words if "e" in one}))
            lines.writerow((" ".join(["The", *words, f"{number}."]), "good" if number % 2 else "bad", *more))
    return place / "reviews.csv"


def slots(place: Path, n: int = 60) -> Path:
    """Lists of words, their tags, and what the whole sentence is; some are not tagged."""
    made = np.random.default_rng(n)
    lines = []
    for number in range(n):
        words = [*made.choice((GOOD if number % 2 else BAD) + PLACES, made.integers(2, 6)).tolist()]
        tags = ["B-place" if word in PLACES else "O" for word in words]
        one = {"tokens": words, "slots": tags if number % 5 else None, "intent": "good" if number % 2 else "bad"}
        lines.append(json.dumps(one))
    (place / "slots.jsonl").write_text("\n".join(lines))
    return place / "slots.jsonl"


def test_several_tags_a_word(tmp_path: Path) -> None:
    place = conll(tmp_path, columns=2)
    found = opening.open_data(str(place), Columns(task="several")).table
    assert found.classes[:3] == ("column2 [word] : PUNCT", "column2 [word] : PROPN", "column2 [word] : NOUN")
    assert found.classes[3:] == ("column3 [word] : O", "column3 [word] : B-place")
    assert (found.task, found.items.modality, found.labels[0].shape[1]) == ("several", "words", 2)
    names = Columns(label=("column3", "column2"), task="column3=tag, column2=tag")
    assert opening.open_data(str(place), names).table.classes[0] == "column3 [word] : O"
    one = opening.open_data(str(place), Columns(label=("column2",), task="column2=tag")).table
    assert (one.task, one.classes) == ("tag", ("PUNCT", "PROPN", "NOUN"))
    plain = opening.open_data(str(place), Columns()).table
    assert (plain.task, plain.classes) == ("tag", ("O", "B-place"))  # the last, as ever
    rows, tags = blocks.own(found.labels, blocks.blocks(found.classes)[1])
    assert len(rows) == 60
    assert all(one.tolist() == other.tolist() for one, other in zip(tags, plain.labels, strict=True))


def test_lists_of_words_beside_labels_of_sentences(tmp_path: Path) -> None:
    columns = Columns(text=("tokens",), label=("intent", "slots"), task="several")
    found = opening.open_data(str(slots(tmp_path)), columns)
    assert found.table.classes == ("slots [word] : O", "slots [word] : B-place", "intent: bad", "intent: good")
    tagged = [not np.isnan(one[:, 0]).any() for one in found.table.labels]
    assert tagged == [number % 5 > 0 for number in range(60)]
    assert [one[0, 1] for one in found.table.labels[:4]] == [0, 1, 0, 1]
    assert np.isnan(np.concatenate([one[1:, 1] for one in found.table.labels])).all()
    said = " ".join(one.sentence for one in found.findings)
    assert "slots tag (2 tags), intent classify (2 classes); type --task 'intent=regress' to change one" in said
    assert "slots 48, intent 60 have one" in said
    alone = opening.open_data(str(tmp_path / "slots.jsonl"), Columns(text=("tokens",), label=("intent",)))
    assert alone.table.task == "classify"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (Columns(label=("column2", "column9"), task="column2=tag, column9=tag"),
         r"ner.conll has no column 'column9' of tags; .* it has column2, column3; type --task 'column2=tag, column3"),
        (Columns(label=("column2", "column3"), task="column2=classify, column3=tag"),
         "column 'column2' holds a tag for each word, got 'column2=classify'; type 'column2=tag'"),
        (Columns(task="classify"), "words with a tag each are for the task tag, got --task classify; leave it out"),
        (Columns(group="who", task="several"), "is a file of words and their tags, .* got --group who: leave that out"),
    ],
)  # fmt: skip
def test_columns_of_tags_that_cannot_be_learnt(columns: Columns, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        opening.open_data(str(conll(tmp_path, columns=2)), columns)


def test_words_without_one_of_their_tags(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("We\tX\tO\nsaw\tO\n\nRome\tY\tB-place\n")
    with pytest.raises(DataError, match=r"line 2 of .* has 2 cells, and a tag is asked for from column 3; give each"):
        opening.open_data(str(tmp_path / "a.conll"), Columns(task="several"))
    (tmp_path / "b.conll").write_text("We\t_\tO\nsaw\t_\tO\n\nRome\t_\tB-place\n")
    with pytest.raises(
        DataError, match=r"column 'column2' cannot be learnt: the words carry 1 tag.* --task 'COLUMN=tag"
    ):
        opening.open_data(str(tmp_path / "b.conll"), Columns(task="several"))
    with pytest.raises(DataError, match="several tasks need two label columns at least, got column2"):
        opening.open_data(str(conll(tmp_path)), Columns(task="several"))
    lists = Columns(text=("tokens",), label=("slots", "intent"), task="slots=classify, intent=classify")
    with pytest.raises(DataError, match="column 'slots' holds a tag for each word"):
        opening.open_data(str(slots(tmp_path)), lists)


def test_texts_beside_tagged_words_become_words(tmp_path: Path) -> None:
    tagged = opening.open_data(str(conll(tmp_path)))
    texts = opening.open_data(str(reviews(tmp_path)), Columns(label=("mood",)))
    for order in ((0, 1), (1, 0)):
        sets, names = ([(tagged, texts)[one] for one in order], [("ner", "mood")[one] for one in order])
        found = together.joined(sets, names)
        assert sorted(block.name for block in blocks.blocks(found.table.classes)) == ["mood", "ner"]
        assert found.table.items.modality == "words"
        words = [found.table.items.read(int(row), 0) for row in found.table.rows]
        assert [len(one) for one in words] == [len(one) for one in found.table.labels]
        first = words[0 if order[0] else 60]
        assert first == tuple(texts.table.items.read(int(texts.table.rows[0]), 0).split())
        assert "are divided at white space into words" in " ".join(one.sentence for one in found.findings)
    lines = [f"so it is {n},it is so {n},{n % 2}" for n in range(20)]
    (tmp_path / "pairs.csv").write_text("\n".join(["sentence1,sentence2,label", *lines]))
    pairs = opening.open_data(str(tmp_path / "pairs.csv"))
    with pytest.raises(DataError, match=r"one kind of items, got words data .* and pairs of texts"):
        together.joined((tagged, pairs), ("ner", "same"))


def test_copies_among_words_and_texts_stay_in_one_part(tmp_path: Path) -> None:
    tagged = opening.open_data(str(conll(tmp_path)))
    lines = [" ".join(tagged.table.items.read(row, 0)) for row in range(60)]
    same = tmp_path / "same.csv"
    same.write_text("text,mood\n" + "\n".join(f'"{line}",{"xy"[row % 2]}' for row, line in enumerate(lines)))
    found = together.joined(
        (tagged, opening.open_data(str(same), Columns(text=("text",), label=("mood",)))), ("a", "b")
    )
    split = splitting.split(found, seed=0, strata=splitting.Strata(np.zeros(120, dtype=np.int64), ("one",), False))
    parts = [
        {found.table.items.digest(int(found.table.rows[one])) for one in part} for part in (split.train, split.test)
    ]
    assert not parts[0] & parts[1]
    assert "lie in more than one of the data sets" in found.findings[-1].sentence
    again = splitting.from_json(json.loads(json.dumps(splitting.to_json(split, found))), found)
    assert again.test.tolist() == split.test.tolist()


def test_cells_that_list_several_labels(tmp_path: Path) -> None:
    found = opening.open_data(str(reviews(tmp_path)), Columns(label=("mood", "kinds"), task="several"))
    table = found.table
    assert table.classes[:3] == ("mood: bad", "mood: good", "kinds [any] : asleep")
    kinds = blocks.blocks(table.classes)[1]
    rows, own = blocks.own(table.labels, kinds)
    assert own.dtype == np.uint8
    assert own.shape == (len(rows), len(kinds.classes))
    assert "kinds multilabel" in " ".join(one.sentence for one in found.findings)
    named = Columns(label=("mood", "kinds"), task="kinds=classify")
    assert blocks.blocks(opening.open_data(str(tmp_path / "reviews.csv"), named).table.classes)[1].task == "classify"


def test_estimators_for_words_and_items_are_kept(tmp_path: Path) -> None:
    """A floor of several tasks among words: tags for each word, what is said of items at each of theirs."""
    words = [("in", "Rome"), ("Rome", "is", "dull"), ("in", "delight"), ("dull",)] * 5
    tags = np.empty(20, dtype=object)
    tags[:] = [np.array([one == "Rome" for one in item], dtype=np.int64) for item in words]
    moods = np.array(["dull" in item for item in words], dtype=np.int64)
    weights = np.ones(20, dtype=np.float32)
    given = sterna.contracts.Given
    examples = [sterna.contracts.Examples(one, labels, weights) for one, labels in
                ((words, tags), (estimators.Joined().transform(words), moods))]  # fmt: skip
    window = folder.load("shallow", "window")().fit(given(examples[0], examples[0], ("O", "B-place"), "tag", 0))
    tfidf = folder.load("shallow", "tfidf")().fit(given(examples[1], examples[1], ("no", "yes"), "classify", 0))
    model = estimators.PerTask([window, estimators.of_words(tfidf)], [2, 2], ["tag", "classify"])
    estimators.save(model, tmp_path / "m.skops")
    found = estimators.answers(estimators.load(tmp_path / "m.skops"), words[:4], "several", 4)
    assert found.shape == (8, 4)
    np.testing.assert_array_equal(found[:, :2], window.predict_proba(words[:4]))
    np.testing.assert_array_equal(found[2:5, 2:], np.tile(tfidf.predict_proba(["Rome is dull"]), (3, 1)))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of one layer with random weights, the same every time."""
    return standins_text.small_bert(tmp_path_factory.mktemp("bert"), layers=1, width=32)


PLAIN = Settings(floors="classical", mitigate=False)  # type: ignore[call-arg]
ROUTES: dict[str, Any] = {"tune": "probe, partial(stages=1)", "schedule": "epochs=2", "settings": PLAIN}


@pytest.fixture(scope="module")
def finished(bert: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Tagged sentences learnt beside reviews with a class, a number and several labels."""
    place = tmp_path_factory.mktemp("words")
    columns = Columns(label=("mood", "length", "kinds"), task="several")
    result = sterna.fit(
        reviews(place), encoder=bert, out=place / "run", columns=columns, beside=str(conll(place)), **ROUTES
    )
    return result, place / "run"


def test_a_run_says_of_each_task_what_sharing_does(finished: tuple[Result, Path]) -> None:
    result, out = finished
    assert result.sharing is not None
    assert [(one.task, one.kind, one.verdict.figure) for one in result.sharing.tasks[:4]] == [
        ("mood", "classify", "accuracy"), ("length", "regress", "r2"), ("kinds", "multilabel", "example_f1"),
        ("ner", "tag", "entity_f1"),
    ]  # fmt: skip
    assert {one.name for one in result.routes} == {"probe", "partial(stages=1)", "window"}
    assert {"mean_entity_f1", "mean_accuracy", "mean_r2", "mean_example_f1"} <= result.routes[0].metrics.keys()
    assert "token_accuracy" in result.sharing.tasks[3].alone
    assert load(out).sharing == result.sharing
    assert result.data["counts"]["train"]["ner [word] : B-place"] > 0
    floor = next(one for one in result.routes if one.floor)
    assert floor.metrics["mean_entity_f1"].value > 0.8  # a model for each task, the tags included


def test_heads_on_frozen_features_share_nothing(finished: tuple[Result, Path]) -> None:
    assert finished[0].sharing is not None
    for one in finished[0].sharing.tasks[:4]:
        assert one.route == "probe"
        assert one.verdict.gain == pytest.approx(0, abs=1e-4)
        assert one.shared[one.verdict.figure].value == pytest.approx(one.alone[one.verdict.figure].value, abs=1e-4)


def test_the_model_answers_for_new_sentences(finished: tuple[Result, Path], tmp_path: Path) -> None:
    result, out = finished
    assert result.shipped != "window", "a floor ships, so the test would look at something else"
    fitted = artifact.load(out / "model")
    assert (fitted.task, fitted.classes) == ("several", tuple(result.data["classes"]))
    texts = ["We saw Rome and a delight .", "dull end"]
    found = sterna.predict(out / "model", texts)
    assert found.words == ("We", "saw", "Rome", "and", "a", "delight", ".", "dull", "end")
    for block in blocks.blocks(found.classes):
        own = found.answers[:, block.rows]
        if block.task != "tag":
            assert (own[:7] == own[0]).all()
            assert (own[7] == own[8]).all()
        if block.task in ("classify", "tag"):
            np.testing.assert_allclose(own.sum(axis=1), 1)
    found.save(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["place"] for line in lines] == ["0", "1", "2", "3", "4", "5", "6", "0", "1"]
    assert {"prediction ner", "prediction mood", "prediction length", "prediction kinds"} <= lines[0].keys()
    again = sterna.predict(out / "model", conll(tmp_path, 4))
    assert len(again.answers) == len(again.words) > 8
    card = (out / "model" / "README.md").read_text()
    assert r"Those named TASK \[word\] : TAG are the tags of each word" in card
    assert r"labels of which an item has any number" in card
    opened = __import__("transformers").BertForTokenClassification.from_pretrained(out / "model")
    assert opened.config.id2label[0] == "mood: bad"


def test_the_page_shows_tags_and_labels(finished: tuple[Result, Path]) -> None:
    page = report.render(finished[1])
    for told in ("Type by type", "<h3>ner</h3>", "Label by label", "<h3>kinds</h3>", "Together or alone", "entities"):
        assert told in page
    with (finished[1] / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    tagged = {line["item"] for line in lines if line["truth ner"]}
    assert tagged
    assert not tagged & {line["item"] for line in lines if line["truth mood"]}


def test_tags_learnt_beside_others_alone_are_a_run_of_tags(
    finished: tuple[Result, Path], bert: str, tmp_path: Path
) -> None:
    """A run on the tagged sentences themselves, divided in the same way, gives the same answers."""
    out = finished[1]
    split = json.loads((out / "alone" / "ner" / "splits" / "seed0.json").read_text())
    written = (out.parent / "ner.conll").read_text().split("\n\n")
    (tmp_path / "ner").mkdir()
    for part in ("train", "validation", "test"):
        mine = sorted(int(name.rpartition(" ")[2]) for name, *_ in split["parts"][part])
        (tmp_path / "ner" / f"{part}.conll").write_text("\n\n".join(written[number - 1] for number in mine))
    quick = {**ROUTES, "tune": "partial(stages=1)", "settings": replace(PLAIN, page=False)}
    sterna.fit(tmp_path / "ner", encoder=bert, out=tmp_path / "run", **quick)
    alone, own = (
        np.load(next(place.glob("routes/partial*/predictions.npz"))) for place in (tmp_path / "run", out / "alone/ner")
    )
    # On the held-out part both answer after a second fit to training and validation sentences, in another order.
    assert alone["test"].shape == own["test"].shape
    # Frozen stages were computed beside other sentences, so that sums over padding round otherwise.
    np.testing.assert_allclose(alone["validation"], own["validation"], atol=1e-4)


def test_a_floor_ships_and_answers(bert: str, tmp_path: Path) -> None:
    """Two tags a word by a model each, and all balancing losses beside."""
    columns = Columns(task="several")
    quick = {"schedule": "epochs=1", "settings": replace(PLAIN, page=False)}
    result = sterna.fit(
        conll(tmp_path, columns=2), encoder=bert, out=tmp_path / "run", columns=columns,
        tune="partial(stages=1, warm_head=false)",
        loss="fixed(weights='column3 2'), uncertainty, gradnorm, pcgrad", **quick,
    )  # fmt: skip
    assert len(result.routes) == 5
    assert result.shipped == "window"
    found = sterna.predict(tmp_path / "run" / "model", "actors saw Rome .")
    assert found.answers.shape == (4, 5)
    np.testing.assert_allclose(found.answers.reshape(4, 5)[:, :3].sum(axis=1), 1)


def test_sealed_labels_have_no_shape() -> None:
    """Of a part whose labels are sealed the words alone are known."""
    words: Any = SimpleNamespace(modality="words", lengths=np.array([2, 3]))
    table = Table(words, np.array([0, 1]), np.zeros(0, dtype=np.int64), ROWS, "several")
    feed: Any = SimpleNamespace(labels=table.labels, words=feeds.word_counts(table))
    labels, there = feeds._labels(feed, np.array([0, 1]))
    assert there is not None
    assert there.tolist() == [[True, True, False], [True, True, True]]
    assert not labels.any()
