"""What each score of `ranking/` costs on one candidate, and the same formulas as they are usually written.

Each row runs in a process of its own on the same features: classes of equal size, a spectrum that falls, rectified as
those of a network are. "Once" is everything for the first labels; "again" is one more set of labels, which the usual
forms pay in full. The peak is that of the process, features and libraries included; the first row has these alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from common import show
from scipy.linalg import eigh
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestNeighbors

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
    "hscore": HScore(corrected=False),
    "hscore(shrinkage=none)": HScore(shrinkage="none", corrected=False, force=True),
    "transrate": TransRate(),
    "gbc": GBC(),
    "sfda": SFDA(),
    "etran": ETran(shrinkage=0.1),
    "parc": PARC(dimensions=None),
    "knn": KNN(k=1),
    "probe": Probe(),
    "nleep": NLEEP(),
    "leep": LEEP(),
    "nce": NCE(),
}
SOURCE_CLASSES = 1000


def sample(n: int, d: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d), probabilities (n, 1000) of source classes, and labels."""
    draw = np.random.default_rng(0)
    labels = np.arange(n) % classes
    scales = (1 + np.arange(d)) ** -0.5
    hidden = (draw.normal(size=(classes, d))[labels] + 3 * draw.normal(size=(n, d))) * scales
    mixing = np.linalg.qr(draw.normal(size=(d, d)))[0] * np.sqrt(d)
    features = np.maximum(hidden @ mixing, 0) / 10
    logits = features[:, : min(d, 200)] @ draw.normal(size=(min(d, 200), SOURCE_CLASSES)) * 3
    source = np.exp(logits - logits.max(axis=1, keepdims=True))
    return features, source / source.sum(axis=1, keepdims=True), labels


def usual_logme(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    """MacKay's fixed point for each class, up to 11 steps, with all terms of the evidence."""
    n, d = features.shape
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    squares, found = values**2, []
    for label in range(labels.max() + 1):
        y = (labels == label).astype(float)
        x = (left.T @ y) ** 2
        rest = y @ y - x.sum()
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = (squares / (squares + t)).sum()
            weights = (squares * x / (squares + t) ** 2).sum()
            error = (x / (1 + squares / t) ** 2).sum() + rest
            alpha, beta = gamma / weights, (n - gamma) / error
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        determinant = np.log(alpha + beta * squares).sum() + (d - len(squares)) * np.log(alpha)
        evidence = d * np.log(alpha) + n * np.log(beta) - determinant
        found.append((evidence - beta * error - alpha * weights - n * np.log(2 * np.pi)) / (2 * n))
    return float(np.mean(found))


def usual_hscore(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    """The trace of pseudo-inverse times covariance of class means."""
    centred = features - features.mean(axis=0)
    means = np.stack([centred[labels == label].mean(axis=0) for label in range(labels.max() + 1)])[labels]
    covariance = np.cov(centred.T, bias=True)
    return float(np.trace(np.linalg.pinv(covariance, rcond=1e-12) @ np.cov(means.T, bias=True)))


def usual_shrunken_hscore(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    centred = features - features.mean(axis=0)
    means = np.stack([centred[labels == label].mean(axis=0) for label in range(labels.max() + 1)])[labels]
    covariance, share = ledoit_wolf(centred, assume_centered=True)
    return float((1 - share) * np.trace(np.linalg.inv(covariance) @ np.cov(means.T, bias=True)))


def usual_transrate(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    """The lines of the paper, on scaled features: every class by the determinant of (d, d)."""

    def rate(rows: np.ndarray) -> float:
        n, d = rows.shape
        return float(np.linalg.slogdet(np.eye(d) + rows.T @ rows / (n * 1e-4))[1]) / 2

    centred = features - features.mean(axis=0)
    centred /= np.sqrt((centred**2).mean())
    classes = labels.max() + 1
    return rate(centred) - sum(rate(centred[labels == label]) for label in range(classes)) / classes


def usual_sfda(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    """By generalised eigenvectors of the shrunken covariance, on scaled features."""
    z = features - features.mean(axis=0)
    z /= np.sqrt((z**2).sum(axis=1).mean())
    rows, classes, share = np.arange(len(z)), int(labels.max()) + 1, None

    def analysed(x: np.ndarray, share: float | None) -> tuple[np.ndarray, float]:
        means = np.stack([x[labels == label].mean(axis=0) for label in range(classes)])
        inside = (x - means[labels]).T @ (x - means[labels]) / len(x)
        share = max(float(np.exp(-5 * np.linalg.eigvalsh(inside)[-1])), 1e-10) if share is None else share
        d = len(inside)
        shrunken = (1 - share) * inside + share * np.trace(inside) / d * np.eye(d)
        between = np.cov(x.T, bias=True) - inside
        vectors = eigh(between, shrunken)[1]
        scores = (x @ vectors) @ (means @ vectors).T - ((means @ vectors) ** 2).sum(axis=1) / 2
        scores += np.log(np.bincount(labels) / len(x))
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True), share

    found, share = analysed(z, None)
    soft = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    q = soft[rows, labels][:, None]
    means = np.stack([z[labels == label].mean(axis=0) for label in range(classes)])
    others = (means.sum(axis=0) - means) / (classes - 1)
    return float(analysed(q * z + (1 - q) * others[labels], share)[0][rows, labels].mean())


def usual_etran(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(features, labels)
    return float(fitted.predict_proba(features)[np.arange(len(labels)), labels].mean())


def usual_parc(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    """Both distance matrices and scipy's Spearman, on the first 2,000 examples."""
    chosen = slice(0, 2000)
    z, y = features[chosen], np.eye(labels.max() + 1)[labels[chosen]]
    z = (z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12)
    upper = np.triu_indices(len(z), 1)
    return float(spearmanr((1 - np.corrcoef(z))[upper], (1 - np.corrcoef(y))[upper].round(9)).statistic)


def usual_knn(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    fitted = NearestNeighbors(n_neighbors=1, metric="cosine").fit(features)
    return float((labels[fitted.kneighbors(return_distance=False)[:, 0]] == labels).mean())


def usual_leep(features: np.ndarray, source: np.ndarray, labels: np.ndarray) -> float:
    joint = np.stack([source[labels == label].sum(axis=0) for label in range(labels.max() + 1)]) / len(labels)
    conditional = joint / joint.sum(axis=0)
    return float(np.log((source @ conditional.T)[np.arange(len(labels)), labels]).mean())


USUAL: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "logme": usual_logme,
    "hscore": usual_shrunken_hscore,
    "hscore(shrinkage=none)": usual_hscore,
    "transrate": usual_transrate,
    "sfda": usual_sfda,
    "etran": usual_etran,
    "parc": usual_parc,
    "knn": usual_knn,
    "leep": usual_leep,
}


def measured(task: tuple[str, bool, tuple[int, int, int]]) -> tuple[float, float, float, float]:
    """Value, seconds once, seconds again, and the peak in MiB."""
    name, usual, size = task
    features, source, labels = sample(*size)
    value, once, again = float("nan"), 0.0, 0.0
    permuted = np.random.default_rng(1).permutation(labels)
    start = time.perf_counter()
    if name and usual:
        value = USUAL[name](features, source, labels)
        once = again = time.perf_counter() - start
    elif name:
        score = SCORES[name].prepare(Evidence(features, source, 0))
        value = score(labels)
        once, start = time.perf_counter() - start, time.perf_counter()
        score(permuted)
        again = time.perf_counter() - start
    return value, once, again, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--n", type=int, default=10_000)
    options.add_argument("--d", type=int, default=2_048)
    options.add_argument("--classes", type=int, default=100)
    options.add_argument("--score", nargs="+", choices=list(SCORES), default=list(SCORES), metavar="NAME")
    options.add_argument("--alone", action="store_true", help="leave the usual forms out")
    chosen = options.parse_args()
    size = (chosen.n, chosen.d, chosen.classes)
    tasks = [("", False, size), *((name, False, size) for name in chosen.score)]
    tasks += [(name, True, size) for name in chosen.score if name in USUAL and not chosen.alone]
    # A process for each, so that peaks are their own.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        results = []
        for (name, usual, _), result in zip(tasks, pool.imap(measured, tasks), strict=True):
            results.append(result)
            print(f"{name}{', as usual' * usual}: {result[1]:.2f} s", file=sys.stderr, flush=True)
    rows = [
        [
            f"{name}, as usual" if usual else name or "(features alone)",
            *(f"{value:.6f}", f"{once:.2f}", f"{again:.2f}", f"{peak:.0f}"),
        ]
        for (name, usual, _), (value, once, again, peak) in zip(tasks, results, strict=True)
    ]
    title = f"{chosen.n} examples x {chosen.d} features x {chosen.classes} classes"
    show(title, ["score", "value", "once, s", "again, s", "peak, MiB"], rows)


if __name__ == "__main__":
    main()
