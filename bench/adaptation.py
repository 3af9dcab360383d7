"""What each method of `adapt/` costs on two samples of the same features, and how often its model is right.

Each figure is made in a process of its own: Gaussian classes in `--d` features whose spectrum falls, the target moved
and stretched a little. Methods that need labels of the target get 50 of them. Seconds are of processor, for `adapt` and
the target's features, without the head, after a first call on a few rows; memory is the peak of resident memory
meanwhile, above what the process held before with its samples. "Right" is the share of other target rows that are
answered rightly, through logistic regression on the adapted features or by the method itself; for methods that are for
values alone it is the explained share of variance. "none" learns from the source as it is.

`--peers DIR` puts the same methods of skada, ADAPT and POT beside them: adaptation_peers.py says how to install these.
Features and weights of either go to the same head.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from common import show
from distances import forget_peak, resident
from threadpoolctl import threadpool_limits

from sterna import adapting, folder
from sterna.contracts import Aligned, Pair
from sterna.errors import SternaError
from sterna.maths import adapted_heads, ratios

CLASSES = 5
KNOWN = 50
FEW = 60  # rows of the first call
Task = tuple[str, int, int, int, bool, str, str]  # method, n, d, threads, whether its model is judged, peer, its folder
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
    name, n, d, threads, judged, peer, place = task
    with threadpool_limits(threads):
        if peer:
            return _of_peer(name, n, d, judged, peer, place)
        (method,) = folder.resolve("adapt", name)
        pair, truth = problem(n, d, method)
        few = problem(FEW, d, method)[0]
        for warm, one in ((True, few), (False, pair)):
            forget_peak()
            before, begin = resident("VmRSS"), time.process_time()
            try:
                made = method.adapt(one)
                seen = made.view(one.target) if isinstance(made, Aligned) else made.answer(one.target)
            except SternaError as error:
                if warm:
                    continue
                return time.process_time() - begin, resident("VmHWM") - before, float("nan"), str(error)
        seconds, peak = time.process_time() - begin, resident("VmHWM") - before
        share = float("nan")
        if judged and isinstance(made, Aligned) and pair.classes:
            share = answered((made.features, made.labels, made.weights), seen, pair, truth)
        elif judged:
            share = right(name, pair, truth)
        return seconds, peak, share, " ".join(made.notes)


def _of_peer(name: str, n: int, d: int, judged: bool, peer: str, place: str) -> Found:
    """`measured` of another library."""
    sys.path.append(place)
    rival = importlib.import_module("adaptation_peers").RIVALS[name][peer]
    pair, truth = problem(n, d, folder.resolve("adapt", name)[0])
    width = ratios.median_width(pair.source, pair.target, 0)
    rows = slice(FEW)
    rival(Pair(pair.source[rows], pair.labels[rows], pair.target[rows], CLASSES, 0), width)
    forget_peak()
    before, begin = resident("VmRSS"), time.process_time()
    source, weights, target = rival(pair, width)
    seconds, peak = time.process_time() - begin, resident("VmHWM") - before
    share = answered((source, pair.labels, weights), target, pair, truth) if judged else float("nan")
    return seconds, peak, share, ""


def answered(learnt: tuple[np.ndarray, ...], target: np.ndarray, pair: Pair, truth: np.ndarray) -> float:
    """The share of at most 10,000 target rows that logistic regression on aligned features answers rightly."""
    features, labels, weights = learnt
    if not (np.isfinite(features).all() and np.isfinite(target).all() and np.isfinite(weights).all()):
        return float("nan")
    weights = np.maximum(weights, 0)  # interior points end a little below
    given = adapted_heads.Learnt(features, labels, weights / weights.mean(), CLASSES, 0)
    rows = np.setdiff1d(np.arange(len(truth)), pair.known)[:10_000]
    answers = adapted_heads.linear(adapted_heads.logistic, given).answers(target[rows])
    return float((answers.argmax(axis=1) == truth[rows]).mean())


def right(name: str, pair: Pair, truth: np.ndarray) -> float:
    """Of at most 10,000 target rows whose labels are not known."""
    rows = np.setdiff1d(np.arange(len(truth)), pair.known)[:10_000]
    found = adapting.fit(name, pair, "logistic" if pair.classes else "ridge").answer(pair.target[rows])
    if pair.classes:
        return float((found.argmax(axis=1) == truth[rows]).mean())
    return 1 - float(((found - truth[rows]) ** 2).mean() / truth[rows].var())


def _send(task: Task, pipe: Connection) -> None:
    try:
        pipe.send(measured(task))
    except Exception as error:  # of another library, which must not end the table
        pipe.send((float("nan"), float("nan"), float("nan"), f"{type(error).__name__}: {error}"[:200]))


def timed(task: Task, limit: float, most: float) -> Found | None:
    """`measured` in a process of its own, or `None` beyond `limit` seconds of processor; ended beyond `most` MiB."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(task, there))
    child.start()
    there.close()
    nothing = float("nan")
    try:
        while not here.poll(0.2):
            spent, holding = used(child.pid or 0)
            if spent > limit:
                return None
            if holding > most:
                return nothing, nothing, nothing, f"Ended at {most:.0f} MiB."
        return here.recv()
    except EOFError:
        return nothing, nothing, nothing, "The process ended without a result."
    finally:
        child.terminate()
        child.join()


def used(process: int) -> tuple[float, float]:
    """Seconds of processor and MiB of resident memory of another process; 0 where the system does not tell."""
    place = Path(f"/proc/{process}")
    try:
        after_name = (place / "stat").read_text().rpartition(")")[2].split()
        pages = int((place / "statm").read_text().split()[1])
    except OSError:
        return 0.0, 0.0
    ticks = int(after_name[11]) + int(after_name[12])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 2**20


Table = dict[str, Found | None]


def run(chosen: argparse.Namespace, methods: list[tuple[str, list[str]]]) -> Table:
    """All figures, "method | n | peer" to what was found; those in `--keep` are not made again."""
    done: Table = json.loads(chosen.keep.read_text()) if chosen.keep and chosen.keep.exists() else {}
    for name, peers in methods:
        for peer in ["", *peers]:
            for n in chosen.n:
                key = f"{name} | {n} | {peer}"
                if key not in done:
                    limit = chosen.cap if peer else chosen.limit
                    task = (name, n, chosen.d, chosen.threads, chosen.judge, peer, str(chosen.peers or ""))
                    done[key] = timed(task, limit, chosen.most)
                    print(f"{key}: {written(done[key], limit)}", file=sys.stderr, flush=True)
                    if chosen.keep:
                        chosen.keep.write_text(json.dumps(done, indent=1))
                if done[key] is None or np.isnan(done[key][0]):
                    break
    return done


def written(found: Found | None, limit: float) -> str:
    """Seconds and MiB, or why there are none."""
    if found is None:
        return f"> {limit:.0f} s"
    return found[3] if np.isnan(found[0]) else f"{found[0]:.2f} s, {found[1]:.0f} MiB"


def alone(done: Table, chosen: argparse.Namespace, methods: list[tuple[str, list[str]]]) -> list[list[str]]:
    """A row for each method and size."""
    rows = []
    for name, _ in methods:
        for n in chosen.n:
            if (key := f"{name} | {n} | ") not in done:
                continue
            found = done[key]
            if found is None:
                rows.append([name, str(n), f"> {chosen.limit:.0f}", "", "", ""])
                continue
            seconds, peak, share, told = found
            rows.append(
                [name, str(n), f"{seconds:.2f}", f"{peak:.0f}", "" if np.isnan(share) else f"{share:.3f}", told]
            )
    return rows


def beside(done: Table, chosen: argparse.Namespace, methods: list[tuple[str, list[str]]]) -> list[list[str]]:
    """A row for each method, size and peer: its figures, and how many times ours its seconds are."""
    rows = []
    for name, peers in methods:
        for n in chosen.n:
            ours = done.get(f"{name} | {n} | ")
            for number, peer in enumerate(peers or [""]):
                rival = done.get(f"{name} | {n} | {peer}") if peer else None
                row = [name, str(n), *figures(ours)] if not number else ["", "", "", "", ""]
                if not peer:
                    rows.append([*row, "none", "", "", "", ""])
                elif f"{name} | {n} | {peer}" not in done:
                    rows.append([*row, peer, "not tried", "", "", ""])
                elif rival is None or np.isnan(rival[0]) or not ours or np.isnan(ours[0]):
                    least = f"> {chosen.cap / ours[0]:.0f}" if rival is None and ours and ours[0] > 0 else ""
                    rows.append([*row, peer, written(rival, chosen.cap), "", "", least])
                else:
                    rows.append([*row, peer, *figures(rival), f"{rival[0] / ours[0]:.1f}"])
    return rows


def figures(found: Found | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    return [f"{found[0]:.3f}", f"{found[1]:.0f}", "" if np.isnan(found[2]) else f"{100 * found[2]:.1f}"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--n", type=int, nargs="+", default=[500, 2000, 8000, 50_000], help="rows of each domain")
    options.add_argument("--d", type=int, default=100, help="features")
    options.add_argument("--threads", type=int, default=1, help="of linear algebra")
    options.add_argument("--limit", type=float, default=300, help="processor seconds for one figure, heads included")
    options.add_argument("--cap", type=float, default=120, help="the same for a peer, its import included")
    options.add_argument("--most", type=float, default=3000, help="MiB of a process, at which it is ended")
    options.add_argument("--judge", action="store_true", help="whether models are fitted and judged too")
    options.add_argument("--methods", nargs="+", metavar="NAME", help="as written, options too")
    options.add_argument("--peers", type=Path, help="a folder with skada, ADAPT and POT")
    options.add_argument("--keep", type=Path, help="a JSON file of what is measured, gone on with")
    chosen = options.parse_args()
    rivals = importlib.import_module("adaptation_peers").RIVALS if chosen.peers else {}
    names = chosen.methods or (list(rivals) if chosen.peers else list(folder.names("adapt")))
    methods = [(name, list(rivals.get(name, {}))) for name in names]
    done = run(chosen, methods)
    title = f"Two samples of {chosen.d} features, {CLASSES} classes, {chosen.threads} thread(s)"
    if chosen.peers:
        head = ["method", "n", "s", "MiB", "right, %", "peer", "s", "MiB", "right, %", "times our seconds"]
        show(title, head, beside(done, chosen, methods), [])
    else:
        head = ["method", "n", "s", "MiB above the start", "right", "says"]
        show(title, head, alone(done, chosen, methods), [])


if __name__ == "__main__":
    main()
