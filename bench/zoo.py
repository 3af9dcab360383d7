"""How well the scores of `ranking/` order a zoo whose truth is known: small networks trained on other digits.

22 networks 64 -> h -> h learn digits 0 to 4 of scikit-learn: as they are, rotated, with pixels permuted, with noise,
with random labels (until these are known by heart), for a few epochs, or not at all. For each split, some labels of
digits 5 to 9 are given; the truth is the accuracy, on all other images of those digits, of a logistic regression on
the frozen last hidden layer, its penalty chosen by cross-validation on the given labels. A score is good if it orders
the networks by that accuracy from the given labels alone: weighted Kendall tau (scipy's default, the mean of both rank
orders), and the points that are lost by taking its first place (regret).

Decoys are the networks of random labels and those not trained. A wide layer of either is no bad set of features: with
random labels learnt for 60 epochs by 128 units, one was truly the best of all. So the decoys here are narrower, and the
last column leaves out the splits in which a decoy among the first three of a score is among those of the truth too.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
from common import show
from scipy.stats import rankdata, weightedtau
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegressionCV
from sklearn.neural_network import MLPClassifier

from sterna.contracts import Evidence
from sterna.ranking.etran import ETran
from sterna.ranking.gbc import GBC
from sterna.ranking.hscore import HScore
from sterna.ranking.knn import KNN
from sterna.ranking.leep import LEEP
from sterna.ranking.logme import LogME
from sterna.ranking.nce import NCE
from sterna.ranking.nleep import NLEEP
from sterna.ranking.parc import PARC
from sterna.ranking.probe import Probe
from sterna.ranking.sfda import SFDA
from sterna.ranking.transrate import TransRate

SCORES = {
    "logme": LogME(),
    "hscore": HScore(),
    "probe": Probe(),
    "hscore as published": HScore(corrected=False),
    "transrate": TransRate(),
    "gbc": GBC(),
    "sfda": SFDA(),
    "etran": ETran(),
    "parc": PARC(),
    "knn": KNN(),
    "nleep": NLEEP(),
    "leep": LEEP(),
    "nce": NCE(),
}
COMBINED = ("logme", "hscore", "probe")


@dataclass(frozen=True)
class Source:
    """One network of the zoo: what it was trained on, how wide, and for how many epochs."""

    kind: str
    width: int
    steps: int = 60
    amount: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.kind}{self.amount or ''}-{self.width}x{self.steps}"


ZOO = (
    *(Source("clean", width) for width in (8, 16, 32, 64, 128)),
    *(Source("clean", 64, steps) for steps in (1, 3, 10)),
    *(Source("rotated", width, amount=90) for width in (16, 64)),
    Source("rotated", 64, amount=45),
    *(Source("permuted", width) for width in (16, 64, 128)),
    *(Source("noisy", 64, amount=amount) for amount in (0.3, 0.6, 1.0)),
    *(Source("random", width, 300) for width in (16, 32, 64)),
    *(Source("untrained", width, 0) for width in (16, 32)),
)


def images() -> tuple[np.ndarray, np.ndarray]:
    digits = load_digits()
    return digits.data / 16.0, digits.target


def disturbed(source: Source, pixels: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng([seed, 7])
    if source.kind == "rotated":
        turned = pixels.reshape(-1, 8, 8)
        if source.amount == 90:
            return np.rot90(turned, axes=(1, 2)).reshape(len(pixels), 64), labels
        rows, columns = np.mgrid[:8, :8] - 3.5
        angle = np.deg2rad(source.amount)
        down = np.clip(np.rint(np.cos(angle) * rows - np.sin(angle) * columns + 3.5), 0, 7).astype(int)
        across = np.clip(np.rint(np.sin(angle) * rows + np.cos(angle) * columns + 3.5), 0, 7).astype(int)
        return turned[:, down, across].reshape(len(pixels), 64), labels
    if source.kind == "permuted":
        return pixels[:, draw.permutation(64)], labels
    if source.kind == "noisy":
        return pixels + source.amount * draw.normal(size=pixels.shape), labels
    if source.kind == "random":
        return pixels, draw.integers(0, 5, len(labels))
    return pixels, labels


def trained(source: Source, pixels: np.ndarray, labels: np.ndarray, seed: int) -> MLPClassifier:
    inputs, wanted = disturbed(source, pixels, labels, seed)
    rate = 1e-3 if source.steps else 1e-12
    network = MLPClassifier(
        (source.width, source.width),
        max_iter=max(source.steps, 1),
        learning_rate_init=rate,
        batch_size=64,
        random_state=seed,
        tol=0,
        n_iter_no_change=10_000,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return network.fit(inputs, wanted)


def hidden(network: MLPClassifier, pixels: np.ndarray) -> np.ndarray:
    found = pixels
    for weight, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        found = np.maximum(found @ weight + bias, 0)
    return found


def truth(given: np.ndarray, labels: np.ndarray, rest: np.ndarray, answers: np.ndarray) -> float:
    mean, spread = given.mean(axis=0), given.std(axis=0) + 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = LogisticRegressionCV(Cs=np.logspace(-3, 2, 6), cv=3, max_iter=300, use_legacy_attributes=False)
        head.fit((given - mean) / spread, labels)
    return float(100 * head.score((rest - mean) / spread, answers))


def split(labels: np.ndarray, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng([seed, each])
    chosen = [draw.permutation(np.flatnonzero(labels == label))[:each] for label in np.unique(labels)]
    given = np.concatenate(chosen)
    return given, np.setdiff1d(np.arange(len(labels)), given)


@dataclass(frozen=True)
class Judged:
    """One split: the truth and every score of the networks."""

    accuracy: np.ndarray
    scores: dict[str, np.ndarray]


def judged(networks: list[MLPClassifier], pixels: np.ndarray, labels: np.ndarray, each: int, seed: int) -> Judged:
    given, rest = split(labels, each, seed)
    accuracy, found = [], {name: [] for name in SCORES}
    for network in networks:
        features = hidden(network, pixels)
        accuracy.append(truth(features[given], labels[given], features[rest], labels[rest]))
        evidence = Evidence(features[given], network.predict_proba(pixels[given]), seed)
        for name, score in SCORES.items():
            found[name].append(score.prepare(evidence)(labels[given]))
    scores = {name: np.array(values) for name, values in found.items()}
    scores["mean rank of " + ", ".join(COMBINED)] = np.mean([rankdata(scores[name]) for name in COMBINED], axis=0)
    return Judged(np.array(accuracy), scores)


def summary(splits: list[Judged], each: int) -> list[list[str]]:
    decoys = {place for place, source in enumerate(ZOO) if source.kind in ("random", "untrained")}
    rows = []
    best = [set(np.argsort(-one.accuracy)[:3]) for one in splits]
    for name in splits[0].scores:
        taus = [weightedtau(one.accuracy, one.scores[name]).statistic for one in splits]
        lost = [one.accuracy.max() - one.accuracy[one.scores[name].argmax()] for one in splits]
        firsts = [set(np.argsort(-one.scores[name], kind="stable")[:3]) for one in splits]
        there = sum(bool(first & decoys) for first in firsts)
        tricked = sum(bool((first & decoys) - true) for first, true in zip(firsts, best, strict=True))
        shown = [f"{np.mean(taus):.2f}", f"{np.mean(lost):.1f}", f"{there} of {len(splits)}"]
        rows.append([name, str(each), *shown, f"{tricked} of {len(splits)}"])
    true = sum(bool(one & decoys) for one in best)
    rows.append(["the truth", str(each), "1.00", "0.0", f"{true} of {len(splits)}", "0"])
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--splits", type=int, default=10)
    options.add_argument("--labels", type=int, nargs="+", default=[10, 40], help="labels a class")
    options.add_argument("--first", type=int, default=0, help="the first split, also the seed of its networks")
    chosen = options.parse_args()
    pixels, labels = images()
    source, target = labels < 5, labels >= 5
    started, results = time.perf_counter(), {each: [] for each in chosen.labels}
    for seed in range(chosen.first, chosen.first + chosen.splits):
        networks = [trained(one, pixels[source], labels[source], seed) for one in ZOO]
        for each in chosen.labels:
            results[each].append(judged(networks, pixels[target], labels[target] - 5, each, seed))
    rows = [row for each, found in results.items() for row in summary(found, each)]
    best = [f"{each} labels a class: accuracies {ranges(found)}" for each, found in results.items()]
    head = [
        "score",
        "labels a class",
        "weighted tau",
        "regret, points",
        "a decoy in the top 3",
        "and not in the true one",
    ]
    show("Order of 22 frozen networks", head, rows, [*best, f"{time.perf_counter() - started:.0f} s"])


def ranges(splits: list[Judged]) -> str:
    low = np.mean([one.accuracy.min() for one in splits])
    return f"{low:.1f} to {np.mean([one.accuracy.max() for one in splits]):.1f} points"


if __name__ == "__main__":
    main()
