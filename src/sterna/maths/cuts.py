"""Where to cut a chain of stages, counted in stages that carry weight."""

from collections.abc import Sequence

import numpy as np


def heavy(parameters: Sequence[int], share: float = 0.01) -> list[int]:
    """The stages that hold at least `share` of all parameters, from the bottom up.

    Norms and poolings hold almost none; counting them would make «the last two stages» move nothing that matters.
    """
    total = sum(parameters)
    return [place for place, count in enumerate(parameters) if total and count >= share * total]


def cut_below(parameters: Sequence[int], stages: int) -> int:
    """The cut above which exactly the last `stages` heavy stages move; 0 when there are no more than that.

    `cut_below(p, 0)` is the depth: the head alone. Light stages move with the heavy stage under them.
    """
    if stages == 0:
        return len(parameters)
    places = heavy(parameters)
    return 0 if stages >= len(places) else places[-stages]


def thawing(parameters: Sequence[int], phases: int) -> list[int]:
    """Cuts that thaw a chain in `phases` steps: the head alone, then equal shares of the heavy stages down to 0."""
    count = len(heavy(parameters))
    moving = np.ceil(np.linspace(0, count, phases)).astype(int)
    cuts = [cut_below(parameters, int(stages)) for stages in moving[:-1]]
    return [*cuts, 0]
