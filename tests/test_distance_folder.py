"""What every file of `distances/` promises, for whatever files are there, and what each refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from two_samples import drawn, measured, value

from sterna import folder
from sterna.contracts import Sides
from sterna.errors import DataError, SpecError

NAMES = folder.names("distances")
MOVABLE = [name for name in NAMES if name not in ("cka", "coral")]  # these two do not see where a sample is
TURNING = ("energy", "mmd", "nearest", "coral", "frechet", "wasserstein", "otdd", "cka")
SYMMETRIC = (*TURNING, "sliced_wasserstein")
FOLDED = ("a_distance", "jensen_shannon", "kullback_leibler")  # the order of rows decides their folds
BELOW = {"mmd": 0.2, "nearest": 2.0}  # how far below 0 they may be; a twin on the other side is a nearest neighbour


def made(name: str) -> Any:
    return folder.load("distances", name)()


def two(name: str, apart: float = 0.8) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Two samples with three classes a side, of as many items for pairs."""
    left, right = drawn(60, 60 if made(name).needs == "pairs" else 50, apart=apart)
    if made(name).needs == "pairs":
        right = left[:, :2] ** 2 + right[:, 1:]
    return left, right, (np.arange(len(left)) % 3, np.arange(len(right)) * 7 % 3)


every = pytest.mark.parametrize("name", NAMES)


def test_the_distances_are_there() -> None:
    wanted = {"a_distance", "cka", "coral", "energy", "frechet", "jensen_shannon", "kullback_leibler", "mmd", "nearest"}
    assert wanted | {"otdd", "sliced_wasserstein", "wasserstein"} <= set(NAMES)
    assert {name for name in NAMES if made(name).needs == "pairs"} == {"cka"}
    assert {name for name in NAMES if made(name).needs == "labels"} == {"otdd"}


@every
def test_the_contract_holds(name: str) -> None:
    metric = made(name)
    assert metric.needs in {"features", "labels", "pairs"}
    assert isinstance(metric.scale, str)
    assert metric.scale
    assert isinstance(metric.reduced, bool)
    found = measured(metric, *two(name))
    assert type(found.value) is float
    assert math.isfinite(found.value)
    assert found.p is None or (type(found.p) is float and 0 < found.p <= 1)
    assert all(isinstance(note, str) and note.endswith(".") for note in found.notes)
    assert (found.p is not None) == (name in ("mmd", "energy", "nearest"))


@every
def test_the_same_seed_gives_the_same_bits_and_samples_are_left_alone(name: str) -> None:
    left, right, labels = two(name)
    kept = [array.copy() for array in (left, right, *labels)]
    for array in (left, right, *labels):
        array.flags.writeable = False
    sides = Sides(left, right, 5, *labels)
    assert made(name).measure(sides) == made(name).measure(sides)
    for array, before in zip((left, right, *labels), kept, strict=True):
        np.testing.assert_array_equal(array, before)


@every
def test_no_global_generator_is_touched(name: str) -> None:
    before = np.random.get_state()[1].copy()
    value(made(name), *two(name))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@every
def test_p_values_are_left_out_where_nobody_asks(name: str) -> None:
    left, right, labels = two(name)
    found = made(name).measure(Sides(left, right, 0, *labels, tested=False))
    assert found.p is None
    assert found.value == pytest.approx(value(made(name), left, right, labels), abs=1e-12)


@every
def test_a_sample_is_nowhere_from_itself(name: str) -> None:
    left, _, (labels, _) = two(name)
    found = value(made(name), left, left, (labels, labels))
    # Classifiers have an error of their own, which is the larger the fewer the examples.
    room = 0.3 if name in FOLDED else 1e-6
    assert -BELOW.get(name, 1e-9) <= found <= room


@pytest.mark.parametrize("name", MOVABLE)
def test_a_larger_shift_is_further(name: str) -> None:
    left, _, (labels, _) = two(name)
    right = left[::-1] + np.random.default_rng(1).normal(scale=0.1, size=left.shape)
    near, far = (value(made(name), left, right + apart, (labels, labels[::-1])) for apart in (0.3, 3.0))
    assert near < far


@every
def test_where_a_sample_is_counts_but_for_two(name: str) -> None:
    left, right, labels = two(name)
    found, moved = (value(made(name), left, side, labels) for side in (right, right + 10))
    if name in MOVABLE:
        assert moved > found
    else:
        assert moved == pytest.approx(found, abs=1e-9)


@every
def test_moving_both_samples_changes_nothing(name: str) -> None:
    left, right, labels = two(name)
    found = value(made(name), left, right, labels)
    assert value(made(name), left + 100, right + 100, labels) == pytest.approx(found, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", TURNING)
def test_turning_both_samples_changes_nothing(name: str) -> None:
    left, right, labels = two(name)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    second = np.linalg.qr(np.random.default_rng(4).normal(size=(2, 2)))[0] if name == "cka" else turn
    found = value(made(name), left, right, labels)
    # The classes of otdd lose their covariances beyond the diagonal where examples are few, here they are not.
    assert value(made(name), left @ turn, right @ second, labels) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_exchanging_the_samples_changes_nothing(name: str) -> None:
    left, right, labels = two(name)
    assert value(made(name), right, left, labels[::-1]) == pytest.approx(
        value(made(name), left, right, labels), abs=1e-6
    )


@every
def test_the_order_of_examples_does_not_matter(name: str) -> None:
    left, right, (own, other) = two(name)
    draw = np.random.default_rng(0)
    first = draw.permutation(len(left))
    second = first if made(name).needs == "pairs" else draw.permutation(len(right))
    found = value(made(name), left, right, (own, other))
    again = value(made(name), left[first], right[second], (own[first], other[second]))
    assert again == pytest.approx(found, abs=0.5 if name in FOLDED else 1e-6)


@every
def test_features_that_never_vary_are_finite_or_refused(name: str) -> None:
    left, right = np.full((20, 3), 0.1), np.full((20, 3), 0.7)
    labels = np.arange(20) % 2
    if name == "cka":
        with pytest.raises(DataError, match="cka needs features that vary over at least 4 items, got 20 items whose"):
            value(made(name), left, right)
    else:
        assert math.isfinite(value(made(name), left, right, (labels, labels)))


@every
def test_samples_that_are_too_small_are_refused(name: str) -> None:
    for count in (0, 1, 3):
        left, right = np.arange(3.0 * count).reshape(count, 3), np.ones((count, 3))
        labels = np.zeros(count, dtype=int)
        if count <= (0 if name in ("energy", "sliced_wasserstein", "wasserstein") else 1) or (
            count == 3 and name in (*FOLDED, "cka")
        ):
            with pytest.raises(DataError, match=rf"^{name} needs .*at least \d.*add "):
                value(made(name), left, right, (labels, labels))
        else:
            assert math.isfinite(value(made(name), left, right, (labels, labels)))


@every
def test_one_side_that_is_too_small_is_refused(name: str) -> None:
    left, right, (own, other) = two(name)
    with pytest.raises(DataError, match=name):
        value(made(name), left, right[:0], (own, other[:0]))


@every
def test_samples_of_other_features_are_refused_but_for_pairs(name: str) -> None:
    left, right, labels = two(name)
    if made(name).needs == "pairs":
        assert math.isfinite(value(made(name), left, right[:, :1], labels))
    else:
        with pytest.raises(
            DataError, match=f"{name} compares samples that have the same features, got 3 and 2 of them"
        ):
            value(made(name), left, right[:, :2], labels)


def test_otdd_refuses_samples_without_labels() -> None:
    left, right, labels = two("otdd")
    with pytest.raises(DataError, match="otdd compares labelled samples, got no labels on the right side; add them"):
        value(made("otdd"), left, right, (labels[0], None))
    with pytest.raises(DataError, match="no labels on the left side"):
        value(made("otdd"), left, right, (None, labels[1]))


def test_cka_refuses_other_items() -> None:
    left, _, _ = two("cka")
    with pytest.raises(DataError, match="cka needs the same items on both sides, got 60 and 50; compare two encoders"):
        value(made("cka"), left, left[:50])


def test_mmd_refuses_to_do_without_kernels_and_needs_examples_by_its_form() -> None:
    (metric,) = folder.resolve("distances", "mmd(bandwidths=[])")
    with pytest.raises(SpecError, match=r"mmd adds up one or more bandwidths, got none; write bandwidths=\[1\]"):
        value(metric, [0, 1], [1, 2])
    for written, least in (("mmd", 2), ("mmd(biased=true)", 1), ("mmd(estimate=linear)", 4)):
        (metric,) = folder.resolve("distances", written)
        assert math.isfinite(value(metric, np.arange(least), np.arange(least) + 1))
        with pytest.raises(DataError, match=f"mmd needs at least {least} examples? on each side, got"):
            value(metric, np.arange(least - 1), np.arange(least))
