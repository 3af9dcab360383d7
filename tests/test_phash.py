"""Perceptual hashes: against a transform written out, against all pairs, and against real photos."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sterna.maths import phash


def smooth_greys(count: int, seed: int = 0) -> np.ndarray:
    """Unrelated pictures with the falling spectrum of photos."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 12, 12)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in coarse])


def grey_of(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BILINEAR))


def test_bits_are_signs_of_a_cosine_transform_written_out() -> None:
    grey = smooth_greys(1)[0].astype(float)
    place = np.arange(32)
    basis = np.cos(np.pi * (2 * place[None] + 1) * place[:, None] / 64)  # unscaled DCT-II, row = frequency
    low = (basis @ grey @ basis.T)[:16, :16]
    low[0] /= np.sqrt(2)  # orthonormal scaling, up to a common factor
    low[:, 0] /= np.sqrt(2)
    wanted = low.ravel() > np.median(low.ravel()[1:])
    wanted[0] = False
    hashes, flat = phash.perceptual_hashes(grey[None])
    assert np.unpackbits(hashes.view(np.uint8)).astype(bool).tolist() == wanted.tolist()
    assert not flat[0]


def test_brightness_and_contrast_do_not_count_and_an_even_surface_is_flat() -> None:
    grey = smooth_greys(1)[0].astype(np.float32)
    hashes, flat = phash.perceptual_hashes(np.stack([grey, grey * 0.5 + 40, np.full_like(grey, 200)]))
    assert phash.distance(hashes[0], hashes[1]) <= 2
    assert flat.tolist() == [False, False, True]


def test_distance_counts_bits() -> None:
    left = np.array([[0, 0, 0, 0], [2**64 - 1, 0, 1, 5]], dtype=np.uint64)
    right = np.array([[0, 0, 0, 7], [0, 0, 1, 2**63]], dtype=np.uint64)
    assert phash.distance(left, right).tolist() == [3, 64 + 3]


@pytest.mark.parametrize("within", [0, 3, 20])
def test_groups_are_those_of_all_pairs(within: int) -> None:
    rng = np.random.default_rng(within)
    seeds = rng.integers(0, 2, (40, 256)).astype(np.uint8)
    bits = np.repeat(seeds, 6, axis=0)
    for row, flips in zip(bits, rng.integers(0, within + 8, len(bits)), strict=True):
        row[rng.choice(256, flips, replace=False)] ^= 1
    bits = bits[rng.permutation(len(bits))]
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    near = (bits[:, None] != bits[None]).sum(axis=2) <= within
    reach = near.copy()
    for _ in range(8):
        reach = (reach.astype(int) @ near.astype(int)) > 0  # chains of links
    wanted = phash.by_appearance(reach.argmax(axis=1))
    assert 40 <= wanted.max() + 1 < len(bits) or within == 0
    assert phash.near_groups(hashes, within).tolist() == wanted.tolist()


def test_many_equal_and_many_chained_hashes_stay_linear_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phash, "_PENDING", 500)
    rng = np.random.default_rng(0)
    bits = np.repeat(rng.integers(0, 2, (1, 256)), 3000, axis=0).astype(np.uint8)
    bits[np.arange(3000), rng.integers(0, 256, 3000)] ^= 1
    groups = phash.near_groups(np.packbits(bits, axis=1).view(np.uint64))
    assert groups.tolist() == [0] * 3000


def test_no_hashes_make_no_groups() -> None:
    assert phash.near_groups(np.zeros((0, 4), dtype=np.uint64)).tolist() == []


def test_merged_joins_what_either_joins() -> None:
    left, right = np.array([7, 7, 3, 4, 5]), np.array([0, 1, 1, 2, 3])
    assert phash.merged(left, right).tolist() == [0, 0, 0, 1, 2]
    assert phash.merged(left).tolist() == [0, 0, 1, 2, 3]


def test_unrelated_pictures_are_far_apart() -> None:
    hashes, _ = phash.perceptual_hashes(smooth_greys(400))
    assert len(np.unique(phash.near_groups(hashes))) == 400
    first, second = np.triu_indices(400, 1)
    assert 110 < phash.distance(hashes[first], hashes[second]).mean() < 140


def test_copies_of_real_photos_are_found_and_others_are_not(data_folder: Path) -> None:
    paths = sorted((data_folder / "flowers").glob("*/*.jpg"))[::25]
    originals, copies = [], []
    for path in paths:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        low, small = io.BytesIO(), io.BytesIO()
        picture.save(low, "JPEG", quality=40)
        picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS).save(small, "JPEG")
        originals.append(grey_of(picture))
        copies.append([grey_of(Image.open(low)), grey_of(Image.open(small)), grey_of(picture.convert("L"))])
    hashes, _ = phash.perceptual_hashes(np.stack(originals))
    twins, _ = phash.perceptual_hashes(np.stack([one for three in copies for one in three]))
    near = phash.distance(np.repeat(hashes, 3, axis=0), twins) <= phash.NEAR
    assert near.mean() >= 0.97
    assert len(np.unique(phash.near_groups(hashes))) == len(paths)
