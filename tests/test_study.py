"""The whole way, from a folder of photos to a model that timm opens, on a small encoder and small photos."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import sterna
from sterna import artifact, opening, splitting
from sterna.errors import SternaError
from sterna.settings import Settings
from sterna.watching import Watch

pytestmark = pytest.mark.usefixtures("few_resamples")

HUES = ("daisy", "rose", "tulip")
WHOLE = Settings(seeds=2, mitigate=False)  # floors, a second fit and the evidence of the page, as a person has them
BRIEF = Settings(floors="classical", mitigate=False, page=False, refit=0)


def write_photos(folder, count=16, classes=HUES, seed=0):
    """Photos whose colour leans towards their class, under noise."""
    for hue, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            generator = np.random.default_rng([seed, hue, number])
            picture = generator.integers(0, 200, (24, 30, 3)).astype(np.float64)
            picture = picture * 0.7 + generator.integers(0, 60)
            picture[..., hue] += 25
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    place = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=4)
    save_file(model.state_dict(), str(place / "model.safetensors"))
    cfg = {
        "input_size": [3, 32, 32],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "crop_pct": 0.9,
        "interpolation": "bilinear",
    }
    cfg["label_names"] = ["rose", "ship", "Tulip", "car"]
    config = {
        "architecture": "test_resnet",
        "num_classes": 4,
        "num_features": model.num_features,
        "pretrained_cfg": cfg,
    }
    (place / "config.json").write_text(json.dumps(config))
    return f"local:{place}"


def fit(photos, encoder, out, tune="probe, partial(stages=1)", settings=None, **more):
    schedule = more.pop("schedule", "epochs=2, batch=8")
    return sterna.fit(
        photos,
        encoder=encoder,
        tune=tune,
        out=out,
        schedule=schedule,
        settings=settings or BRIEF,
        **more,
    )


@pytest.fixture(scope="module")
def finished(photos, encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "flowers"
    return fit(photos, encoder, out, settings=WHOLE), out


def test_the_result_has_the_documented_shape(finished):
    result, out = finished
    kept = json.loads((out / "result.json").read_text())
    assert set(kept) == {
        "routes",
        "shipped",
        "verdict",
        "comparisons",
        "choosing",
        "data",
        "environment",
        "warnings",
        "task",
        "curve",
        "students",
        "sharing",
    }
    assert [route["name"] for route in kept["routes"]] == ["probe", "partial(stages=1)", "scratch", "hog_colour"] * 2
    for route in kept["routes"]:
        assert {"name", "encoder", "tune", "loss", "seed", "n", "seconds", "metrics"} <= set(route)
        for score in route["metrics"].values():
            assert score["low"] <= score["value"] <= score["high"]
    assert kept["shipped"] in {route["name"] for route in kept["routes"]}
    assert kept["verdict"]["answer"] in ("helps", "hurts", "equivalent", "undecided")
    assert {"floor", "gain", "low", "high", "n"} <= set(kept["verdict"])
    assert sum(kept["data"]["counts"]["test"].values()) == kept["routes"][0]["n"] == 10
    assert {kept["verdict"]["floor"], *(one["floor"] for one in kept["comparisons"])} == {"scratch", "hog_colour"}
    assert str(result).splitlines()[-1] == kept["verdict"]["sentence"]


def test_predictions_of_held_out_items(finished):
    _, out = finished
    with (out / "predictions.csv").open() as text:
        rows = list(csv.DictReader(text))
    split = json.loads((out / "splits" / "seed0.json").read_text())
    assert len(rows) == 10
    assert all(row["truth"] in row["item"] for row in rows)
    assert len(json.dumps(split)) > 100


def test_the_model_opens_with_timm_and_gives_the_same_logits(finished, photos):
    _, out = finished
    fitted = artifact.load(out / "model")
    if fitted.encoder.config.get("library", "timm") != "timm":
        pytest.skip("a floor without a timm network shipped")
    model = timm.create_model(f"local-dir:{out / 'model'}", pretrained=True).eval()
    loaded = opening.open_data(str(photos))
    frames = [fitted.encoder.preparation.frame(loaded.table.items.read(row, 32)) for row in range(4)]
    inputs = fitted.encoder.preparation.tensor(torch.from_numpy(np.stack(frames)))
    with torch.no_grad():
        assert torch.allclose(model(inputs), fitted.network(inputs).logits, atol=1e-5)
        transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg), is_training=False)
        theirs = torch.stack([transform(loaded.table.items.read(row, 32)) for row in range(4)])
        assert torch.allclose(model(theirs), model(inputs), atol=0.05)
    assert model.pretrained_cfg["label_names"] == list(HUES)


def test_a_finished_run_is_read_back_and_other_options_are_refused(finished, photos, encoder):
    _, out = finished
    before = (out / "result.json").stat().st_mtime_ns
    assert fit(photos, encoder, out, settings=WHOLE).as_json() == json.loads((out / "result.json").read_text())
    assert (out / "result.json").stat().st_mtime_ns == before
    with pytest.raises(SternaError, match="holds a run with other options or data; choose another --out"):
        fit(photos, encoder, out, tune="full", settings=WHOLE)


def test_an_interrupted_run_goes_on_and_the_same_seed_gives_the_same_bits(finished, photos, encoder, tmp_path):
    _, out = finished
    told = []

    def interrupting(what, done, total):
        if "epoch" in what:
            told.append(what)
            if len(told) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(
            photos,
            encoder,
            tmp_path / "cut",
            settings=WHOLE,
            watch=Watch(advance=interrupting),
        )
    assert not (tmp_path / "cut" / "result.json").exists()
    resumed = fit(photos, encoder, tmp_path / "cut", settings=WHOLE).as_json()
    whole = json.loads((out / "result.json").read_text())
    for one, two in zip(resumed["routes"], whole["routes"], strict=True):
        assert one["metrics"] == json.loads(json.dumps(two["metrics"]))
    kept = sorted(out.glob("routes/*/predictions.npz"))
    assert len(kept) == len(whole["routes"])
    for place in kept:
        one, two = np.load(place), np.load(tmp_path / "cut" / place.relative_to(out))
        assert all(np.array_equal(one[name], two[name]) for name in ("test", "validation"))


def test_head_rows_are_reused_by_name(photos, encoder, tmp_path):
    said = []
    result = fit(photos, encoder, tmp_path / "run", tune="full", watch=Watch(say=said.append))
    assert any(
        "2 of 3 head rows start from the source's: rose, tulip" in sentence for sentence in [*said, *result.warnings]
    )


def test_a_related_source_joins_the_training_part(photos, encoder, tmp_path):
    source = write_photos(tmp_path / "source", count=6, classes=("daisy", "Rose", "thistle"), seed=7)
    said = []
    settings = replace(BRIEF, source_weight=1.0)
    result = fit(
        photos,
        encoder,
        tmp_path / "run",
        source=source,
        augment="light",
        settings=settings,
        watch=Watch(say=said.append),
    )
    assert any("12 source examples join the training part" in sentence for sentence in said)
    assert result.data["source"] == str(source)
    assert result.data["counts"]["train"]["daisy"] == 10


@pytest.mark.parametrize("augment", ["light", "strong", "flip + mixup", "cutmix"])
def test_every_policy_runs_with_augmentation(photos, encoder, tmp_path, augment):
    result = fit(
        photos,
        encoder,
        tmp_path / "run",
        tune="probe, gradual(stages=[0, 1, 9])",
        augment=augment,
        schedule="epochs=1, batch=8, views=2",
        settings=replace(BRIEF, floors="all"),
    )
    assert [one.name for one in result.routes] == ["probe", "gradual(stages=[0, 1, 9])", "scratch", "hog_colour"]


def test_a_route_that_diverges_is_reported_and_the_others_go_on(photos, encoder, tmp_path):
    result = fit(
        photos,
        encoder,
        tmp_path / "run",
        optimizer="sgd(rate=1e38)",
        schedule="epochs=2, batch=8, clip=0, warmup=0",
        settings=replace(BRIEF, floors="all"),
    )
    assert any("training diverged" in sentence for sentence in result.warnings)
    assert [route.name for route in result.routes] == ["probe", "hog_colour"]


def test_a_floor_that_wins_ships(tmp_path, encoder):
    # An encoder whose weights are all zero tells nothing; colours tell the class.
    blind, source = tmp_path / "blind", Path(encoder.removeprefix("local:"))
    blind.mkdir()
    (blind / "config.json").write_text((source / "config.json").read_text())
    state = {name: torch.zeros_like(value) for name, value in load_file(source / "model.safetensors").items()}
    save_file(state, str(blind / "model.safetensors"))
    colours = tmp_path / "colours"
    for hue, name in enumerate(HUES):
        (colours / name).mkdir(parents=True)
        for number in range(40):
            picture = np.random.default_rng([hue, number]).integers(0, 120, (20, 20, 3)).astype(np.uint8)
            picture[..., hue] += 100
            Image.fromarray(picture).save(colours / name / f"{number}.png")
    settings = Settings(test=0.4, floors="classical", page=False)
    result = fit(colours, f"local:{blind}", tmp_path / "run", tune="partial(stages=1)", settings=settings)
    # Gentler forms are tried first, as the validation part says that the floor is better; none of them helps.
    gentler = ["partial(stages=1) at a tenth of the rate", "partial(stages=1) with l2sp", "wise_ft", "probe"]
    assert [one.name for one in result.routes] == ["partial(stages=1)", "hog_colour", *gentler]
    assert any("so these were tried too: " + ", ".join(gentler) in sentence for sentence in result.warnings)
    assert result.verdict.answer == "hurts"
    assert result.shipped == "hog_colour"
    assert "ships" in result.verdict.sentence
    answer = sterna.predict(tmp_path / "run" / "model", [colours / "rose" / "3.png", colours / "tulip" / "5.png"])
    assert answer.labels == ("rose", "tulip")


def test_predict_takes_files_folders_and_patterns(finished, photos, tmp_path):
    _, out = finished
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    answer = sterna.predict(out / "model", [photos / "rose", f"{photos}/tulip/1*.png", tmp_path / "broken.jpg"])
    assert len(answer.names) == 16 + 7
    assert answer.answers.sum(axis=1) == pytest.approx(1.0)
    assert [name.endswith("broken.jpg") for name in answer.unreadable] == [True]
    answer.save(tmp_path / "answers.csv")
    rows = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert rows[0].keys() >= {"item", "prediction", "probability", *HUES}


def test_a_killed_run_leaves_nothing_half_written(photos, encoder, tmp_path):
    words = [
        "fit",
        str(photos),
        "--encoder",
        encoder,
        "--tune",
        "full",
        "--schedule",
        "epochs=400, patience=400, batch=8",
    ]
    command = [sys.executable, "-m", "sterna", *words, "--out", str(tmp_path / "run")]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("run/routes/full*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # into the epochs
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130, told
    assert b"the same command goes on" in told
    assert not list(tmp_path.glob("run/**/*.tmp"))
    assert not (tmp_path / "run" / "model").exists()


def test_a_head_after_moving_stages_reads_what_they_have_become(photos, encoder, tmp_path):
    """The head of `contrastive` is the optimum on the moved features, not on those the store kept from before."""
    result = fit(
        photos,
        encoder,
        tmp_path / "run",
        tune="contrastive(steps=12)",
        settings="floors=classical, mitigate=false, page=false",
    )
    kept = tmp_path / "run"
    assert result.routes[0].tune == "contrastive(steps=12)"
    loaded = opening.open_data(str(photos))
    split = splitting.from_json(json.loads((kept / "splits" / "seed0.json").read_text()), loaded)
    (found,) = kept.glob("routes/contrastive*-0/history.json")
    history = [entry for entry in json.loads(found.read_text()) if "last" not in entry]
    assert history[-1]["phase"] == "head"
    with np.load(found.parent / "predictions.npz") as arrays:
        answers = arrays["validation"]  # of the first fit
    labels = loaded.table.labels[split.validation]
    judged = -np.log(np.clip(answers[np.arange(len(labels)), labels], 1e-12, 1)).mean()
    # What the head was chosen by is what the finished network says of the same examples.
    assert history[-1]["objective"] == pytest.approx(judged, abs=2e-3)


def test_the_curve_tells_where_transfer_stops_paying(photos, encoder, tmp_path):
    settings = Settings(floors="classical", mitigate=False, curve=(0.3, 0.6), seeds=2, page=False)
    result = fit(photos, encoder, tmp_path / "run", tune="probe", settings=settings)
    points = result.curve
    assert [one.share for one in points] == [0.3, 0.6, 1.0]
    sizes = result.data["sizes"]
    assert points[-1].labels == sizes["train"] + sizes["validation"]
    assert points[0].labels == pytest.approx(0.3 * points[-1].labels, abs=4)
    # All labels again are the verdict again.
    assert points[-1].gain == pytest.approx(result.verdict.gain)
    assert points[-1].n == result.verdict.n
    assert json.loads((tmp_path / "run" / "result.json").read_text())["curve"][0]["labels"] == points[0].labels
    assert fit(photos, encoder, tmp_path / "run", tune="probe", settings=settings).curve == points
