"""Source examples behind a target's: classes by name, rows by offset, weights as asked."""

import numpy as np
import pytest

from sterna import mixing
from sterna.errors import DataError
from sterna.records import Table


class Words:
    modality, in_memory = "image", True

    def __init__(self, *words):
        self.words = words

    def __len__(self):
        return len(self.words)

    def read(self, index, hint):
        return self.words[index]

    def digest(self, index):
        return f"digest of {self.words[index]}"

    def name(self, index):
        return f"name of {self.words[index]}"


def table(items, labels, classes):
    return Table(items, np.arange(len(labels)), np.array(labels, dtype=np.int64), classes)


TARGET = table(Words("a", "b", "c"), [0, 1, 1], ("cat", "dog"))
SOURCE = table(Words("x", "y", "z"), [2, 0, 1], ("Dog ", "bird", "CAT"))


def test_the_joined_table_reads_both():
    joined, weights, finding = mixing.join(TARGET.take(np.array([2, 0])), SOURCE, 0.5)
    assert [joined.items.read(int(row), 0) for row in joined.rows] == ["c", "a", "x", "y"]
    assert joined.labels.tolist() == [1, 0, 0, 1]
    assert weights.tolist() == [1, 1, 0.5, 0.5]
    assert joined.items.name(4) == "name of y"
    assert joined.items.digest(0) == "digest of a"
    assert len(joined.items) == 6
    assert "2 source examples join" in finding.sentence
    assert "1 of classes the target lacks" in finding.sentence


def test_no_class_in_common_is_said():
    with pytest.raises(DataError, match="none of the target's classes: it has car; rename"):
        mixing.join(TARGET, table(Words("x"), [0], ("car",)), 1.0)


def test_beyond_the_end():
    with pytest.raises(IndexError):
        mixing.JoinedItems((Words("a"),)).read(1, 0)
