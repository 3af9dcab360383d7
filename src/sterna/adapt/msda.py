"""Marginalised stacked denoising autoencoders: layers that fill in features that were struck out, without drawing any.

Paper: Chen, Xu, Weinberger and Sha 2012, "Marginalized Denoising Autoencoders for Domain Adaptation" (ICML, arXiv
1206.4683), equations 3 to 9 and algorithm 1.

Equation: W = E[P] E[Q]^-1, the linear map of least expected squared error from rows of which each feature is 0 with
probability p to whole rows: with S the products of features, a constant included, over the rows of both domains and
q = (1 - p, ..., 1 - p, 1), E[Q]_ij = S_ij q_i q_j off the diagonal and S_ii q_i on it, E[P]_ij = S_ij q_j. A layer is
h = tanh(W (x, 1)); the next one is learnt from h. Features are x and all layers side by side.

As words that are there or not, for which it was made, each feature is divided by its largest absolute value over both
domains, so that tanh neither cuts off nor vanishes; 0 stays 0.

Cost: O(N d^2 + d^3) a layer, O(d^2) memory beyond the features, `layers` + 1 times as many as were given.

When not to use: where features do not tell of one another; with tens of thousands of features, for d^2 products; where
0 is no natural value of what is missing, unless features are standardised first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import solve

from sterna.contracts import Aligned, Pair
from sterna.maths.memory import check
from sterna.maths.samples import blocks
from sterna.spec import Range, method, option

_BLOCK = 4096
_RIDGE = 1e-5  # of the mean of E[Q]'s diagonal, as published for rows of 0 and 1


@dataclass(frozen=True)
class _Stack:
    """The layers, each (d, d + 1), and what features are multiplied by."""

    factors: np.ndarray  # (d,)
    layers: tuple[np.ndarray, ...]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        parts = [rows * self.factors]
        for layer in self.layers:
            parts.append(_layer(layer, parts[-1]))
        return np.hstack(parts)


def _layer(weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.tanh(rows @ weight[:, :-1].T + weight[:, -1])
    return found


def _products(sides: list[np.ndarray]) -> np.ndarray:
    """(d + 1, d + 1) sums over rows of the products of features, the constant last."""
    d = sides[0].shape[1]
    found = np.zeros((d + 1, d + 1))
    for side in sides:
        for part in blocks(len(side), _BLOCK):
            found[:d, :d] += side[part].T @ side[part]
            found[d, :d] += side[part].sum(axis=0)
        found[d, d] += len(side)
    found[:d, d] = found[d, :d]
    return found


def _denoising(products: np.ndarray, corruption: float) -> np.ndarray:
    """(d, d + 1) W."""
    kept = np.full(len(products), 1 - corruption)
    kept[-1] = 1.0
    struck = products * np.outer(kept, kept)
    np.fill_diagonal(struck, np.diag(products) * kept)
    struck[np.diag_indices(len(struck))] += _RIDGE * np.trace(struck) / len(struck)
    wanted = products[:-1] * kept
    found: np.ndarray = solve(struck, wanted.T, assume_a="pos").T
    return found


@method
class MSDA:
    """How much is struck out, and how many layers."""

    corruption: float = option(0.5, "probability with which a feature is struck out", Range(0, 1, high_open=True))
    layers: int = option(3, "layers, each reading the one before", Range(1, 20))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        """Features and layers side by side. Raises `DataError` for what does not fit into memory."""
        count, d = len(pair.source) + len(pair.target), pair.source.shape[1]
        check("msda", f"five matrices of {d:,} x {d:,} products", 5.0 * d * d, "use principal components")
        wanted = float(count + (self.layers + 1) * (len(pair.source) + len(pair.known))) * d
        check("msda", f"{self.layers} layers of {count:,} rows", wanted, "type fewer layers")
        largest = np.maximum(np.abs(pair.source).max(axis=0), np.abs(pair.target).max(axis=0))
        factors = np.where(largest > 0, 1 / np.where(largest > 0, largest, 1.0), 0.0)
        sides = [pair.source * factors, pair.target * factors]
        layers = []
        for _ in range(self.layers):
            layers.append(_denoising(_products(sides), self.corruption))
            sides = [_layer(layers[-1], side) for side in sides]
        made = _Stack(factors, tuple(layers))
        features = np.concatenate([made(pair.source), made(pair.target[pair.known])])
        labels = np.concatenate([pair.labels, pair.known_labels])
        return Aligned(features, labels, np.ones(len(labels)), made)
