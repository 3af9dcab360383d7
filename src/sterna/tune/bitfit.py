"""BitFit: of the pretrained weights only the biases move, beside the head.

Paper: Ben Zaken, Goldberg and Ravfogel 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based
Masked Language-models" (arXiv 2106.10199).

Biases are the vectors that a network calls so: of linear layers, of convolutions and of normalisations (their shifts).
About a thousandth of the weights of a transformer are biases.

When not to use: on networks without biases, such as ModernBERT; there is a sentence then, and no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Bitfit:
    """How fast the biases move, and where."""

    rate: float = option(
        30.0, "factor on the optimizer's rate for the biases: few weights take larger steps", Range(0, low_open=True)
    )
    stages: int = option(0, "in how many of the last stages biases move; 0: all, as in the paper", Range(0))

    warm_head: bool = option(
        True,
        "start from the optimal head on frozen features; without it a random head learns along: better on 128 "
        "texts and far worse on 100 photos",
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The biases with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up.
        """
        cut = cut_below(parameters, self.stages) if self.stages else 0
        moved = Phase("biases", cut=cut, pace=self.rate, only="bias")
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
