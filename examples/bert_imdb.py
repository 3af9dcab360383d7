"""BERT -> IMDB: is a film review positive or negative, by the official parts (25,000 training and 25,000 test reviews).

    python examples/bert_imdb.py aclImdb
    python examples/bert_imdb.py reviews.csv          # a table of texts and labels of your own

ACLIMDB is the folder as it is published: train/pos, train/neg, test/pos, test/neg, one .txt a review. Its train/unsup
holds reviews without a label and is left out. Where train/urls_pos.txt says which film a review is about, reviews of
one film stay in one part, so that the validation part does not flatter a model that has learnt the names of films.

The same on the command line, with the table that this script writes:

    sterna fit runs/imdb.csv --encoder hf:bert-base-uncased --tune "probe, full" --schedule "epochs=3"

and in Python:

    import sterna

    result = sterna.fit(
        "runs/imdb.csv", encoder="hf:bert-base-uncased", tune="probe, full", schedule="epochs=3", out="runs/imdb"
    )
    print(result)                                     # every route, the floors, and whether transfer helped
    answer = sterna.predict("runs/imdb/model", ["A delight from the first scene to the last."])
    print(answer.labels, answer.probabilities)
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import sterna

PARTS, CLASSES = ("train", "test"), ("neg", "pos")
NEW = ("A delight from the first scene to the last.", "Dull; nobody in the theatre stayed awake.")


def films(folder: Path, part: str, label: str) -> list[str]:
    """The film of each review: line n of `urls_pos.txt` is that of `n_8.txt`; none where the file is missing."""
    listed = folder / part / f"urls_{label}.txt"
    return listed.read_text(encoding="utf-8").split() if listed.is_file() else []


def reviews(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Text, label, part and film of each labelled review; the film is empty where it is not known."""
    for part in PARTS:
        for label in CLASSES:
            known = films(folder, part, label)
            for place in sorted((folder / part / label).glob("*.txt")):
                number = int(place.stem.split("_")[0])
                film = known[number] if number < len(known) else ""
                yield place.read_text(encoding="utf-8"), label, part, film


def write_table(folder: Path, place: Path) -> int:
    """A table of text, label, part and film for `sterna fit`; returns the number of reviews."""
    rows = list(reviews(folder))
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows([("text", "label", "split", "group"), *rows])
    return len(rows)


def main() -> None:
    """Write the table, fit, print, predict two new reviews with the saved model."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    reader.add_argument("reviews", type=Path, help="the folder aclImdb, or a table of texts and labels")
    reader.add_argument("--encoder", default="hf:bert-base-uncased")
    reader.add_argument("--tune", default="probe, full")
    reader.add_argument("--schedule", default="epochs=3")
    reader.add_argument("--floors", default="all", help="all, scratch or classical")
    reader.add_argument("--out", type=Path, default=Path("runs/imdb"))
    given = reader.parse_args()
    table = given.reviews
    if table.is_dir():
        table = given.out.with_suffix(".csv")
        print(f"{write_table(given.reviews, table)} reviews by the official parts; {table}")
    result = sterna.fit(
        table,
        encoder=given.encoder,
        tune=given.tune,
        schedule=given.schedule,
        settings=f"floors={given.floors}",
        out=given.out,
    )
    print(result)
    answer = sterna.predict(given.out / "model", NEW)
    for text, label, row in zip(NEW, answer.labels, answer.probabilities, strict=True):
        print(f"{label} ({row.max():.2f}): {text}")


if __name__ == "__main__":
    main()
