"""Gradual unfreezing: the head first, then one group of stages more in each phase, down to the input.

Paper: Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (arXiv 1801.06146),
section 3.3: unfreeze from the last layer down, lower layers at smaller rates.

With `stochastic` the BatchNorm statistics of moving stages follow the target data, and in training each channel is
normalised, at random, by them or by those of its batch: Kou et al. 2020, "Stochastic Normalization" (NeurIPS), where
the probability is 0.5.

When not to use: when time is short; `partial` gives most of it for a fraction of the time, because the phases that
reach the input compute the whole network at every step.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

from sterna.errors import SpecError
from sterna.maths.cuts import cut_below, thawing
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Gradual:
    """The thawing plan: `phases` equal steps, or `stages` written out. Each phase stops early and hands on its best."""

    phases: int = option(3, "how many phases, the head alone being the first", Range(2, 20))
    stages: tuple[int, ...] = option((), "moving stages of each phase, such as [0, 2, 5]; replaces `phases`", Range(0))
    epochs: tuple[int, ...] = option((), "most epochs of each phase after the head; empty: the schedule's", Range(1))
    layer_decay: float = option(0.9, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    batch_norm: bool = option(False, "let BatchNorm statistics of moving stages follow the target data")
    stochastic: float = option(
        0.0, "probability that a channel is normalised by its moving statistics (StochNorm); 0: off", Range(0, 1)
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The phases, from the head down. `parameters`: number of weights of each stage, bottom up."""
        cuts = [cut_below(parameters, count) for count in self.stages] or thawing(parameters, self.phases)
        if any(low >= high for high, low in itertools.pairwise(cuts)):
            cuts = sorted(set(cuts), reverse=True)
        moving = [cut for cut in cuts if cut < len(parameters)]
        if self.epochs and len(self.epochs) != len(moving):
            raise SpecError(
                f"epochs of gradual must list one number for each of its {len(moving)} phases below the head, "
                f"got {len(self.epochs)}."
            )
        head = [Phase("head", cut=len(parameters), solver="logistic")]
        return tuple(head + [self._thawed(number, cut) for number, cut in enumerate(moving)])

    def _thawed(self, number: int, cut: int) -> Phase:
        epochs = self.epochs[number] if self.epochs else None
        name = f"thaw {number + 1}"
        return Phase(
            name,
            cut=cut,
            layer_decay=self.layer_decay,
            epochs=epochs,
            batch_norm=self.batch_norm or self.stochastic > 0,
            stochastic=self.stochastic,
        )
