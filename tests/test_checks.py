"""Checks on names, labels and groups: each finding made by the smallest data that deserve it, and by nothing less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sterna import checks
from sterna.errors import DataError

CLASSES = ("ant", "bee", "cat")


def labels(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def parts(*names: str) -> np.ndarray:
    return np.array(names, dtype="<U10")


def test_some_and_counted() -> None:
    assert checks.some(["a", "b"]) == "a, b"
    assert checks.some("abcdefg") == "a, b, c, d and 3 more"
    assert checks.counted(1, "class", "classes") == "1 class"
    assert checks.counted(2, "class", "classes") == "2 classes"
    assert checks.counted(0, "file") == "0 files"


def test_missing_path_names_the_nearest_sibling(tmp_path: Path) -> None:
    (tmp_path / "Flowers").mkdir()
    assert f"did you mean {tmp_path / 'Flowers'}?" in str(checks.no_such_path(tmp_path / "flower"))
    assert "holds Flowers" in str(checks.no_such_path(tmp_path / "zzz"))
    assert f"did you mean {tmp_path / 'Flowers'}?" in str(checks.no_such_path(tmp_path / "flowerz" / "inner"))


def test_two_classes_are_needed() -> None:
    checks.two_classes(labels(1, 1), CLASSES[:2], "here")
    with pytest.raises(DataError, match=r"here has usable examples of 1 class \(ant\)"):
        checks.two_classes(labels(3), CLASSES[:1], "here")


def test_names_that_differ_in_case_spaces_or_underscores() -> None:
    found = checks.similar_names(("Sun Flower", "rose", "sun_flower", "sunflower", "roses"))
    assert [one.items for one in found] == [("Sun Flower", "sun_flower", "sunflower")]
    assert "kept apart" in found[0].sentence
    assert checks.similar_names(("a", "b")) == []


def test_empty_classes_and_single_examples() -> None:
    assert checks.empty_classes({"ant", "dog"}, ("ant", "bee"))[0].items == ("dog",)
    assert checks.empty_classes({"ant"}, ("ant",)) == []
    assert checks.singletons(labels(2, 1, 1), CLASSES)[0].items == ("bee", "cat")
    assert checks.singletons(labels(2, 2, 2), CLASSES) == []


def test_imbalance_starts_at_ten_to_one() -> None:
    assert checks.imbalance(labels(19, 2, 5), CLASSES) == []
    found = checks.imbalance(labels(20, 2, 5), CLASSES)
    assert found[0].kind == "imbalance"
    assert "ant has 20 examples, bee has 2" in found[0].sentence


def test_classes_missing_in_a_given_part() -> None:
    given = parts("train", "train", "train", "test", "test", "validation")
    found = checks.missing_in_parts(np.array([0, 1, 1, 0, 2, 0]), given, CLASSES)
    assert {one.sentence.split()[2]: one.items for one in found} == {
        "train": ("cat",),
        "validation": ("bee", "cat"),
        "test": ("bee",),
    }
    assert checks.missing_in_parts(np.array([0, 1, 2]), parts("", "", ""), CLASSES) == []
    # What has no part may yet be learnt from.
    assert checks.missing_in_parts(np.array([0, 1, 2]), parts("train", "", ""), CLASSES) == []


def test_copies_near_copies_and_conflicts() -> None:
    exact = np.array([5, 5, 2, 3, 4, 6])
    alike = np.array([0, 0, 1, 1, 4, 6])
    kinds = np.array([0, 1, 2, 2, 0, 0])
    found = checks.duplicates(exact, alike, kinds, "abcdef", "picture")
    assert [(one.kind, one.items) for one in found] == [
        ("duplicate", ("a", "b")),
        ("near duplicate", ("c", "d")),
        ("conflict", ("a", "b")),
    ]
    assert "1 picture is there under two labels: a = b" in found[2].sentence
    assert checks.duplicates(np.arange(6), np.arange(6), kinds, "abcdef", "row") == []


def test_sets_are_those_that_share_a_number() -> None:
    assert [part.tolist() for part in checks.sets_of(np.array([3, 9, 3, 1, 9, 9]))] == [[0, 2], [1, 4, 5]]
    assert checks.sets_of(np.arange(4)) == []


def test_leaking_copies_are_set_aside_from_the_weaker_part() -> None:
    alike = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    given = parts("train", "test", "validation", "test", "train", "validation", "train", "train", "", "test")
    found, aside = checks.leaks(alike, given, "abcdefghij")
    assert np.flatnonzero(aside).tolist() == [0, 2, 4]
    assert found[0].items == ("a", "c", "e")
    assert "a (train) = b (test)" in found[0].sentence
    found, aside = checks.leaks(np.arange(2), parts("train", "test"), "ab")
    assert found == []
    assert not aside.any()


def test_given_groups_over_several_given_parts() -> None:
    found = checks.straddling(np.array([8, 8, 1, 1, 2]), parts("train", "test", "train", "train", "test"))
    assert found[0].sentence.startswith("1 given group lies in more than one given part")
    assert checks.straddling(np.array([8, 8, 1]), parts("train", "", "test")) == []
    assert checks.straddling(np.array([0, 1]), parts("", "")) == []
