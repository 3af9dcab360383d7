"""Stages that are chosen from the data against stages that are named, on five flowers as they are and shifted.

    python bench/adaptive.py [--seeds 3] [--shifts none noise inverted] [--labels 150] [--out FILE]
    python bench/adaptive.py --epochs-of early_freezing     # seconds of each epoch, before and after stages freeze

The photos are shrunk to `--side` pixels and then left as they are, covered with noise, or inverted; training and
held-out photos alike, so the encoder is what they have shifted from. At each seed `--test` photos of each class are
held out and `--labels` others learnt from, a fifth of them for validation. All policies see the same photos at the same
seed, so they are compared in pairs with `full`. Results so far are kept in `--out`, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import PICTURES, SHARED, interval, show
from PIL import Image

import sterna
from sterna import train
from sterna.settings import Settings
from sterna.store import Store

AGAINST = "full"
POLICIES = (AGAINST, "probe", "partial(stages=1)", "lp_ft", "surgical", "surgical(single=true)", "early_freezing")
NOISE = 60.0  # standard deviation, of 255


def shifted(picture: Image.Image, shift: str, generator: np.random.Generator) -> Image.Image:
    """The picture after a shift of its input: "none", "noise" or "inverted"."""
    values = np.asarray(picture, dtype=np.float64)
    if shift == "inverted":
        values = 255 - values
    elif shift == "noise":
        values = values + NOISE * generator.normal(size=values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def laid_out(options: argparse.Namespace, shift: str, seed: int, place: Path) -> None:
    """Shrunken and shifted pictures under `place/train/CLASS` and `place/test/CLASS`."""
    shutil.rmtree(place, ignore_errors=True)
    classes = sorted(path for path in options.data.iterdir() if path.is_dir())
    each = options.labels // len(classes)
    for number, folder in enumerate(classes):
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
        generator = np.random.default_rng([seed, number])
        order = generator.permutation(len(paths))[: options.test + each]
        for part, chosen in (("test", order[: options.test]), ("train", order[options.test :])):
            (place / part / folder.name).mkdir(parents=True)
            for one in chosen:
                with Image.open(paths[one]) as picture:
                    picture.draft("RGB", (2 * options.side, 2 * options.side))
                    small = picture.convert("RGB")
                scale = options.side / min(small.size)
                small = small.resize([max(1, round(side * scale)) for side in small.size], Image.Resampling.BICUBIC)
                shifted(small, shift, generator).save(place / part / folder.name / f"{paths[one].stem}.png")


def fitted(options: argparse.Namespace, shift: str, seed: int, policies: list[str], scratch: Path) -> dict:
    """Accuracy and seconds of each policy."""
    laid_out(options, shift, seed, scratch / "photos")
    shutil.rmtree(scratch / "run", ignore_errors=True)
    result = sterna.fit(
        scratch / "photos",
        encoder=f"local:{options.weights}",
        tune=", ".join(policies),
        schedule=options.schedule,
        optimizer=options.optimizer,
        settings=Settings(floors="classical", refit=0, mitigate=False, page=False),
        out=scratch / "run",
        store=Store(scratch / "store"),
    )
    for warning in result.warnings:
        if "stages" in warning:
            print(f"  {warning}", flush=True)
    found = {one.name: [one.metrics["accuracy"].value, one.seconds] for one in result.routes if not one.floor}
    if set(found) != set(policies):
        raise RuntimeError(f"asked for {policies}, got {list(found)}")
    return found


def run(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """All shifts and seeds; what is in the file already is not done again."""
    done: dict[str, dict[str, list[float]]] = json.loads(options.out.read_text()) if options.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for shift in options.shifts:
                key = f"{shift} {seed}"
                missing = [one for one in options.policies if one not in done.get(key, {})]
                if missing:
                    done[key] = done.get(key, {}) | fitted(options, shift, seed, missing, Path(folder))
                    options.out.write_text(json.dumps(done, indent=1))
                    print(key, {name: round(value[0], 3) for name, value in done[key].items()}, flush=True)
    return done


def table(done: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> list[list[str]]:
    """For each shift and policy: mean accuracy, spread over seeds, difference from full tuning, seconds."""
    rows = []
    for shift in options.shifts:
        runs = [done[f"{shift} {seed}"] for seed in range(options.seeds)]
        for name in options.policies:
            hits = 100 * np.array([found[name][0] for found in runs])
            gains = hits - 100 * np.array([found[AGAINST][0] for found in runs])
            seconds = float(np.median([found[name][1] for found in runs]))
            gain = "" if name == AGAINST else interval(gains.tolist())
            deviation = f"{hits.std(ddof=1):.1f}" if len(hits) > 1 else "-"
            rows.append([shift, name, f"{hits.mean():.1f}", deviation, gain, f"{seconds:.1f}", str(len(runs))])
    return rows


def epochs(options: argparse.Namespace, scratch: Path) -> list[list[str]]:
    """The seconds of each epoch of one policy, with how many stages stood still in it."""
    laid_out(options, "none", 0, scratch / "photos")
    ends: list[float] = []
    real = train.note

    def noted(*given: Any) -> None:
        ends.append(time.perf_counter())
        real(*given)

    train.note = noted
    sterna.fit(
        scratch / "photos",
        encoder=f"local:{options.weights}",
        tune=options.epochs_of,
        schedule=options.schedule,
        optimizer=options.optimizer,
        settings=Settings(floors="classical", refit=0, mitigate=False, page=False),
        out=scratch / "run",
        store=Store(scratch / "store"),
    )
    histories = [json.loads(path.read_text()) for path in (scratch / "run").rglob("history.json")]
    (history,) = [[one for one in found if "frozen" in one] for found in histories if "frozen" in found[-1]]
    taken = np.diff(ends)[-len(history) + 1 :]  # the first epoch has none before it to be timed from
    return [
        [str(one["epoch"]), str(one["frozen"]), f"{seconds:.2f}"]
        for one, seconds in zip(history[1:], taken, strict=True)
    ]


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "flowers"
    weights = Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights")) / "cifar_resnet20"
    made.add_argument("--data", type=Path, default=data, help="a folder of class folders")
    made.add_argument("--weights", type=Path, default=weights, help="small enough to be moved whole in minutes")
    made.add_argument("--side", type=int, default=40, help="pixels of the shorter side of the shrunken photos")
    made.add_argument("--seeds", type=int, default=3, help="other seeds draw other photos, of either part")
    made.add_argument("--shifts", nargs="+", default=["none", "noise", "inverted"])
    made.add_argument("--labels", type=int, default=150, help="photos to learn from, of all classes together")
    made.add_argument("--test", type=int, default=100, help="held-out photos of each class")
    made.add_argument("--policies", nargs="+", default=list(POLICIES))
    made.add_argument("--schedule", default="epochs=12, patience=6")
    made.add_argument("--optimizer", default="adamw(rate=0.003)")
    made.add_argument("--epochs-of", default="", help="a policy, of which the seconds of each epoch are shown")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--out", type=Path, default=Path("adaptive.json"), help="results so far; a second run goes on")
    return made.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.epochs_of:
        with tempfile.TemporaryDirectory() as folder:
            rows = epochs(options, Path(folder))
        show(f"Epochs of {options.epochs_of} on {options.labels} photos", ("epoch", "stages frozen", "seconds"), rows)
        return
    show(
        f"Accuracy in % on {5 * options.test} held-out photos of five flowers, {options.labels} labels",
        ("photos", "policy", "mean", "sd", f"against {AGAINST}", "seconds", "seeds"),
        table(run(options), options),
        ["Differences are paired by seed, with 95 % intervals over seeds; seconds are medians of learning one route."],
    )


if __name__ == "__main__":
    main()
