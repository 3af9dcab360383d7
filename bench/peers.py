"""The ladder beside AutoGluon, fastai, SetFit and transformers' Trainer: one split, the same weights, the same seconds.

    python bench/peers.py --python DIR/bin/python --out /tmp/peers [--sets TREC flowers] [--sizes 10 50] [--seeds 2]

The peers are no part of sterna. They need a Python of their own, one that has what bench/peer.py imports:

    python -m venv DIR && DIR/bin/pip install autogluon.multimodal fastai

SetFit is added with `--setfit FOLDER`, where bench/fewshot.py says how to put it; it runs in this Python.

Each cell is one set, one number of labelled examples a class and one seed that draws them, as in bench/ladder.py, and
every contestant has it to itself, in turns. A text set goes to AutoGluon, the Trainer and SetFit, pictures to AutoGluon
and fastai. Beside accuracy at the end stands when sterna had a rung whose accuracy on the test examples was no lower
than what the peer ended with. What is finished in --out is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ladder
import torch
from common import interval, show

import sterna
from sterna import climb, files, heap
from sterna.encoders import sentence
from sterna.settings import Settings
from sterna.store import Store

WORKER = Path(__file__).with_name("peer.py")
PEERS = {True: ("autogluon", "trainer"), False: ("autogluon", "fastai")}  # by whether the examples are texts
HEAD = ("set, a class", "contestant", "accuracy (sd)", "sterna above it", "seconds", "sterna as good after", "cells")


def by_sterna(data: str, encoder: str, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the ladder ships, and accuracy and seconds so far at the end of each rung."""
    settings = Settings(page=False, floors="classical", budget=options.budget)
    begin = time.perf_counter()
    found = sterna.fit(data, encoder=encoder, out=place / "run", settings=settings, store=Store(place / "store"))
    took = time.perf_counter() - begin
    order = [one["route"] for one in files.read_json(place / "run" / climb.DECIDED)]
    tried = {one.name: one for one in found.routes}
    so_far, rungs = 0.0, []
    for name in [name for name in order if name in tried]:
        so_far += tried[name].seconds
        rungs.append([name, tried[name].metrics["accuracy"].value, so_far])
    right = tried[found.shipped].metrics["accuracy"].value
    return {"accuracy": right, "seconds": took, "shipped": found.shipped, "rungs": rungs}


def by_peer(name: str, data: str, weights: Path, place: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """A peer in its own process."""
    out = place / f"{name}.json"
    python, path = (sys.executable, str(options.setfit)) if name == "setfit" else (str(options.python), options.path)
    asked = [python, str(WORKER), name, data, str(weights), str(out), "--seed", str(seed)]
    asked += ["--budget", str(climb.seconds(options.budget))]
    told = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    ran = subprocess.run(asked, env=told, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{name} on {data} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return dict(json.loads(out.read_text()))


def cell(name: str, size: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All contestants on one set, size and seed; who has finished is not asked again."""
    place = options.out / f"{name}-{size}-{seed}"
    kept = place.with_suffix(".json")
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    data, encoder, _ = ladder.subject(name, size, seed, options, place)
    texts = name in ladder.TEXTS
    weights = sentence._packaged(encoder.partition(":")[2]) if texts else options.weights
    more = ("setfit",) if texts and options.setfit else ()
    for one in ("sterna", *PEERS[texts], *more):
        if one not in found:
            asked = (data, Path(weights), place, seed, options)
            found[one] = by_sterna(data, encoder, place, options) if one == "sterna" else by_peer(one, *asked)
            files.write_json(kept, found)
    shutil.rmtree(place)
    return found


def rows(done: dict[str, dict[str, Any]]) -> list[list[str]]:
    """For each set, size and contestant: accuracy, how far sterna is above, seconds, and when sterna was as good."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, one in done.items():
        groups.setdefault(key.rpartition(" ")[0], []).append(one)
    found = []
    for group, some in groups.items():
        for name in some[0]:
            hits = [100 * one[name]["accuracy"] for one in some]
            spread = f" ({statistics.stdev(hits):.1f})" if len(hits) > 1 else ""
            above = [100 * (one["sterna"]["accuracy"] - one[name]["accuracy"]) for one in some]
            seconds = statistics.median(one[name]["seconds"] for one in some)
            compared = ["", ""]
            if name != "sterna":
                compared = [interval(above, "") if len(above) > 1 else f"{above[0]:+.1f}", _caught_up(some, name)]
            row = [group, name, f"{statistics.mean(hits):.1f}{spread}", compared[0], f"{seconds:.0f}", compared[1]]
            found.append([*row, str(len(some))])
    return found


def _caught_up(some: list[dict[str, Any]], name: str) -> str:
    """Seconds after which sterna had a rung as good as what a peer ended with, where it ever had."""
    firsts = [
        next((so_far for _, right, so_far in one["sterna"]["rungs"] if right >= one[name]["accuracy"]), None)
        for one in some
    ]
    reached = [one for one in firsts if one is not None]
    missed = f", in {len(firsts) - len(reached)} of {len(firsts)} never" if len(reached) < len(firsts) else ""
    return (f"{statistics.median(reached):.0f} s" if reached else "") + missed


def main() -> None:
    heap.keep()  # as the command does
    made = ladder.options(__doc__.split("\n")[0])
    made.add_argument("--python", type=Path, required=True, help="a Python that has the peers")
    made.add_argument("--path", default="", help="PYTHONPATH for it")
    made.add_argument("--setfit", type=Path, help="a folder that has SetFit and what it needs")
    asked = made.parse_args()
    torch.set_num_threads(1)
    done = ladder.finished(asked, cell)
    show(f"Equal weights, {asked.budget} each, accuracy in % on the test examples", HEAD, rows(done), [])


if __name__ == "__main__":
    main()
