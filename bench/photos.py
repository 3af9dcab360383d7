"""Photos of one camera or shop as the source of another: every kind of adaptation against the source alone.

    python bench/photos.py [--seeds 3] [--epochs 6] [--tasks A-W W-A A-D D-A] [--work FOLDER]

Office-Caltech10 photographs through MobileNetV2: each addend of the objective and each method on frozen features, with
the same split of the source and the whole target held out. The target's labels are known to the verdicts alone; what
criteria would have chosen is compared with the best in hindsight afterwards. Runs are kept in the working folder, and
the same command goes on from there.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path

import numpy as np
from common import SHARED, show

import sterna
from sterna import adapting, folder
from sterna.result import Result, points
from sterna.settings import Settings

DATA = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "office" / "images"
WEIGHTS = Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights"))
DOMAINS = {"A": "amazon", "W": "webcam", "D": "dslr"}
LOSSES = ("dan", "coral", "dann", "cdan", "mcc", "adabn")
METHODS = "coral, subspace_alignment, tca, jda, optimal_transport, none"


def fitted(task: str, kind: str, work: Path, settings: Settings, epochs: int) -> Result:
    """One task by addends ("loss") or by methods on features ("method")."""
    source, target = (DATA / DOMAINS[letter] for letter in task.split("-"))
    words = {"loss": ", ".join(f"cross_entropy + {name}" for name in LOSSES)} if kind == "loss" else {"method": METHODS}
    return sterna.fit(
        source,
        target=target,
        encoder=f"local:{WEIGHTS / 'mobilenetv2'}",
        schedule=f"epochs={epochs}",
        settings=settings,
        out=work / f"{task}-{kind}",
        **words,
    )


def table(found: dict[str, Result]) -> list[list[str]]:
    """A row for each route: accuracy on each task, its mean over seeds, and the mean over tasks."""
    rows = []
    names = list(dict.fromkeys(one.name for run in found.values() for one in run.routes))
    for name in names:
        means, spreads = [], []
        for run in found.values():
            hits = [one.metrics["accuracy"].value for one in run.routes if one.name == name]
            means.append(100 * float(np.mean(hits)))
            spreads.append(100 * float(np.std(hits, ddof=1)) if len(hits) > 1 else 0.0)
        cells = [f"{mean:.1f} ({spread:.1f})" for mean, spread in zip(means, spreads, strict=True)]
        rows.append([name, *cells, f"{np.mean(means):.1f}"])
    return rows


def choices(found: dict[str, Result], most: int) -> list[list[str]]:
    """What sums of criteria would have picked at each seed: accuracy, against the source alone and the best."""
    picked: dict[str, list[tuple[float, float, float]]] = {}
    for run in found.values():
        for seed in sorted({one.seed for one in run.routes}):
            mine = [one for one in run.routes if one.seed == seed]
            hits = np.array([one.metrics["accuracy"].value for one in mine])
            alone = float(np.mean([hit for hit, one in zip(hits, mine, strict=True) if one.floor]))
            judges = [name for name in mine[0].validation if name != "rank"]
            for size in range(1, most + 1):
                for names in itertools.combinations(judges, size):
                    values = np.array([[one.validation.get(name, np.nan) for name in names] for one in mine])
                    hit = float(hits[int(adapting.mean_ranks(values).argmin())])
                    picked.setdefault(" + ".join(names), []).append((hit, hit - alone, hit - float(hits.max())))
    rows = [[name, *(f"{100 * float(one):.1f}" for one in np.mean(each, axis=0))] for name, each in picked.items()]
    return sorted(rows, key=lambda row: -float(row[1]))


def main() -> None:
    """Fit what is not there yet and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--tasks", nargs="+", default=["A-W", "W-A", "A-D", "D-A"])
    parser.add_argument("--kinds", nargs="+", choices=("loss", "method"), default=["method", "loss"])
    parser.add_argument("--sums", type=int, default=3, help="the largest number of criteria that are added up")
    parser.add_argument("--work", type=Path, default=Path("runs/photos"))
    given = parser.parse_args()
    every = " + ".join(name for name in folder.names("criteria"))
    settings = Settings(seeds=given.seeds, criterion=every, page=False)  # type: ignore[call-arg]
    for kind in given.kinds:
        found = {task: fitted(task, kind, given.work, settings, given.epochs) for task in given.tasks}
        title = f"Accuracy on the target in %, mean over {given.seeds} seeds (sd); by {kind}"
        show(title, ["route", *found, "mean"], table(found))
        for task, run in found.items():
            print(f"{task}: {run.verdict.route} against {run.verdict.floor}: {points(run.verdict)}")
        head = ["chosen by", "accuracy", "above the source alone", "below the best"]
        show("What criteria would have picked", head, choices(found, given.sums)[:25])


if __name__ == "__main__":
    main()
