"""Fine-tuning, then a step back: the average of the weights before and after, as far as the validation part likes.

Paper: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT, arXiv 2109.01903).

Equation: w = (1 - a) w0 + a w1 for every weight and statistic, w0 with the head fitted on the pretrained features
(linear probing) and w1 after fine-tuning from there; a is the value of 0, 0.1, ... 1 with the best validation figure,
ties going to less movement. 0 is the probe and 1 is `lp_ft`, so on the validation part it is never worse than either.

When not to use: when the frozen features are poor, so that w0 pulls back to nothing; with a handful of validation
examples, which cannot tell eleven networks apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class WiseFt:
    """How the whole network moves between the two ends."""

    rate: float = option(
        0.3, "factor on the optimizer's rate: the head is good already, small steps keep it", Range(0, low_open=True)
    )
    layer_decay: float = option(0.9, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    batch_norm: bool = option(False, "let BatchNorm statistics follow the target data")

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The head, everything, and the way back. `parameters`: number of weights of each stage, bottom up."""
        return (
            Phase("head", cut=len(parameters), solver="logistic"),
            Phase("all", cut=0, rate=self.rate, layer_decay=self.layer_decay, batch_norm=self.batch_norm),
            Phase("average", cut=0, solver="interpolation"),
        )
