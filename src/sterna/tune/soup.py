"""A soup: several fine-tunings from one start at different rates, and the average of those that help.

Paper: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time" (arXiv 2203.05482), recipe 1.

Equation: the fits are sorted by the validation figure; each in turn joins the average if the figure of the average is
then no lower.

The head is fitted to its optimum first, and all fits start from there; each has an order of its examples of its own.
So the average is never worse on the validation part than the best fit, and as fast as one. Where the validation part is
another domain's than the target, nothing there can choose, and all fits are averaged.

When not to use: where one fit takes long already: a soup takes as long as all of its fits, and its gain is mostly a
point or less; from random weights, where fits end in different valleys and their average in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.errors import SpecError
from sterna.maths.cuts import cut_below
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Soup:
    """Which fits there are."""

    rates: tuple[float, ...] = option(
        (0.3, 1.0, 3.0),
        "factors on the rate, one for each fit; a number may come twice",
        Range(0, low_open=True),
    )
    rate: float = option(
        0.3, "factor on the optimizer's rate: the head is good already, small steps keep it", Range(0, low_open=True)
    )
    stages: int = option(0, "how many of the last stages move; 0: all", Range(0))
    layer_decay: float = option(0.9, "rate of each stage relative to the one above it", Range(0, 1, low_open=True))
    batch_norm: bool = option(False, "let BatchNorm statistics follow the target data")
    stochastic: float = option(
        0.0, "probability that a channel is normalised by its moving statistics (StochNorm); 0: off", Range(0, 1)
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The head, then all fits. `parameters`: number of weights of each stage, bottom up."""
        if len(self.rates) < 2:
            raise SpecError(
                f"rates of soup must list two factors or more, got {len(self.rates)}; type soup(rates=[0.3, 1, 3])."
            )
        return (
            Phase("head", cut=len(parameters), solver="logistic"),
            Phase(
                "all" if not self.stages else "top",
                cut=cut_below(parameters, self.stages) if self.stages else 0,
                rate=self.rate,
                rates=self.rates,
                layer_decay=self.layer_decay,
                batch_norm=self.batch_norm or self.stochastic > 0,
                stochastic=self.stochastic,
            ),
        )
