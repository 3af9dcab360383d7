"""Contrastive tuning: pull examples of one class together in feature space, then fit the head to its optimum.

Paper: Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts" (SetFit, arXiv 2209.11055), section 3.

Equation: a phase on `losses/pair_cosine` in which every weight moves, then logistic regression on the features.

A few labels make many pairs: SetFit draws 2 x 20 pairs for each example; here each batch gives all of its own pairs,
so that every text is encoded once a step and not once a pair. Passes and steps are both limited: few examples make
passes of a step or two, and many need not be seen often. The phase is not judged on the validation part: the cosines
say nothing of the head to come.

When not to use: with hundreds of examples a class, where `partial` and `full` use the labels directly; on encoders
whose features are not meant to be compared by their direction, such as a plain language model's, unless there are
examples enough to teach it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Contrastive:
    """How long and how far the features move before the head is fitted."""

    passes: int = option(40, "most passes over the examples while the features move", Range(1, 100_000))
    steps: int = option(
        100,
        "most optimizer steps, each on all pairs of a batch; with 64 questions a class, twenty at twice the rate were "
        "2.7 points worse (three draws)",
        Range(1, 100_000),
    )
    rate: float = option(
        1.0,
        "factor on the optimizer's rate while the features move, 3e-5 in all with adamw and texts; as many steps at "
        "twice the rate were 0.6 to 1.6 points worse (three draws)",
        Range(0, low_open=True),
    )
    layer_decay: float = option(1.0, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    stages: int = option(0, "how many of the last stages move; 0: all, as in the paper", Range(0))

    pretrained: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def shortened(self, share: float) -> Contrastive:
        """The same with a share of the passes and steps."""
        passes, steps = (max(1, round(share * one)) for one in (self.passes, self.steps))
        return replace(self, passes=passes, steps=steps)  # type: ignore[type-var]

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The features, then the head. `parameters`: number of weights of each stage, bottom up."""
        cut = cut_below(parameters, self.stages) if self.stages else 0
        moved = Phase(
            "contrastive",
            cut=cut,
            rate=self.rate,
            layer_decay=self.layer_decay,
            epochs=self.passes,
            loss="pair_cosine",
            steps=self.steps,
        )
        return (moved, Phase("head", cut=len(parameters), solver="logistic"))
