"""How good the methods are that criteria choose without target labels: against the best in hindsight, and none at all.

Every method of `adapt/` that needs no target labels is fitted on every task; its accuracy on the target is known to the
bench alone. For each criterion: the accuracy of its pick, how much that is above the head alone on the source, how far
below the best method in hindsight, its worst task, and how its order of the methods goes with that of their accuracies.

Office-Caltech: 12 pairs of 4 domains, 800 visual words, rows divided by their sum, z-scored in each domain. Reviews: 12
pairs of 4 domains, 1,000 reviews of each, the 400 words that most of both domains have, as log counts of unit length.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import SHARED, show
from scipy.io import loadmat
from scipy.stats import spearmanr
from sklearn.datasets import load_svmlight_file
from threadpoolctl import threadpool_limits

from sterna import adapting, folder, spec
from sterna.contracts import Pair
from sterna.errors import DataError

DATA = Path(os.environ.get("STERNA_DATA", SHARED / "data"))
OFFICE = {"C": "Caltech10", "A": "amazon", "W": "webcam", "D": "dslr"}
REVIEWS = ("books", "dvd", "electronics", "kitchen")
WORDS, EACH = 400, 1000


def office(pair: str) -> tuple[Pair, np.ndarray]:
    """One task, such as "C-A", and the truth of its target."""
    sides = []
    for letter in pair.split("-"):
        read = loadmat(DATA / "office" / "surf" / f"{OFFICE[letter]}_SURF_L10.mat")
        features = read["fts"].astype(float)
        features /= features.sum(axis=1, keepdims=True)
        deviation = features.std(axis=0)
        features = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
        sides.append((features, read["labels"].ravel().astype(int) - 1))
    (source, labels), (target, truth) = sides
    return Pair(source, labels, target, 10, 0), truth


def reviews(pair: str) -> tuple[Pair, np.ndarray]:
    """One task, such as "books-dvd", and the truth of its target."""
    sides = []
    for name in pair.split("-"):
        path = DATA / "amazon_reviews" / f"{name}_train.svmlight"
        counts, signs = load_svmlight_file(str(path), n_features=5000)
        rows = np.random.default_rng(0).permutation(len(signs))[:EACH]
        sides.append((counts[rows].toarray(), (signs[rows] > 0).astype(int)))
    often = np.argsort(-sum((counts > 0).sum(axis=0) for counts, _ in sides), kind="stable")[:WORDS]
    logs = [np.log1p(counts[:, often]) for counts, _ in sides]
    source, target = (one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12) for one in logs)
    return Pair(source, sides[0][1], target, 2, 0), sides[1][1]


def judges() -> list[str]:
    """Every criterion, those of a loss with either."""
    found = []
    for name in folder.names("criteria"):
        losses = [one for one in spec.options(folder.load("criteria", name)) if one.name == "loss"]
        found += [name, *(f"{name}(loss=log)" for _ in losses)]
    return found


def measured(pair: Pair, truth: np.ndarray, methods: list[str], head: str, known: dict[str, Any]) -> dict[str, Any]:
    """Accuracy, criteria and seconds of each method that is not known yet, and the accuracy of the head alone."""
    alone = adapting.plain(pair, head).answer(pair.target)
    found = {"source": float((alone.argmax(axis=1) == truth).mean()), "methods": dict(known.get("methods", {}))}
    every = " + ".join(judges())
    for method in methods:
        if method in found["methods"]:
            continue
        start = time.perf_counter()
        try:
            chosen = adapting.choose(method, pair, every, head)
        except DataError as error:
            print(f"  {method}: {error}", file=sys.stderr)
            continue
        hit = float((chosen.model.answer(pair.target).argmax(axis=1) == truth).mean())
        values = dict(chosen.ranking[0].values)
        found["methods"][method] = {"accuracy": hit, "criteria": values, "seconds": time.perf_counter() - start}
        print(f"  {method} {hit:.3f} {found['methods'][method]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return found


def picks(task: dict[str, Any], criteria: tuple[str, ...]) -> tuple[float, float]:
    """The accuracy of what a sum of criteria picks, and the rank correlation of its order with the accuracies."""
    methods = list(task["methods"].values())
    hits = np.array([one["accuracy"] for one in methods])
    ranks = adapting.mean_ranks(np.array([[one["criteria"][name] for name in criteria] for one in methods]))
    order = spearmanr(-ranks, hits).statistic if np.ptp(ranks) > 0 and np.ptp(hits) > 0 else 0.0
    return float(hits[int(ranks.argmin())]), float(order)


def row(name: str, hits: np.ndarray, orders: np.ndarray | None, alone: np.ndarray, best: np.ndarray) -> list[str]:
    """One line of the table, in points."""
    order = "" if orders is None else f"{np.mean(orders):.2f}"
    figures = (hits.mean(), (hits - alone).mean(), (hits - best).mean(), (hits - alone).min())
    return [name, *(f"{100 * one:.1f}" for one in figures), order]


def table(tasks: dict[str, Any], most: int) -> list[list[str]]:
    """Rows for the head alone, chance, the best in hindsight, each criterion, and the best sums of up to `most`."""
    found = list(tasks.values())
    hits = [np.array([one["accuracy"] for one in task["methods"].values()]) for task in found]
    alone, best = np.array([task["source"] for task in found]), np.array([one.max() for one in hits])
    each = {name: np.mean([task["methods"][name]["accuracy"] for task in found]) for name in found[0]["methods"]}
    fixed = max(each, key=lambda name: each[name])
    rows = [row("head alone", alone, None, alone, best)]
    rows.append(row("a method at random", np.array([one.mean() for one in hits]), None, alone, best))
    same = np.array([task["methods"][fixed]["accuracy"] for task in found])
    rows.append(row(f"always {fixed} (in hindsight)", same, None, alone, best))
    rows.append(row("best of each task (in hindsight)", best, None, alone, best))
    names = judges()
    sums = [one for size in range(1, most + 1) for one in itertools.combinations(names, size)]
    for criteria in sums:
        picked = np.array([picks(task, criteria) for task in found])
        rows.append(row(" + ".join(criteria), picked[:, 0], picked[:, 1], alone, best))
    return rows


def each(tasks: dict[str, Any]) -> list[list[str]]:
    """Rows for each method: its accuracy, its gain over the head alone, on how many tasks it loses, its worst task."""
    rows = []
    for name in next(iter(tasks.values()))["methods"]:
        hits = np.array([task["methods"][name]["accuracy"] for task in tasks.values()])
        gains = hits - [task["source"] for task in tasks.values()]
        seconds = np.mean([task["methods"][name]["seconds"] for task in tasks.values()])
        points = [f"{100 * one:.1f}" for one in (hits.mean(), gains.mean(), gains.min())]
        rows.append([name, *points, f"{(gains < 0).sum()} of {len(gains)}", f"{seconds:.1f}"])
    return sorted(rows, key=lambda one: -float(one[1]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", choices=("office", "reviews"), default="office")
    options.add_argument("--head", default="logistic")
    options.add_argument("--tasks", nargs="+", default=None, help="such as C-A, or books-dvd; all 12 by default")
    options.add_argument("--methods", default=None, help="alternatives with commas; the whole folder by default")
    options.add_argument("--sums", type=int, default=1, help="largest number of criteria that are added up")
    options.add_argument("--keep", type=Path, default=None, help="a JSON file of what is measured, gone on with")
    options.add_argument("--threads", type=int, default=1, help="of linear algebra")
    chosen = options.parse_args()
    domains = tuple(OFFICE) if chosen.data == "office" else REVIEWS
    tasks = chosen.tasks or ["-".join(pair) for pair in itertools.permutations(domains, 2)]
    fitting = [
        name
        for name in folder.names("adapt")
        if not (made := folder.load("adapt", name)()).needs and "classify" in made.tasks
    ]
    methods = [repr(one) for one in adapting.alternatives(chosen.methods or ", ".join(fitting))]
    kept = json.loads(chosen.keep.read_text()) if chosen.keep and chosen.keep.exists() else {}
    for task in tasks:
        if set(methods) - set(kept.get(task, {}).get("methods", {})):
            print(task, file=sys.stderr, flush=True)
            read = office if chosen.data == "office" else reviews
            with threadpool_limits(chosen.threads):
                kept[task] = measured(*read(task), methods, chosen.head, kept.get(task, {}))
            if chosen.keep:
                chosen.keep.write_text(json.dumps(kept))
    # A method that fails on one task could not be compared; a criterion that judges none there would decide by chance.
    everywhere = [name for name in methods if all(name in kept[task]["methods"] for task in tasks)]
    shown = {
        task: {**kept[task], "methods": {name: kept[task]["methods"][name] for name in everywhere}} for task in tasks
    }
    head = ["chosen by", "accuracy", "above the head alone", "below the best", "worst against the head alone", "order"]
    title = f"{chosen.data}, head {chosen.head}, {len(shown)} tasks, {len(everywhere)} methods"
    show(title, head, table(shown, chosen.sums))
    columns = ["method", "accuracy", "above the head alone", "worst", "tasks it loses", "s to fit and to be judged"]
    show(title, columns, each(shown))


if __name__ == "__main__":
    main()
