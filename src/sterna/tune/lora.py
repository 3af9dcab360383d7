"""LoRA: low-rank updates beside frozen layers, learnt with the head and then added to the weights.

Paper: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685), equation 3.

Equation: W' = W + (alpha / rank) B A, with A random and B zero at the start, so that the network begins as it was. For
a convolution A has the kernel's size and B is 1x1.

Every linear layer and every convolution that is not grouped is adapted, which the paper leaves open and later work
found to matter more than the rank; the paper's own choice for BERT is `targets=[query, value]`. At the end of training
the updates are added to the weights, so the model that ships is an ordinary one and answers as fast as it did; the
updates alone are kept beside it, in the folder `adapter`, in the form of the package peft.

When not to use: to save time on a small network, because everything runs forward and backward all the same: it saves
the memory of the optimizer and of gradients, and little of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.adapters import LowRank
from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Lora:
    """How large the updates are, and where."""

    rank: int = option(8, "rank of each update (r); the paper found 4 to 8 enough", Range(1, 4096))
    alpha: float = option(
        16.0, "the update is scaled by alpha / rank; twice the rank is usual", Range(0, low_open=True)
    )
    dropout: float = option(0.0, "share of the inputs of the updates that is dropped", Range(0, 1, high_open=True))
    rate: float = option(
        10.0, "factor on the optimizer's rate for the updates: few weights take larger steps", Range(0, low_open=True)
    )
    stages: int = option(0, "how many of the last stages are adapted; 0: all, as in the paper", Range(0))
    targets: tuple[str, ...] = option(
        (),
        "ends of the names of the layers to adapt, such as [query, value]; empty: all linear and convolutional ones",
    )
    warm_head: bool = option(
        True,
        "start from the optimal head on frozen features; without it a random head learns along: better on 128 "
        "texts and far worse on 100 photos",
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The updates with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up.
        """
        cut = cut_below(parameters, self.stages) if self.stages else 0
        added = LowRank(self.rank, self.alpha, self.dropout, self.targets)
        moved = Phase("lora", cut=cut, pace=self.rate, adapter=added)
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
