"""Prefix tuning: learnt keys and values in every attention layer, with the head, in a text network that stands still.

Papers: Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation" (ACL, arXiv 2101.00190),
section 4; for frozen encoders that classify Liu et al. 2022, "P-Tuning v2" (ACL, arXiv 2110.07602), section 3.

Equation: each head of attention gives softmax(q [P_k; K]^T / sqrt(d)) [P_v; V] and not softmax(q K^T / sqrt(d)) V, with
q, K and V (t, d) of the text's t tokens, and P_k and P_v (p, d) learnt for each head of each layer; p is `length`.

Queries are those of the tokens alone. So texts stay as long as they are, none loses tokens, no position moves, and
stages below the lowest that moves are computed once. Every token sees the whole prefix, also where attention is causal
or local. Networks with an encoder and a decoder have one in either and between them, as in the first paper; layers that
share their weights (ALBERT) share one.

It starts as the keys and values that each layer has for a text of random tokens: Li and Liang (section 7.4) found the
activations of words, related to the task or not, better than random vectors where examples are few. The vectors are
learnt as they are, and not made by a second network as Li and Liang do for stability; Liu et al. (section 3.3) found
that this helps on some sets and does harm on others.

It enters through the attention interface of transformers. The package peft would hand it over as a cache of past keys,
which DistilBERT and ModernBERT do not take, which moves BERT's positions, and which a network that runs stage by stage
has no door for. Networks with attention of their own making (MPNet, DeBERTa) are refused.

It cannot be added to the weights. It is kept in the folder `adapter` of the model, and `sterna predict` and `--encoder
local:FOLDER` use it; a library that opens the model without sterna leaves it out and gives other answers.

When not to use: where `lora` can be had: it leaves an ordinary model, and with a small encoder on 384 questions it was
ten points ahead after 8 epochs and five after 30, for a prefix learns slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.maths.cuts import cut_below
from sterna.prefixes import Prefixes
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Prefix:
    """How long the prefix is, where it stands, and how fast it moves."""

    length: int = option(
        20, "keys and values before those of each text; Liu et al. find 20 enough for simple classes", Range(1, 1000)
    )
    stages: int = option(0, "how many of the last stages have one; 0: all, as in the papers", Range(0))
    rate: float = option(
        100.0,
        "factor on the optimizer's rate for the prefix; Liu et al. take 0.005 to 0.01, a hundred times that of weights",
        Range(0, low_open=True),
    )
    warm_head: bool = option(
        True, "start from the optimal head on frozen features, which a prefix shifts; without it the head learns along"
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The prefix with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up.
        """
        cut = cut_below(parameters, self.stages) if self.stages else 0
        moved = Phase("prefix", cut=cut, pace=self.rate, adapter=Prefixes(self.length))
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
