"""How much a ranking of candidates looks at: examples, permutations and draws, and how long its shortlist is.

When not to use: to make a ranking surer than the labels allow; more draws tell more exactly how sure it is, and more
examples make it so.
"""

from __future__ import annotations

from sterna.spec import Range, method, option


@method
class Sizes:
    """The defaults keep the cost of the scores below that of the candidates' own forward pass."""

    examples: int = option(5000, "examples that are looked at; rankings change little beyond", Range(10))
    permutations: int = option(20, "permutations of the labels, by which each score's z is told", Range(2, 1000))
    draws: int = option(50, "draws of examples, by which the probabilities are told", Range(2, 10_000))
    drawn: int = option(1000, "examples of a draw, at most; never more than half of all", Range(10))
    likely: float = option(0.3, "probability of the top three from which a candidate is shortlisted", Range(0, 1))
    fewest: int = option(3, "candidates on the shortlist at least, where there are so many", Range(1))
    most: int = option(5, "candidates on the shortlist at most", Range(1))
