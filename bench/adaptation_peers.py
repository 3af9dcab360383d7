"""What other libraries make of a pair: skada, ADAPT and POT, called as their users call them, with the same options.

They are no part of sterna. They can be put beside it, ADAPT with the TensorFlow that it imports, and taken away again:

    pip install --target DIR --no-deps skada adapt pot
    pip install --target DIR --no-deps tensorflow-cpu keras scikeras cvxopt absl-py astunparse flatbuffers gast \\
        google-pasta libclang opt-einsum protobuf requests six termcolor wrapt grpcio h5py ml-dtypes rich namex \\
        optree packaging typing_extensions mdurl markdown-it-py pygments urllib3 idna certifi charset-normalizer
    python bench/adaptation.py --peers DIR

A peer takes a pair and the options that both sides share, and gives the features and weights of the source and the
features of the target. All of it is timed; a library is imported, and called once on a few rows, before that.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from sterna.contracts import Pair
from sterna.maths import ratios

Moved = tuple[np.ndarray, np.ndarray, np.ndarray]  # features and weights of the source, features of the target
Peer = Callable[[Pair, float], Moved]  # the width of Gaussian kernels comes with the pair

COMPONENTS = 20
SMOOTHING = 0.1  # of entropic transport, in median costs


def _skada(name: str, **options: Any) -> Callable[[Pair], Moved]:
    """An adapter that moves rows."""

    def moved(pair: Pair) -> Moved:
        rows = np.concatenate([pair.source, pair.target])
        domain = np.repeat([1, -2], [len(pair.source), len(pair.target)])
        adapter = getattr(importlib.import_module("skada"), name)(**options)
        masked = np.concatenate([pair.labels, np.full(len(pair.target), -1)])
        found = adapter.fit_transform(rows, masked, sample_domain=domain)
        return found[domain > 0], np.ones(len(pair.source)), found[domain < 0]

    return moved


def _skada_weights(name: str, **options: Any) -> Callable[[Pair], Moved]:
    """An adapter that weighs the source."""

    def moved(pair: Pair) -> Moved:
        rows = np.concatenate([pair.source, pair.target])
        domain = np.repeat([1, -2], [len(pair.source), len(pair.target)])
        adapter = getattr(importlib.import_module("skada"), name)(**options)
        adapter.fit(rows, sample_domain=domain)
        weights = np.asarray(adapter.compute_weights(rows, sample_domain=domain)).ravel()
        return pair.source, weights[domain > 0], pair.target

    return moved


def _adapt(name: str, **options: Any) -> Callable[[Pair], Moved]:
    def moved(pair: Pair) -> Moved:
        made = getattr(importlib.import_module("adapt.feature_based"), name)(verbose=0, random_state=0, **options)
        source = made.fit_transform(pair.source, pair.target)
        return source, np.ones(len(source)), made.transform(pair.target, domain="tgt")

    return moved


def _adapt_weights(name: str, **options: Any) -> Callable[[Pair], Moved]:
    def moved(pair: Pair) -> Moved:
        made = getattr(importlib.import_module("adapt.instance_based"), name)(verbose=0, random_state=0, **options)
        return pair.source, np.asarray(made.fit_weights(pair.source, pair.target)).ravel(), pair.target

    return moved


def _pot(name: str, **options: Any) -> Callable[[Pair], Moved]:
    def moved(pair: Pair) -> Moved:
        made = getattr(importlib.import_module("ot.da"), name)(**options)
        source = made.fit_transform(Xs=pair.source, ys=pair.labels, Xt=pair.target)
        return source, np.ones(len(source)), pair.target

    return moved


def _gamma(width: float) -> float:
    return 1 / (2 * width**2)


def _grid(width: float) -> list[float]:
    """The widths that sterna tries."""
    return [_gamma(one) for one in ratios.widths(width, None)]


def _variance(pair: Pair) -> float:
    """The unit of sterna's regularisation of covariances."""
    return float((pair.source.var(axis=0, ddof=1).mean() + pair.target.var(axis=0, ddof=1).mean()) / 2)


def fixed(made: Callable[[Pair], Moved]) -> Peer:
    """A peer whose options do not depend on the data."""
    return lambda pair, width: made(pair)


_STEPS = 50_000_000  # of the network simplex: by default it ends before the optimum, with a warning
_CENTRES = 100
_LEAST = {"kernel": "rbf", "lambdas": list(ratios.PENALTIES), "max_centers": _CENTRES}

# What is written for sterna, and who does the same with the same options. Nobody else has JDA.
RIVALS: dict[str, dict[str, Peer]] = {
    f"tca(components={COMPONENTS})": {
        "skada": fixed(_skada("TransferComponentAnalysisAdapter", kernel="linear", n_components=COMPONENTS, mu=1.0)),
        "ADAPT": fixed(_adapt("TCA", kernel="linear", n_components=COMPONENTS, mu=1.0)),
    },
    f"tca(kernel=rbf, components={COMPONENTS})": {
        "skada": fixed(_skada("TransferComponentAnalysisAdapter", kernel="rbf", n_components=COMPONENTS, mu=1.0)),
        "ADAPT": fixed(_adapt("TCA", kernel="rbf", n_components=COMPONENTS, mu=1.0)),
    },
    f"jda(components={COMPONENTS})": {},
    "kmm(penalty=0)": {
        "skada": lambda pair, width: _skada_weights("KMMReweightAdapter", gamma=_gamma(width))(pair),
        "ADAPT": lambda pair, width: _adapt_weights("KMM", kernel="rbf", gamma=_gamma(width))(pair),
    },
    "kmm": {},
    "optimal_transport": {
        "POT": fixed(_pot("SinkhornTransport", reg_e=SMOOTHING, norm="median")),  # skada calls this one
    },
    "optimal_transport(form=exact)": {
        "POT": fixed(_pot("EMDTransport", norm="median", max_iter=_STEPS)),
        "skada": fixed(_skada("OTMappingAdapter", norm="median", max_iter=_STEPS)),
    },
    "linear_transport": {
        "POT": fixed(_pot("LinearTransport")),
        "skada": fixed(_skada("LinearOTMappingAdapter")),
    },
    "ulsif": {
        "ADAPT": lambda pair, width: _adapt_weights("ULSIF", gamma=_grid(width), **_LEAST)(pair),
    },
    "rulsif": {
        "ADAPT": lambda pair, width: _adapt_weights("RULSIF", gamma=_grid(width), **_LEAST)(pair),
    },
    "kliep": {
        "skada": lambda pair, width: _skada_weights("KLIEPReweightAdapter", gamma=_grid(width), random_state=0)(pair),
        "ADAPT": lambda pair, width: _adapt_weights("KLIEP", kernel="rbf", gamma=_grid(width))(pair),
    },
    "coral": {
        "skada": fixed(_skada("CORALAdapter")),
        "ADAPT": lambda pair, width: _adapt("CORAL", lambda_=_variance(pair))(pair),
    },
    f"subspace_alignment(components={COMPONENTS})": {
        "skada": fixed(_skada("SubspaceAlignmentAdapter", n_components=COMPONENTS)),
        "ADAPT": fixed(_adapt("SA", n_components=COMPONENTS)),
    },
}
