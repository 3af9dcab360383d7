"""The rungs of the ladder for each kind of data, and what each of them gained on other data sets.

Papers: Efron and Morris 1975, "Data Analysis Using Stein's Estimator and Its Generalizations" (JASA 70), for drawing
noisy figures towards what is known before; Feurer, Springenberg and Hutter 2015, "Initializing Bayesian Hyperparameter
Optimization via Meta-Learning" (AAAI), for knowing it from other data sets.

Equation: with a figure f_r on n validation examples, gain g_r elsewhere and a weight of k examples, the posterior mean
of a route is (n f_r + k (c + g_r)) / (n + k); c is the same for all, so f_r + (k / n) g_r orders routes as it does.

Gains are of accuracy over `probe`, with ten labels a class (bench/choosing.py). With n in the hundreds they weigh
nothing, and with twenty examples, of which one is five points, they say more than the figures do.

When not to use: for routes that were never measured elsewhere, and floors; their gain is 0.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sterna import folder, wording

EXAMPLES = 25  # that what is known from elsewhere weighs
PICTURES = {"probe": 0.0, "partial": 0.0, "lp_ft": 0.0}  # of sounds too
# A head that is optimal on frozen features leaves a few texts nothing to learn, and all else stands nearly still: with
# ten a class one that learns along was 4 to 5 points better on reviews and 5 to 20 on questions. On photos it is far
# worse.
TEXTS = {
    "probe": 0.0,
    "partial(stages=3, warm_head=false, layer_decay=0.6, rate=3)": 0.10,
    "contrastive": 0.13,
    "lora(warm_head=false)": 0.10,
    "full": 0.09,
    "lp_ft": 0.05,  # with fifty questions a class it was the best of all
}
LANGUAGE = ("text", "words")  # what `TEXTS` is for; `lora` beside convolutions takes longer than moving them
SIMPLEST = {"prototypes": 0.0, "zero_shot": -0.04, "head2toe": 0.05}  # what moves no stage, for labels that they serve


def every(modality: str) -> tuple[str, ...]:
    """The policies of the ladder for a kind of data, whatever is installed."""
    return tuple(TEXTS if modality in LANGUAGE else PICTURES)


def serving(modality: str, task: str, objective: bool) -> list[str]:
    """The policies that serve a kind of data and of labels, without those whose package is not installed.

    `objective`: whether one is written or a teacher named; `contrastive` has its own, and is none of its routes.
    """
    pairs = modality == "text" and task == "classify" and not objective
    return [one for one in every(modality) if (pairs or one != "contrastive") and not lacking(one)]


def lacking(rung: str) -> str:
    """The sentence of a rung whose package is not installed, "" for one that can be tried."""
    return folder.lacking("tune", rung.partition("(")[0])


def absent(modality: str) -> list[str]:
    """Of each rung whose package is not installed, a sentence that says what to type."""
    return [sentence for one in every(modality) if (sentence := lacking(one))]


def gain(way: Any, modality: str, task: str) -> float:
    """What a policy or a method on features gained over a probe on other data sets of its kind; 0 where not known."""
    return _gains().get(repr(way), 0.0) if (modality, task) == ("text", "classify") else 0.0


def ahead(gain: float, examples: int) -> float:
    """What is added to a validation figure of so many examples when routes are compared by it."""
    return EXAMPLES * gain / max(examples, 1)


@cache
def _gains() -> dict[str, float]:
    homes = {"tune": TEXTS, "shallow": SIMPLEST}
    return {
        repr(way): value
        for home, rungs in homes.items()
        for rung, value in rungs.items()
        for (way,) in wording.alternatives(home, rung, single=True)
    }
