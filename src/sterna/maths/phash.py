"""Perceptual hashes of pictures, and groups of pictures that look the same.

The hash is the sign pattern of the low frequencies of the two-dimensional cosine transform of a small grey picture
(Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1), here with 255
frequencies instead of 63: on product shots before a white ground, 63 bits call different objects the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 32  # px: side of the grey picture that is hashed
WORDS = 4  # 64-bit words of a hash

# Of 255 bits. Looked at by eye on 2,500 flower photos and 1,410 product and desk photos (3.6 million pairs within the
# sets): the 37 pairs of different files within 20 bits are each one shot twice, re-encoded, resized, toned or
# recoloured; from 24 bits on, different bicycles seen from the same side begin to meet.
NEAR = 20

_LOW = 16  # low frequencies kept along each axis
_FLAT = 2.0  # grey levels: a picture whose standard deviation is less has no pattern to compare
_PENDING = 1 << 20  # links held before they are reduced to one per item, so that memory stays linear in the items


def perceptual_hashes(greys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of grey pictures, each as four 64-bit words.

    The bits say which of the 16 x 16 lowest frequencies, the mean left out, exceed their median; half of them do, so
    brightness and contrast do not count. Hashes of unrelated pictures differ in about 127 of 255 bits. Not for
    finding crops, mirror images or rotations: a crop of 2 % already moves more than 30 bits.

    Args:
        greys: (n, 32, 32) grey levels from 0 to 255.

    Returns:
        hashes (n, 4) uint64, and (n,) bool: whether a picture is an even surface, whose hash says nothing.
    """
    greys = greys.astype(np.float32)
    low = dctn(greys, axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW].reshape(len(greys), -1)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64), greys.std(axis=(1, 2)) < _FLAT


def distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The number of bits in which hashes differ: (..., 4) and (..., 4) uint64 -> (...) int64."""
    return _ones(left ^ right).sum(axis=-1, dtype=np.int64)


def near_groups(hashes: np.ndarray, within: int = NEAR) -> np.ndarray:
    """Numbers that are equal for items linked by steps of at most `within` bits.

    Exact, without comparing all pairs: the bits are dealt out to `within + 1` bands, so two hashes that differ in at
    most `within` bits agree on one band entirely, and only those that agree on a band are compared. Time grows with
    the pairs that agree by chance, memory with the items.

    Args:
        hashes: (n, 4) uint64.
        within: largest distance of a link, from 0 to 63.

    Returns:
        (n,) int64, numbered by first appearance.
    """
    unique, place = np.unique(hashes, axis=0, return_inverse=True)
    start = unique[:, 0].copy()
    numbers = np.arange(len(unique))
    pending: list[np.ndarray] = []
    for band in range(within + 1):
        for pairs in _agreeing(unique, band, within + 1):
            # One word of four already tells almost all unrelated hashes apart, for a quarter of the work.
            pairs = pairs[:, _ones(start[pairs[0]] ^ start[pairs[1]]) <= within]
            pairs = pairs[:, numbers[pairs[0]] != numbers[pairs[1]]]
            near = distance(unique[pairs[0]], unique[pairs[1]]) <= within
            pending.append(pairs[:, near])
            if sum(part.shape[1] for part in pending) > _PENDING:
                numbers, pending = _linked(numbers, pending), []
        numbers, pending = _linked(numbers, pending), []
    return by_appearance(numbers[place.ravel()])


def merged(*numberings: np.ndarray) -> np.ndarray:
    """The finest grouping that keeps together what any of the numberings (n,) keeps together; (n,) int64."""
    total = len(numberings[0])
    items, nodes, start = [], [], total
    for numbering in numberings:
        codes = np.unique(numbering, return_inverse=True)[1].ravel()
        items.append(np.arange(total))
        nodes.append(codes + start)
        start += total
    return by_appearance(_components(start, np.concatenate(items), np.concatenate(nodes))[:total])


def by_appearance(numbering: np.ndarray) -> np.ndarray:
    """The same grouping, numbered 0, 1, 2, ... in the order in which its groups first appear; (n,) int64."""
    _, first, codes = np.unique(numbering, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[codes.ravel()]


def _ones(words: np.ndarray) -> np.ndarray:
    """How many bits of each 64-bit word are set, by adding neighbouring fields of 1, 2, 4 and then 8 bits."""
    words = words - ((words >> np.uint64(1)) & np.uint64(0x5555555555555555))
    words = (words & np.uint64(0x3333333333333333)) + ((words >> np.uint64(2)) & np.uint64(0x3333333333333333))
    words = (words + (words >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (words * np.uint64(0x0101010101010101)) >> np.uint64(56)


def _agreeing(hashes: np.ndarray, band: int, bands: int) -> Iterator[np.ndarray]:
    """Pairs (2, m) of hashes that agree on one band, in portions of at most n."""
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)[:, band::bands]
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))
    keys = np.unique(packed, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    left = np.arange(len(keys))
    for step in range(1, len(keys)):
        left = left[left + step < len(keys)]
        left = left[keys[left] == keys[left + step]]
        if not len(left):
            return
        yield np.stack([order[left], order[left + step]])


def _linked(numbers: np.ndarray, pending: list[np.ndarray]) -> np.ndarray:
    """The numbering after joining the items of all pending pairs."""
    if not pending:
        return numbers
    pairs = np.concatenate(pending, axis=1)
    return _components(len(numbers), numbers[pairs[0]], numbers[pairs[1]])[numbers]


def _components(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The connected component of each of `count` nodes, given edges."""
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)
