"""Adaptation where it should not help: what criteria choose, and what the verdict says.

    python bench/negative.py [--seeds 3]

Office-Caltech10 photographs through MobileNetV2, methods on frozen features. The target is the webcam's photos, the
source the catalogue's; then three cases in which the assumptions of the methods do not hold:

- priors: of the target's classes three keep all photos and the others one in eight;
- unrelated: each class of the source holds the photos of the next one, so that names mean something else;
- few: the target has two photos a class.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from common import SHARED, show

import sterna
from sterna.result import points, summaries
from sterna.settings import Settings

DATA = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "office" / "images"
WEIGHTS = Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights"))
CASES = ("as it is", "priors", "unrelated", "few")


def linked(origin: Path, place: Path, case: str) -> Path:
    """A folder of links to the photos of a domain, changed as the case says."""
    classes = sorted(path.name for path in origin.iterdir() if path.is_dir())
    for number, name in enumerate(classes):
        called = classes[(number + 1) % len(classes)] if case == "unrelated" else name
        (place / called).mkdir(parents=True)
        paths = sorted((origin / name).iterdir())
        if case == "priors" and number >= 3:
            paths = paths[::8]
        if case == "few":
            paths = paths[:2]
        for path in paths:
            (place / called / path.name).symlink_to(path.resolve())
    return place


def main() -> None:
    """Fit each case and print what ships, and what the verdict says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="auto")
    given = parser.parse_args()
    rows, told = [], []
    for case in CASES:
        with tempfile.TemporaryDirectory() as work:
            place = Path(work)
            source = linked(DATA / "amazon", place / "source", case if case == "unrelated" else "")
            target = linked(DATA / "webcam", place / "target", case if case != "unrelated" else "")
            found = sterna.fit(
                source,
                target=target,
                encoder=f"local:{WEIGHTS / 'mobilenetv2'}",
                method=given.method,
                settings=Settings(seeds=given.seeds, page=False),  # type: ignore[call-arg]
                out=place / "run",
            )
        accuracy = {one.name: 100 * one.metrics["accuracy"].value for one in summaries(found.routes)}
        ranks = {one.name: one.validation["rank"] for one in found.routes}
        chosen = min(ranks, key=lambda name: ranks[name])
        floor = found.verdict.floor
        worst, best = (min(accuracy.values()), max(accuracy.values()))
        figures = (f"{accuracy[floor]:.1f}", f"{chosen} {accuracy[chosen]:.1f}", f"{worst:.1f} to {best:.1f}")
        rows.append([case, *figures, found.verdict.answer, points(found.verdict), found.shipped])
        told.append(f"{case}: {found.verdict.sentence}")
    head = ["case", "source only", "criteria choose", "all routes", "verdict", "gain of the best adaptation", "ships"]
    show(f"Accuracy on the target in %, {given.seeds} seeds", head, rows)
    print("\n".join(told))


if __name__ == "__main__":
    main()
