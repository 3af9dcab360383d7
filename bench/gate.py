"""What a source adds to a few target labels on the two moons, pooled and gated.

Target and source are `make_moons(600, noise=0.1)` with random states 0 and 1; the source is moved, turned, scaled or
wrongly labelled. The classifier is `SVC(C=10)`. Pooled, the whole source weighs as much as the whole target, and weight
1 of the gate is the same. A split takes as many target labels of each class; all other target examples are tested on.

The first table stands beside figures published for the same protocol with 50 splits of their own and 10 labels. Those
of one set of 50 splits differ from another's by up to 0.03 in most rows and by up to 0.08 where labels are flipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import Pool

import numpy as np
from common import show
from sklearn.datasets import make_moons
from sklearn.svm import SVC

from sterna import gate

TARGET, LABELS = make_moons(600, noise=0.1, random_state=0)
SOURCE, KNOWN = make_moons(600, noise=0.1, random_state=1)


def turned(degrees: float) -> np.ndarray:
    """The source, turned about the origin."""
    angle = np.deg2rad(degrees)
    return SOURCE @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T


SOURCES = {
    "same": (SOURCE, KNOWN, 0.103),
    **{
        f"shift {by}": (SOURCE + by, KNOWN, known)
        for by, known in ((0.25, 0.066), (0.5, -0.043), (1, -0.039), (2, 0.002))
    },
    **{
        f"turned by {by}": (turned(by), KNOWN, known)
        for by, known in ((15, 0.088), (30, 0.059), (45, 0.014), (90, -0.036), (180, -0.119))
    },
    "scale 1.5": (SOURCE * 1.5, KNOWN, 0.036),
    "labels flipped": (SOURCE, 1 - KNOWN, -0.505),
}
# How left-out decision values become scores, and standard errors by which less source may fall behind.
RULES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "most hits": (lambda margin: (margin > 0).astype(float), 0.0),
    "best log likelihood": (lambda margin: -np.logaddexp(0, -2 * margin), 0.0),
    "within 1 standard error of it": (lambda margin: -np.logaddexp(0, -2 * margin), 1.0),
    f"within {gate.ERRORS} (the gate)": (lambda margin: -np.logaddexp(0, -2 * margin), gate.ERRORS),
}


def split(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Target examples to learn from, as many of each class, and all others."""
    draw = np.random.default_rng(seed)
    learn = np.concatenate([draw.permutation(np.flatnonzero(one == LABELS))[: count // 2] for one in (0, 1)])
    return learn, np.setdiff1d(np.arange(len(LABELS)), learn)


def fitted(rows: np.ndarray, source: tuple[np.ndarray, np.ndarray], weight: float) -> SVC:
    """The classifier on some target examples and the source at a weight."""
    if weight == 0:
        return SVC(C=10).fit(TARGET[rows], LABELS[rows])
    weights = np.concatenate([np.ones(len(rows)), np.full(len(source[0]), weight * len(rows) / len(source[0]))])
    both = np.concatenate([TARGET[rows], source[0]]), np.concatenate([LABELS[rows], source[1]])
    return SVC(C=10).fit(*both, sample_weight=weights)


@dataclass
class Split:
    """One division of the target beside one source; left-out margins are computed once for all rules."""

    learn: np.ndarray
    source: tuple[np.ndarray, np.ndarray]
    margins: dict[tuple[float, int], float] = field(default_factory=dict)

    def margin(self, weight: float, rows: np.ndarray, judged: int) -> float:
        """The decision value of a left-out example, positive on its own side."""
        if (weight, judged) not in self.margins:
            one = self.learn[[judged]]
            value = fitted(self.learn[rows], self.source, weight).decision_function(TARGET[one])[0]
            self.margins[weight, judged] = float(value) * (2 * int(LABELS[one[0]]) - 1)
        return self.margins[weight, judged]

    def chosen(self, score: Callable[[np.ndarray], np.ndarray], errors: float, seed: int) -> int:
        """Which of the weights a rule chooses."""

        def scores(weight: float, rows: np.ndarray, judge: np.ndarray) -> np.ndarray:
            return score(np.array([self.margin(weight, rows, int(one)) for one in judge]))

        found = gate.choose(scores, LABELS[self.learn], seed=seed, errors=errors)
        return gate.WEIGHTS.index(found.weight)


def gains(task: tuple[int, int]) -> np.ndarray:
    """(sources, 2 + rules): of one split, accuracy without source; then gains pooled, and of each rule."""
    seed, count = task
    learn, test = split(seed, count)
    found = np.zeros((len(SOURCES), 2 + len(RULES)))
    alone: dict[tuple[float, int], float] = {}  # margins without a source are those of every source
    for row, (features, labels, _) in enumerate(SOURCES.values()):
        source = features, labels
        reached = [fitted(learn, source, one).score(TARGET[test], LABELS[test]) for one in gate.WEIGHTS]
        divided = Split(learn, source, dict(alone))
        found[row, :2] = reached[0], reached[-1] - reached[0]
        for column, (score, errors) in enumerate(RULES.values(), start=2):
            found[row, column] = reached[divided.chosen(score, errors, seed)] - reached[0]
        alone = {key: value for key, value in divided.margins.items() if key[0] == 0}
    return found


def main() -> None:
    """Both tables."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--splits", type=int, default=50)
    made.add_argument("--labels", type=int, nargs="+", default=[10, 20, 40], help="how many, at most 40")
    made.add_argument("--jobs", type=int, default=1)
    given = made.parse_args()
    names, rows = list(SOURCES), []
    with Pool(given.jobs) as pool:
        for count in given.labels:
            found = np.stack(pool.map(gains, [(seed, count) for seed in range(given.splits)]))
            if count == 10:
                pooled(found)
            mean, about = 100 * found.mean(axis=0), 196 * found.std(axis=0) / np.sqrt(given.splits)
            for column, rule in enumerate(["pooled", *RULES], start=1):
                worst = int(mean[:, column].argmin())
                edge = f"{mean[worst, column]:.1f} ± {about[worst, column]:.1f}"
                cells = [edge, names[worst], f"{mean[-1, column]:.1f}", f"{mean[0, column]:.1f}"]
                rows.append([str(count), f"{mean[0, 0]:.1f}", rule, *cells, f"{mean[:, column].mean():.2f}"])
    head = ["labels", "target alone, %", "rule", "worst source, points", "which", "flipped", "same", "mean of all"]
    show("Gain over the target alone, mean over splits", head, rows, [f"{given.splits} splits."])


def pooled(found: np.ndarray) -> None:
    """The table of pooling, beside the published one."""
    gain = found[:, :, 1]
    rows = []
    for place, (name, (_, _, known)) in enumerate(SOURCES.items()):
        about = 1.96 * gain[:, place].std() / np.sqrt(len(gain))
        mean = gain[:, place].mean()
        rows.append([name, f"{mean:+.3f} ± {about:.3f}", f"{known:+.3f}", f"{mean - known:+.3f}"])
    show(
        f"Gain of pooling with 10 target labels (target alone {found[:, 0, 0].mean():.3f}, published 0.897)",
        ["source", "gain", "published", "difference"],
        rows,
    )


if __name__ == "__main__":
    main()
