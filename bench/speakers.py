"""Spoken digits: what recordings of five other speakers are worth to a sixth, with a few labels of his own.

    python bench/speakers.py [--shots 3] [--seeds 3] [--speaker NAME]

Each speaker in turn is the target. The transfer route sees his labelled recordings and those of the others; the floor
sees his alone. Both are a linear model on log-mel statistics, so what differs is the source.
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
from sterna.result import summaries

DATA = Path(os.environ.get("STERNA_DATA", SHARED / "data"))


def main() -> None:
    """Fit once for each speaker and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speaker", default="", help="this one alone")
    given = parser.parse_args()
    recordings = sorted((DATA / "spoken_digits" / "recordings").glob("*.wav"))
    speakers = sorted({path.stem.split("_")[1] for path in recordings})
    print(f"{len(recordings)} recordings, {given.shots} labels a digit of the target speaker, {given.seeds} seeds")
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "digits.csv"
        with table.open("w", newline="") as file:
            rows = [[str(path), f"digit {path.stem[0]}", path.stem.split("_")[1]] for path in recordings]
            csv.writer(file).writerows([["path", "label", "speaker"], *rows])
        for speaker in (one for one in speakers if given.speaker in ("", one)):
            result = sterna.fit(
                table,
                encoder="spectrogram:log_mel",
                tune="probe",
                columns=Columns(label=("label",), domain="speaker"),
                settings=f"domain={speaker}, shots={given.shots}, seeds={given.seeds}, floors=classical",
                out=Path(place) / speaker,
            )
            figures = {one.name: one.metrics["accuracy"].value for one in summaries(result.routes)}
            shown = ", ".join(f"{name} {100 * value:.1f} %" for name, value in figures.items())
            print(f"{speaker}: {shown}; {result.verdict.sentence}")


if __name__ == "__main__":
    main()
