"""The outputs of all stages of a network side by side, as the features of one encoder.

What an early stage tells and the last one has dropped is then there for a head to use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from sterna import reading, sequences
from sterna.network import Network, empty_head
from sterna.records import Encoder, Items


class Gathered(nn.Module):
    """Stages in a row and their outputs, each pooled over its places: input of the first -> (b, sum of widths).

    Args:
        stages: in the order in which they run.
        ragged: whether what lies between them are packed sequences.
        left: places of stages whose outputs are left out.
    """

    def __init__(self, stages: Sequence[nn.Module], ragged: bool, left: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.parts = nn.ModuleList(stages)
        self.ragged = ragged
        self.left = left

    def each(self, inputs: Tensor) -> list[Tensor]:
        """The pooled outputs of all stages."""
        found = []
        for part in self.parts:
            inputs = part(inputs)
            found.append(sequences.pooled(inputs, self.ragged))
            inputs = inputs.clone()  # the next one may begin with an operation in place
        return found

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([one for place, one in enumerate(self.each(inputs)) if place not in self.left], dim=1)


def gathered(encoder: Encoder, items: Items) -> Encoder:
    """The twin whose features are the outputs of all stages, pooled; its network has one stage and shares the weights.

    The twin is for features alone: it has no source head, and is not written as a model.

    `items`: at least one, of the kind that the encoder takes; how wide stages are is seen on the first.
    """
    stages, preparation = list(encoder.network.eval().stages.values()), encoder.preparation
    frames = next(iter(reading.frames(items, preparation, np.arange(1), size=1, workers=0)))
    with torch.no_grad():
        each = Gathered(stages, preparation.ragged).eval().each(preparation.tensor(frames))
    left = frozenset(place for place, pair in enumerate(pairwise(each)) if _same(*pair))
    network = Network({"stages": Gathered(stages, preparation.ragged, left)}, _head(each, left)).eval()
    return replace(encoder, network=network, source_classes=(), digest=f"{encoder.digest}.stages", write=None)


def _same(output: Tensor, after: Tensor) -> bool:
    """Whether a stage did nothing but pool what came in."""
    return output.shape == after.shape and torch.allclose(output, after, rtol=1e-4, atol=1e-6)


def _head(each: Sequence[Tensor], left: frozenset[int]) -> nn.Module:
    return empty_head(sum(one.shape[1] for place, one in enumerate(each) if place not in left))
