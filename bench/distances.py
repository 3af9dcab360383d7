"""What each distance of `distances/` costs on two large samples of the same features.

Each row runs in a process of its own on the same samples: 20 classes, a spectrum that falls, the right sample a little
shifted. "As given" is on the features; "reduced" on 64 principal components of both samples pooled, which is what
`sterna distance` hands to those that are at their best there. Memory is the peak of resident memory while measuring,
above what the process held before with its samples, whose size is in the title.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time

import numpy as np
from common import show
from threadpoolctl import threadpool_limits

from sterna import folder
from sterna.contracts import Sides
from sterna.measuring import principal

CLASSES = 20
Task = tuple[str, bool, int, int, int]  # distance, whether reduced, n, d, threads


def sample(n: int, d: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) and labels; side 1 is shifted by a tenth of each feature's deviation."""
    scales = (1 + np.arange(d)) ** -0.5
    means = np.random.default_rng(0).normal(size=(CLASSES, d))
    draw = np.random.default_rng([1, side])
    features, labels = np.empty((n, d)), draw.integers(CLASSES, size=n)
    for start in range(0, n, 1024):  # block by block, so that drawing needs no more memory than the sample
        part = slice(start, min(start + 1024, n))
        noise = draw.standard_normal((part.stop - start, d))
        features[part] = (noise + means[labels[part]] / 2 + 0.1 * side) * scales
    return features, labels


def measured(task: Task) -> tuple[float, float | None, float, float]:
    """Value, p value, seconds, and the memory above the start in MiB."""
    name, reduced, n, d, threads = task
    metric = folder.load("distances", name)() if name else None
    (left, own), (right, other) = sample(n, d, 0), sample(n, d, 1)
    with threadpool_limits(threads):
        if reduced and name:
            (left, right), _ = principal((left, right), 0)
            left, right = left.astype(float), right.astype(float)
        # Peaks never fall, so what the preparation of the samples took is forgotten where the system can do so.
        forget_peak()
        before, begin = resident("VmRSS"), time.perf_counter()
        if metric is None:
            _, share = principal((left, right), 0)
            value, p = share, None
        else:
            found = metric.measure(Sides(left, right, 0, own, other))
            value, p = found.value, found.p
        return value, p, time.perf_counter() - begin, resident("VmHWM") - before


def forget_peak() -> None:
    """Sets the peak of resident memory back to what is resident now, on Linux."""
    if os.path.exists("/proc/self/clear_refs"):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def resident(what: str) -> float:
    """MiB: VmRSS now, VmHWM at the peak; the peak for both where the system does not tell."""
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as file:
            return next(float(line.split()[1]) for line in file if line.startswith(what)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--n", type=int, default=50_000, help="examples of each sample")
    options.add_argument("--d", type=int, default=512, help="features")
    options.add_argument("--threads", type=int, default=1, help="of linear algebra")
    known = list(folder.names("distances"))
    options.add_argument("--distance", nargs="+", choices=known, default=known, metavar="NAME")
    options.add_argument("--form", choices=("both", "given", "reduced"), default="both", help="which samples")
    chosen = options.parse_args()
    size = (chosen.n, chosen.d, chosen.threads)
    few = {name: folder.load("distances", name).reduced and chosen.d > 64 for name in chosen.distance}
    tasks: list[Task] = [("", True, *size)] if chosen.form != "given" and any(few.values()) else []
    tasks += [(name, False, *size) for name in chosen.distance if chosen.form != "reduced" or not few[name]]
    tasks += [(name, True, *size) for name in chosen.distance if few[name] and chosen.form != "given"]
    # A process for each, so that peaks are their own.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows, sums = [], {"given": 0.0, "used": 0.0}
        for (name, reduced, *_), (value, p, seconds, peak) in zip(tasks, pool.imap(measured, tasks), strict=True):
            shown = name or "(principal components)"
            print(f"{shown}{', reduced' * (reduced and bool(name))}: {seconds:.2f} s", file=sys.stderr, flush=True)
            form = "reduced" if reduced and name else "as given"
            rows.append([shown, form, f"{value:.4g}", "" if p is None else f"{p:.3g}", f"{seconds:.2f}", f"{peak:.0f}"])
            sums["given"] += 0 if reduced else seconds
            sums["used"] += seconds if reduced or not few[name] else 0
    megabytes = chosen.n * chosen.d * 8 / 2**20
    title = f"Two samples of {chosen.n} examples x {chosen.d} features ({megabytes:.0f} MiB each)"
    notes = [f"All as given: {sums['given']:.1f} s."] if chosen.form != "reduced" else []
    if chosen.form != "given":
        notes.append(f"As `sterna distance` uses them, reduced where that is better: {sums['used']:.1f} s.")
    show(title, ["distance", "features", "value", "p", "s", "MiB above the start"], rows, notes)


if __name__ == "__main__":
    main()
