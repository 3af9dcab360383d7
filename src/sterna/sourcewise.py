"""An addend of the objective that compares domains, once for each source.

Labelled examples of the target are on neither side of the comparison.

Papers: Zhao, Zhang, Wu, Moura, Costeira and Gordon 2018, "Adversarial Multiple Source Domain Adaptation" (NeurIPS,
arXiv 1705.09684), section 4, for one term a source, each with weights of its own, and for the soft maximum of them;
Peng, Bai, Xia, Huang, Saenko and Wang 2019, "Moment Matching for Multi-Source Domain Adaptation" (ICCV, arXiv
1812.01754), for sources that count the more the nearer they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sterna.records import Seen, Setting, Step, Term

WEIGHTINGS = ("pooled", "equal", "soft_maximum", "distance")
FEWEST = 2  # examples of a source in a batch, without which its term waits for the next


@dataclass(frozen=True)
class Sourcewise:
    """A loss as one term for each source.

    weighting: "pooled", all sources as one; "equal", the mean of their terms; "soft_maximum", log of the mean of exp,
    so that the source that is worst aligned pulls hardest; "distance", weights that fall with the squared distance of
    a source's mean features to the target's, in units of the smallest one.
    """

    loss: Any  # an option object of `losses/` whose `needs` is "unlabelled"
    sources: np.ndarray  # (n,) int64 for each training example: 0, 1, ..., or -1 for one of the target
    weighting: str = "equal"

    @property
    def regularises(self) -> bool:
        return bool(self.loss.regularises)

    @property
    def needs(self) -> str:
        return str(self.loss.needs)

    def build(self, setting: Setting) -> Terms:
        numbers = np.where(self.sources > 0, 0, self.sources) if self.weighting == "pooled" else self.sources
        present = np.unique(numbers[numbers >= 0])
        return Terms([self.loss.build(setting) for _ in present], numbers, present.tolist(), self.weighting)


class Terms(nn.Module):
    """The built terms: `Step` -> scalar."""

    def __init__(self, terms: Sequence[Term], owners: np.ndarray, numbers: Sequence[int], weighting: str) -> None:
        super().__init__()
        self.terms = list(terms)
        self.own = nn.ModuleList([term for term in terms if isinstance(term, nn.Module)])
        self.owners = torch.from_numpy(np.asarray(owners, dtype=np.int64))
        self.numbers = list(numbers)
        self.weighting = weighting

    def forward(self, step: Step) -> Tensor:
        batch = step.labelled.batch
        if batch.places is None:  # examples that were mixed with one another belong to no one source
            return torch.stack([term(step) for term in self.terms]).mean()
        owners = self.owners.to(batch.places.device)[batch.places]
        found, near = [], []
        for term, number in zip(self.terms, self.numbers, strict=True):
            mine = owners == number
            if int(mine.sum()) >= FEWEST:
                part = _part(step.labelled, mine)
                found.append(term(replace(step, labelled=part)))
                near.append(_apart(part, step.unlabelled))
        if not found:
            return step.labelled.output.logits.sum() * 0
        return _together(torch.stack(found), torch.stack(near), self.weighting)


def _together(values: Tensor, apart: Tensor, weighting: str) -> Tensor:
    if weighting == "soft_maximum":
        return torch.logsumexp(values, dim=0) - float(np.log(len(values)))
    if weighting == "distance":
        return (torch.softmax(-apart / apart.min().clamp_min(1e-12), dim=0) * values).sum()
    return values.mean()


@torch.no_grad()
def _apart(source: Seen, target: Seen | None) -> Tensor:
    """The squared distance of the means of the features."""
    mean = source.output.features.mean(dim=0)
    return mean.new_zeros(()) if target is None else (mean - target.output.features.mean(dim=0)).square().sum()


def _part(seen: Seen, mine: Tensor) -> Seen:
    batch, output = seen.batch, seen.output
    assert batch.places is not None
    some = replace(
        batch,
        inputs=batch.inputs[mine] if len(batch.inputs) == len(mine) else batch.inputs,  # words are not items
        labels=batch.labels[mine],
        weights=batch.weights[mine],
        places=batch.places[mine],
    )
    return Seen(some, replace(output, features=output.features[mine], logits=output.logits[mine]))
