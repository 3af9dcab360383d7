"""Two views of the same unlabelled examples, and how the answers on one become what the other learns.

The answers on the weak view are constants: no gradient passes through them, or the surest way to agree would be to know
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from sterna.records import Batch, Step

RATIO = 7  # unlabelled examples for each labelled one in a batch: the mu of Sohn et al. 2020 (arXiv 2001.07685)


@dataclass(frozen=True)
class Views:
    """Answers on both views of an unlabelled batch."""

    weak: Tensor  # (c, k) probabilities, constants
    strong: Tensor  # (c, k) logarithms of probabilities
    batch: Batch  # of the weak view

    @property
    def sure(self) -> tuple[Tensor, Tensor]:
        """(c,) the largest probability on the weak view, and (c,) which class has it."""
        confidences, answers = self.weak.max(dim=1)
        return confidences, answers


def views(step: Step) -> Views:
    """Both views, which are there for a loss whose `needs` is "views"."""
    assert step.unlabelled is not None
    assert step.strong is not None
    weak = step.unlabelled.output.logits.detach().float()
    strong = step.strong.output.logits.float()
    return Views(functional.softmax(weak, dim=1), functional.log_softmax(strong, dim=1), step.unlabelled.batch)


def chosen_mean(each: Tensor, chosen: Tensor) -> Tensor:
    """The sum of (c,) losses over the chosen examples, divided by all: with few chosen it is small, with none 0."""
    return (each * chosen).sum() / max(len(each), 1)
