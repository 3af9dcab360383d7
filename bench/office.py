"""Domain adaptation on Office-Caltech10 SURF: 12 tasks, and seconds and memory on larger samples.

Every method of `adapt/` that needs no target labels. Rows are divided by their sums and standardised by domain with the
population deviation; all of the source is learnt from and all of the target judged. One nearest neighbour on top of the
features, as published, and another head where said: a nearest neighbour knows no weights, so methods that weigh
examples have logistic regression. Seconds are of processor, without the head. `--keep` goes on with what is measured.
`--speed` measures synthetic samples of 100 features, a process for each row.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import SHARED, show
from distances import forget_peak, resident
from scipy.io import loadmat
from scipy.linalg import solve
from scipy.optimize import brentq
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from sterna import folder
from sterna.contracts import Aligned, Pair
from sterna.maths.adapted_heads import Learnt, linear, logistic, nearest

Domain = tuple[np.ndarray, np.ndarray]  # rows and class numbers
DOMAINS = {"C": "caltech10", "A": "amazon", "W": "webcam", "D": "dslr"}
TASKS = [tuple(both) for both in ("CA", "CW", "CD", "AC", "AW", "AD", "WC", "WA", "WD", "DC", "DA", "DW")]
METHODS = (
    ("none", "nearest"),
    ("pca(components=20)", "nearest"),
    ("pca(components=100)", "nearest"),
    ("subspace_alignment(components=80)", "nearest"),
    ("subspace_alignment(components=20)", "nearest"),
    ("gfk(components=20)", "nearest"),
    ("gfk", "nearest"),
    ("tca", "nearest"),
    ("tca(unit=true)", "nearest"),
    ("sstca(unit=true)", "nearest"),
    ("jda", "nearest"),
    ("bda(balance=0.5)", "nearest"),
    ("bda", "nearest"),
    ("optimal_transport(form=exact)", "nearest"),
    ("optimal_transport", "nearest"),
    ("optimal_transport(form=group, regularisation=2)", "nearest"),
    ("optimal_transport(form=unbalanced)", "nearest"),
    ("linear_transport", "nearest"),
    ("coral", "nearest"),
    ("msda", "nearest"),
    ("scl", "nearest"),
    ("meda", "its own"),
    ("joint_transport", "its own"),
    ("bbse", "its own"),
    ("em_shift", "its own"),
    ("none", "SVC"),
    ("coral", "SVC"),
    ("none", "logistic"),
    ("kmm", "logistic"),
    ("kliep", "logistic"),
    ("ulsif", "logistic"),
    ("rulsif", "logistic"),
    ("logistic_ratio", "logistic"),
    ("nearest_ratio", "logistic"),
    ("none", "LinearSVC"),
    ("coral", "LinearSVC"),
)
FAST = (
    "none",
    "pca",
    "subspace_alignment",
    "gfk",
    "coral",
    "tca",
    "tca(kernel=rbf)",
    "sstca",
    "jda",
    "jda(kernel=rbf)",
    "bda",
    "meda",
)


def domain(place: Path, letter: str) -> Domain:
    """Rows as the published tables have them, and class numbers."""
    (path,) = [one for one in place.glob("*.mat") if one.stem.lower().startswith(DOMAINS[letter][:6])]
    read = loadmat(path)
    rows = read["fts"].astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    deviation = rows.std(axis=0)
    return (rows - rows.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0), read["labels"].ravel().astype(
        np.int64
    ) - 1


def head(name: str, made: Aligned, classes: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Features -> class numbers."""
    if name in ("nearest", "logistic"):
        given = Learnt(made.features, made.labels, made.weights, classes, seed)
        learnt = nearest(given) if name == "nearest" else linear(logistic, given)
        return lambda rows: learnt.answers(rows).argmax(axis=1)
    if name == "LinearSVC":
        columns = squared_hinge(with_ones(made.features), made.labels, made.weights, classes)
        return lambda rows: (with_ones(rows) @ columns).argmax(axis=1)
    machine = SVC(C=1.0, kernel="linear").fit(made.features, made.labels, sample_weight=made.weights)
    return lambda rows: np.asarray(machine.predict(rows))


def with_ones(rows: np.ndarray) -> np.ndarray:
    """A column of ones, whose weight is the intercept; it counts to the length of the weights, as in liblinear."""
    return np.column_stack([rows, np.ones(len(rows))])


def squared_hinge(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """(d, classes) the optimum of what scikit-learn's `LinearSVC(C=1)` minimises, one class against the rest.

    |w|^2 / 2 + sum_i weight_i max(0, 1 - y_i w'x_i)^2 by Newton's method on products of rows (Chapelle 2007,
    "Training a Support Vector Machine in the Primal"): given those rows that miss their margin it is ridge regression
    on them, and where they no longer change it ends. liblinear's primal form is not at the optimum after 1,000 rounds.
    """
    products = rows @ rows.T
    found = []
    for label in range(classes):
        sign = np.where(labels == label, 1.0, -1.0)
        duals, values = np.zeros(len(rows)), np.zeros(len(rows))
        for _ in range(1000):
            missed = sign * values < 1
            inner = products[np.ix_(missed, missed)] + np.diag(0.5 / weights[missed])
            aim = np.zeros(len(rows))
            aim[missed] = solve(inner, sign[missed], assume_a="pos")
            ahead = products[:, missed] @ aim[missed]
            if ((sign * ahead < 1) == missed).all():
                break
            part = best_part((duals, values), (aim - duals, ahead - values), sign, weights)
            duals, values = duals + part * (aim - duals), values + part * (ahead - values)
        else:
            raise RuntimeError(f"Class {label} has no optimum after 1,000 steps.")
        found.append(rows.T @ aim)
    return np.stack(found, axis=1)


def best_part(
    at: tuple[np.ndarray, np.ndarray], step: tuple[np.ndarray, np.ndarray], sign: np.ndarray, weights: np.ndarray
) -> float:
    """How much of a step, of duals and of the values that follow, leads to the smallest loss; at most all of it."""

    def slope(part: float) -> float:
        hinge = np.maximum(0, 1 - sign * (at[1] + part * step[1]))
        return float((at[0] + part * step[0]) @ step[1] - 2 * (weights * hinge * sign) @ step[1])

    return 1.0 if slope(1.0) <= 0 else float(brentq(slope, 0.0, 1.0))


def measured(method: Any, top: str, task: tuple[str, ...], domains: dict[str, Domain]) -> tuple[float, float]:
    """Per cent of the target that is answered rightly, and the seconds of processor that adaptation took."""
    (source, labels), (target, truth) = (domains[letter] for letter in task)
    begin = time.process_time()
    made = method.adapt(Pair(source, labels, target, 10, 0))
    seconds = time.process_time() - begin
    if isinstance(made, Aligned):
        answers = head(top, made, 10, 0)(made.view(target))
    else:
        answers = made.answer(target).argmax(axis=1)
    return 100 * float((answers == truth).mean()), seconds


def accuracies(
    asked: Sequence[tuple[str, str]], tasks: Sequence[tuple[str, ...]], data: Path, keep: Path | None
) -> list[list[str]]:
    """Rows of the table; what is kept is not measured again."""
    kept = json.loads(keep.read_text()) if keep and keep.exists() else {}
    domains = {letter: domain(data, letter) for letter in DOMAINS}
    rows = []
    for written, top in asked:
        found = kept.setdefault(f"{written} + {top}", {})
        (method,) = folder.resolve("adapt", written)
        for task in tasks:
            if "-".join(task) not in found:
                found["-".join(task)] = measured(method, top, task, domains)
        if keep:
            keep.write_text(json.dumps(kept))
        hits, seconds = np.array([found["-".join(task)] for task in tasks]).T
        print(f"{written} {top}: {hits.mean():.2f}, {seconds.sum():.1f} s", file=sys.stderr, flush=True)
        rows.append([written, top, *(f"{one:.1f}" for one in hits), f"{hits.mean():.2f}", f"{seconds.sum():.1f}"])
    return rows


def timed(task: tuple[str, int, int]) -> tuple[float, float]:
    """Seconds, the view of the target included, and MiB above the start."""
    written, n, d = task
    draw = np.random.default_rng(0)
    labels, truth = draw.integers(10, size=n), draw.integers(10, size=n)
    centres, turn = draw.normal(size=(10, d)), np.linalg.qr(draw.normal(size=(d, d)))[0]
    source = draw.normal(size=(n, d)) + centres[labels]
    target = (draw.normal(size=(n, d)) + centres[truth] + 0.5) @ (np.eye(d) + 0.1 * turn)
    method = folder.resolve("adapt", written)[0]
    with threadpool_limits(1):
        method.adapt(Pair(source[:50], labels[:50], target[:50], 10, 0))  # libraries are loaded
        forget_peak()
        before, begin = resident("VmRSS"), time.perf_counter()
        made = method.adapt(Pair(source, labels, target, 10, 0))
        made.view(target) if isinstance(made, Aligned) else made.answer(target)
        return time.perf_counter() - begin, resident("VmHWM") - before


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "office" / "surf"
    options.add_argument("--data", type=Path, default=data, help="the folder of the four .mat files")
    options.add_argument("--speed", action="store_true", help="measure seconds and memory instead")
    options.add_argument("--rows", type=int, nargs="+", default=[500, 2000, 8000, 50_000], help="of each domain")
    options.add_argument("--d", type=int, default=100, help="features")
    options.add_argument("--methods", nargs="+", help="methods as written, instead of the list")
    options.add_argument(
        "--head", choices=("nearest", "logistic", "LinearSVC", "SVC"), default="nearest", help="on --methods"
    )
    options.add_argument("--tasks", nargs="+", help="such as C-A; all 12 by default")
    options.add_argument("--keep", type=Path, help="a JSON file of what is measured, gone on with")
    chosen = options.parse_args()
    if chosen.speed:
        speeds(chosen.methods or FAST, chosen.rows, chosen.d)
        return
    asked = [(one, chosen.head) for one in chosen.methods] if chosen.methods else METHODS
    tasks = [tuple(one.split("-")) for one in chosen.tasks] if chosen.tasks else TASKS
    with threadpool_limits(1):
        rows = accuracies(asked, tasks, chosen.data, chosen.keep)
    title = "Office-Caltech10 SURF, per cent of the target that is answered rightly; one thread"
    show(title, ["method", "head", *(f"{a}-{b}" for a, b in tasks), "mean", "s"], rows)


def speeds(methods: Sequence[str], sizes: list[int], d: int) -> None:
    """Seconds and memory of each method at each size."""
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for written in methods:
            row = [written]
            for seconds, peak in pool.imap(timed, [(written, n, d) for n in sizes]):
                row.append(f"{seconds:.2f} / {peak:.0f}")
                print(f"{written}: {row[-1]}", file=sys.stderr, flush=True)
            rows.append(row)
    show(
        f"s / MiB above the start, rows a side, {d} features, 10 classes, one thread",
        ["method", *map(str, sizes)],
        rows,
    )


if __name__ == "__main__":
    main()
