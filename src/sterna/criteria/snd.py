"""Soft neighbourhood density: whether each target example has many neighbours that are answered alike.

Paper: Saito, Kim, Teterwak, Sclaroff, Darrell and Saenko 2021, "Tune It the Right Way: Unsupervised Validation of
Domain Adaptation via Soft Neighborhood Density" (arXiv 2108.10860).

Equation: f_j = p_j / ||p_j||, P_ij proportional to exp(f_i . f_j / tau) over j != i; the value is the mean over i of
-sum_j P_ij ln P_ij.

When not to use: where a method may answer one class for everything: all are then neighbours, and the value is the
largest of all, ln(m - 1). To compare heads of different kinds.
"""

from __future__ import annotations

import numpy as np

from sterna.contracts import Adapted
from sterna.errors import DataError
from sterna.maths.criteria import entropies, shares
from sterna.maths.samples import blocks, thinned
from sterna.spec import Range, method, option

_BLOCK = 1024


@method
class SND:
    """The mean entropy of neighbourhoods."""

    temperature: float = option(
        0.05, "tau: how fast the share of a neighbour falls with its distance", Range(0, 10, low_open=True)
    )
    limit: int = option(5000, "target examples that are looked at, drawn at random", Range(2, 100_000))

    def judge(self, adapted: Adapted) -> float:
        """From 0 to ln(m - 1). Raises `DataError` for values and for a single target example."""
        answers = shares("snd", adapted.answers)
        if len(answers) < 2:
            raise DataError(f"snd needs at least 2 target examples, got {len(answers)}; add examples.")
        answers = answers[thinned(len(answers), self.limit, adapted.seed, "snd")]
        unit = answers / np.sqrt((answers**2).sum(axis=1, keepdims=True))
        total = 0.0
        for part in blocks(len(unit), _BLOCK):
            near = unit[part] @ unit.T / self.temperature
            near[np.arange(len(near)), np.arange(part.start, part.stop)] = -np.inf
            near = np.exp(near - near.max(axis=1, keepdims=True))
            near /= near.sum(axis=1, keepdims=True)
            total += float(entropies(near).sum())
        return total / len(unit)
