"""Few labels of five flowers: addends that stay close to the pretrained network against cross-entropy alone.

    python bench/regularisers.py [--seeds 5] [--shares 0.15 0.3 0.5 1] [--pool 1000] [--out FILE]

The last stages of MobileNetV2 move on a prefix from the store. At each seed `--test` photos of each class are held out
and a pool of training photos is drawn from the rest; a share of the pool is learnt from, a fifth of that for
validation. All objectives see the same photos at the same seed, so they are compared in pairs. Results so far are kept
in `--out`, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import PICTURES, SHARED, interval, show

import sterna
from sterna.settings import Settings
from sterna.store import Store

ALONE = "cross_entropy"
ADDENDS = ("l2sp", "delta", "bss", "co_tuning", "lwf", "ewc")


def laid_out(options: argparse.Namespace, share: float, seed: int, place: Path) -> None:
    """Links under `place/train/CLASS` and `place/test/CLASS`: a share of the pool and the held-out photos of a seed."""
    shutil.rmtree(place, ignore_errors=True)
    classes = sorted(path for path in options.data.iterdir() if path.is_dir())
    for number, folder in enumerate(classes):
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
        order = np.random.default_rng([seed, number]).permutation(len(paths))
        held, rest = order[: options.test], order[options.test :]
        count = round(share * options.pool / len(classes))
        for part, chosen in (("test", held), ("train", rest[:count])):
            (place / part / folder.name).mkdir(parents=True)
            for one in chosen:
                (place / part / folder.name / paths[one].name).symlink_to(paths[one].resolve())


def fitted(options: argparse.Namespace, share: float, seed: int, objectives: list[str], scratch: Path) -> dict:
    """Accuracy and seconds of each objective."""
    laid_out(options, share, seed, scratch / "photos")
    shutil.rmtree(scratch / "run", ignore_errors=True)
    result = sterna.fit(
        scratch / "photos",
        encoder=f"local:{options.weights}",
        tune=options.tune,
        loss=", ".join(objectives),
        schedule=options.schedule,
        settings=Settings(floors="classical", refit=0, mitigate=False, page=False),
        out=scratch / "run",
        store=Store(options.cache),
    )
    found = {}
    for one in result.routes:
        if not one.floor:
            name = one.name.partition(" / ")[2] or objectives[0]
            found[name] = [one.metrics["accuracy"].value, one.seconds]
    if set(found) != set(objectives):
        raise RuntimeError(f"asked for {objectives}, got {list(found)}")
    return found


def run(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """All shares and seeds; what is in the file already is not done again."""
    done: dict[str, dict[str, list[float]]] = json.loads(options.out.read_text()) if options.out.exists() else {}
    objectives = [ALONE, *(f"{ALONE} + {addend}" for addend in options.addends)]
    keys = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for share in options.shares:
                key = f"{share:g} {seed}"
                keys.append(key)
                missing = [one for one in objectives if one not in done.get(key, {})]
                if missing:
                    done[key] = done.get(key, {}) | fitted(options, share, seed, missing, Path(folder))
                    options.out.write_text(json.dumps(done, indent=1))
                    print(key, {name: round(value[0], 3) for name, value in done[key].items()}, flush=True)
    return {key: {name: done[key][name] for name in objectives} for key in keys}


def table(done: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> list[list[str]]:
    """For each share and objective: mean accuracy, spread over seeds, difference from cross-entropy alone, seconds."""
    rows = []
    for share in options.shares:
        runs = [found for key, found in done.items() if key.partition(" ")[0] == f"{share:g}"]
        for name in runs[0]:
            hits = 100 * np.array([found[name][0] for found in runs])
            gains = hits - 100 * np.array([found[ALONE][0] for found in runs])
            seconds = float(np.median([found[name][1] for found in runs]))
            gain = "" if name == ALONE else interval(gains.tolist())
            labels = f"{share:.0%} ({round(share * options.pool)})"
            rows.append([labels, name, f"{hits.mean():.1f}", spread(hits), gain, f"{seconds:.1f}", str(len(runs))])
    return rows


def spread(values: np.ndarray) -> str:
    return f"{values.std(ddof=1):.1f}" if len(values) > 1 else "-"


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "flowers"
    weights = Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights")) / "mobilenetv2"
    made.add_argument("--data", type=Path, default=data, help="a folder of class folders")
    made.add_argument("--weights", type=Path, default=weights)
    made.add_argument("--seeds", type=int, default=5, help="other seeds draw other photos, of either part")
    made.add_argument("--shares", nargs="+", type=float, default=[0.15, 0.3, 0.5, 1.0])
    made.add_argument("--pool", type=int, default=1000, help="training photos of share 1")
    made.add_argument("--test", type=int, default=200, help="held-out photos of each class")
    made.add_argument("--addends", nargs="+", default=list(ADDENDS))
    made.add_argument("--tune", default="partial(stages=2)")
    made.add_argument("--schedule", default="epochs=12, patience=6")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--cache", type=Path, default=None, help="a folder for activations; by default the user's")
    made.add_argument(
        "--out", type=Path, default=Path("regularisers.json"), help="results so far; a second run goes on"
    )
    return made.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    show(
        f"Accuracy in % on {5 * options.test} held-out photos of five flowers, {options.tune}",
        ("labels", "objective", "mean", "sd", "against cross_entropy alone", "seconds", "seeds"),
        table(run(options), options),
        ["Differences are paired by seed, with 95 % intervals over seeds; seconds are medians of learning one route."],
    )


if __name__ == "__main__":
    main()
