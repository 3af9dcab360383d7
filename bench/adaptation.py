"""What each method of `adapt/` costs on two samples of the same features, and how often its model is right.

Each figure is made in a process of its own: Gaussian classes in `--d` features whose spectrum falls, the target moved
and stretched a little. Methods that need labels of the target get 50 of them. Seconds are those of `adapt` alone, and
memory is the peak of resident memory meanwhile, above what the process held before with its samples. "Right" is the
share of other target rows that are answered rightly, through logistic regression on the adapted features or by the
method itself; for methods that are for values alone it is the explained share of variance. "none" learns from the
source as it is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection

import numpy as np
from common import show
from distances import forget_peak, resident
from threadpoolctl import threadpool_limits

from sterna import adapting, folder
from sterna.contracts import Pair
from sterna.errors import SternaError

CLASSES = 5
KNOWN = 50
Task = tuple[str, int, int, int, bool]  # method, n, d, threads, whether its model is judged
Found = tuple[float, float, float, str]  # seconds, MiB, right, what it says


def sample(n: int, d: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) and classes; side 1 is moved along a few features and stretched along others."""
    scales = (1 + np.arange(d)) ** -0.5
    means = np.random.default_rng(0).normal(size=(CLASSES, d))
    draw = np.random.default_rng([1, side])
    labels = draw.integers(CLASSES, size=n)
    features = draw.standard_normal((n, d))
    features += means[labels] / 2
    if side:
        features *= 1 + 0.3 * np.sin(np.arange(d))
        features[:, : max(1, d // 10)] += 0.5
    features *= scales
    return features, labels


def problem(n: int, d: int, method: object) -> tuple[Pair, np.ndarray]:
    """A pair for the method, and the truth of its target; values are a feature and the class number."""
    (source, labels), (target, truth) = sample(n, d, 0), sample(n, d, 1)
    known = np.arange(KNOWN if method.needs == "labels" else 0)  # type: ignore[attr-defined]
    if "classify" in method.tasks:  # type: ignore[attr-defined]
        return Pair(source, labels, target, CLASSES, 0, known, truth[known]), truth
    values, wanted = source[:, 0] + labels, target[:, 0] + truth
    return Pair(source, values, target, 0, 0, known, wanted[known]), wanted


def measured(task: Task) -> Found:
    """Seconds and the memory above the start in MiB of `adapt`, how right its model is, and its notes."""
    name, n, d, threads, judged = task
    (method,) = folder.resolve("adapt", name)
    with threadpool_limits(threads):
        pair, truth = problem(n, d, method)
        forget_peak()
        before, begin = resident("VmRSS"), time.perf_counter()
        try:
            made = method.adapt(pair)
        except SternaError as error:
            return time.perf_counter() - begin, resident("VmHWM") - before, float("nan"), str(error)
        seconds, peak = time.perf_counter() - begin, resident("VmHWM") - before
        return seconds, peak, right(name, pair, truth) if judged else float("nan"), " ".join(made.notes)


def right(name: str, pair: Pair, truth: np.ndarray) -> float:
    """Of at most 10,000 target rows whose labels are not known."""
    rows = np.setdiff1d(np.arange(len(truth)), pair.known)[:10_000]
    found = adapting.fit(name, pair, "logistic" if pair.classes else "ridge").answer(pair.target[rows])
    if pair.classes:
        return float((found.argmax(axis=1) == truth[rows]).mean())
    return 1 - float(((found - truth[rows]) ** 2).mean() / truth[rows].var())


def _send(task: Task, pipe: Connection) -> None:
    pipe.send(measured(task))


def timed(task: Task, limit: float) -> Found | None:
    """`measured` in a process of its own, or `None` where it takes longer than `limit` seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(task, there))
    child.start()
    there.close()
    try:
        return here.recv() if here.poll(limit) else None
    except EOFError:
        return float("nan"), float("nan"), float("nan"), "The process ended without a result."
    finally:
        child.terminate()
        child.join()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--n", type=int, nargs="+", default=[500, 2000, 8000, 50_000], help="rows of each domain")
    options.add_argument("--d", type=int, default=100, help="features")
    options.add_argument("--threads", type=int, default=1, help="of linear algebra")
    options.add_argument("--limit", type=float, default=300, help="seconds for one figure, heads included")
    options.add_argument("--judge", action="store_true", help="whether models are fitted and judged too")
    known = list(folder.names("adapt"))
    options.add_argument("--methods", nargs="+", default=known, metavar="NAME", help="as written, options too")
    chosen = options.parse_args()
    rows = []
    for name in chosen.methods:
        for n in chosen.n:
            found = timed((name, n, chosen.d, chosen.threads, chosen.judge), chosen.limit)
            if found is None:
                rows.append([name, str(n), f"> {chosen.limit:.0f}", "", "", ""])
                print(f"{name}, {n}: not within {chosen.limit:.0f} s", file=sys.stderr, flush=True)
                break
            seconds, peak, share, told = found
            print(f"{name}, {n}: {seconds:.2f} s", file=sys.stderr, flush=True)
            shown = "" if np.isnan(share) else f"{share:.3f}"
            rows.append([name, str(n), f"{seconds:.2f}", f"{peak:.0f}", shown, told])
    title = f"Two samples of {chosen.d} features, {CLASSES} classes, {chosen.threads} thread(s)"
    show(title, ["method", "n", "s", "MiB above the start", "right", "says"], rows, [])


if __name__ == "__main__":
    main()
