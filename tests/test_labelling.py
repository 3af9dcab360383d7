"""Columns of labels: which task they are for, the numbers they become, and what cannot be learnt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sterna import labelling
from sterna.errors import DataError


def encode(*columns: Sequence[str | None], wanted: str = "") -> labelling.Labelled:
    return labelling.encode(columns, [f"c{place}" for place in range(len(columns))], wanted)


def said(made: labelling.Labelled) -> str:
    return " ".join(one.sentence for one in made.findings)


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        ([["a", "b", "a"]], "classify"),
        ([["0", "1", "1.0", "0"]], "classify"),
        ([[str(n % 20) for n in range(200)]], "classify"),
        ([[str(n % 21) for n in range(200)]], "regress"),  # too many different values
        ([["0.5", "1", "1", "0.5"]], "regress"),  # a fraction
        ([["1", "2", "3", "4", "5"]], "regress"),  # each its own
        ([["3.5", "?", "nan", "2"]], "regress"),
        ([["a|b", "b", "a", "a|b"]], "multilabel"),
        ([["a; b", "b", "a", "b;a"]], "multilabel"),
        ([['["a", "b"]', "[]", '["a"]', '["b"]']], "multilabel"),
        ([["this; that, in a long sentence" + "x" * (60 + n) for n in range(4)] + ["y"] * 8], "classify"),
        ([["0", "1"], ["1", "0"]], "multilabel"),
        ([["true", "No"], ["1", "yes"]], "multilabel"),
        ([["0.5", "1"], ["7", "?"]], "regress"),
    ],
)  # fmt: skip
def test_the_task_is_told_from_the_cells(columns: list[list[str]], task: str) -> None:
    made = encode(*columns)
    assert made.task == task
    assert made.findings[0].kind == "inferred"
    assert f"the task is {task}: " in made.findings[0].sentence
    assert "; type --" in made.findings[0].sentence


def test_what_is_said_names_the_way_out() -> None:
    assert said(encode(["a", "b", "a"])) == (
        "the task is classify: 2 classes (a, b), from the label column 'c0'; type --label NAME for another column."
    )
    assert "type --task regress if its numbers are amounts" in said(encode(["1", "0", "1"]))
    assert "1 number to predict, from the label column 'c0'; type --task classify to" in said(encode(["1.5", "2"]))
    assert "any of 2 labels (a, b), from" in said(encode(["a|b", "a", "b"]))
    assert "from the label columns 'c0', 'c1'; type --task regress for amounts" in said(encode(["0", "1"], ["1", "0"]))
    assert encode(["a", "b", "a"], wanted="classify").findings == ()


def test_classes() -> None:
    made = encode(["b", "a", "b", "c", "a", "c"])
    assert (made.labels.tolist(), made.classes, made.labels.dtype) == ([1, 0, 1, 2, 0, 2], ("a", "b", "c"), np.int64)
    assert made.rows.tolist() == [0, 1, 2, 3, 4, 5]


def test_classes_that_are_numbers_are_sorted_as_numbers() -> None:
    made = encode(["10", "9", "-1", "9.0", "10", "-1"])
    assert (made.labels.tolist(), made.classes) == ([2, 1, 0, 1, 2, 0], ("-1", "9", "10"))
    assert encode(["0.5", "1", "0.5", "1"], wanted="classify").classes == ("0.5", "1")


def test_several_labels() -> None:
    made = encode(["b|a", "a", "b | c", "a|a"])
    assert made.classes == ("a", "b", "c")
    assert made.labels.tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert made.labels.dtype == np.uint8
    assert encode(['["b"]', "[]", '["b", "a"]', '["a"]', '["a"]']).labels.tolist() == [
        [0, 1],
        [0, 0],
        [1, 1],
        [1, 0],
        [1, 0],
    ]
    switches = encode(["1", "0", "yes"], ["0", "0.0", "TRUE"])
    assert switches.labels.tolist() == [[1, 0], [0, 0], [1, 1]]
    assert switches.classes == ("c0", "c1")
    assert encode(["[x]", "[y]", "[x]", "[y]"], wanted="multilabel").classes == ("[x]", "[y]")


def test_numbers() -> None:
    made = encode(["1.5", "2"], ["-3", "1e3"])
    assert made.labels.tolist() == [[1.5, -3.0], [2.0, 1000.0]]
    assert (made.labels.dtype, made.classes) == (np.float64, ("c0", "c1"))
    assert labelling.number("1_0") is None
    assert labelling.number("inf") is None


def test_rows_without_a_label_are_set_aside_and_named() -> None:
    made = encode(["a", None, "b", "a", None])
    assert made.rows.tolist() == [0, 2, 3]
    assert made.findings[1].items == ("row 2", "row 5")
    assert "2 rows without a label in the label column 'c0' set aside: row 2, row 5; fill them in" in said(made)
    called = labelling.encode([["1.5", "NA", "2"]], ["y"], "", ["x", "the second", "z"])
    assert called.findings[1].items == ("the second",)
    assert "([] stands for none of the labels)" in said(encode(["a|b", None, "a", "b"]))
    assert encode(["0", "?", "1"], ["1", "0", "0"]).rows.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("columns", "wanted", "sentence"),
    [
        ([["a", "b"]], "guess", "there is no task 'guess'; the tasks are classify, multilabel, regress, tag"),
        ([["a", "b"]], "tag", "the task tag needs a tag for each word, and a column of labels has one for each row"),
        ([["a"], ["b"]], "classify", "classify takes one label column, got c0, c1; name one with --label"),
        ([["x1", "x2", "x3"]], "", r"'c0' holds 3 different values in 3 rows, so it names rows .* \(x1, x2, x3\)"),
        ([["1", "2", "3"]], "classify", "name another with --label, or type --task regress"),
        ([["a", "a"]], "", r"holds one value only \(a\), and two are needed .*; add examples of another class"),
        ([[None, None]], "", "no row has a label in the label column 'c0'; fill it in"),
        ([["1", "x"]], "regress", "'c0' says 'x' in row 2, which is no number; mend it, or type --task classify"),
        ([["2", "2"]], "regress", "column 'c0' holds the same number everywhere"),
        ([["1", "0"], ["0", "2"]], "multilabel", "'c1' says '2' in row 2, and a column for one of several labels"),
        ([["1", "0"], ["0", "x"]], "", "label columns c0, c1 must all hold 0 or 1 .* and one says 'x'; name fewer"),
        ([["a|b", "c|d"]], "multilabel", "lists 4 different labels in 2 rows .* so few can be learnt"),
        ([["[]", "[]"]], "", "lists 0 different labels in 2 rows, so few can be learnt"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_learnt(columns: list[list[str]], wanted: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        encode(*columns, wanted=wanted)


def test_tags() -> None:
    made = labelling.tags([["O", "B-place", "I-place"], [], ["B-art"], ["I-art", "O"]])
    assert made.classes == ("O", "B-art", "I-art", "B-place", "I-place")
    assert [one.tolist() for one in made.labels] == [[0, 3, 4], [], [1], [2, 0]]
    assert (made.labels.dtype, made.labels.shape, made.task) == (object, (4,), "tag")
    assert "the task is tag: 5 tags (art, place), one for each word" in said(made)
    # Sentences of one length stay a list of arrays.
    assert labelling.tags([["O", "B-a"], ["O", "O"]]).labels.shape == (2,)
    with pytest.raises(DataError, match=r"the words carry 1 tag \(O\), and two are needed"):
        labelling.tags([["O"], ["O"]])


def test_folders_without_labels() -> None:
    some = [("train", "a"), ("train", "unsup"), ("train", "UNSUP"), ("train", "unsup")]
    assert labelling.unlabelled_folders(some, "text") == (frozenset(), [])  # nothing is held out
    found, (told,) = labelling.unlabelled_folders([*some, ("validation", "a")], "text")
    assert found == {"unsup", "UNSUP"}
    assert told.sentence == (
        "2 folders of unlabelled texts left out, being no class of the given validation part: unsup (2 texts), UNSUP "
        "(1 text); rename what is a class."
    )
    every = [*some, ("test", "a"), ("validation", "unsup")]
    assert labelling.unlabelled_folders(every, "text")[0] == {"unsup", "UNSUP"}  # the test part decides
    assert labelling.unlabelled_folders([*every, ("test", "unsup")], "text")[0] == {"UNSUP"}
    assert labelling.unlabelled_folders([("train", "other"), ("test", "a")], "text") == (frozenset(), [])
