"""Gaussian noise on the numbers of a row of a table, drawn anew for each number.

Paper: Bishop 1995, "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation 7(1).

Equation: x' = x + e, e ~ N(0, sigma^2), with x in standard deviations of its column over the training rows. Words and
missing cells stay as they are.

When not to use: where a step in a number is the answer (a dose limit, a code kept as a number), and with methods that
take rows as they are, such as gradient boosting, which it never reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sterna.records import Augment
from sterna.spec import Range, method, option


@method
class Jitter:
    """How strong the noise is."""

    sigma: float = option(0.1, "standard deviation, in standard deviations of each column", Range(0, 5))

    places: ClassVar[tuple[str, ...]] = ("row",)

    def build(self) -> Augment:
        return Augment(row=Noisy(self.sigma), written=repr(self))


@dataclass(frozen=True)
class Noisy:
    """The noise itself: a row with its numbers standardised -> the same with noise on them."""

    sigma: float

    def __call__(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        drawn = (self.sigma * torch.randn(len(row), dtype=torch.float64)).tolist()
        return tuple(
            value + noise if isinstance(value, float) else value for value, noise in zip(row, drawn, strict=True)
        )
