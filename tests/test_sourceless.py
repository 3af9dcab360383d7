"""A saved model adapted to examples without labels, its source no longer at hand: start, leakage, verdict, refusals."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import sterna
from sterna import across, artifact, crossing, folder, intake, opening, report, targeting
from sterna.contracts import Adapted, Linear
from sterna.errors import SpecError, SternaError
from sterna.intake import Sides
from sterna.network import Network
from sterna.plan import Route, Subject, Words
from sterna.records import Batch, Columns, Fitted, Loaded, Seen, Setting, Step
from sterna.settings import Settings
from sterna.watching import Watch

pytestmark = pytest.mark.usefixtures("few_resamples")

PLAIN = "page=false"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of upright digits in `source/model`; turned ones with their labels, with wrong ones and with none."""
    made = tmp_path_factory.mktemp("sourceless")
    images, labels = load_digits(return_X_y=True)
    pictures = (images.reshape(-1, 8, 8) / 16 * 255).astype(np.uint8)
    np.savez(made / "upright.npz", x=pictures[:120], y=labels[:120])
    turned = np.stack([rotate(one, 35, reshape=False, order=1) for one in pictures[240:340]])
    np.savez(made / "turned.npz", x=turned, y=labels[240:340])
    np.savez(made / "wrong.npz", x=turned, y=np.random.default_rng(0).permutation(labels[240:340]))
    np.savez(made / "bare.npz", x=turned)
    np.savez(made / "few.npz", x=turned[:60], y=labels[240:300])
    (made / "source").mkdir()
    encoder = opening.open_encoder("builtin:glyphs")
    prepare = encoder.preparation
    framed = np.stack([prepare.frame(Image.fromarray(one).convert("RGB")) for one in pictures[:120]])
    inputs = prepare.tensor(torch.from_numpy(framed))
    with torch.random.fork_rng(), torch.no_grad():
        network = encoder.network.with_head(10, {}).eval()
        features = network(inputs).features.numpy()
    head = LogisticRegression(C=0.1, max_iter=500).fit(features, labels[:120])
    network.set_weights(Linear(head.coef_.astype(np.float32), head.intercept_.astype(np.float32)))
    fitted = Fitted(network, encoder, tuple(map(str, range(10))))
    artifact.save(fitted, made / "source" / "model", inputs[:4], "# A model of upright digits", {"task": "classify"})
    (made / "source" / "result.json").write_text("{}")  # as in the folder of a run
    return made


@pytest.fixture(scope="module")
def adapted(place: Path) -> sterna.Result:
    words: dict[str, Any] = {"loss": "shot, adabn", "schedule": "epochs=10, batch=32", "settings": PLAIN}
    return sterna.fit(place / "source" / "model", target=place / "turned.npz", out=place / "run", **words)


def answers(run: Path, name: str) -> np.ndarray:
    with np.load(next((run / "routes").glob(f"{name}*")) / "predictions.npz") as kept:
        found: np.ndarray = kept["test"]
    return found


def accuracy(found: sterna.Result) -> dict[str, float]:
    return {one.name: one.metrics["accuracy"].value for one in found.routes}


def test_the_run_starts_from_the_models_own_head(adapted: sterna.Result, place: Path) -> None:
    before = sterna.predict(place / "source" / "model", place / "bare.npz")
    np.testing.assert_allclose(answers(place / "run", "source-only"), before.answers, atol=1e-6)
    assert before.classes == tuple(adapted.data["classes"])
    old, new = (load_file(str(one / "model" / "model.safetensors")) for one in (place / "source", place / "run"))
    assert torch.equal(old["fc.weight"], new["fc.weight"])  # SHOT moves features under a head that stands still
    assert torch.equal(old["fc.bias"], new["fc.bias"])
    assert not torch.equal(old["layer4.0.conv2.weight"], new["layer4.0.conv2.weight"])


def test_adaptation_without_the_source_is_measured_against_the_model_as_it_is(adapted: sterna.Result) -> None:
    assert adapted.verdict.floor == "source only"
    assert adapted.verdict.route == adapted.shipped == "shot"
    assert adapted.verdict.sentence.startswith("Adaptation helps: shot is ")
    assert adapted.verdict.n == 100
    found = accuracy(adapted)
    assert found["shot"] > found["source only"] + 0.05
    criteria = {"rank", "entropy", "mutual_information", "snd"}
    assert all(set(one.validation) == criteria for one in adapted.routes)
    assert adapted.data["sizes"] == {"train": 0, "validation": 0, "test": 100}
    assert (adapted.data["target"], adapted.data["known"]) == (100, 0)
    assert {one.name: one.tune for one in adapted.routes} == {"shot": "partial", "adabn": "none", "source only": "none"}


def test_what_ships_answers_as_the_run_did(adapted: sterna.Result, place: Path) -> None:
    found = sterna.predict(place / "run" / "model", place / "bare.npz")
    lines = list(csv.DictReader((place / "run" / "predictions.csv").open()))
    shares = np.array([[float(line[name]) for name in found.classes] for line in lines])
    np.testing.assert_allclose(found.answers, shares, atol=0.01)  # the store may keep features in half precision


def test_the_page_says_what_the_run_started_from(adapted: sterna.Result, place: Path) -> None:
    page = report.write(place / "run").read_text(encoding="utf-8")
    assert f"The saved model {place / 'source' / 'model'} was adapted to 100 of turned.npz" in page
    assert "no example of the source was at hand" in page
    assert "The floor is the saved model as it is." in page


def test_no_label_of_the_target_is_reachable(adapted: sterna.Result, place: Path) -> None:
    """With other labels, and with none, all answers and all that criteria say are the same to the bit."""
    words: dict[str, Any] = {"loss": "shot, adabn", "schedule": "epochs=10, batch=32", "settings": PLAIN}
    for name in ("wrong", "bare"):
        found = sterna.fit(place / "source" / "model", target=place / f"{name}.npz", out=place / name, **words)
        for one, other in zip(found.routes, adapted.routes, strict=True):
            assert dict(one.validation) == dict(other.validation)
        for route in ("shot", "adabn", "source-only"):
            np.testing.assert_array_equal(answers(place / name, route), answers(place / "run", route))
    assert found.verdict.sentence.startswith("Cannot tell: no label of the target is known")
    assert any("cannot see one that hurts" in one for one in found.warnings)


def taken(place: Path, **sides: str) -> Loaded:
    given = {name: str(place / value) for name, value in sides.items()}
    return intake.opened(Sides(str(place / "source" / "model"), **given), Columns(), Settings(), Watch())[0]


def test_labelled_examples_of_the_target_judge_and_are_not_learnt_from(place: Path) -> None:
    loaded = taken(place, target="bare.npz", labels="few.npz")
    split = targeting.held(loaded, 3)
    assert (len(split.train), len(split.validation), len(split.test), split.seed) == (0, 0, 60, 3)
    assert not loaded.blind
    assert loaded.unlabelled is not None
    assert len(loaded.unlabelled) == 100
    assert not len(loaded.unlabelled.labels)
    first = [loaded.table.items.digest(int(row)) for row in loaded.table.rows]
    items = loaded.unlabelled.items
    assert items is loaded.table.items
    assert first == [items.digest(int(row)) for row in loaded.unlabelled.rows[:60]]
    labels = load_digits(return_X_y=True)[1][240:300]
    assert [loaded.table.classes[one] for one in loaded.table.labels] == [str(one) for one in labels]


def test_classes_the_model_lacks_are_adapted_to_and_not_measured(place: Path, tmp_path: Path) -> None:
    with np.load(place / "turned.npz") as kept:
        pictures, labels = kept["x"], kept["y"]
    names = np.where(labels < 8, labels.astype(str), np.array([f"letter {one}" for one in labels]))
    np.savez(tmp_path / "other.npz", x=pictures, y=names)
    loaded = taken(place, target=str(tmp_path / "other.npz"))
    assert len(loaded.table) == int((labels < 8).sum())
    assert loaded.unlabelled is not None
    assert len(loaded.unlabelled) == 100
    assert loaded.table.classes == tuple(map(str, range(10)))


def test_the_model_is_part_of_what_a_run_is_known_by(place: Path) -> None:
    loaded = taken(place, target="bare.npz")
    assert loaded.model is not None
    other = replace(loaded, model=replace(loaded.model, digest="other"))
    assert intake.digest(loaded) != intake.digest(other)


def changed(place: Path, made: Path, **config: Any) -> str:
    """The model's folder with another config."""
    made.mkdir()
    for file in (place / "source" / "model").iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    kept = json.loads((made / "config.json").read_text())
    kept["pretrained_cfg"] = {k: v for k, v in kept.get("pretrained_cfg", {}).items() if k != "label_names"}
    (made / "config.json").write_text(json.dumps({**kept, **config}))
    return str(made)


def test_models_that_cannot_be_adapted_say_why(place: Path, tmp_path: Path) -> None:
    def refused(data: str, target: str = str(place / "bare.npz"), **more: Any) -> str:
        columns = Columns(**more)
        with pytest.raises(SternaError) as caught:
            intake.opened(Sides(data, target=target), columns, Settings(), Watch())
        return str(caught.value)

    assert "is the folder of a run; its model is" in refused(str(place / "source"))
    hand = changed(place, tmp_path / "hand", library="sterna")
    assert "has no stages that could move" in refused(hand)
    numbers = changed(place, tmp_path / "numbers", sterna={"task": "regress"})
    assert "answers the task regress" in refused(numbers)
    nameless = changed(place, tmp_path / "nameless", label_names=[])
    assert "does not name the classes" in refused(nameless)
    model = str(place / "source" / "model")
    assert "is a saved model, no data; name examples to adapt it to with --target" in refused(model, "")
    assert "--domain hospital tells sources apart" in refused(model, domain="hospital")
    (tmp_path / "rows.csv").write_text("a,b,label\n" + "".join(f"{n},{n % 7},{n % 2}\n" for n in range(20)))
    assert "takes image data, but those of" in refused(model, str(tmp_path / "rows.csv"))


def planned(**words: Any) -> tuple[Route, ...]:
    given = {"encoder": "", "tune": "", "loss": "", "augment": "none", "optimizer": "adamw", "schedule": ""} | words
    return across.alone(Words(**given), Subject("image", "classify"), Settings(), "local:m")


def test_routes_move_stages_under_the_models_head_and_the_floor_moves_nothing() -> None:
    first, second, third, floor = planned(loss="shot, mcc + l2sp, adabn", tune="full")
    assert [one.name for one in (first, second, third, floor)] == ["shot", "mcc + l2sp", "adabn", "source only"]
    assert [repr(one.tune) for one in (first, second, third, floor)] == ["full", "full", "none", "none"]
    assert [one.floor for one in (first, second, third, floor)] == [False, False, False, True]
    assert {one.encoder for one in (first, second, third, floor)} == {"local:m"}
    assert not floor.losses
    assert [one.name for one in planned()] == ["shot", "source only"]
    assert [one.name for one in planned(tune="partial, full")] == ["partial / shot", "full / shot", "source only"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"encoder": "builtin:glyphs"}, "brings its own encoder and head, got --encoder builtin:glyphs; leave it out"),
        ({"method": "jda"}, "--method jda learns from labelled examples, and a saved model comes without"),
        ({"teacher": "m"}, "--teacher m learns from labelled examples"),
        ({"loss": "cross_entropy + shot"}, "cross_entropy learns from labels, and a saved model comes without"),
        ({"loss": "shot + dan"}, "dan needs labelled examples of the source"),
        ({"loss": "l2sp"}, "'l2sp' looks at no example of the target"),
        ({"tune": "probe"}, "probe moves no stage, so 'shot' has nothing to change"),
        ({"tune": "wise_ft"}, "wise_ft chooses or learns by labels"),
        ({"tune": "contrastive"}, "contrastive chooses or learns by labels"),
        ({"tune": "scratch"}, "scratch starts from random weights"),
    ],
)
def test_what_needs_labels_is_refused(words: dict[str, str], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        planned(**words)


def test_settings_that_need_labels_are_refused() -> None:
    words = Words("", "", "shot", "none", "adamw", "")
    for name, value in (("shots", 5), ("curve", (0.5,)), ("budget", "1m")):
        with pytest.raises(SpecError, match=f"--{name} is for runs that learn from labels"):
            across.alone(words, Subject("image", "classify"), replace(Settings(), **{name: value}), "local:m")
    with pytest.raises(SpecError, match="circular looks at labelled examples of the source"):
        across.alone(words, Subject("image", "classify"), replace(Settings(), criterion="snd + circular"), "local:m")


def test_a_policy_that_leaves_the_head_is_for_saved_models_alone(place: Path) -> None:
    with pytest.raises(SpecError, match="none leaves the head as it is, and one for these labels must be learnt"):
        sterna.fit(place / "upright.npz", encoder="builtin:glyphs", tune="none", out=place / "never")
    assert not (place / "never").exists()


def test_criteria_without_a_source_judge_answers_alone() -> None:
    """What is given of the source is nothing, and what they say is their value by the formula."""
    shares = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    nothing = np.zeros((0, 2))
    none = np.zeros(0, dtype=np.int64)
    seen = Adapted(nothing, none, nothing, np.eye(3, 2), shares, (nothing, np.eye(3, 2)), lambda *_: nothing, 0)
    said = dict(crossing.judged(seen, crossing.criteria("", True, alone=True)))
    entropy = -(shares * np.log(shares)).sum(axis=1).mean()
    mean = shares.mean(axis=0)
    assert said["entropy"] == pytest.approx(-entropy)
    assert said["mutual_information"] == pytest.approx(-(mean * np.log(mean)).sum() - entropy)
    assert 0 < said["snd"] < np.log(2)
    assert not any(np.isnan(value) for value in said.values())


def test_addends_for_saved_models_ask_nothing_of_the_labelled_batch() -> None:
    """Other labelled examples leave their value as it is, to the bit."""
    loaded = {name: folder.load("losses", name) for name in folder.names("losses")}
    free = {name: one for name, one in loaded.items() if getattr(one, "sourceless", False)}
    assert set(free) == {"shot", "minimum_entropy", "mcc", "pseudo_labels", "adabn", "l2sp"}
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network({"one": nn.Linear(4, 3)}, nn.Linear(3, 2))

    def seen(inputs: Tensor, labels: Tensor) -> Seen:
        batch = Batch(inputs, labels, torch.ones(len(inputs)), places=torch.arange(len(inputs)))
        return Seen(batch, network(inputs))

    target = seen(torch.randn(6, 4, generator=draw), torch.zeros(6, dtype=torch.int64))
    sources = [seen(torch.randn(5, 4, generator=draw), torch.tensor([0, 1, 0, 1, one])) for one in (0, 1)]
    setting = Setting(network, np.array([3, 3]), ("a", "b"), 6, unlabelled=6)
    for name, one in free.items():
        assert not one.supervised
        values = [one().build(setting)(Step(source, network, 0.5, target)) for source in sources]
        assert torch.equal(values[0], values[1]), name
