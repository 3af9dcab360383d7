"""Labels that spread along a graph of nearest neighbours, and the answers of its nodes for points beside it.

Papers: Zhou, Bousquet, Lal, Weston and Schölkopf 2004, "Learning with Local and Global Consistency" (Advances in Neural
Information Processing Systems 16), section 2; Delalleau, Bengio and Le Roux 2005, "Efficient Non-Parametric Function
Induction in Semi-Supervised Learning" (AISTATS), equation 6, for points beside the graph.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import cg

from sterna.maths.kernels import squared_distances
from sterna.maths.samples import blocks
from sterna.maths.transfer_graph import laplacian

ACCURACY = 1e-7  # of the spread labels, relative to those that were given
STEPS = 1000  # of conjugate gradients, at most; alpha = 0.99 takes about a hundred
_CELLS = 2**23  # of a block of distances: 64 MiB


def spread(near: csr_array, given: np.ndarray, alpha: float) -> np.ndarray:
    """(N, k) F = (1 - alpha) (I - alpha S)^-1 Y with S = D^-1/2 W D^-1/2, by conjugate gradients; never negative.

    Args:
        near: (N, N) W, symmetric; a node without neighbours keeps what it was given.
        given: (N, k) Y, zeros for nodes without a label.
        alpha: in [0, 1), the share that a node takes from its neighbours.
    """
    system = (1 - alpha) * eye_array(len(given), format="csr") + alpha * laplacian(near)
    sides = (1 - alpha) * given
    found = np.zeros_like(sides)
    for place in np.flatnonzero(sides.any(axis=0)):
        found[:, place], _ = cg(system, sides[:, place], rtol=ACCURACY, maxiter=STEPS)
    return np.maximum(found, 0.0)


def graph(nodes: np.ndarray, count: int) -> tuple[csr_array, float]:
    """(N, N) symmetric weights exp(-|x - z|^2 / 2 width^2) of nodes of which one is among the nearest of the other.

    Returns them with the width: the square root of the median squared distance of neighbours, 1 where it is 0.

    Args:
        nodes: (N, d), around the origin.
        count: of neighbours of each, itself not among them.
    """
    many, most = len(nodes), min(count, len(nodes) - 1)
    if most < 1:
        return csr_array((many, many)), 1.0
    places, squares = nearest(nodes, nodes, most, itself=False)
    width = float(np.sqrt(np.median(squares))) or 1.0
    weights = np.exp(-squares / (2 * width**2))
    rows = np.repeat(np.arange(many), most)
    made = csr_array((weights.ravel(), (rows, places.ravel())), shape=(many, many))
    return csr_array(made.maximum(made.T)), width


def nearest(points: np.ndarray, nodes: np.ndarray, count: int, itself: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(n, count) which nodes are nearest to each point, and their squared distances; O(n N d).

    Args:
        points: (n, d); like the nodes they should lie around the origin.
        nodes: (N, d).
        count: of neighbours, at most N.
        itself: False where the points are the nodes, and none is its own neighbour.
    """
    places, squares = np.empty((len(points), count), dtype=np.int64), np.empty((len(points), count))
    for part in blocks(len(points), max(1, _CELLS // len(nodes))):
        found = squared_distances(points[part], nodes)
        if not itself:
            found[np.arange(len(found)), np.arange(part.start, part.stop)] = np.inf
        places[part] = np.argpartition(found, count - 1, axis=1)[:, :count]
        squares[part] = np.take_along_axis(found, places[part], axis=1)
    return places, squares


def induced(points: np.ndarray, nodes: np.ndarray, shares: np.ndarray, count: int, width: float) -> np.ndarray:
    """(n, k) the mean of the shares of the nearest nodes, weighted by exp(-|x - z|^2 / 2 width^2).

    Args:
        points, nodes, count: as in `nearest`.
        shares: (N, k) of the nodes.
        width: > 0. A point far from all nodes is answered by the nearest of them.
    """
    places, squares = nearest(points, nodes, min(count, len(nodes)))
    weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * width**2))
    weights /= weights.sum(axis=1, keepdims=True)
    found: np.ndarray = np.einsum("nj,njk->nk", weights, shares[places])
    return found
