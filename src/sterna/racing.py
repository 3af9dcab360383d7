"""When a route is given up among its folds: another is better on the same examples, and not by chance.

Paper: Maron and Moore 1994, "Hoeffding Races" (NeurIPS 6), for giving up models as soon as the examples seen so far
tell; Birattari et al. 2002, "A Racing Algorithm for Configuring Metaheuristics" (GECCO), for doing so by paired tests.

When not to use: where the figure of every route is wanted at full strength, as for routes that were asked for by name.
"""

from __future__ import annotations

import numpy as np

from sterna import stats
from sterna.contracts import Task
from sterna.maths.seeds import derive
from sterna.records import Labels

LEVEL = 0.05  # of a one-sided test: of two routes that are alike, one in twenty would be given up, which loses nothing


def behind(
    task: Task, answers: np.ndarray, rival: np.ndarray, labels: Labels, classes: tuple[str, ...], seed: int
) -> bool:
    """Whether answers are worse than a rival's to the same examples beyond chance, by a paired permutation test.

    Args:
        task: a file of `tasks/`, whose primary figure decides.
        answers: (m, k), as `Task.answers` gives them.
        rival: (m, k) likewise.
        labels: (m, ...).
        classes: as in `Table`.
        seed: of the run.
    """
    ours, theirs = (task.sample(one, labels, classes).merits for one in (answers, rival))
    differences = ours - theirs
    generator = np.random.default_rng(derive(seed, "racing"))
    return bool(differences.mean() < 0 and stats.sign_flips(differences, generator) <= 2 * LEVEL)
