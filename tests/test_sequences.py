"""Items of unequal length: which go through a network together; pairs in one packed tensor come apart and together."""

import itertools

import numpy as np
import pytest
import torch

from sterna import sequences

SIZES = ((2, 4), (3, 1), (1, 1), (5, 5))


def pairs(sizes=SIZES, width=3, room=1):
    """Packed pairs of random numbers, with more padding than they need."""
    made = torch.zeros(len(sizes), max(map(sum, sizes)) + room, width + 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for row, (first, second) in zip(made, sizes, strict=True):
            row[: first + second, :width] = torch.randn(first + second, width)
            row[:first, width] = sequences.TOKEN
            row[first : first + second, width] = sequences.SECOND
    return made


def test_texts_apart_are_items_of_their_own():
    packed = pairs()
    found = sequences.apart(packed)
    assert found.shape == (8, 5, 4)
    for row, (first, second) in enumerate(SIZES):
        for place, tokens in ((row, packed[row, :first]), (row + 4, packed[row, first : first + second])):
            count = len(tokens)
            assert torch.equal(found[place, :count, :3], tokens[:, :3])
            assert sequences.kinds(found)[place].tolist() == [1] * count + [0] * (5 - count)
            assert not found[place, count:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_what_was_apart_is_together_again(dtype):
    packed = (10 * pairs(room=0)).to(dtype)
    packed[..., -1] = (pairs(room=0)[..., -1]).to(dtype)
    again = sequences.together(sequences.apart(packed))
    assert again.dtype == dtype
    assert torch.equal(again, packed)
    assert torch.equal(sequences.together(sequences.apart(pairs(room=3))), pairs(room=0))
    empty = packed[:0]
    assert len(sequences.together(sequences.apart(empty))) == 0


def test_what_a_stage_makes_of_a_text_does_not_depend_on_the_other():
    """A running sum over positions tells where a text began."""
    packed = pairs()

    def run(given):
        return sequences.pack(sequences.values(given).cumsum(dim=1), sequences.kinds(given))

    found = sequences.together(run(sequences.apart(packed)))
    for row, (first, second) in enumerate(SIZES):
        texts = packed[row, :first, :3], packed[row, first : first + second, :3]
        assert torch.equal(found[row, : first + second, :3], torch.cat([text.cumsum(dim=0) for text in texts]))


def test_gradients_go_through():
    packed = pairs().requires_grad_()
    found = sequences.together(2 * sequences.apart(packed)[..., :])
    sequences.values(found).sum().backward()
    there = sequences.mask(packed.detach())
    assert (packed.grad[there][:, :3] == 2).all()
    assert not packed.grad[~there].any()


def test_no_other_way_to_put_items_together_costs_less(monkeypatch):
    monkeypatch.setattr(sequences, "START", 5)
    generator = np.random.default_rng(0)
    for count in (1, 2, 7, 9):
        lengths = generator.integers(1, 12, count)
        found = sequences.cheapest(lengths, 24, 4)
        assert sorted(np.concatenate(found)) == list(range(count))
        ordered = np.sort(lengths)[::-1]
        assert np.array_equal(np.concatenate([lengths[one] for one in found]), ordered)
        costs = []
        for cuts in itertools.product([False, True], repeat=count - 1):
            parts = np.split(ordered, 1 + np.flatnonzero(cuts))
            if all(len(one) <= 4 and (len(one) == 1 or len(one) * one[0] <= 24) for one in parts):
                costs.append(sum(len(one) * one[0] + 5 for one in parts))
        assert sum(len(one) * lengths[one[0]] + 5 for one in found) == min(costs)


def test_an_item_longer_than_a_batch_may_be_goes_alone():
    found = sequences.cheapest(np.array([3, 9000, 2]), 4096, 64)
    assert [one.tolist() for one in found] == [[1], [0, 2]]
    assert sequences.cheapest(np.zeros(0, dtype=np.int64), 4096, 64) == []
