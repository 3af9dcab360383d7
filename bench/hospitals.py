"""Heart disease in four hospitals: what the patients of three are worth to the fourth, with few labels of its own.

    python bench/hospitals.py [--seeds 5] [--select best:0.5] [--weight 0.3] [--out FILE.csv]

Each hospital in turn is the target, with a tenth and with three tenths of its patients labelled. The source's weight is
chosen by the gate unless one is given; `--select` adds the same routes on the best part of the source. The four files
of the UCI repository are read as they come; disease is any of its four degrees.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path

from common import SHARED

import sterna
from sterna.records import Columns
from sterna.result import points, summaries
from sterna.settings import Settings

DATA = Path(os.environ.get("STERNA_DATA", SHARED / "data"))
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
COLUMNS = ("age", "sex", "pain", "pressure", "cholesterol", "sugar", "ecg", "rate", "angina", "peak", "slope")
LAST = ("vessels", "thal", "disease", "hospital")


def table(place: Path) -> Path:
    """The four files as one table."""
    with place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *LAST])
        for hospital in HOSPITALS:
            lines = (DATA / "heart" / f"processed.{hospital}.data").read_text(encoding="utf-8").split()
            for *cells, degree in (line.split(",") for line in lines):
                known = ["" if cell == "?" else cell for cell in cells]
                writer.writerow([*known, "yes" if float(degree) > 0 else "no", hospital])
    return place


def main() -> None:
    """Fit once for each hospital and share of labels, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--select", default="")
    parser.add_argument("--weight", type=float)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = table(given.out or Path(place) / "heart.csv")
        for hospital in HOSPITALS:
            for test in (0.9, 0.7):
                settings = Settings(
                    seeds=given.seeds,
                    test=test,
                    domain=hospital,
                    source_weight=given.weight,
                    source_select=given.select,
                    page=False,
                )
                columns = Columns(label=("disease",), domain="hospital")
                found = sterna.fit(data, columns=columns, settings=settings, out=Path(place) / f"{hospital}{test}")
                counts = found.data["counts"]
                labels = sum(sum(counts[part].values()) for part in ("train", "validation"))
                shown = [f"{one.name} {100 * one.metrics['accuracy'].value:.1f} %" for one in summaries(found.routes)]
                print(f"\n{hospital}, {labels} labels: {', '.join(shown)}", flush=True)
                print(f"  {found.verdict.route} against {found.verdict.floor}: {points(found.verdict)}")
                print(f"  {found.verdict.sentence}")
                if found.choosing:
                    print(f"  {found.choosing.sentence}")


if __name__ == "__main__":
    main()
