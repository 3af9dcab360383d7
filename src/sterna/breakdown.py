"""The verdict class by class and subgroup by subgroup: an average gain can hide that some lose.

Paper: Holm 1979, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics 6), for
the p values of several parts: with twenty classes one would look helped or hurt by chance alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sterna import verdict
from sterna.outcomes import PartGain
from sterna.stats import holm
from sterna.verdict import Evidence

FEWEST = 5  # held-out examples of a part, below which its interval says nothing
MOST = 50  # parts of a kind; more are not read by anyone
DRAWS = 2000


def gains(
    route: Evidence, floor: Evidence, parts: Mapping[str, Sequence[np.ndarray]], *, seed: int
) -> tuple[PartGain, ...]:
    """The gain in each part, with its interval and its p value, adjusted over all parts of the same kind.

    Args:
        route, floor: on the same examples, as `verdict.decide` takes them.
        parts: kind ("class", "group") -> for each seed, (n_s,) names of the part in which each example lies.
        seed: of the run.

    A part with fewer than `FEWEST` held-out examples is left out, and so is a kind of a single part, or of more than
    `MOST`.
    """
    found: list[PartGain] = []
    for kind, names in parts.items():
        listed = np.unique(np.concatenate(list(names)))
        if not 1 < len(listed) <= MOST:
            continue
        several = [_gain(kind, str(name), route, floor, names, seed) for name in listed]
        kept = [one for one in several if one.n >= FEWEST]
        adjusted = holm([one.p_value for one in kept])
        found += [replace(one, adjusted=value) for one, value in zip(kept, adjusted, strict=True)]
    return tuple(found)


def sentence(parts: Sequence[PartGain], route: str) -> str:
    """What an average would hide: the parts that lose, by adjusted p values; "" where none is seen to."""
    losing = sorted((one for one in parts if one.gain < 0 and one.adjusted < 0.05), key=lambda one: one.gain)
    if not losing:
        return ""
    told = ", ".join(f"{one.kind} {one.name} by {-100 * one.gain:.1f} points" for one in losing[:3])
    more = f" and {len(losing) - 3} more" if len(losing) > 3 else ""
    return f"Under {route} some lose: {told}{more} (p < 0.05 after Holm's correction)."


def _gain(kind: str, name: str, route: Evidence, floor: Evidence, names: Sequence[np.ndarray], seed: int) -> PartGain:
    masks = [part == name for part in names]
    seeds = [place for place, mask in enumerate(masks) if mask.any()]

    def within(whole: Evidence) -> Evidence:
        chosen = (whole.rows, whole.merits, whole.losses)
        return Evidence(whole.name, *([array[place][masks[place]] for place in seeds] for array in chosen))

    gain, low, high, n, p = verdict.difference(within(route), within(floor), seed=seed, draws=DRAWS)
    return PartGain(kind, name, gain, low, high, n, p)
