"""Graphs of nearest neighbours, and how much functions of explicit features change along them.

Papers: Belkin, Niyogi and Sindhwani 2006, "Manifold Regularization" (JMLR 7), for the penalty; von Luxburg 2007, "A
Tutorial on Spectral Clustering" (arXiv 0711.0189), section 3.2, for the symmetric normalised Laplacian.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, diags_array

from sterna.maths.kernels import squared_distances
from sterna.maths.samples import blocks

_CELLS = 2**23  # of a block of distances: 64 MiB


def affinities(rows: np.ndarray, neighbours: int, weights: str) -> csr_array:
    """(N, N) symmetric weights between rows of which one is among the nearest neighbours of the other; O(N^2 d).

    Args:
        rows: (N, d); of length 1 for "cosine".
        neighbours: that count, of each row, itself not among them.
        weights: "cosine", x'z where it is positive, or "heat", exp(-|x - z|^2 / 2 s^2) with s^2 the median squared
            distance of neighbours.
    """
    count, moved = len(rows), rows - rows.mean(axis=0)
    most = min(neighbours, count - 1)
    if most < 1:
        return csr_array((count, count))
    places, squares = np.empty((count, most), dtype=np.int64), np.empty((count, most))
    for part in blocks(count, max(1, _CELLS // count)):
        found = squared_distances(moved[part], moved)
        found[np.arange(len(found)), np.arange(part.start, part.stop)] = np.inf
        places[part] = np.argpartition(found, most - 1, axis=1)[:, :most]
        squares[part] = np.take_along_axis(found, places[part], axis=1)
    if weights == "cosine":
        near = np.maximum(1 - squares / 2, 0.0)
    else:
        near = np.exp(-squares / (2 * (float(np.median(squares)) or 1.0)))
    made = csr_array((near.ravel(), (np.repeat(np.arange(count), most), places.ravel())), shape=(count, count))
    return csr_array(made.maximum(made.T))


def laplacian(near: csr_array) -> csr_array:
    """I - D^-1/2 A D^-1/2 of symmetric weights; rows without neighbours have nothing to agree with, and get 0."""
    degrees = np.asarray(near.sum(axis=1)).ravel()
    there = degrees > 0
    scale = diags_array(np.where(there, 1 / np.sqrt(np.where(there, degrees, 1.0)), 0.0))
    return csr_array(diags_array(there.astype(float)) - scale @ near @ scale)


def roughness(features: np.ndarray, near: csr_array) -> np.ndarray:
    """(r, r) Phi'L Phi of explicit features (N, r), L the normalised Laplacian of (N, N) weights."""
    found = features.T @ (laplacian(near) @ features)
    return np.asarray((found + found.T) / 2)
