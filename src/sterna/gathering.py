"""The outputs of all stages of a network side by side, as the features of one encoder.

What an early stage tells and the last one has dropped is then there for a head to use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    """

    def __init__(self, stages: Sequence[nn.Module], ragged: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(stages)
        self.ragged = ragged

    def forward(self, inputs: Tensor) -> Tensor:
        found = []
        for part in self.parts:
            inputs = part(inputs)
            found.append(sequences.pooled(inputs, self.ragged))
            inputs = inputs.clone()  # the next one may begin with an operation in place
        return torch.cat(found, dim=1)


def gathered(encoder: Encoder, items: Items) -> Encoder:
    """The twin whose features are the outputs of all stages, pooled; its network has one stage and shares the weights.

    The twin is for features alone: it has no source head, and is not written as a model.

    `items`: at least one, of the kind that the encoder takes; how wide stages are is seen on the first.
    """
    preparation = encoder.preparation
    whole = Gathered(list(encoder.network.stages.values()), preparation.ragged).eval()
    frames = next(iter(reading.frames(items, preparation, np.arange(1), size=1, workers=0)))
    with torch.no_grad():
        width = whole(preparation.tensor(frames)).shape[1]
    network = Network({"stages": whole}, empty_head(width)).eval()
    return replace(encoder, network=network, source_classes=(), digest=f"{encoder.digest}.gathered", write=None)
