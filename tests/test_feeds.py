"""Training sees augmented inputs, everything else the clean ones; labels follow their inputs through every order."""

import numpy as np
import torch

from sterna import augmenting, folder
from sterna.feeds import PreparedFeed, StoredFeed
from sterna.records import Augment, Table


class Numbers:
    """Items that are their own number."""

    modality, in_memory = "vector", True

    def __len__(self):
        return 20

    def read(self, index, hint):
        return index

    def digest(self, index):
        return f"number {index}"

    def name(self, index):
        return f"row {index}"


class AsArray:
    """A preparation that shows whether it was asked to augment."""

    modality, hint = "vector", 0

    def frame(self, item, augment=None):
        drawn = float(torch.rand(())) if augment is not None else 0.0
        return np.array([item, drawn], dtype=np.float32)

    def tensor(self, frames):
        return frames.float()

    def __repr__(self):
        return "as_array()"


def table():
    rows = np.array([4, 9, 2, 17, 11])
    return Table(Numbers(), rows, rows % 3, ("a", "b", "c"))


def keep(item):
    return item


AUGMENT = Augment(pixels=keep)


def prepared(augment=AUGMENT, seed=0, prefix=None):
    return PreparedFeed(table(), np.arange(5, dtype=np.float32), AsArray(), augment, seed, prefix)


def gathered(feed, order, size, epoch):
    found = list(feed.batches(np.array(order), size, epoch))
    return [torch.cat([getattr(batch, part) for batch in found]) for part in ("inputs", "labels", "weights")]


def test_inputs_labels_and_weights_stay_together():
    inputs, labels, weights = gathered(prepared(), [3, 0, 4], 2, epoch=-1)
    assert inputs[:, 0].tolist() == [17, 4, 11]
    assert labels.tolist() == [17 % 3, 4 % 3, 11 % 3]
    assert weights.tolist() == [3, 0, 4]


def test_the_clean_view_is_never_augmented():
    assert gathered(prepared(), [0, 1, 2], 2, epoch=-1)[0][:, 1].tolist() == [0, 0, 0]
    assert (gathered(prepared(), [0, 1, 2], 2, epoch=0)[0][:, 1] > 0).all()
    assert gathered(prepared(Augment()), [0, 1, 2], 2, epoch=0)[0][:, 1].tolist() == [0, 0, 0]


def test_an_example_is_augmented_alike_in_any_order_and_anew_in_each_epoch():
    forth = gathered(prepared(), [0, 1, 2, 3, 4], 2, epoch=3)[0]
    back = gathered(prepared(), [4, 3, 2, 1, 0], 3, epoch=3)[0]
    assert torch.equal(forth, back.flip(0))
    assert not torch.equal(forth[:, 1], gathered(prepared(), [0, 1, 2, 3, 4], 2, epoch=4)[0][:, 1])
    assert not torch.equal(forth[:, 1], gathered(prepared(seed=1), [0, 1, 2, 3, 4], 2, epoch=3)[0][:, 1])


def test_a_prefix_is_applied():
    inputs, _, _ = gathered(prepared(prefix=torch.neg), [0, 1], 2, epoch=-1)
    assert inputs[:, 0].tolist() == [-4, -9]


class Kept:
    """Activations that say which view they are."""

    lengths = None

    def __init__(self, view):
        self.view = view

    def gather(self, rows):
        return torch.tensor([[float(row), float(self.view)] for row in rows])


def stored(views=2, mix=None):
    rows = np.array([4, 9, 2])
    return StoredFeed(
        Kept(0),
        [Kept(number + 1) for number in range(views)],
        Table(Numbers(), rows, rows % 3, ("a", "b", "c")),
        np.ones(3, dtype=np.float32),
        Augment(mix=mix),
    )


def test_each_epoch_takes_the_next_kept_view():
    feed = stored()
    assert [gathered(feed, [2, 0], 1, epoch)[0].tolist() for epoch in (-1, 0, 1, 2)] == [
        [[2, 0], [4, 0]],
        [[2, 1], [4, 1]],
        [[2, 2], [4, 2]],
        [[2, 1], [4, 1]],
    ]
    assert gathered(stored(views=0), [0], 1, epoch=5)[0].tolist() == [[4, 0]]


def test_mixing_is_for_training_only():
    mixup = augmenting.combine([part.build() for part in folder.resolve("augment", "mixup")], "mixup").mix
    feed = stored(mix=mixup)
    assert gathered(feed, [0, 1, 2], 3, epoch=-1)[1].ndim == 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert gathered(feed, [0, 1, 2], 3, epoch=0)[1].shape == (3, 3)


def test_sealed_labels_are_not_asked_for():
    feed = StoredFeed(
        Kept(0),
        [],
        Table(Numbers(), np.array([1]), np.zeros(0, dtype=np.int64), ("a", "b")),
        np.ones(1, dtype=np.float32),
        Augment(),
    )
    assert gathered(feed, [0], 1, epoch=-1)[1].tolist() == [0]


def test_tags_come_padded_with_a_mask():
    labels = np.empty(3, dtype=object)
    labels[:] = [np.array([2]), np.array([0, 1, 2]), np.array([1, 0])]

    class Items:
        modality = "words"
        lengths = np.array([1, 3, 2])

    table = Table(Items(), np.arange(3), labels, ("a", "b", "c"), "tag")
    (batch,) = StoredFeed(Kept(0), [], table, np.ones(3, dtype=np.float32), Augment()).batches(np.arange(3), 3, 0)
    assert batch.labels.tolist() == [[2, 0, 0], [0, 1, 2], [1, 0, 0]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True], [True, True, False]]


def test_the_words_of_sealed_tags_are_known_but_not_their_tags():
    class Items:
        modality = "words"
        lengths = np.array([1, 3, 2])

    table = Table(Items(), np.arange(3), np.zeros(0, dtype=np.int64), ("a", "b"), "tag")
    (batch,) = StoredFeed(Kept(0), [], table, np.ones(3, dtype=np.float32), Augment()).batches(np.arange(3), 3, -1)
    assert batch.mask.sum(dim=1).tolist() == [1, 3, 2]
    assert not batch.labels.any()
