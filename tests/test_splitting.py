"""Splits: what must hold for any data, on random data; and each rule on small data."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from growing import MOST, growth

from sterna import splitting
from sterna.errors import DataError
from sterna.records import Loaded, Split, Table


@dataclass
class Named:
    """Items that are names."""

    names: Sequence[str]
    digests: Sequence[str]
    modality: str = "vector"
    in_memory: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, hint: int) -> str:
        return self.names[index]

    def digest(self, index: int) -> str:
        return self.digests[index]

    def name(self, index: int) -> str:
        return self.names[index]


def data(labels: Sequence[int], groups: Sequence[int] | None = None, parts: Sequence[str] | None = None) -> Loaded:
    n = len(labels)
    names = [f"{place}.jpg" for place in range(n)]
    items = Named(names, [f"digest of {name}" for name in names])
    classes = tuple(f"class {kind}" for kind in range(max(labels) + 1))
    table = Table(items, np.arange(n), np.array(labels, dtype=np.int64), classes)
    numbers = np.arange(n) if groups is None else np.array(groups, dtype=np.int64)
    return Loaded(table, numbers, np.array(parts or [""] * n, dtype="<U10"), (), "here")


def sizes(found: Split) -> tuple[int, int, int]:
    return len(found.train), len(found.validation), len(found.test)


def of_class(loaded: Loaded, rows: np.ndarray) -> list[int]:
    return np.bincount(loaded.table.labels[rows], minlength=len(loaded.table.classes)).tolist()


def check_whole(loaded: Loaded, found: Split) -> None:
    """Disjoint, complete, no group in two parts, every class learnt and tested."""
    every = np.concatenate([found.train, found.validation, found.test])
    assert sorted(every.tolist()) == list(range(len(loaded.table)))
    homes = [set(loaded.groups[rows].tolist()) for rows in (found.train, found.validation, found.test)]
    assert not homes[0] & homes[1]
    assert not homes[0] & homes[2]
    assert not homes[1] & homes[2]
    assert min(of_class(loaded, found.train)) >= 1
    assert min(of_class(loaded, found.test)) >= 1


@pytest.mark.parametrize("seed", range(20))
def test_random_data_with_random_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(6), rng.integers(8, 60, 6)))
    groups = rng.integers(0, rng.integers(30, 400), len(labels))
    loaded = data(labels.tolist(), groups.tolist())
    found = splitting.split(loaded, seed=seed)
    check_whole(loaded, found)
    largest = np.bincount(groups).max()
    assert abs(len(found.test) - 0.2 * len(labels)) <= largest + 6


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_within_one_example_of_each_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 80, 7)
    test, validation = rng.uniform(0.1, 0.5, 2)
    loaded = data(rng.permutation(np.repeat(np.arange(7), counts)).tolist())
    found = splitting.split(loaded, seed=seed, test=test, validation=validation)
    check_whole(loaded, found)
    held = np.array(of_class(loaded, found.test))
    assert (np.abs(held - counts * test) < 1).all()
    assert (np.abs(np.array(of_class(loaded, found.validation)) - (counts - held) * validation) < 1).all()


def test_totals_follow_the_shares() -> None:
    loaded = data(np.repeat(np.arange(5), 500).tolist())
    assert sizes(splitting.split(loaded, seed=0)) == (1600, 400, 500)
    assert sizes(splitting.split(loaded, seed=0, test=0, validation=0)) == (2500, 0, 0)


def test_same_seed_same_split_other_seed_another() -> None:
    loaded = data(np.repeat(np.arange(3), 20).tolist())
    one, two, three = (splitting.split(loaded, seed=seed) for seed in (1, 1, 2))
    for part in ("train", "validation", "test"):
        assert getattr(one, part).tolist() == getattr(two, part).tolist()
        assert getattr(one, part).dtype == np.int64
    assert one.test.tolist() != three.test.tolist()
    assert one.seed == 1


def test_copies_are_as_likely_in_test_as_single_examples() -> None:
    # 40 pairs among 200 examples: a fifth of the pairs, not all or none of them, belongs in a test part of a fifth.
    groups = [*np.repeat(np.arange(40), 2).tolist(), *range(40, 160)]
    loaded = data([place % 2 for place in range(200)], groups)
    in_test = [sum(row < 80 for row in splitting.split(loaded, seed=seed).test.tolist()) for seed in range(30)]
    assert 0.3 * 40 < np.mean(in_test) < 0.5 * 40


def test_a_class_of_two_groups_is_learnt_and_tested() -> None:
    loaded = data([0] * 30 + [1] * 12, [*range(30), *[90] * 11, 91])
    for seed in range(10):
        check_whole(loaded, splitting.split(loaded, seed=seed))


def test_groups_of_several_classes_are_moved_until_each_class_is_on_both_sides() -> None:
    # Every group holds two of four classes; each class is in two groups only.
    loaded = data([0, 1, 1, 2, 2, 3, 3, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    for seed in range(10):
        check_whole(loaded, splitting.split(loaded, seed=seed, validation=0))


def test_given_parts_are_followed() -> None:
    parts = ["test"] * 3 + ["validation"] * 4 + ["train"] * 5
    loaded = data([0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0], parts=parts)
    found = splitting.split(loaded, seed=0)
    assert found.test.tolist() == [0, 1, 2]
    assert found.validation.tolist() == [3, 4, 5, 6]
    assert found.train.tolist() == [7, 8, 9, 10, 11]


def test_what_is_not_given_is_taken_from_train() -> None:
    labels = [place % 2 for place in range(60)]
    with_test = data(labels, parts=["test"] * 10 + ["train"] * 50)
    found = splitting.split(with_test, seed=0)
    assert found.test.tolist() == list(range(10))
    assert sizes(found) == (40, 10, 10)
    with_validation = data(labels, parts=["validation"] * 10 + ["train"] * 50)
    found = splitting.split(with_validation, seed=0)
    assert found.validation.tolist() == list(range(10))
    assert sizes(found) == (40, 10, 10)


def test_an_example_without_a_part_follows_its_group() -> None:
    loaded = data([0, 1, 0, 1, 0, 1, 0], [0, 1, 2, 3, 4, 5, 0], ["test", "test", "train", "train", "", "", ""])
    found = splitting.split(loaded, seed=0, validation=0)
    assert found.test.tolist() == [0, 1, 6]
    assert found.train.tolist() == [2, 3, 4, 5]


def test_shots_hold_that_many_examples_of_each_class() -> None:
    loaded = data(np.repeat(np.arange(3), 40).tolist())
    found = splitting.split(loaded, seed=0, shots=10)
    assert of_class(loaded, found.train) == [8, 8, 8]
    assert of_class(loaded, found.validation) == [2, 2, 2]
    assert of_class(loaded, found.test) == [30, 30, 30]
    found = splitting.split(loaded, seed=0, shots=2)
    assert of_class(loaded, found.train) == of_class(loaded, found.validation) == [1, 1, 1]
    assert of_class(loaded, splitting.split(loaded, seed=0, shots=1, validation=0).train) == [1, 1, 1]


def test_shots_beside_given_parts() -> None:
    labels = [place % 2 for place in range(60)]
    loaded = data(labels, parts=["test"] * 20 + ["validation"] * 10 + ["train"] * 30)
    found = splitting.split(loaded, seed=0, shots=5)
    assert found.test.tolist() == list(range(20))
    assert of_class(loaded, found.train) == [4, 4]
    assert of_class(loaded, found.validation) == [1, 1]
    assert set(found.validation.tolist()) <= set(range(20, 30))
    saved = splitting.to_json(found, loaded)
    assert len(saved["parts"]["unused"]) == 60 - 20 - 10
    assert splitting.from_json(saved, loaded).train.tolist() == found.train.tolist()


@pytest.mark.parametrize(
    ("loaded", "options", "sentence"),
    [
        (data([0, 0, 1, 1, 2]), {}, "class 'class 2' has one example and cannot be both learnt from and tested on;"),
        (data([0, 1, 2, 2]), {}, "class 'class 0' has one example .* and so for 1 more"),
        (data([0, 0, 1, 1], [0, 1, 2, 2]), {}, "class 'class 1' has 2 examples that belong together"),
        (data([0, 1, 0, 2, 1, 2], [0, 0, 1, 1, 2, 2]), {}, "class 'class .' shares its groups with other classes"),
        (data([0, 1, 2], parts=["train", "train", "test"]), {"validation": 0}, "class 'class 2' has no example left"),
        (
            data([0, 0, 0, 1, 1]),
            {"shots": 2},
            "shots needs 3 examples of each class, one .* 'class 1' has 2; ask .* 1,",
        ),
        (data([0, 0, 1, 1]), {"shots": 1}, "shots must be at least 2, one to learn from and one to choose by, got 1"),
        (data([0, 0, 1, 1]), {"test": 1.0}, r"test must be a share in \[0, 1\), got 1.0"),
        (data([0, 0, 1, 1]), {"validation": -0.1}, r"validation must be a share in \[0, 1\), got -0.1"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_a_sentence(loaded: Loaded, options: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        splitting.split(loaded, seed=0, **options)


def test_a_saved_split_is_read_back_on_data_in_another_order_and_under_other_names() -> None:
    loaded = data([0, 1] * 15)
    found = splitting.split(loaded, seed=3)
    saved = json.loads(json.dumps(splitting.to_json(found, loaded)))
    again = splitting.from_json(saved, loaded)
    assert (again.train.tolist(), again.test.tolist(), again.seed) == (found.train.tolist(), found.test.tolist(), 3)
    order = np.random.default_rng(0).permutation(30)
    digests = [loaded.table.items.digest(int(row)) for row in order]
    moved = Named([f"new/{place}" for place in range(30)], digests)
    table = Table(moved, np.arange(30), loaded.table.labels[order], loaded.table.classes)
    elsewhere = splitting.from_json(saved, Loaded(table, np.arange(30), loaded.parts, (), "there"))
    assert sorted(order[elsewhere.test].tolist()) == found.test.tolist()


def test_a_saved_split_does_not_fit_changed_data() -> None:
    loaded = data([0, 1] * 10)
    saved = splitting.to_json(splitting.split(loaded, seed=0), loaded)
    items = loaded.table.items
    assert isinstance(items, Named)
    changed = data([0, 1] * 10)
    changed.table.items.digests[4] = "edited"  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"1 of 20 examples are gone or changed \(first 4.jpg\), 1 are new"):
        splitting.from_json(saved, changed)
    with pytest.raises(DataError, match="0 of 20 examples are gone or changed, 2 are new"):
        splitting.from_json(saved, data([0, 1] * 11))
    relabelled = data([1, *[1, 0] * 9, 1])
    with pytest.raises(DataError, match="are gone or changed"):
        splitting.from_json(saved, relabelled)


def test_exact_copies_are_read_back_each_once() -> None:
    loaded = data([0, 1] * 10)
    loaded.table.items.digests[2] = loaded.table.items.digests[0]  # type: ignore[attr-defined]
    found = splitting.split(loaded, seed=0)
    again = splitting.from_json(splitting.to_json(found, loaded), loaded)
    assert again.train.tolist() == found.train.tolist()


def test_time_grows_with_the_rows_and_not_with_their_square() -> None:
    def prepared(rows: int) -> Callable[[], object]:
        rng = np.random.default_rng(0)
        loaded = data(rng.integers(0, 100, rows).tolist(), rng.integers(0, rows * 9 // 10, rows).tolist())
        return lambda: splitting.split(loaded, seed=0)

    assert growth(prepared, 6_000) < MOST


def numbered(strict: bool) -> tuple[Loaded, splitting.Strata]:
    """Twelve examples without classes, in ranges of a number; the last range holds one."""
    table = Table(
        Named([f"n{k}" for k in range(12)], [f"d{k}" for k in range(12)]),
        np.arange(12),
        np.linspace(0, 1, 12)[:, None],
        ("y",),
        "regress",
    )
    loaded = Loaded(table, np.arange(12), np.full(12, "", dtype="<U10"), (), "made")
    return loaded, splitting.Strata(np.array([0] * 5 + [1] * 6 + [2]), ("0", "1", "2"), strict)


def test_a_range_of_numbers_may_be_missing_on_one_side_and_a_class_may_not() -> None:
    loaded, strata = numbered(strict=False)
    found = splitting.split(loaded, seed=0, test=0.25, validation=0.25, strata=strata)
    assert sorted(np.concatenate([found.train, found.validation, found.test]).tolist()) == list(range(12))
    assert len(found.test) == 3
    with pytest.raises(DataError, match="class '2' has one example"):
        splitting.split(loaded, seed=0, test=0.25, strata=numbered(strict=True)[1])


def test_each_part_holds_every_range_alike() -> None:
    values = np.random.default_rng(0).normal(size=(400, 1))
    table = Table(
        Named([f"n{k}" for k in range(400)], [f"d{k}" for k in range(400)]), np.arange(400), values, ("y",), "regress"
    )
    loaded = Loaded(table, np.arange(400), np.full(400, "", dtype="<U10"), (), "made")
    ranges = np.digitize(values[:, 0], np.quantile(values, np.linspace(0, 1, 11)[1:-1]))
    strata = splitting.Strata(ranges, tuple(map(str, range(10))), strict=False)
    found = splitting.split(loaded, seed=0, test=0.25, validation=0.2, strata=strata)
    assert np.bincount(ranges[found.test]).tolist() == [10] * 10


def test_a_saved_split_of_other_labels_is_read_back() -> None:
    loaded, strata = numbered(strict=False)
    found = splitting.split(loaded, seed=0, strata=strata)
    saved = json.loads(json.dumps(splitting.to_json(found, loaded)))
    back = splitting.from_json(saved, loaded)
    assert np.array_equal(np.sort(found.test), back.test)
    tags = np.empty(12, dtype=object)
    tags[:] = [np.array([k, k + 1]) for k in range(12)]
    changed = Loaded(
        Table(loaded.table.items, loaded.table.rows, tags, ("a",), "tag"), loaded.groups, loaded.parts, (), "made"
    )
    assert splitting.to_json(found, changed)["parts"]["test"][0][1] == f"{found.test[0]} {found.test[0] + 1}"
    with pytest.raises(DataError, match="the data have changed"):
        splitting.from_json(saved, changed)


def test_smaller_shares_lie_within_larger_ones_and_keep_every_class():
    numbers = np.repeat([0, 1, 2], [60, 30, 2])
    whole = Split(np.arange(0, 92, 2), np.arange(1, 92, 4), np.arange(3, 92, 4), 5)
    strata = splitting.Strata(numbers, ("a", "b", "c"))
    thin, thick = (splitting.thinned(whole, strata, share) for share in (0.2, 0.5))
    assert set(thin.train) < set(thick.train) < set(whole.train)
    assert set(thin.validation) <= set(thick.validation) < set(whole.validation)
    assert np.array_equal(thin.test, whole.test)
    assert np.bincount(numbers[thin.train], minlength=3).tolist() == [6, 3, 1]
    again = splitting.thinned(whole, strata, 0.2)
    assert np.array_equal(again.train, thin.train)


@pytest.mark.parametrize("seed", range(5))
def test_folds_judge_each_row_once_and_keep_groups_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), 14))
    groups = np.where(np.arange(42) % 7 == 0, labels, 100 + np.arange(42))  # a group of two in each class
    loaded = data(labels.tolist(), groups.tolist())
    rows = np.sort(rng.permutation(42)[:36])
    found = splitting.folds(loaded, rows, splitting.by_class(loaded.table), 3, seed)
    assert len(found) == 3
    assert sorted(np.concatenate([judged for _, judged in found]).tolist()) == list(range(36))
    for learnt, judged in found:
        assert sorted([*learnt, *judged]) == list(range(36))
        assert not set(loaded.groups[rows[learnt]]) & set(loaded.groups[rows[judged]])
        each = np.bincount(labels[rows[judged]], minlength=3)
        assert each.max() - each.min() <= 4  # a group of several in one fold, and a class more or less at its end


def test_folds_are_fewer_where_a_class_has_fewer_groups() -> None:
    strata = splitting.by_class(data([0, 0, 0, 0, 1, 1]).table)
    assert len(splitting.folds(data([0, 0, 0, 0, 1, 1]), np.arange(6), strata, 5, 0)) == 2
    alone = data([0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 4, 4])
    assert splitting.folds(alone, np.arange(6), splitting.by_class(alone.table), 3, 0) == []
