"""Heart disease in four hospitals: does it help a hospital with few diagnoses to learn from the other three?

    python examples/heart_hospitals.py HEART --shots 25

HEART holds processed.cleveland.data, processed.hungarian.data, processed.switzerland.data and processed.va.data of the
UCI heart disease data, 13 columns and a diagnosis each. The script writes them as one table with a column of hospitals,
and lets one hospital, of which only so many patients of each diagnosis may be learnt from, learn with and without the
other three. All other patients of that hospital are held out. Each hospital has its turn but Switzerland's, where 8
patients of 123 are healthy: too few to learn from some and to test on the others.

Whether the others help is an open question each time: they see other patients, and left other columns empty. The
verdict may be helps, hurts, equivalent or undecided, and the model that ships is the better one either way.

The same on the command line, with the table that this script writes:

    sterna fit runs/heart.csv --label disease --domain hospital --target-domain va --shots 25 --seeds 5
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import sterna
from sterna.records import Columns
from sterna.settings import Settings

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
TARGETS = ("cleveland", "hungarian", "va")
COLUMNS = ("age", "sex", "pain", "pressure", "cholesterol", "sugar", "ecg", "rate", "angina", "oldpeak", "slope")
MORE = ("vessels", "thallium")
NEVER_ZERO = ("pressure", "cholesterol")  # a living patient has some, so 0 stands for a value that was not taken
CODES = {  # numbers that are names
    "sex": {0: "female", 1: "male"},
    "pain": {1: "typical angina", 2: "atypical angina", 3: "other pain", 4: "none"},
    "ecg": {0: "normal", 1: "ST-T wave abnormal", 2: "hypertrophy"},
    "slope": {1: "up", 2: "flat", 3: "down"},
    "thallium": {3: "normal", 6: "fixed defect", 7: "reversible defect"},
}


def cell(name: str, written: str) -> str:
    """A cell in words: the name behind a code, and nothing where nothing was measured."""
    if written == "?" or (name in NEVER_ZERO and float(written) == 0):
        return ""
    return CODES[name][int(float(written))] if name in CODES else written


def patients(folder: Path) -> Iterator[list[str]]:
    """Hospital, 13 columns and diagnosis of each patient."""
    for hospital in HOSPITALS:
        lines = (folder / f"processed.{hospital}.data").read_text(encoding="utf-8").split()
        for line in lines:
            *cells, stage = line.split(",")
            named = zip((*COLUMNS, *MORE), cells, strict=True)
            yield [hospital, *(cell(name, one) for name, one in named), "yes" if float(stage) > 0 else "no"]


def write_table(folder: Path, place: Path) -> int:
    """A table for `sterna fit`; returns the number of patients."""
    rows = list(patients(folder))
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows([("hospital", *COLUMNS, *MORE, "disease"), *rows])
    return len(rows)


def main() -> None:
    """Write the table, then fit and print, once for each target hospital."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    reader.add_argument("heart", type=Path)
    reader.add_argument("--target", choices=HOSPITALS, action="append", help="may be given several times")
    reader.add_argument("--shots", type=int, default=25, help="patients of each diagnosis that may be learnt from")
    reader.add_argument("--seeds", type=int, default=5)
    reader.add_argument("--out", type=Path, default=Path("runs/heart"))
    given = reader.parse_args()
    table = given.out.with_suffix(".csv")
    print(f"{write_table(given.heart, table)} patients; {table}")
    for hospital in given.target or TARGETS:
        settings = Settings(domain=hospital, shots=given.shots, seeds=given.seeds)  # type: ignore[call-arg]
        columns = Columns(label=("disease",), domain="hospital")
        result = sterna.fit(table, columns=columns, settings=settings, out=given.out / hospital)
        print(f"\n{hospital}, {given.shots} patients of each diagnosis, {given.seeds} draws")
        print(result)


if __name__ == "__main__":
    main()
