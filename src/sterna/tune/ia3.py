"""IA3: vectors that rescale what frozen layers give, and nothing else, beside the head.

Paper: Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning" (arXiv
2205.05638), section 3.3.

Equation: softmax(Q (l_k * K)^T / sqrt(d)) (l_v * V), and W (l_f * g(x)) in the feed-forward part, with all l one at the
start.

Transformers whose layers have the usual names are rescaled there. In other networks the outputs of all linear layers
and of all convolutions that are not grouped are; `targets` names others. The vectors are merged into the weights at the
end and kept alone beside the model, as what `lora` learns is.

When not to use: where the features have to change much: a rescaling cannot turn them. `lora` can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.adapters import Rescaling
from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Ia3:
    """Where and how fast the vectors move."""

    rate: float = option(
        30.0, "factor on the optimizer's rate for the vectors, which start at one", Range(0, low_open=True)
    )
    stages: int = option(0, "how many of the last stages are rescaled; 0: all, as in the paper", Range(0))
    targets: tuple[str, ...] = option(
        (), "ends of the names of the layers whose outputs are rescaled, such as [key, value]; empty: as the paper does"
    )
    warm_head: bool = option(
        True,
        "start from the optimal head on frozen features; without it a random head learns along: better on 128 "
        "texts and far worse on 100 photos",
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The vectors with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up.
        """
        cut = cut_below(parameters, self.stages) if self.stages else 0
        moved = Phase("ia3", cut=cut, pace=self.rate, adapter=Rescaling(self.targets))
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
