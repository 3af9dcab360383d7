"""One term for each source: which examples it sees, how terms are weighed, and what they keep."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from networks import convolutional
from torch import Tensor, nn

from sterna import folder
from sterna.records import Batch, Output, Seen, Setting, Step
from sterna.sourcewise import Sourcewise

OWNERS = np.array([0, 1, -1, 1, 0, 2, 0, 1])


@dataclass
class First:
    """The mean of the first feature of what is labelled."""

    regularises, needs = False, "unlabelled"

    def build(self, setting: Setting) -> Any:
        return lambda step: step.labelled.output.features[:, 0].mean()


def step(places: list[int] | None, features: Tensor, target: Tensor | None = None) -> Step:
    count = len(features)
    batch = Batch(
        features,
        torch.zeros(count, dtype=torch.int64),
        torch.ones(count),
        places=None if places is None else torch.tensor(places),
    )
    other = features[:1] * 0 if target is None else target
    unlabelled = Seen(Batch(other, torch.zeros(len(other)), torch.ones(len(other))), Output(other, other))
    return Step(Seen(batch, Output(features, features)), convolutional(), 0.5, unlabelled)


def built(weighting: str, loss: Any = None) -> nn.Module:
    setting = Setting(convolutional(), np.full(3, 3), ("a", "b", "c"), 8, 5)
    return Sourcewise(loss or First(), OWNERS, weighting).build(setting)


FEATURES = torch.tensor([[1.0, 0.0], [10.0, 0.0], [1000.0, 0.0], [20.0, 0.0], [3.0, 0.0]])


@pytest.mark.parametrize(
    ("weighting", "wanted"),
    [
        ("pooled", (1 + 10 + 20 + 3) / 4),
        ("equal", (2 + 15) / 2),
        ("soft_maximum", np.log((np.exp(2) + np.exp(15)) / 2)),
        # squared distances of the means to 0 are 4 and 225: weights exp(-1) and exp(-56.25)
        ("distance", (2 * np.exp(-1) + 15 * np.exp(-56.25)) / (np.exp(-1) + np.exp(-56.25))),
    ],
)
def test_weights_by_hand(weighting: str, wanted: float) -> None:
    # Places 0 to 4: source 0 has the first and the last, source 1 two, and the third is the target's own.
    got = built(weighting)(step([0, 1, 2, 3, 4], FEATURES))
    assert got.item() == pytest.approx(wanted, rel=1e-6)


def test_a_source_with_one_example_waits() -> None:
    got = built("equal")(step([0, 4, 5], torch.tensor([[1.0], [3.0], [500.0]])))
    assert got.item() == 2.0
    nothing = built("equal")(step([2, 5], FEATURES[:2].clone().requires_grad_()))
    assert nothing.item() == 0.0
    nothing.backward()


def test_mixed_examples_belong_to_all() -> None:
    assert built("equal")(step(None, FEATURES)).item() == pytest.approx(FEATURES[:, 0].mean().item())


def test_each_source_has_weights_of_its_own_that_are_trained_and_kept() -> None:
    (dann,) = folder.resolve("losses", "dann(hidden=64)")
    features = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    setting = Setting(convolutional(), np.full(3, 3), ("a", "b", "c"), 8, 5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        term = Sourcewise(dann, OWNERS, "equal").build(setting)
    pooled = Sourcewise(dann, OWNERS, "pooled").build(setting)
    assert len(term.state_dict()) == 3 * len(pooled.state_dict()) > 0
    term(step([0, 1, 2, 3, 4], features, torch.randn(3, 16))).backward()
    assert features.grad is not None
    assert not features.grad[2].any()  # a labelled target example is on neither side
    assert features.grad[[0, 1, 3, 4]].abs().sum(dim=1).gt(0).all()
    moved = [weight.grad is not None and bool(weight.grad.any()) for weight in term.terms[2].parameters()]
    assert not any(moved)  # the third source had no examples in this batch


def test_what_it_wraps_shows_through() -> None:
    found = Sourcewise(First(), OWNERS)
    assert (found.needs, found.regularises) == ("unlabelled", False)
