"""Linear probe: every stage stays frozen, the head alone is fitted, to its optimum.

Paper: Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes" (arXiv 1610.01644).

Equation: min over W, b of the mean cross-entropy of softmax(W z + b) + |W|^2 / (2 C n), with z the standardised
features; C is chosen on the validation part along a path of warm starts.

When not to use: when the features do not separate the target classes (the validation accuracy of `probe` far below
that of `partial`), which is common where target pictures look unlike the source's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.records import Phase
from sterna.spec import method


@method
class Probe:
    """Options of the linear probe: none. Of the objective it uses the cross-entropy and its class weights."""

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """One phase at the very top. `parameters`: number of weights of each stage, bottom up."""
        return (Phase("head", cut=len(parameters), solver="logistic"),)
