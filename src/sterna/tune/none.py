"""Nothing moves: a saved model answers with the head it has.

Paper: Liang et al. 2020, "Do We Really Need to Access Source Data? Source Hypothesis Transfer for Unsupervised Domain
Adaptation" (arXiv 2002.08546), whose tables call it "source model only": what adaptation without a source is measured
against.

It is the floor of `sterna fit MODEL --target TARGET`, and what remains where statistics alone are replaced (`adabn`).

When not to use: for classes of one's own, whose head must be learnt; `probe` does that and moves nothing below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.records import Phase
from sterna.spec import method


@method
class Nothing:
    """No options."""

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """No phase. `parameters`: weights of each stage, bottom up."""
        return ()
