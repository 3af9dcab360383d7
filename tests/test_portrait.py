"""The evidence of a finished run: its shape, its bounds, what it says of networks that are known, and what it skips."""

import base64
import dataclasses
import io
import json
import types

import numpy as np
import pytest
import torch
from PIL import Image

from sterna import gallery, opening, portrait, stagewise
from sterna.evidence import Finished
from sterna.maths import confident
from sterna.maths.discriminant import softmax
from sterna.records import Columns, Split, Table
from sterna.store import Store

KEYS = {"version", "classes", "task", "items", "map", "confusion", "confused", "wrong", "suspects", "duplicates",
        "attention", "stages", "reliability", "notes"}  # fmt: skip


def _answers(network, encoder, table):
    given = stagewise.Input(table.items, encoder, 0, None)
    with torch.no_grad():
        logits = network.head(torch.from_numpy(stagewise.features(network, given, table.rows)))
    return softmax(logits.double().numpy())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The first 400 digits, the packaged encoder, and a network whose last layers were moved by hand."""
    loaded = opening.open_data("sklearn:digits", Columns(), lambda done, total: None)
    table = loaded.table.take(np.arange(400))
    encoder = opening.open_encoder("builtin:glyphs")
    store = Store(tmp_path_factory.mktemp("store"))
    depth = encoder.network.depth
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = encoder.network.with_head(len(table.classes), {}).eval()
        with torch.no_grad():
            for weight in network.stages["layer4"].parameters():
                weight.mul_(1.1)
    below = list(network.stages).index("layer4")
    rows = table.rows
    store.activations(encoder, table.items, [below, depth], rows=rows)
    split = Split(np.arange(250), np.arange(250, 300), np.arange(300, 400), 3)
    # A head that knows something: class means.
    own = stagewise.features(network, stagewise.Input(table.items, encoder, 0, None), rows[:300])
    means = np.stack([own[table.labels[:300] == one].mean(axis=0) for one in range(10)])
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(means))
        network.head.bias.copy_(torch.from_numpy(-(means**2).sum(axis=1) / 2))
    held = table.take(split.test)
    truth = held.labels
    sealed = table.labels.copy()
    sealed[split.test] = -7  # whatever learns from these fails
    return Finished(
        dataclasses.replace(table, labels=sealed),
        split,
        _answers(network, encoder, held),
        truth,
        store,
        encoder,
        network,
    )


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    portrait.write(place, run)
    return json.loads((place / "evidence.json").read_text("utf-8"))


def _pictures(found):
    return [one["picture"] for one in (*found["items"], *found["attention"]) if one["picture"]]


def test_the_document_has_the_agreed_shape(made, run):
    assert set(made) == KEYS
    assert made["version"] == 1
    assert made["task"] == "classify"
    assert made["classes"] == list(run.table.classes)
    kinds = {"name": str, "label": int, "part": str, "kind": str}
    for item in made["items"]:
        assert {key: type(item[key]) for key in kinds} == kinds
        assert item["part"] in ("train", "validation", "test")
        assert 0 <= item["label"] < 10
    numbers = [one["item"] for key in ("wrong", "suspects", "attention") for one in made[key]]
    numbers += [at for key in ("duplicates", "confused") for one in made[key] for at in one["items"]]
    numbers += made["map"]["items"]
    assert set(numbers) == set(range(len(made["items"])))
    drawn = made["map"]
    assert {len(drawn[key]) for key in ("before", "after", "items", "labels", "parts")} == {400}
    assert sorted(set(drawn["parts"])) == ["test", "train", "validation"]


def test_mistakes_are_those_of_the_answers(made, run):
    predicted = run.answers.argmax(axis=1)
    matrix = np.array(made["confusion"])
    assert matrix.sum() == 100
    assert np.trace(matrix) == (predicted == run.truth).sum()
    assert len(made["wrong"]) == min(24, 100 - np.trace(matrix))
    sure = [one["probability"] for one in made["wrong"]]
    assert sure == sorted(sure, reverse=True)
    for one in made["wrong"]:
        item = made["items"][one["item"]]
        assert (item["part"], item["label"]) == ("test", one["truth"])
        assert one["truth"] != one["prediction"]
    for one in made["confused"]:
        assert matrix[one["truth"], one["prediction"]] == one["count"] >= len(one["items"])
    assert sum(count for *_, count in made["reliability"]["bins"]) == 100
    gaps = [abs(sure - right) * count for sure, right, count in made["reliability"]["bins"]]
    assert made["reliability"]["ece"] == pytest.approx(sum(gaps) / 100, abs=1e-4)


def test_stages_that_stood_still_say_so_exactly_and_the_scaled_one_by_how_much(made):
    found = {one["name"]: one for one in made["stages"]}
    names = list(found)
    for name in names[: names.index("layer4")]:
        assert (found[name]["cka"], found[name]["moved"]) == (1.0, 0.0)
    assert found["layer4"]["moved"] == pytest.approx(0.1, abs=1e-4)
    assert 0.5 < found["layer4"]["cka"] < 1
    assert found["pool"]["moved"] == 0


def test_pictures_are_small_jpegs_within_the_room(made):
    pictures = [one["picture"] for one in made["items"] if one["picture"]] + [
        one["picture"] for one in made["attention"]
    ]
    assert len(made["attention"]) == 12
    assert sum(map(len, pictures)) < 1_500_000
    for one in pictures[:20]:
        picture = Image.open(io.BytesIO(base64.b64decode(one.removeprefix("data:image/jpeg;base64,"))))
        assert picture.format == "JPEG"
        assert max(picture.size) <= 96


def test_the_same_run_gives_the_same_bytes(made, run):
    again = json.loads(json.dumps(portrait.gathered(run)))
    assert again == made


@pytest.fixture(scope="module")
def opinions():
    """What `confident.judged` gave, by what it was given: most of the time of a portrait."""
    return {}


@pytest.fixture
def judged_once(monkeypatch, opinions):
    """For tests of something else than doubtful labels: the same features and labels are judged once."""
    real = confident.judged

    def judged(*given, **more):
        words = (*given, *more.items())
        key = tuple(one.tobytes() if isinstance(one, np.ndarray) else repr(one) for one in words)
        return opinions[key] if key in opinions else opinions.setdefault(key, real(*given, **more))

    monkeypatch.setattr(portrait.confident, "judged", judged)


def test_flipped_labels_are_among_the_suspects(run):
    labels = run.table.labels.copy()
    flipped = np.arange(5, 245, 24)
    labels[flipped] = (labels[flipped] + 3) % 10
    truth = run.truth.copy()
    truth[11] = (truth[11] + 4) % 10
    wrong = dataclasses.replace(run, table=dataclasses.replace(run.table, labels=labels), truth=truth)
    found = portrait.gathered(wrong)
    names = {found["items"][one["item"]]["name"] for one in found["suspects"]}
    named = [run.table.items.name(int(row)) for row in run.table.rows]
    assert sum(named[at] in names for at in flipped) >= 0.7 * len(flipped)
    assert named[311] in names, "held-out labels are judged too"


def test_without_room_pictures_are_left_out(run, judged_once, monkeypatch):
    monkeypatch.setattr(gallery, "ROOM", 20_000)
    found = portrait.gathered(run)
    pictures = [one["picture"] for one in found["items"] if one["picture"]] + [
        one["picture"] for one in found["attention"]
    ]
    assert 10 < len(pictures) < 40
    assert sum(map(len, pictures)) <= 20_000


def test_a_probe_has_one_map_and_nothing_moved(run, judged_once):
    probe = run.encoder.network.with_head(10, {}).eval()
    found = portrait.gathered(dataclasses.replace(run, network=probe))
    assert found["map"]["after"] is None
    assert {(one["cka"], one["moved"]) for one in found["stages"]} == {(1.0, 0.0)}
    assert any("no stage of what ships has changed" in note["sentence"] for note in found["notes"])


def test_nothing_in_the_store_costs_a_sample(run, tmp_path):
    small = dataclasses.replace(run, store=Store(tmp_path))
    found = portrait.gathered(small)
    assert len(found["map"]["before"]) == portrait.FRESH
    assert any(f"Of 400 examples, {portrait.FRESH} were looked at" in note["sentence"] for note in found["notes"])
    names = [one["name"] for one in found["stages"]]
    assert names == list(run.encoder.network.stages)
    assert not list((tmp_path / "shards").glob("*.act")), "the store is looked at only"


def test_what_has_no_network_leaves_out_the_rest(run):
    found = portrait.gathered(dataclasses.replace(run, encoder=None, network=None))
    assert KEYS - set(found) == {"map", "suspects", "duplicates", "stages", "attention"}
    assert any("what ships has no network" in note["sentence"] for note in found["notes"])


def test_an_estimator_is_shown_on_the_map_of_a_pretrained_encoder(run, judged_once):
    found = portrait.gathered(dataclasses.replace(run, network=None))
    assert KEYS - set(found) == {"stages", "attention"}
    assert found["map"]["after"] is None


def test_source_items_lie_on_the_map_under_the_classes_of_the_target(run, judged_once):
    classes = (*run.table.classes[5:], "something else")
    labels = np.array([0, 1, 5] * 60)
    source = Table(run.table.items, run.table.rows[:180], labels, classes)
    found = portrait.gathered(dataclasses.replace(run, source=source))
    labelled = [
        label for label, part in zip(found["map"]["labels"], found["map"]["parts"], strict=True) if part == "source"
    ]
    assert sorted(set(labelled)) == [-1, 5, 6]
    assert len(labelled) == 180
    shown = {one["name"] for one in found["items"] if one["part"] == "source"}
    assert shown == {run.table.items.name(int(row)) for row in source.rows}


class _Rows:
    """Rows of a table in memory."""

    modality, in_memory, lengths = "row", True, None

    def __init__(self, count):
        self.columns = (type("C", (), {"name": "age"}), type("C", (), {"name": "sex"}))
        self.count = count

    def __len__(self):
        return self.count

    def read(self, index, hint):
        return (float(index), None if index % 2 else "f")

    def name(self, index):
        return f"row {index}"

    def digest(self, index):
        return str(index)


def _other(task, labels, answers, tmp_path):
    split = Split(np.arange(20), np.arange(20, 25), np.arange(25, 40), 0)
    table = Table(_Rows(40), np.arange(40), labels, ("a", "b"), task)
    return Finished(table, split, answers, labels[split.test], Store(tmp_path))


def test_numbers_show_their_largest_errors(tmp_path):
    truth = np.stack([np.arange(40.0), 100 * np.arange(40.0)], axis=1)
    answers = truth[25:] + 0.1
    answers[3] += [0, -300]
    answers[7] += [5, 0]
    found = portrait.gathered(_other("regress", truth, answers, tmp_path))
    first, second = found["wrong"][:2]
    assert (found["items"][first["item"]]["name"], first["column"]) == ("row 32", 0)
    assert (found["items"][second["item"]]["name"], second["column"]) == ("row 28", 1)
    assert (second["truth"], second["prediction"]) == (2800, 2500.1)
    assert found["items"][first["item"]]["text"] == "age = 32, sex = f"
    assert found["items"][first["item"]]["label"] is None
    assert not {"confusion", "confused", "reliability", "suspects"} & set(found)


def test_several_labels_show_where_one_was_most_wrong(tmp_path):
    truth = np.zeros((40, 2), dtype=np.uint8)
    truth[::2, 1] = 1
    answers = np.where(truth[25:] > 0, 0.9, 0.1)
    answers[4] = [0.8, 0.1]
    found = portrait.gathered(_other("multilabel", truth, answers, tmp_path))
    assert [found["items"][one["item"]]["name"] for one in found["wrong"]] == ["row 29"]
    assert (found["wrong"][0]["truth"], found["wrong"][0]["prediction"]) == ([], [0])
    assert "confusion" not in found


def test_tags_are_said_to_be_left_out(tmp_path):
    labels = np.empty(40, dtype=object)
    labels[:] = [np.zeros(3, dtype=np.int64)] * 40
    found = portrait.gathered(_other("tag", labels, np.full((45, 2), 0.5), tmp_path))
    assert set(found) == {"version", "classes", "task", "items", "notes"}
    assert len(found["notes"]) == 1


def test_many_classes_have_no_matrix(tmp_path):
    names = tuple(map(str, range(201)))
    run = _other("classify", np.arange(40) % 3, np.full((15, 201), 1 / 201), tmp_path)
    found = portrait.gathered(dataclasses.replace(run, table=dataclasses.replace(run.table, classes=names)))
    assert "confusion" not in found
    assert found["confused"]
    assert any("more than 200 classes" in note["sentence"] for note in found["notes"])


def test_a_label_that_is_the_most_probable_one_is_no_suspect(monkeypatch):
    """Class 1 is hardly ever sure of itself, so its threshold lies at 0.35 and is passed by an example of class 0."""
    sure = np.array([0.95] * 6 + [0.6, 0.2] + [0.65] * 6)  # of class 0
    judged = np.stack([sure, 1 - sure], axis=1)
    monkeypatch.setattr(portrait.confident, "judged", lambda *given: (judged, np.zeros((0, 2))))
    labels = np.array([0] * 8 + [1] * 6)
    table = types.SimpleNamespace(classes=("a", "b"))
    page = types.SimpleNamespace(
        run=types.SimpleNamespace(table=table, split=types.SimpleNamespace(seed=0)), note=lambda *given: None
    )
    seen = types.SimpleNamespace(
        labels=labels,
        features=np.zeros((14, 2)),
        encoder=types.SimpleNamespace(reference="x:y"),
        inside=lambda *names: np.zeros(14, dtype=bool),
        show=lambda page, at: at,
    )
    limits = confident.thresholds(judged, labels)
    assert set(confident.suspects(judged, labels, limits)) == {6, 7}, "both pass the thresholds"
    assert [one["item"] for one in portrait._suspects(page, seen)] == [7]
