"""What the rungs of the ladder gain over a probe, and what choosing costs with and without knowing it.

    python bench/ladder.py --out /tmp/ladder --sets TREC CR SST-5 SST-2 IMDB --sizes 10 --everything --budget 30m
    python bench/choosing.py /tmp/ladder/done.json [--sets TREC CR SST-5 SST-2 IMDB] [--size 10]

A gain is a rung's accuracy on the test examples minus that of `probe`, the mean over the draws of a set, then over the
sets. What a choice costs is the accuracy of the best rung of a cell minus that of the chosen one. It is reckoned set by
set, with gains and weight from the other sets alone; films in two and in five grades count as one set here.

The weight k, in examples, is s^2 / t^2: s^2 the variance of what one validated example says of a gain (n times the mean
square of the validated gain minus the one on the test examples), t^2 the variance of a rung's gain between sets.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import interval, show

Cells = Sequence[tuple[str, Mapping[str, Any]]]  # the set of each cell, and what bench/ladder.py wrote of it
KIN = {"SST-2": "SST-5"}  # sets of the same texts
BASE = "probe"
LEFT_OUT = ("tfidf", "hog_colour", "scratch", "ensemble")  # floors, and what is no single rung


def read(places: Sequence[Path], sets: Sequence[str], size: int) -> Cells:
    """The finished cells of some sets at one number of labels a class."""
    found = []
    for place in places:
        for key, one in json.loads(place.read_text()).items():
            name, labels, _ = key.rsplit(" ", 2)
            if name in sets and int(labels) == size:
                found.append((name, one))
    return found


def gains(cells: Cells, without: str = "") -> dict[str, list[float]]:
    """Of each rung its gain on each set, in points, without the sets of the same texts as one."""
    by_set: dict[str, dict[str, list[float]]] = {}
    for name, one in cells:
        if _kin(name) != _kin(without):
            for rung, right in one["rungs"].items():
                if rung not in LEFT_OUT:
                    by_set.setdefault(name, {}).setdefault(rung, []).append(100 * (right - one["rungs"][BASE]))
    rungs = dict.fromkeys(rung for one in by_set.values() for rung in one)
    return {rung: [statistics.mean(one[rung]) for one in by_set.values() if rung in one] for rung in rungs}


def weight(cells: Cells, without: str = "") -> float:
    """How many examples the gains of other sets are worth."""
    errors = []
    for name, one in cells:
        if _kin(name) != _kin(without):
            judged, rungs = one["validation"], one["rungs"]
            for rung in set(judged) & set(rungs) - {BASE, *LEFT_OUT}:
                said, true = 100 * (judged[rung][0] - judged[BASE][0]), 100 * (rungs[rung] - rungs[BASE])
                errors.append(_examples(one) * (said - true) ** 2)
    spreads = [
        statistics.variance(each) for rung, each in gains(cells, without).items() if rung != BASE and len(each) > 1
    ]
    return statistics.mean(errors) / statistics.mean(spreads)


def chosen(one: Mapping[str, Any], known: Mapping[str, float], examples: float) -> str:
    """The rung of a cell that its validation figures choose, with gains worth some examples; ties by loss."""
    judged = {rung: value for rung, value in one["validation"].items() if rung not in LEFT_OUT}
    share = examples / _examples(one)
    return max(judged, key=lambda rung: (100 * judged[rung][0] + share * known.get(rung, 0.0), -judged[rung][1]))


def costs(cells: Cells, how: str) -> list[float]:
    """What choosing costs in each cell, in points: by validation alone, with gains at a weight, or by gains alone."""
    found = []
    for name, one in cells:
        known = {rung: statistics.mean(each) for rung, each in gains(cells, name).items()}
        at = weight(cells, name) if how == "own" else float(how)
        right = {rung: value for rung, value in one["rungs"].items() if rung not in LEFT_OUT}
        found.append(100 * (max(right.values()) - right[chosen(one, known, at)]))
    return found


def _kin(name: str) -> str:
    return KIN.get(name, name)


def _examples(one: Mapping[str, Any]) -> int:
    return int(one["examples"]["train"]) + int(one["examples"]["validation"])


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("done", nargs="+", type=Path)
    made.add_argument("--sets", nargs="+", default=["TREC", "CR", "SST-5", "SST-2", "IMDB"])
    made.add_argument("--size", type=int, default=10)
    asked = made.parse_args()
    cells = read(asked.done, asked.sets, asked.size)
    known = gains(cells)
    told = [[rung, interval(each), f"{min(each):+.1f} to {max(each):+.1f}"] for rung, each in known.items()]
    show(f"Gain over {BASE}, points, {asked.size} labels a class", ("rung", "mean of the sets", "sets"), told)
    print(f"The gains of other sets are worth {weight(cells):.0f} examples.")
    ways = {"validation alone": "0", "gains, at the weight of the other sets": "own", "gains alone": "1e9"}
    ways |= {f"gains, worth {one} examples": str(one) for one in (10, 25, 50, 100)}
    rows = [[way, interval(costs(cells, how), ""), f"{max(costs(cells, how)):.1f}"] for way, how in ways.items()]
    show("What choosing costs, points below the best rung of each cell", ("by", "mean", "most"), rows)


if __name__ == "__main__":
    main()
