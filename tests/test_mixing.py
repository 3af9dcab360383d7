"""Source examples behind a target's: classes by name, rows by offset, weights as asked."""

import numpy as np
import pytest

from sterna import mixing
from sterna.errors import DataError
from sterna.records import Loaded, Table


class Words:
    modality, in_memory, lengths = "image", True, None

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


def labelled(task, labels, classes, items=None):
    made = np.empty(len(labels), dtype=object) if task == "tag" else np.array(labels)
    if task == "tag":
        made[:] = [np.array(one) for one in labels]
    return Table(items or Words(*"abc"[: len(labels)]), np.arange(len(labels)), made, classes, task)


def test_several_labels_go_by_name_and_what_is_not_said_is_no():
    target = labelled("multilabel", [[1, 0], [0, 1]], ("red", "blue"))
    source = labelled("multilabel", [[1, 1], [0, 1]], ("Blue", "green"))
    joined, _, _ = mixing.join(target, source, 1.0)
    assert joined.labels.tolist() == [[1, 0], [0, 1], [0, 1], [0, 0]]


def test_numbers_go_by_column_and_need_them_all():
    target = labelled("regress", [[1.0, 2.0]], ("x", "y"))
    joined, _, _ = mixing.join(target, labelled("regress", [[3.0, 4.0, 5.0]], ("y", "z", "x")), 1.0)
    assert joined.labels.tolist() == [[1.0, 2.0], [5.0, 3.0]]
    with pytest.raises(DataError, match="none of the target's classes"):
        mixing.join(target, labelled("regress", [[3.0]], ("y",)), 1.0)


def test_sentences_with_a_tag_the_target_lacks_are_left_out():
    target = labelled("tag", [[0, 1], [1]], ("O", "B-person"))
    source = labelled("tag", [[1, 0], [2], [0]], ("B-person", "O", "B-place"))
    joined, weights, finding = mixing.join(target, source, 0.3)
    assert [one.tolist() for one in joined.labels] == [[0, 1], [1], [0, 1], [1]]
    assert weights.tolist() == pytest.approx([1, 1, 0.3, 0.3])
    assert "1 of classes the target lacks" in finding.sentence


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (labelled("regress", [[1.0]], ("cat",)), "must hold the same labels, got regress and classify"),
        (
            Table(type("Texts", (Words,), {"modality": "text"})("x"), np.arange(1), np.zeros(1, int), ("cat",)),
            "same items",
        ),
    ],
)
def test_a_source_of_another_kind_is_refused(source, sentence):
    with pytest.raises(DataError, match=sentence):
        mixing.join(TARGET, source, 1.0)


class Regions:
    """A data set with examples of three regions."""

    def __new__(cls, *names):
        items = Words(*map(str, range(len(names))))
        made = table(items, [0, 1] * (len(names) // 2), ("cat", "dog"))
        parts = np.full(len(names), "", dtype="<U10")
        return Loaded(made, np.arange(len(names)), parts, (), "zoo.csv", np.array(names))


def test_one_domain_is_the_target_and_the_others_its_source():
    target, source = mixing.by_domain(Regions("north", "south", "north", "east"), "north")
    assert target.table.rows.tolist() == [0, 2]
    assert source.table.rows.tolist() == [1, 3]
    assert source.domains.tolist() == ["south", "east"]
    assert target.groups.tolist() == [0, 2]
    # The two share their items, so what was computed for one serves the other.
    joined, _, _ = mixing.join(target.table, source.table, 1.0)
    assert joined.items is target.table.items
    assert joined.rows.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("names", "wanted", "sentence"),
    [
        ((), "north", "zoo.csv has no domains to choose from; name the column that holds them: --domain"),
        (("North", "south"), "notrh", "has no domain 'notrh'. Did you mean 'North'\\? Its domains are North, south.$"),
        (("north", "south"), "west9", "zoo.csv has no domain 'west9'. Its domains are north, south.$"),
        (tuple(f"d{n:02}" for n in range(14)), "x", "Its domains are d00, .*, d11 and 2 more.$"),
        (("north", "north"), "north", "north is the only domain of zoo.csv, so there is no other to learn from"),
    ],
)
def test_a_domain_that_cannot_be_the_target(names, wanted, sentence):
    with pytest.raises(DataError, match=sentence):
        mixing.by_domain(Regions(*names), wanted)


def test_a_weight_for_each_source_example():
    joined, weights, finding = mixing.join(TARGET, SOURCE, np.array([0.5, 0.0, 9.0]))
    assert [joined.items.read(int(row), 0) for row in joined.rows] == ["a", "b", "c", "x"]
    assert weights.tolist() == [1, 1, 1, 0.5]
    assert weights.dtype == np.float32
    assert finding.sentence == (
        "1 source examples join the training part at weight 0.5; 1 of weight 0 and 1 of classes the target lacks are "
        "left out."
    )
    _, weights, finding = mixing.join(TARGET, SOURCE, np.array([0.5, 0.25, 9.0]))
    assert weights.tolist() == [1, 1, 1, 0.5, 0.25]
    assert "at weights 0.25 to 0.5; 1 of classes" in finding.sentence


def test_a_source_of_weight_0_stays_out():
    joined, weights, finding = mixing.join(TARGET, SOURCE, 0.0)
    assert joined is TARGET
    assert weights.tolist() == [1, 1, 1]
    assert finding.sentence == "The source stays out: its weight is 0."


def test_usable_examples_come_in_the_targets_numbers():
    kept, labels = mixing.usable(SOURCE, TARGET)
    assert kept.tolist() == [0, 1]
    assert labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="none of the target's classes"):
        mixing.usable(table(Words("x"), [0], ("car",)), TARGET)
