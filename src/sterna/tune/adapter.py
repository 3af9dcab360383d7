"""Adapters: small bottlenecks behind frozen layers, learnt with the head, that stay in the network.

Paper: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP" (arXiv 1902.00751), section 2.1; behind the
feed-forward parts alone, as is the default here, Pfeiffer et al. 2021, "AdapterFusion" (arXiv 2005.00247); in
convolutional networks Rebuffi, Bilen and Vedaldi 2017, "Learning multiple visual domains with residual adapters" (arXiv
1705.08045).

Equation: h <- h + U gelu(D h + d) + u, for what the last layer of a feed-forward part (and of the attention) gives
before it is added to what went around it, with U and u zero at the start, so that the network begins as it was.

In networks without layers of the usual names a bottleneck of 1x1 convolutions stands behind every convolution that is
not grouped, and one of products behind every linear layer. What differs from the papers: all stand at the place that
Houlsby et al. have, before the sum (Pfeiffer et al. go behind it and its norm); norms stand still, which Houlsby et al.
move; dropout comes behind the bottleneck; those on convolutions have a non-linear step and no norm.

A bottleneck cannot be added to the weights, as `lora` can. It is kept in the folder `adapter` of the model, and
`sterna predict` and `--encoder local:FOLDER` use it. A library that opens the model without sterna leaves it out and
gives other answers; the model's card has the lines that put it back.

When not to use: where the model is to be opened without sterna, or has to answer as fast as it did: `lora` leaves an
ordinary model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.bottlenecks import Bottlenecks
from sterna.errors import SpecError
from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Adapter:
    """How large the bottlenecks are, and where."""

    size: int = option(
        64,
        "features within a bottleneck, at most half of those of its layer; the paper tried 8, 64, 256",
        Range(1, 4096),
    )
    attention: bool = option(False, "behind each attention as well, as Houlsby et al. have it, at twice the weights")
    rate: float = option(
        10.0,
        "factor on the optimizer's rate for the bottlenecks: few weights take larger steps",
        Range(0, low_open=True),
    )
    stages: int = option(0, "how many of the last stages get them; 0: all, as in the papers", Range(0))
    targets: tuple[str, ...] = option(
        (), "ends of the names of the layers to stand behind, such as [output.dense]; empty: as the papers do"
    )
    warm_head: bool = option(
        True,
        "start from the optimal head on frozen features; without it a random head learns along: better on 128 "
        "texts and far worse on 100 photos",
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The bottlenecks with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up. Raises `SpecError` for both `attention` and `targets`.
        """
        if self.attention and self.targets:
            raise SpecError(
                "adapter takes attention=true or targets, not both; name the last layers of the attention among the "
                "targets, such as targets=[output.dense, attention.output.dense]."
            )
        cut = cut_below(parameters, self.stages) if self.stages else 0
        added = Bottlenecks(self.size, self.attention, self.targets)
        moved = Phase("adapter", cut=cut, pace=self.rate, adapter=added)
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
