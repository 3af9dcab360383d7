"""Noise on numbers has the strength asked for, in deviations of the training rows, and touches nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sterna import folder, rows
from sterna.augment.jitter import Jitter
from sterna.errors import SpecError
from sterna.records import Augment, Column

COLUMNS = (Column("size", "numeric"), Column("colour", "category"), Column("weight", "numeric"))


def drawn(seed: int, augment: Augment, row: tuple) -> tuple:
    assert augment.row is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return augment.row(row)


def test_noise_is_gaussian_of_the_width_asked_for_and_drawn_for_each_number() -> None:
    augment = Jitter(sigma=0.5).build()
    assert augment.row is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        added = np.array([augment.row((3.0, -1.0)) for _ in range(4000)]) - [3.0, -1.0]
    assert stats.kstest(added[:, 0] / 0.5, "norm").pvalue > 0.01
    assert stats.kstest(added[:, 1] / 0.5, "norm").pvalue > 0.01
    assert abs(np.corrcoef(added.T)[0, 1]) < 0.05


def test_words_and_missing_cells_stay() -> None:
    got = drawn(0, Jitter().build(), (1.0, "red", None, 0.0))
    assert got[1:3] == ("red", None)
    assert 0 < abs(got[0] - 1) < 1
    assert got[3] != 0


def test_the_same_seed_gives_the_same_row() -> None:
    augment = folder.resolve("augment", "jitter(sigma=0.2)")[0].build()
    assert drawn(3, augment, (1.0, 2.0)) == drawn(3, augment, (1.0, 2.0)) != drawn(4, augment, (1.0, 2.0))
    assert augment.written == "jitter(sigma=0.2)"
    assert (augment.single, Jitter.places) == (True, ("row",))


def test_no_noise_is_no_change() -> None:
    assert drawn(0, Jitter(sigma=0).build(), (1.5, "a", None)) == (1.5, "a", None)


def test_its_strength_does_not_depend_on_units() -> None:
    """A column in grams and the same in kilograms get the same noise once they are standardised."""
    grams = [(1000.0 * value, "a", value) for value in (1.0, 2.0, 4.0, 9.0)]
    made = rows.learnt(grams, COLUMNS)
    augment = Jitter(sigma=0.3).build()
    moved = []
    for seed in range(300):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            moved.append(made.frame(grams[1], augment) - made.frame(grams[1]))
    spread = np.std(moved, axis=0)
    assert spread[[0, -1]] == pytest.approx([0.3, 0.3], rel=0.15)
    assert not np.array(moved)[:, 1:-1].any()


@pytest.mark.parametrize("sigma", ["-0.1", "6"])
def test_impossible_noise(sigma: str) -> None:
    with pytest.raises(SpecError, match=rf"sigma of jitter must be in \[0, 5\], got {sigma}"):
        folder.resolve("augment", f"jitter(sigma={sigma})")
