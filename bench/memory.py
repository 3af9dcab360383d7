"""Peak memory of filling the cache with 1, 4 and 16 times as many pictures, each in a process of its own.

The pictures are copies with a few bytes added after the end of the picture, so that no digest is the same. Resident
memory counts pages of mapped files, which the system may drop at any time; anonymous memory is what the process holds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from common import parser, pictures, show

from sterna import folder, opening
from sterna.store import Store


def copies(paths: list[Path], times: int, place: Path) -> None:
    """`times` copies of each picture that differ in their bytes and not in what they show."""
    place.mkdir()
    for number, path in enumerate(paths):
        content = path.read_bytes()
        for turn in range(times):
            (place / f"{number}-{turn}{path.suffix}").write_bytes(content + turn.to_bytes(4, "big"))


def resident(name: str) -> float:
    """A line of this process's memory, in MB."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(name + ":"))


def measure(options: argparse.Namespace) -> None:
    """In a process of its own: fill a cache, read it once, and say how much memory that took."""
    encoder = opening.open_encoder(f"local:{options.weights}")
    items, _ = folder.module("data", "images").gather([str(options.fill)])
    highest, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, resident("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = resident("RssAnon")
    start = time.perf_counter()
    cuts = sorted({options.cut, encoder.network.depth})
    with tempfile.TemporaryDirectory(dir=options.fill.parent) as cache:
        found = Store(Path(cache)).activations(encoder, items, cuts)
        seconds = time.perf_counter() - start
        filled = max(highest, resident("RssAnon"))
        for activations in found.values():
            for rows in activations.slices(64):
                rows.sum()
        size = sum(path.stat().st_size for path in (Path(cache) / "shards").iterdir()) / 2**20
    done.set()
    watcher.join()
    figures = {"n": len(items), "before": before, "filled": filled, "anonymous": highest, "peak": resident("VmHWM")}
    print(json.dumps({**figures, "seconds": seconds, "size": size}))


def main() -> None:
    options = parser(__doc__.split("\n")[0], images=250)
    options.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    options.add_argument("--cut", type=int, default=8, help="a cut to keep beside the features, wide enough to matter")
    options.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.fill:
        measure(chosen)
        return
    paths = pictures(chosen.data, chosen.images, chosen.seed)
    rows = []
    for times in chosen.times:
        with tempfile.TemporaryDirectory() as name:
            copies(paths, times, Path(name) / "pictures")
            command = [sys.executable, __file__, "--weights", str(chosen.weights), "--cut", str(chosen.cut)]
            command += ["--fill", str(Path(name) / "pictures")]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(said.splitlines()[-1])
        shown = [f"{found[key]:.0f}" for key in ("before", "filled", "anonymous", "peak", "size", "seconds")]
        rows.append([f"{times}x", str(found["n"]), *shown])
    head = (
        "",
        "pictures",
        "anonymous before",
        "peak while filling",
        "and reading",
        "peak resident",
        "cache",
        "seconds",
    )
    show("Memory of filling and reading the cache, in MB; one process for each line", head, rows)


if __name__ == "__main__":
    main()
