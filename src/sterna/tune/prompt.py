"""Prompt tuning: learnt vectors among the tokens of each text, with the head, in front of a network that stands still.

Paper: Lester, Al-Rfou and Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning" (arXiv 2104.08691);
with `deep` after Liu et al. 2022, "P-Tuning v2" (arXiv 2110.07602), and Jia et al. 2022, "Visual Prompt Tuning" (arXiv
2203.12119), section 3.2.

Equation: the network reads e(x_1), p_1, ..., p_k, e(x_2), ... in place of e(x_1), e(x_2), ..., with p_i of the size of
an embedding; positions count on behind the prompt, and a mean over tokens counts the prompt's. With `deep` others stand
in the same places before each further layer, instead of what the layer below made of them.

The vectors start as embeddings of random tokens, one of the starts in the paper. They stand behind the first token and
not before it, so that a network which answers from its first token ([CLS]) reads the one it knows. Unlike P-Tuning v2,
`deep` learns hidden states and not keys and values: the layer's own frozen products make those out of them. The network
does not begin as it was: a prompt changes every text. A text that fills all of a network's positions loses tokens.

The vectors cannot be added to the weights. They are kept in the folder `adapter` of the model, and `sterna predict` and
`--encoder local:FOLDER` use them; a library that opens the model without sterna leaves them out and gives other
answers.

When not to use: on small networks with enough labels for anything else; the paper's prompts reach what tuning all
weights does at ten billion weights, and fall far behind at a hundred million.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sterna.prompts import Prompts
from sterna.records import Phase
from sterna.spec import Range, method, option


@method
class Prompt:
    """How many vectors, where, and how fast they move."""

    size: int = option(20, "vectors before each text; the paper finds little gain beyond 20", Range(1, 1000))
    deep: bool = option(False, "others in the same places before each further layer: many more weights, and stronger")
    rate: float = option(
        30.0,
        "factor on the optimizer's rate for the vectors; the paper's rate is far higher than that of weights",
        Range(0, low_open=True),
    )
    warm_head: bool = option(
        True, "start from the optimal head on frozen features, which a prompt shifts; without it the head learns along"
    )

    pretrained: ClassVar[bool] = True

    def plan(self, parameters: Sequence[int]) -> tuple[Phase, ...]:
        """The vectors with the head, after the head alone if `warm_head`.

        `parameters`: number of weights of each stage, bottom up.
        """
        moved = Phase("prompt", cut=0, pace=self.rate, adapter=Prompts(self.size, self.deep))
        return (Phase("head", cut=len(parameters), solver="logistic"), moved) if self.warm_head else (moved,)
